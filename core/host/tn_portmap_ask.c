
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * PCP by our own codec, NAT-PMP by libnatpmp.  Both talk to the same port of
 * the gateway from a connected socket, so the kernel takes answers of nobody
 * else.  A gateway without the service refuses by ICMP at once, or says
 * nothing; on a LAN three tries in a second are enough.  What is malformed,
 * or answers something else, is passed over as if it had not come.
 *
 * libnatpmp looks into its buffer without asking how long the answer is, and
 * not at which port was mapped: answers are judged in the socket's queue
 * before it may read them.
 */

#include "host/tn_portmap_ask.h"

#include <errno.h>
#include <natpmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_PORTMAP_TRIES       3
#define TN_PORTMAP_WAIT_MS     300      /* for an answer to a try */

#define TN_PORTMAP_PMP_ADDRESS   0
#define TN_PORTMAP_PMP_UDP       1
#define TN_PORTMAP_PMP_ANSWER    0x80


static tn_rc_t ask_pcp(const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease, uint32_t lifetime, int tries);
static int ask_socket(const tn_ip_t *gateway);
static bool ask_readable(const tn_portmap_site_t *site, int s,
    tn_ms_t deadline);
static tn_rc_t ask_pmp(const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease);
static bool ask_pmp_address(const tn_portmap_site_t *site, tn_ip_t *ip,
    tn_rc_t *rc);
static tn_rc_t ask_pmp_open(const tn_portmap_site_t *site, natpmp_t *pmp);
static tn_rc_t ask_pmp_wait(const tn_portmap_site_t *site, natpmp_t *pmp,
    uint8_t opcode, tn_ms_t wait_ms, natpmpresp_t *answer);
static bool ask_pmp_sound(const uint8_t *bytes, size_t len, uint8_t opcode,
    uint16_t port);


tn_rc_t
tn_portmap_ask(tn_portmap_proto_e proto, const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease)
{
    tn_rc_t             rc;
    tn_portmap_lease_t  wish;

    wish = *lease;

    switch (proto) {

    case TN_PORTMAP_PCP:
        rc = ask_pcp(site, &wish, TN_PORTMAP_LEASE_S, TN_PORTMAP_TRIES);
        break;

    case TN_PORTMAP_PMP:
        rc = ask_pmp(site, &wish);
        break;

    case TN_PORTMAP_UPNP:
        rc = tn_portmap_upnp_ask(site, &wish);
        break;

    default:
        return TN_NOTFOUND;
    }

    if (rc == TN_OK) {
        wish.proto = proto;
        *lease = wish;
    }

    return rc;
}


bool
tn_portmap_look(tn_portmap_proto_e proto, const tn_portmap_site_t *site)
{
    tn_ip_t  ip;
    tn_rc_t  rc;

    switch (proto) {

    case TN_PORTMAP_PMP:
        return ask_pmp_address(site, &ip, &rc);

    case TN_PORTMAP_UPNP:
        return tn_portmap_upnp_look(site);

    default:
        return false;
    }
}


void
tn_portmap_release(const tn_portmap_site_t *site,
    const tn_portmap_lease_t *lease)
{
    natpmp_t            pmp;
    atomic_bool         never;
    natpmpresp_t        answer;
    tn_portmap_site_t   patient;
    tn_portmap_lease_t  last;

    /* the thread is being stopped, and this is what it still does */

    atomic_init(&never, false);
    patient = *site;
    patient.stop = &never;
    last = *lease;

    switch (lease->proto) {

    case TN_PORTMAP_PCP:
        (void) ask_pcp(&patient, &last, 0, 1);
        return;

    case TN_PORTMAP_PMP:
        if (ask_pmp_open(&patient, &pmp) == TN_OK) {

            /* RFC 6886, 3.4: a deletion names no external port */

            if (sendnewportmappingrequest(&pmp, NATPMP_PROTOCOL_UDP,
                                          site->port, 0, 0) >= 0)
            {
                (void) ask_pmp_wait(&patient, &pmp, TN_PORTMAP_PMP_UDP,
                                    TN_PORTMAP_WAIT_MS, &answer);
            }

            (void) closenatpmp(&pmp);
        }

        return;

    case TN_PORTMAP_UPNP:
        tn_portmap_upnp_release(lease);
        return;

    default:
        return;
    }
}


bool
tn_portmap_external_sound(const tn_addr_t *external)
{
    static const uint8_t  zero[4];

    const tn_ip_t  *ip;

    ip = &external->ip;

    return external->port != 0
           && tn_ip_is_v4(ip)
           && memcmp(ip->b + 12, zero, sizeof(zero)) != 0
           && ip->b[12] < 240
           && !tn_ip_is_loopback(ip)
           && !tn_ip_is_link_local(ip)
           && !tn_ip_is_multicast(ip)
           && !tn_ip_is_tailscale(ip);
}


uint32_t
tn_portmap_lifetime(uint32_t seconds)
{
    return tn_min(seconds, TN_PORTMAP_LEASE_MAX_S);
}


/* --- PCP */

static tn_rc_t
ask_pcp(const tn_portmap_site_t *site, tn_portmap_lease_t *lease,
    uint32_t lifetime, int tries)
{
    int                s, i;
    ssize_t            n;
    uint8_t            bytes[TN_PCP_MAX + 1], map[TN_PCP_MAP_LEN];
    tn_ms_t            deadline;
    tn_rc_t            rc;
    tn_pcp_request_t   request;
    tn_pcp_response_t  response;

    s = ask_socket(&site->gateway);
    if (s == -1) {
        return TN_NOTFOUND;
    }

    memset(&request, 0, sizeof(request));
    memcpy(request.nonce, site->nonce, TN_PCP_NONCE);
    request.client = site->self;
    request.internal_port = site->port;
    request.lifetime = lifetime;

    /* 11.1: a deletion suggests nothing */

    if (lifetime != 0) {
        request.suggested = lease->external;

        if (request.suggested.port == 0) {
            request.suggested.port = site->port;
        }
    }

    tn_pcp_map(map, &request);

    rc = TN_NOTFOUND;

    for (i = 0; i < tries; i++) {

        if (send(s, map, sizeof(map), 0) == -1) {
            break;
        }

        deadline = tn_loop_clock_ms() + TN_PORTMAP_WAIT_MS;

        while (ask_readable(site, s, deadline)) {
            n = recv(s, bytes, sizeof(bytes), MSG_DONTWAIT);

            if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
                continue;
            }

            if (n == -1) {
                goto done;
            }

            if (tn_pcp_response(bytes, (size_t) n, &response) != TN_OK) {
                continue;
            }

            if (response.result == TN_PCP_UNSUPP_VERSION) {
                goto done;
            }

            if (!tn_pcp_answers(&request, &response)) {
                continue;
            }

            rc = TN_REFUSED;

            if (response.result == TN_PCP_SUCCESS
                && response.lifetime != 0
                && tn_portmap_external_sound(&response.external))
            {
                lease->external = response.external;
                lease->lifetime = tn_portmap_lifetime(response.lifetime);
                rc = TN_OK;
            }

            goto done;
        }
    }

done:

    (void) close(s);

    return rc;
}


static int
ask_socket(const tn_ip_t *gateway)
{
    int                      s;
    size_t                   len;
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    addr.ip = *gateway;
    addr.port = TN_PCP_PORT;
    len = tn_addr_to_sockaddr(&addr, &ss);

    s = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (s != -1 && connect(s, (struct sockaddr *) &ss, (socklen_t) len) == -1)
    {
        (void) close(s);
        s = -1;
    }

    return s;
}


/* something is there, an error too; false at the deadline or when stopped */
static bool
ask_readable(const tn_portmap_site_t *site, int s, tn_ms_t deadline)
{
    tn_ms_t        now;
    struct pollfd  pfd;

    now = tn_loop_clock_ms();

    if (now >= deadline || atomic_load(site->stop)) {
        return false;
    }

    pfd.fd = s;
    pfd.events = POLLIN;

    return poll(&pfd, 1, (int) (deadline - now)) > 0;
}


/* --- NAT-PMP */

static tn_rc_t
ask_pmp(const tn_portmap_site_t *site, tn_portmap_lease_t *lease)
{
    uint16_t      wish;
    tn_rc_t       rc;
    natpmp_t      pmp;
    tn_addr_t     external;
    natpmpresp_t  answer;

    if (!ask_pmp_address(site, &external.ip, &rc)) {
        return rc;
    }

    rc = ask_pmp_open(site, &pmp);
    if (rc != TN_OK) {
        return rc;
    }

    wish = lease->external.port != 0 ? lease->external.port : site->port;
    rc = TN_NOTFOUND;

    if (sendnewportmappingrequest(&pmp, NATPMP_PROTOCOL_UDP, site->port, wish,
                                  TN_PORTMAP_LEASE_S) >= 0)
    {
        rc = ask_pmp_wait(site, &pmp, TN_PORTMAP_PMP_UDP,
                          TN_PORTMAP_TRIES * TN_PORTMAP_WAIT_MS, &answer);
    }

    (void) closenatpmp(&pmp);

    if (rc != TN_OK) {
        return rc;
    }

    external.port = answer.pnu.newportmapping.mappedpublicport;

    if (answer.pnu.newportmapping.lifetime == 0
        || !tn_portmap_external_sound(&external))
    {
        return TN_REFUSED;
    }

    lease->external = external;
    lease->lifetime = tn_portmap_lifetime(answer.pnu.newportmapping.lifetime);

    return TN_OK;
}


/* true: NAT-PMP is there and knows its address; otherwise *rc says why not */
static bool
ask_pmp_address(const tn_portmap_site_t *site, tn_ip_t *ip, tn_rc_t *rc)
{
    natpmp_t      pmp;
    natpmpresp_t  answer;

    *rc = ask_pmp_open(site, &pmp);

    if (*rc != TN_OK) {
        return false;
    }

    *rc = TN_NOTFOUND;

    if (sendpublicaddressrequest(&pmp) >= 0) {
        *rc = ask_pmp_wait(site, &pmp, TN_PORTMAP_PMP_ADDRESS,
                           TN_PORTMAP_TRIES * TN_PORTMAP_WAIT_MS, &answer);
    }

    (void) closenatpmp(&pmp);

    if (*rc == TN_OK) {
        *ip = tn_ip_from_v4((uint8_t *) &answer.pnu.publicaddress.addr);
    }

    return *rc == TN_OK;
}


static tn_rc_t
ask_pmp_open(const tn_portmap_site_t *site, natpmp_t *pmp)
{
    in_addr_t  gateway;

    memcpy(&gateway, site->gateway.b + 12, sizeof(gateway));

    if (initnatpmp(pmp, 1, gateway) != 0) {
        if (pmp->s >= 0) {
            (void) close(pmp->s);
        }

        return TN_NOTFOUND;
    }

    return TN_OK;
}


static tn_rc_t
ask_pmp_wait(const tn_portmap_site_t *site, natpmp_t *pmp, uint8_t opcode,
    tn_ms_t wait_ms, natpmpresp_t *answer)
{
    int             rc;
    ssize_t         n;
    uint8_t         bytes[32];
    tn_ms_t         deadline, turn, now;
    struct timeval  left;

    deadline = tn_loop_clock_ms() + wait_ms;

    for ( ;; ) {
        now = tn_loop_clock_ms();

        if (now >= deadline || atomic_load(site->stop)) {
            return TN_NOTFOUND;
        }

        /* it sends again by itself when it is called after this time */

        turn = deadline;

        if (getnatpmprequesttimeout(pmp, &left) == 0) {
            turn = left.tv_sec < 0 ? now
                   : tn_min(deadline, now + (tn_ms_t) left.tv_sec * 1000
                                      + (tn_ms_t) left.tv_usec / 1000 + 1);
        }

        if (ask_readable(site, pmp->s, turn)) {
            n = recv(pmp->s, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

            if (n >= 0
                && !ask_pmp_sound(bytes, (size_t) n, opcode, site->port))
            {
                (void) recv(pmp->s, bytes, sizeof(bytes), MSG_DONTWAIT);
                continue;
            }
        }

        rc = readnatpmpresponseorretry(pmp, answer);

        switch (rc) {

        case 0:
            return TN_OK;

        case NATPMP_TRYAGAIN:
            continue;

        case NATPMP_ERR_NOTAUTHORIZED:
        case NATPMP_ERR_NETWORKFAILURE:
        case NATPMP_ERR_OUTOFRESOURCES:
        case NATPMP_ERR_UNDEFINEDERROR:
            return TN_REFUSED;

        default:
            return TN_NOTFOUND;
        }
    }
}


/* RFC 6886, 3.2 and 3.3; errors may be as short as 8 bytes (3.5) */
static bool
ask_pmp_sound(const uint8_t *bytes, size_t len, uint8_t opcode, uint16_t port)
{
    if (len < 8 || bytes[0] != 0
        || bytes[1] != (TN_PORTMAP_PMP_ANSWER | opcode))
    {
        return false;
    }

    if (bytes[2] != 0 || bytes[3] != 0) {
        return true;
    }

    if (opcode == TN_PORTMAP_PMP_ADDRESS) {
        return len == 12;
    }

    return len == 16 && bytes[8] == port >> 8 && bytes[9] == (port & 0xff);
}

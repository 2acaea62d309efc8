
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UPnP Internet Gateway Devices, by miniupnpc: search, description, and the
 * calls of WANIPConnection or WANPPPConnection.
 *
 * Anybody on the LAN may answer a search, with an URL of his choice, and a
 * description may name any URL to control the device by.  Only those of the
 * gateway itself are visited: UPNP_GetValidIGD(), which would go everywhere
 * and has other arguments in each API version, is not used for that reason.
 *
 * A connection that miniupnpc does not get within three seconds it waits for
 * by select(), and that ends the process when the descriptor is beyond
 * FD_SETSIZE, as it is beside a thousand connections of lwIP.  So it is sent
 * only where a connection is to be had at once.
 */

#include "host/tn_portmap_ask.h"

#include "crypto/tn_curve.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>


#define TN_UPNP_SEARCH_MS   1000    /* devices answer within this second */
#define TN_UPNP_CONNECT_MS  2000
#define TN_UPNP_TTL         2
#define TN_UPNP_DEVICES     10      /* looked at */
#define TN_UPNP_CONFLICTS   3       /* tries of another external port */

#define TN_UPNP_ONLY_PERMANENT   725
#define TN_UPNP_CONFLICT         718

#define TN_UPNP_IP   "urn:schemas-upnp-org:service:WANIPConnection:"
#define TN_UPNP_PPP  "urn:schemas-upnp-org:service:WANPPPConnection:"
#define TN_UPNP_IP2  TN_UPNP_IP "2"


static tn_rc_t upnp_find(const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease);
static bool upnp_describe(const tn_portmap_site_t *site, const char *url,
    tn_portmap_lease_t *lease);
static bool upnp_service(const tn_portmap_site_t *site, const char *url,
    const struct IGDdatas_service *service, tn_portmap_lease_t *lease);
static bool upnp_is_of(const char *url, const tn_ip_t *gateway);
static bool upnp_host(const char *url, tn_addr_t *addr);
static bool upnp_is_reached(const char *url);
static tn_rc_t upnp_map(const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease);
static int upnp_add(const tn_portmap_site_t *site, tn_portmap_lease_t *lease,
    uint32_t lifetime);


tn_rc_t
tn_portmap_upnp_ask(const tn_portmap_site_t *site, tn_portmap_lease_t *lease)
{
    tn_rc_t  rc;

    if (lease->proto == TN_PORTMAP_UPNP && lease->url[0] != '\0'
        && upnp_map(site, lease) == TN_OK)
    {
        return TN_OK;
    }

    /* a gateway that was started again may listen elsewhere */

    rc = upnp_find(site, lease);

    return rc == TN_OK ? upnp_map(site, lease) : rc;
}


bool
tn_portmap_upnp_look(const tn_portmap_site_t *site)
{
    tn_portmap_lease_t  lease;

    memset(&lease, 0, sizeof(lease));

    return upnp_find(site, &lease) == TN_OK;
}


void
tn_portmap_upnp_release(const tn_portmap_lease_t *lease)
{
    char  port[8];

    if (!upnp_is_reached(lease->url)) {
        return;
    }

    (void) snprintf(port, sizeof(port), "%u", lease->external.port);
    (void) UPNP_DeletePortMapping(lease->url, lease->service, port, "UDP",
                                  NULL);
}


/* the URL and the service into the lease */
static tn_rc_t
upnp_find(const tn_portmap_site_t *site, tn_portmap_lease_t *lease)
{
    static const char *const  types[] = {
        "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "ssdp:all",
        NULL
    };

    int              n, err;
    bool             found;
    char             self[TN_ADDR_TEXT];
    struct UPNPDev  *list, *device;

    err = 0;
    list = upnpDiscoverDevices(types, TN_UPNP_SEARCH_MS,
                               tn_ip_text(&site->self, self), NULL, 0, 0,
                               TN_UPNP_TTL, &err, 0);
    found = false;

    for (device = list, n = 0;
         device != NULL && n < TN_UPNP_DEVICES && !found
         && !atomic_load(site->stop);
         device = device->pNext, n++)
    {
        found = device->descURL != NULL
                && upnp_describe(site, device->descURL, lease);
    }

    freeUPNPDevlist(list);

    return found ? TN_OK : TN_NOTFOUND;
}


static bool
upnp_describe(const tn_portmap_site_t *site, const char *url,
    tn_portmap_lease_t *lease)
{
    bool             found;
    char             lan[TN_ADDR_TEXT];
    struct UPNPUrls  urls;
    struct IGDdatas  data;

    if (!upnp_is_of(url, &site->gateway) || !upnp_is_reached(url)) {
        return false;
    }

    memset(&urls, 0, sizeof(urls));
    memset(&data, 0, sizeof(data));

    if (UPNP_GetIGDFromUrl(url, &urls, &data, lan, sizeof(lan)) != 1) {
        return false;
    }

    found = upnp_service(site, urls.controlURL, &data.first, lease);

    FreeUPNPUrls(&urls);

    return found;
}


static bool
upnp_service(const tn_portmap_site_t *site, const char *url,
    const struct IGDdatas_service *service, tn_portmap_lease_t *lease)
{
    const char  *type;

    type = service->servicetype;

    if (url == NULL || !upnp_is_of(url, &site->gateway)
        || strlen(url) >= sizeof(lease->url)
        || strnlen(type, MINIUPNPC_URL_MAXSIZE) >= sizeof(lease->service)
        || (strncmp(type, TN_UPNP_IP, sizeof(TN_UPNP_IP) - 1) != 0
            && strncmp(type, TN_UPNP_PPP, sizeof(TN_UPNP_PPP) - 1) != 0))
    {
        return false;
    }

    memcpy(lease->url, url, strlen(url) + 1);
    memcpy(lease->service, type, strlen(type) + 1);

    return true;
}


/* http://gateway:port/..., the address in digits, nothing else */
static bool
upnp_is_of(const char *url, const tn_ip_t *gateway)
{
    tn_addr_t  addr;

    return upnp_host(url, &addr) && tn_ip_equal(&addr.ip, gateway);
}


static bool
upnp_host(const char *url, tn_addr_t *addr)
{
    size_t       n;
    const char  *host;

    if (strncmp(url, "http://", 7) != 0) {
        return false;
    }

    host = url + 7;
    n = strcspn(host, ":/");
    addr->port = host[n] == ':' ? (uint16_t) strtoul(host + n + 1, NULL, 10)
                                : 80;

    return tn_ip_parse(&addr->ip, host, n) == TN_OK;
}


/* it takes a connection, which is closed again */
static bool
upnp_is_reached(const char *url)
{
    int                      fd, err;
    bool                     reached;
    size_t                   size;
    socklen_t                len;
    tn_addr_t                addr;
    struct pollfd            pfd;
    struct sockaddr_storage  ss;

    if (!upnp_host(url, &addr)) {
        return false;
    }

    size = tn_addr_to_sockaddr(&addr, &ss);
    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return false;
    }

    reached = connect(fd, (struct sockaddr *) &ss, (socklen_t) size) == 0;

    if (!reached && errno == EINPROGRESS) {
        pfd.fd = fd;
        pfd.events = POLLOUT;
        len = sizeof(err);

        reached = poll(&pfd, 1, TN_UPNP_CONNECT_MS) == 1
                  && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0
                  && err == 0;
    }

    (void) close(fd);

    return reached;
}


static tn_rc_t
upnp_map(const tn_portmap_site_t *site, tn_portmap_lease_t *lease)
{
    int       rc, i;
    char      text[64];
    uint32_t  lifetime;

    memset(text, 0, sizeof(text));

    if (!upnp_is_reached(lease->url)) {
        return TN_REFUSED;
    }

    rc = UPNP_GetExternalIPAddress(lease->url, lease->service, text);

    if (rc != UPNPCOMMAND_SUCCESS) {
        return TN_REFUSED;
    }

    text[sizeof(text) - 1] = '\0';

    if (tn_ip_parse(&lease->external.ip, text, strlen(text)) != TN_OK) {
        return TN_REFUSED;
    }

    if (lease->external.port == 0) {
        lease->external.port = site->port;
    }

    lifetime = TN_PORTMAP_LEASE_S;

    for (i = 0; i < TN_UPNP_CONFLICTS; i++) {

        /* 0 would be every port, and routers keep the low ones */

        if (lease->external.port < 1024 || i > 0) {
            lease->external.port =
                            (uint16_t) (1024 + tn_random_below(65536 - 1024));
        }

        rc = upnp_add(site, lease, lifetime);

        if (rc == TN_UPNP_ONLY_PERMANENT && lifetime != 0) {
            lifetime = 0;
            rc = upnp_add(site, lease, lifetime);
        }

        if (rc != TN_UPNP_CONFLICT || atomic_load(site->stop)) {
            break;
        }
    }

    lease->lifetime = TN_PORTMAP_LEASE_S;

    return rc == UPNPCOMMAND_SUCCESS
           && tn_portmap_external_sound(&lease->external) ? TN_OK
                                                           : TN_REFUSED;
}


static int
upnp_add(const tn_portmap_site_t *site, tn_portmap_lease_t *lease,
    uint32_t lifetime)
{
    int    rc;
    long   n;
    char   outside[8], inside[8], seconds[16], self[TN_ADDR_TEXT];
    char   reserved[16];

    (void) snprintf(outside, sizeof(outside), "%u", lease->external.port);
    (void) snprintf(inside, sizeof(inside), "%u", site->port);
    (void) snprintf(seconds, sizeof(seconds), "%u", lifetime);
    (void) tn_ip_text(&site->self, self);

    if (strcmp(lease->service, TN_UPNP_IP2) != 0) {
        return UPNP_AddPortMapping(lease->url, lease->service, outside,
                                   inside, self, "ngx_tailnet", "UDP", NULL,
                                   seconds);
    }

    memset(reserved, 0, sizeof(reserved));
    rc = UPNP_AddAnyPortMapping(lease->url, lease->service, outside, inside,
                                self, "ngx_tailnet", "UDP", NULL, seconds,
                                reserved);

    if (rc == UPNPCOMMAND_SUCCESS) {
        reserved[sizeof(reserved) - 1] = '\0';
        n = strtol(reserved, NULL, 10);

        if (n < 1 || n > 65535) {
            return UPNPCOMMAND_UNKNOWN_ERROR;
        }

        lease->external.port = (uint16_t) n;
    }

    return rc;
}

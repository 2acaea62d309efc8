
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP looks a segment's connection up in one list of all of them.  Here that
 * list is cut into TN_LWIP_BUCKETS by a seeded hash of the remote address and
 * both ports: `tcp_active_pcbs` and `tcp_tw_pcbs` are, at any moment,
 *
 *   one bucket   while a segment of it is handled, or one of its connections
 *                is written, closed or made (lwip_enter(), lwip_leave())
 *   everything   while the timers run: 4 times a second the buckets are
 *                strung together and dealt out again
 *   nothing      in between
 *
 * so a segment costs the same with 10 connections and with 10,000, and the
 * timers walk all of them as lwIP always does.  Whatever adds to or takes
 * from these lists has to happen inside of the right bucket.
 *
 * Received bytes are copied into chunks, not kept as segments: a peer that
 * sends one byte per segment would fill the window with headers otherwise.
 */

#include "stack/tn_lwip.h"

#include "wire/tn_checksum.h"
#include "wire/tn_icmp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/sys.h>
#include <lwip/tcp.h>


#define TN_LWIP_BUCKETS     4096
#define TN_LWIP_CHUNK       (16 * 1024)
#define TN_LWIP_PIECE       (16 * 1024)     /* of one tcp_write() */
#define TN_LWIP_PORT_FIRST  32768
#define TN_LWIP_PORTS       28232
#define TN_LWIP_PORT_TRIES  256
#define TN_LWIP_CATCH_UP    8       /* timer runs owed after a long pause */

#define TN_LWIP_ALL         TN_LWIP_BUCKETS         /* strung together */
#define TN_LWIP_NONE        (TN_LWIP_BUCKETS + 1)


typedef struct lwip_chunk_s  lwip_chunk_t;

struct lwip_chunk_s {
    lwip_chunk_t         *next;
    size_t                start;
    size_t                end;
    uint8_t               bytes[TN_LWIP_CHUNK];
};


typedef struct lwip_listener_s  lwip_listener_t;

struct lwip_listener_s {
    lwip_listener_t      *next;
    tn_lwip_t            *lwip;
    struct tcp_pcb       *pcb;
    uint16_t              port;
};


struct tn_lwip_conn_s {
    tn_lwip_t            *lwip;
    struct tcp_pcb       *pcb;          /* NULL: dead */
    void                 *data;
    uint32_t              bucket;
    unsigned              state;
    int                   err;
    tn_addr_t             local;
    tn_addr_t             remote;
    lwip_chunk_t         *first;
    lwip_chunk_t         *last;
};


struct tn_lwip_s {
    const tn_lwip_ops_t  *ops;
    void                 *data;
    struct netif          netif;
    lwip_listener_t      *listeners;
    tn_ms_t               now;
    tn_ms_t               tick;         /* the next */
    uint64_t              seed;
    uint32_t              current;
    struct tcp_pcb       *active[TN_LWIP_BUCKETS];
    struct tcp_pcb       *waiting[TN_LWIP_BUCKETS];
    uint8_t               out[TN_LWIP_MTU];
};


/* lwIP's globals belong to it */
static tn_lwip_t  *lwip_only;


static err_t lwip_netif_init(struct netif *netif);
static err_t lwip_output4(struct netif *netif, struct pbuf *p,
    const ip4_addr_t *to);
static err_t lwip_output6(struct netif *netif, struct pbuf *p,
    const ip6_addr_t *to);
static err_t lwip_output(struct pbuf *p);
static uint32_t lwip_bucket(const tn_lwip_t *lwip, const ip_addr_t *remote,
    uint16_t remote_port, uint16_t local_port);
static uint32_t lwip_enter(tn_lwip_t *lwip, uint32_t bucket);
static void lwip_leave(tn_lwip_t *lwip, uint32_t former);
static void lwip_join(struct tcp_pcb **all, struct tcp_pcb **buckets);
static void lwip_deal(const tn_lwip_t *lwip, struct tcp_pcb *all,
    struct tcp_pcb **buckets);
static bool lwip_wanted(const tn_packet_t *p);
static tn_lwip_conn_t *lwip_conn(tn_lwip_t *lwip, struct tcp_pcb *pcb);
static void lwip_conn_free(tn_lwip_conn_t *conn);
static bool lwip_bind(tn_lwip_t *lwip, struct tcp_pcb *pcb,
    const ip_addr_t *remote, uint16_t port, uint32_t *bucket);
static err_t lwip_accept(void *arg, struct tcp_pcb *pcb, err_t err);
static err_t lwip_connected(void *arg, struct tcp_pcb *pcb, err_t err);
static err_t lwip_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p,
    err_t err);
static bool lwip_keep(tn_lwip_conn_t *conn, const struct pbuf *p);
static err_t lwip_sent(void *arg, struct tcp_pcb *pcb, u16_t len);
static void lwip_failed(void *arg, err_t err);
static void lwip_ready(tn_lwip_conn_t *conn);
static void lwip_to_addr(const ip_addr_t *from, uint16_t port,
    tn_addr_t *to);
static void lwip_from_ip(const tn_ip_t *from, ip_addr_t *to);


unsigned int
tn_lwip_random(void)
{
    unsigned int  v;

    if (getrandom(&v, sizeof(v), 0) != (ssize_t) sizeof(v)) {
        abort();
    }

    return v;
}


uint16_t
tn_lwip_checksum(const void *data, int len)
{
    return tn_checksum_fold(tn_checksum_add(0, data, (size_t) len));
}


u32_t
sys_now(void)
{
    return lwip_only != NULL ? (u32_t) lwip_only->now : 0;
}


tn_lwip_t *
tn_lwip_create(const tn_lwip_ops_t *ops, void *data, tn_ms_t now)
{
    static bool  initialized;

    tn_lwip_t   *lwip;
    ip4_addr_t   none;

    if (lwip_only != NULL) {
        return NULL;
    }

    lwip = calloc(1, sizeof(tn_lwip_t));
    if (lwip == NULL) {
        return NULL;
    }

    lwip->ops = ops;
    lwip->data = data;
    lwip->now = now;
    lwip->tick = now + TN_LWIP_TICK_MS;
    lwip->current = TN_LWIP_NONE;
    lwip->seed = ((uint64_t) tn_lwip_random() << 32) | tn_lwip_random();

    lwip_only = lwip;

    if (!initialized) {
        lwip_init();
        initialized = true;
    }

    ip4_addr_set_zero(&none);

    if (netif_add(&lwip->netif, &none, &none, &none, lwip, lwip_netif_init,
                  ip_input)
        == NULL)
    {
        lwip_only = NULL;
        free(lwip);
        return NULL;
    }

    netif_set_default(&lwip->netif);
    netif_set_up(&lwip->netif);
    netif_set_link_up(&lwip->netif);

    return lwip;
}


static err_t
lwip_netif_init(struct netif *netif)
{
    netif->name[0] = 't';
    netif->name[1] = 'n';
    netif->mtu = TN_LWIP_MTU;
    netif->output = lwip_output4;
    netif->output_ip6 = lwip_output6;

    return ERR_OK;
}


void
tn_lwip_destroy(tn_lwip_t *lwip)
{
    tn_lwip_conn_t  *conn;
    struct tcp_pcb  *pcb;

    if (lwip == NULL) {
        return;
    }

    while (lwip->listeners != NULL) {
        tn_lwip_unlisten(lwip, lwip->listeners->port);
    }

    lwip_join(&tcp_active_pcbs, lwip->active);
    lwip_join(&tcp_tw_pcbs, lwip->waiting);
    lwip->current = TN_LWIP_ALL;

    while ((pcb = tcp_active_pcbs) != NULL) {
        conn = pcb->callback_arg;
        tcp_arg(pcb, NULL);
        tcp_err(pcb, NULL);
        tcp_abort(pcb);

        if (conn != NULL) {
            lwip_conn_free(conn);
        }
    }

    while (tcp_tw_pcbs != NULL) {
        tcp_abort(tcp_tw_pcbs);
    }

    netif_remove(&lwip->netif);
    lwip_only = NULL;
    free(lwip);
}


void
tn_lwip_addresses(tn_lwip_t *lwip, const tn_ip_t *ips, size_t n)
{
    s8_t       slot;
    size_t     i;
    ip_addr_t  addr;
    ip4_addr_t any;

    ip4_addr_set_zero(&any);
    netif_set_ipaddr(&lwip->netif, &any);

    /* slot 0 is for the link-local address, which a tunnel has none of */

    for (slot = 1; slot < LWIP_IPV6_NUM_ADDRESSES; slot++) {
        netif_ip6_addr_set_state(&lwip->netif, slot, IP6_ADDR_INVALID);
    }

    slot = 1;

    for (i = n; i > 0; i--) {
        if (tn_ip_is_v4(&ips[i - 1])) {
            lwip_from_ip(&ips[i - 1], &addr);
            netif_set_ipaddr(&lwip->netif, ip_2_ip4(&addr));
        }
    }

    for (i = 0; i < n && slot < LWIP_IPV6_NUM_ADDRESSES; i++) {
        if (!tn_ip_is_v4(&ips[i])) {
            lwip_from_ip(&ips[i], &addr);
            netif_ip6_addr_set(&lwip->netif, slot, ip_2_ip6(&addr));
            netif_ip6_addr_set_state(&lwip->netif, slot++,
                                     IP6_ADDR_PREFERRED);
        }
    }
}


static err_t
lwip_output4(struct netif *netif, struct pbuf *p, const ip4_addr_t *to)
{
    (void) netif;
    (void) to;

    return lwip_output(p);
}


static err_t
lwip_output6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to)
{
    (void) netif;
    (void) to;

    return lwip_output(p);
}


static err_t
lwip_output(struct pbuf *p)
{
    tn_lwip_t  *lwip;

    lwip = lwip_only;

    if (p->tot_len > sizeof(lwip->out)) {
        return ERR_BUF;
    }

    (void) pbuf_copy_partial(p, lwip->out, p->tot_len, 0);
    lwip->ops->packet(lwip->data, lwip->out, p->tot_len);

    return ERR_OK;
}


void
tn_lwip_in(tn_lwip_t *lwip, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p)
{
    uint32_t      former;
    ip_addr_t     remote;
    struct pbuf  *buf;

    lwip->now = now;

    if (!lwip_wanted(p)) {
        return;
    }

    buf = pbuf_alloc(PBUF_RAW, p->total_len, PBUF_RAM);

    if (buf == NULL) {
        return;
    }

    memcpy(buf->payload, packet, p->total_len);
    lwip_from_ip(&p->src, &remote);

    former = lwip_enter(lwip, lwip_bucket(lwip, &remote, p->src_port,
                                          p->dst_port));

    if (ip_input(buf, &lwip->netif) != ERR_OK) {
        pbuf_free(buf);
    }

    lwip_leave(lwip, former);
}


/*
 * Of ICMP only echo requests: what else lwIP understands of it are routers
 * and neighbours, which a tunnel has none of.
 */
static bool
lwip_wanted(const tn_packet_t *p)
{
    if (p->frag != TN_PACKET_WHOLE || p->extended) {
        return false;
    }

    return p->proto == TN_PROTO_TCP || tn_icmp_is_echo_request(p);
}


tn_ms_t
tn_lwip_deadline(const tn_lwip_t *lwip)
{
    return lwip->tick;
}


void
tn_lwip_tick(tn_lwip_t *lwip, tn_ms_t now)
{
    uint32_t  owed;

    if (now < lwip->tick) {
        return;
    }

    lwip->now = now;

    lwip_join(&tcp_active_pcbs, lwip->active);
    lwip_join(&tcp_tw_pcbs, lwip->waiting);
    lwip->current = TN_LWIP_ALL;

    for (owed = 0; lwip->tick <= now && owed < TN_LWIP_CATCH_UP; owed++) {
        tcp_tmr();
        lwip->tick += TN_LWIP_TICK_MS;
    }

    lwip->tick = tn_max(lwip->tick, now + 1);

    lwip_deal(lwip, tcp_active_pcbs, lwip->active);
    lwip_deal(lwip, tcp_tw_pcbs, lwip->waiting);

    tcp_active_pcbs = NULL;
    tcp_tw_pcbs = NULL;
    lwip->current = TN_LWIP_NONE;
}


size_t
tn_lwip_count(const tn_lwip_t *lwip)
{
    size_t           i, n;
    struct tcp_pcb  *pcb;

    n = 0;

    for (i = 0; i < TN_LWIP_BUCKETS; i++) {
        for (pcb = lwip->active[i]; pcb != NULL; pcb = pcb->next) {
            n++;
        }

        for (pcb = lwip->waiting[i]; pcb != NULL; pcb = pcb->next) {
            n++;
        }
    }

    return n;
}


/* --- buckets */

static uint32_t
lwip_bucket(const tn_lwip_t *lwip, const ip_addr_t *remote,
    uint16_t remote_port, uint16_t local_port)
{
    size_t     i;
    uint64_t   h;
    tn_addr_t  addr;
    uint32_t   words[4];

    lwip_to_addr(remote, remote_port, &addr);
    memcpy(words, addr.ip.b, sizeof(words));

    h = lwip->seed ^ ((uint64_t) remote_port << 16 | local_port);

    for (i = 0; i < 4; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
    }

    return (uint32_t) (h >> 32) % TN_LWIP_BUCKETS;
}


static uint32_t
lwip_enter(tn_lwip_t *lwip, uint32_t bucket)
{
    uint32_t  former;

    former = lwip->current;

    if (former == TN_LWIP_ALL || former == bucket) {
        return former;
    }

    if (former != TN_LWIP_NONE) {
        lwip->active[former] = tcp_active_pcbs;
        lwip->waiting[former] = tcp_tw_pcbs;
    }

    tcp_active_pcbs = lwip->active[bucket];
    tcp_tw_pcbs = lwip->waiting[bucket];
    lwip->current = bucket;

    return former;
}


static void
lwip_leave(tn_lwip_t *lwip, uint32_t former)
{
    if (former == lwip->current) {
        return;
    }

    lwip->active[lwip->current] = tcp_active_pcbs;
    lwip->waiting[lwip->current] = tcp_tw_pcbs;
    lwip->current = former;

    if (former == TN_LWIP_NONE) {
        tcp_active_pcbs = NULL;
        tcp_tw_pcbs = NULL;

    } else {
        tcp_active_pcbs = lwip->active[former];
        tcp_tw_pcbs = lwip->waiting[former];
    }
}


static void
lwip_join(struct tcp_pcb **all, struct tcp_pcb **buckets)
{
    size_t            i;
    struct tcp_pcb  **last;

    last = all;
    *all = NULL;

    for (i = 0; i < TN_LWIP_BUCKETS; i++) {
        *last = buckets[i];
        buckets[i] = NULL;

        while (*last != NULL) {
            last = &(*last)->next;
        }
    }
}


static void
lwip_deal(const tn_lwip_t *lwip, struct tcp_pcb *all,
    struct tcp_pcb **buckets)
{
    uint32_t         b;
    struct tcp_pcb  *pcb, *next;

    for (pcb = all; pcb != NULL; pcb = next) {
        next = pcb->next;
        b = lwip_bucket(lwip, &pcb->remote_ip, pcb->remote_port,
                        pcb->local_port);
        pcb->next = buckets[b];
        buckets[b] = pcb;
    }
}


/* --- listening and dialling */

tn_rc_t
tn_lwip_listen(tn_lwip_t *lwip, uint16_t port)
{
    struct tcp_pcb   *pcb, *listening;
    lwip_listener_t  *listener;

    for (listener = lwip->listeners; listener; listener = listener->next) {
        if (listener->port == port) {
            return TN_REFUSED;
        }
    }

    listener = calloc(1, sizeof(lwip_listener_t));
    pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);

    if (listener == NULL || pcb == NULL) {
        goto failed;
    }

    /* ports of connections are no obstacle: none is in the list now */

    if (tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK) {
        goto failed;
    }

    listening = tcp_listen(pcb);

    if (listening == NULL) {
        goto failed;
    }

    listener->lwip = lwip;
    listener->pcb = listening;
    listener->port = port;
    listener->next = lwip->listeners;
    lwip->listeners = listener;

    tcp_arg(listening, listener);
    tcp_accept(listening, lwip_accept);

    return TN_OK;

failed:

    if (pcb != NULL) {
        (void) tcp_close(pcb);
    }

    free(listener);

    return TN_NOMEM;
}


void
tn_lwip_unlisten(tn_lwip_t *lwip, uint16_t port)
{
    lwip_listener_t  *listener, **link;

    for (link = &lwip->listeners; *link != NULL; link = &(*link)->next) {
        listener = *link;

        if (listener->port != port) {
            continue;
        }

        /*
         * Connections whose handshake is under way point to their listener:
         * lwIP clears that in the lists it sees.
         */

        lwip_join(&tcp_active_pcbs, lwip->active);
        lwip->current = TN_LWIP_ALL;

        *link = listener->next;
        (void) tcp_close(listener->pcb);
        free(listener);

        lwip_deal(lwip, tcp_active_pcbs, lwip->active);
        tcp_active_pcbs = NULL;
        lwip->current = TN_LWIP_NONE;

        return;
    }
}


tn_lwip_conn_t *
tn_lwip_connect(tn_lwip_t *lwip, const tn_addr_t *to, void *data)
{
    err_t            err;
    uint32_t         bucket, former;
    ip_addr_t        remote;
    struct tcp_pcb  *pcb;
    tn_lwip_conn_t  *conn;

    lwip_from_ip(&to->ip, &remote);

    pcb = tcp_new_ip_type(IP_GET_TYPE(&remote));

    if (pcb == NULL) {
        return NULL;
    }

    if (!lwip_bind(lwip, pcb, &remote, to->port, &bucket)) {
        tcp_abort(pcb);
        return NULL;
    }

    conn = lwip_conn(lwip, pcb);

    if (conn == NULL) {
        tcp_abort(pcb);
        return NULL;
    }

    conn->data = data;
    conn->bucket = bucket;
    conn->remote = *to;

    former = lwip_enter(lwip, bucket);
    err = tcp_connect(pcb, &remote, to->port, lwip_connected);
    lwip_leave(lwip, former);

    if (err != ERR_OK) {
        tcp_arg(pcb, NULL);
        tcp_err(pcb, NULL);
        tcp_abort(pcb);
        free(conn);
        return NULL;
    }

    lwip_to_addr(&pcb->local_ip, pcb->local_port, &conn->local);

    return conn;
}


/* a free local port, which makes the bucket; lwIP's own search is linear */
static bool
lwip_bind(tn_lwip_t *lwip, struct tcp_pcb *pcb, const ip_addr_t *remote,
    uint16_t port, uint32_t *bucket)
{
    int       i;
    bool      bound;
    uint16_t  local;
    uint32_t  former;

    for (i = 0; i < TN_LWIP_PORT_TRIES; i++) {
        local = (uint16_t) (TN_LWIP_PORT_FIRST
                            + tn_lwip_random() % TN_LWIP_PORTS);
        *bucket = lwip_bucket(lwip, remote, port, local);

        former = lwip_enter(lwip, *bucket);
        bound = tcp_bind(pcb, IP_IS_V6(remote) ? IP6_ADDR_ANY : IP4_ADDR_ANY,
                         local)
                == ERR_OK;
        lwip_leave(lwip, former);

        if (bound) {
            return true;
        }
    }

    return false;
}


static tn_lwip_conn_t *
lwip_conn(tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    tn_lwip_conn_t  *conn;

    conn = calloc(1, sizeof(tn_lwip_conn_t));
    if (conn == NULL) {
        return NULL;
    }

    conn->lwip = lwip;
    conn->pcb = pcb;

    tcp_arg(pcb, conn);
    tcp_recv(pcb, lwip_received);
    tcp_sent(pcb, lwip_sent);
    tcp_err(pcb, lwip_failed);
    tcp_nagle_disable(pcb);
    ip_set_option(pcb, SOF_KEEPALIVE);

    return conn;
}


static void
lwip_conn_free(tn_lwip_conn_t *conn)
{
    lwip_chunk_t  *chunk;

    while ((chunk = conn->first) != NULL) {
        conn->first = chunk->next;
        free(chunk);
    }

    free(conn);
}


/* --- what lwIP tells */

static err_t
lwip_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    lwip_listener_t *listener = arg;

    tn_lwip_t       *lwip;
    tn_lwip_conn_t  *conn;

    if (err != ERR_OK || pcb == NULL) {
        return ERR_VAL;
    }

    lwip = listener->lwip;
    conn = lwip_conn(lwip, pcb);

    if (conn == NULL) {
        return ERR_MEM;
    }

    conn->state = TN_LWIP_CONNECTED;
    conn->bucket = lwip_bucket(lwip, &pcb->remote_ip, pcb->remote_port,
                               pcb->local_port);
    lwip_to_addr(&pcb->local_ip, pcb->local_port, &conn->local);
    lwip_to_addr(&pcb->remote_ip, pcb->remote_port, &conn->remote);

    lwip->ops->accepted(lwip->data, conn, listener->port);

    return ERR_OK;
}


static err_t
lwip_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    tn_lwip_conn_t *conn = arg;

    (void) pcb;
    (void) err;

    conn->state |= TN_LWIP_CONNECTED;
    lwip_ready(conn);

    return ERR_OK;
}


static err_t
lwip_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    tn_lwip_conn_t *conn = arg;

    (void) err;

    if (conn == NULL) {

        /* closed: nobody reads what still comes */

        if (p != NULL) {
            tcp_recved(pcb, p->tot_len);
            (void) pbuf_free(p);
        }

        return ERR_OK;
    }

    if (p == NULL) {
        conn->state |= TN_LWIP_EOF;

    } else if (!lwip_keep(conn, p)) {

        /* lwIP keeps the segments and offers them again */

        return ERR_MEM;

    } else {
        (void) pbuf_free(p);
    }

    lwip_ready(conn);

    return ERR_OK;
}


/* all of it, or nothing for want of memory */
static bool
lwip_keep(tn_lwip_conn_t *conn, const struct pbuf *p)
{
    size_t         n, done, room;
    lwip_chunk_t  *chunk, *fresh, **link;

    fresh = NULL;
    link = &fresh;
    room = conn->last != NULL ? TN_LWIP_CHUNK - conn->last->end : 0;

    for (n = p->tot_len; n > room; room += TN_LWIP_CHUNK) {
        chunk = malloc(sizeof(lwip_chunk_t));

        if (chunk == NULL) {
            while ((chunk = fresh) != NULL) {
                fresh = chunk->next;
                free(chunk);
            }

            return false;
        }

        chunk->next = NULL;
        chunk->start = 0;
        chunk->end = 0;
        *link = chunk;
        link = &chunk->next;
    }

    if (conn->last != NULL) {
        conn->last->next = fresh;

    } else {
        conn->first = fresh;
        conn->last = fresh;
    }

    for (done = 0; done < p->tot_len; done += n) {
        chunk = conn->last;

        if (chunk->end == TN_LWIP_CHUNK) {
            chunk = chunk->next;
            conn->last = chunk;
        }

        n = tn_min((size_t) p->tot_len - done, TN_LWIP_CHUNK - chunk->end);
        (void) pbuf_copy_partial(p, chunk->bytes + chunk->end, (u16_t) n,
                                 (u16_t) done);
        chunk->end += n;
    }

    return true;
}


static err_t
lwip_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    tn_lwip_conn_t *conn = arg;

    (void) pcb;
    (void) len;

    if (conn != NULL) {
        lwip_ready(conn);
    }

    return ERR_OK;
}


/* the pcb is gone already */
static void
lwip_failed(void *arg, err_t err)
{
    tn_lwip_conn_t *conn = arg;

    if (conn == NULL) {
        return;
    }

    conn->pcb = NULL;

    if (err != ERR_RST) {
        conn->err = ETIMEDOUT;

    } else {
        conn->err = (conn->state & TN_LWIP_CONNECTED) ? ECONNRESET
                                                      : ECONNREFUSED;
    }

    conn->state |= TN_LWIP_DEAD;
    lwip_ready(conn);
}


static void
lwip_ready(tn_lwip_conn_t *conn)
{
    conn->lwip->ops->ready(conn->lwip->data, conn);
}


/* --- one connection */

void
tn_lwip_conn_set_data(tn_lwip_conn_t *conn, void *data)
{
    conn->data = data;
}


void *
tn_lwip_conn_data(const tn_lwip_conn_t *conn)
{
    return conn->data;
}


unsigned
tn_lwip_conn_state(const tn_lwip_conn_t *conn)
{
    unsigned  state;

    state = conn->state;

    if (conn->pcb != NULL && conn->pcb->unsent == NULL
        && conn->pcb->unacked == NULL)
    {
        state |= TN_LWIP_DRAINED;
    }

    return state;
}


int
tn_lwip_conn_error(const tn_lwip_conn_t *conn)
{
    return conn->err;
}


void
tn_lwip_conn_addresses(const tn_lwip_conn_t *conn, tn_addr_t *local,
    tn_addr_t *remote)
{
    *local = conn->local;
    *remote = conn->remote;
}


int
tn_lwip_peek(const tn_lwip_conn_t *conn, struct iovec *iov, int n)
{
    int            i;
    lwip_chunk_t  *chunk;

    i = 0;

    for (chunk = conn->first; chunk != NULL && i < n; chunk = chunk->next) {
        if (chunk->end != chunk->start) {
            iov[i].iov_base = chunk->bytes + chunk->start;
            iov[i++].iov_len = chunk->end - chunk->start;
        }
    }

    return i;
}


void
tn_lwip_take(tn_lwip_conn_t *conn, size_t len)
{
    size_t         n, left;
    uint32_t       former;
    lwip_chunk_t  *chunk;

    for (left = len; left != 0; left -= n) {
        chunk = conn->first;
        n = tn_min(left, chunk->end - chunk->start);
        chunk->start += n;

        if (chunk->start == chunk->end) {
            conn->first = chunk->next;

            if (conn->last == chunk) {
                conn->last = NULL;
            }

            free(chunk);
        }
    }

    if (conn->pcb == NULL) {
        return;
    }

    former = lwip_enter(conn->lwip, conn->bucket);

    for (left = len; left != 0; left -= n) {
        n = tn_min(left, TN_LWIP_CHUNK);
        tcp_recved(conn->pcb, (u16_t) n);
    }

    lwip_leave(conn->lwip, former);
}


size_t
tn_lwip_room(const tn_lwip_conn_t *conn)
{
    if (conn->pcb == NULL || !(conn->state & TN_LWIP_CONNECTED)
        || tcp_sndqueuelen(conn->pcb) + 64 > TCP_SND_QUEUELEN)
    {
        return 0;
    }

    return tcp_sndbuf(conn->pcb);
}


size_t
tn_lwip_write(tn_lwip_conn_t *conn, const void *bytes, size_t len)
{
    size_t  n, done;

    for (done = 0; done < len; done += n) {
        n = tn_min(tn_min(len - done, tn_lwip_room(conn)), TN_LWIP_PIECE);

        if (n == 0
            || tcp_write(conn->pcb, (const uint8_t *) bytes + done, (u16_t) n,
                         TCP_WRITE_FLAG_COPY)
               != ERR_OK)
        {
            break;
        }
    }

    return done;
}


void
tn_lwip_push(tn_lwip_conn_t *conn)
{
    uint32_t  former;

    if (conn->pcb == NULL) {
        return;
    }

    former = lwip_enter(conn->lwip, conn->bucket);
    (void) tcp_output(conn->pcb);
    lwip_leave(conn->lwip, former);
}


void
tn_lwip_shutdown(tn_lwip_conn_t *conn)
{
    uint32_t  former;

    if (conn->pcb == NULL) {
        return;
    }

    former = lwip_enter(conn->lwip, conn->bucket);
    (void) tcp_shutdown(conn->pcb, 0, 1);
    lwip_leave(conn->lwip, former);
}


void
tn_lwip_close(tn_lwip_conn_t *conn, bool abort)
{
    uint32_t         former;
    struct tcp_pcb  *pcb;

    pcb = conn->pcb;

    if (pcb != NULL) {
        tcp_arg(pcb, NULL);
        tcp_sent(pcb, NULL);
        tcp_err(pcb, NULL);

        former = lwip_enter(conn->lwip, conn->bucket);

        if (abort || tcp_close(pcb) != ERR_OK) {
            tcp_abort(pcb);
        }

        lwip_leave(conn->lwip, former);
    }

    lwip_conn_free(conn);
}


/* --- addresses */

static void
lwip_to_addr(const ip_addr_t *from, uint16_t port, tn_addr_t *to)
{
    to->port = port;
    to->ip = IP_IS_V6(from)
             ? tn_ip_from_v6((const uint8_t *) ip_2_ip6(from)->addr)
             : tn_ip_from_v4((const uint8_t *) &ip_2_ip4(from)->addr);
}


static void
lwip_from_ip(const tn_ip_t *from, ip_addr_t *to)
{
    memset(to, 0, sizeof(ip_addr_t));

    if (tn_ip_is_v4(from)) {
        IP_SET_TYPE(to, IPADDR_TYPE_V4);
        memcpy(&ip_2_ip4(to)->addr, from->b + 12, 4);
        return;
    }

    IP_SET_TYPE(to, IPADDR_TYPE_V6);
    memcpy(ip_2_ip6(to)->addr, from->b, 16);
}

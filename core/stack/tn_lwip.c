
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP keeps its state in globals, and looks a segment's connection up in one
 * list of all of them.  Here the globals belong to one stack at a time, from
 * lwip_hold() to lwip_release(): nodes on threads of their own take turns,
 * which their host sees to.  And its list is cut into TN_LWIP_BUCKETS by a
 * seeded hash of the remote address and both ports: `tcp_active_pcbs` and
 * `tcp_tw_pcbs` are, at any moment,
 *
 *   one bucket   while a segment of it is handled, one of its connections is
 *                written, closed or made (lwip_enter(), lwip_leave()), or its
 *                timers run
 *   nothing      otherwise
 *
 * Whatever adds to or takes from these lists has to happen inside of the
 * right bucket.
 *
 * Timers: a bucket that was entered is busy, and lwIP's timers run for it, the
 * fast one each TN_LWIP_TICK_MS and the slow one every second time.  When
 * none of its connections waits for anything it is busy no more.  A sweep
 * comes by each bucket once in TN_LWIP_SWEEP_MS for what takes long: keepalive
 * and the end of TIME-WAIT.  So neither a segment nor a tick costs more with
 * 10,000 idle connections than with 10.
 *
 * Half-open connections, which anybody can make by a SYN, are at most
 * TN_LWIP_HALF_OPEN, and those of one address (or of the few that share its
 * counter) at most TN_LWIP_HALF_OPEN_EACH; further SYNs are dropped.
 */

#include "tn_lwip_int.h"

#include "wire/tn_checksum.h"
#include "wire/tn_icmp.h"

#include <stdlib.h>
#include <sys/random.h>

#include <lwip/init.h>
#include <lwip/sys.h>


#define TN_LWIP_CATCH_UP        8       /* timer runs owed after a pause */
#define TN_LWIP_SWEEP_MS        8000
#define TN_LWIP_IDLE_TICK_MS    1000    /* between steps of the sweep */


/* who holds lwIP */
static tn_lwip_t  *lwip_now;

/*
 * The places of ours in a pcb: the counter of its source + 1 when half open,
 * what tn_lwip_loss.c has of it, and its connection.
 */
static u8_t        lwip_ext;
static u8_t        lwip_ext_loss;
static u8_t        lwip_ext_conn;


static err_t lwip_netif_init(struct netif *netif);
static err_t lwip_output4(struct netif *netif, struct pbuf *p,
    const ip4_addr_t *to);
static err_t lwip_output6(struct netif *netif, struct pbuf *p,
    const ip6_addr_t *to);
static err_t lwip_output(struct pbuf *p);
static bool lwip_wanted(const tn_packet_t *p);
static bool lwip_capture_start(tn_lwip_t *lwip);
static void lwip_capture_end(tn_lwip_t *lwip);
static void lwip_tick(tn_lwip_t *lwip);
static void lwip_catch_up(tn_lwip_t *lwip, unsigned left);
static void lwip_timers(tn_lwip_t *lwip, bool slow);
static bool lwip_is_quiet(const tn_lwip_t *lwip, const lwip_bucket_t *bucket);
static void lwip_sweep(tn_lwip_t *lwip);
static void lwip_clear(tn_lwip_t *lwip, uint32_t i);
static void lwip_set_busy(tn_lwip_t *lwip, uint32_t i);
static err_t lwip_passive_open(u8_t id, struct tcp_pcb_listen *listener,
    struct tcp_pcb *pcb);
static void lwip_destroyed(u8_t id, void *data);
static void lwip_loss_destroyed(u8_t id, void *data);
static void lwip_conn_destroyed(u8_t id, void *data);


static const struct tcp_ext_arg_callbacks  lwip_listener_ext = {
    NULL,
    lwip_passive_open
};

static const struct tcp_ext_arg_callbacks  lwip_pcb_ext = {
    lwip_destroyed,
    NULL
};

static const struct tcp_ext_arg_callbacks  lwip_loss_ext = {
    lwip_loss_destroyed,
    NULL
};

static const struct tcp_ext_arg_callbacks  lwip_conn_ext = {
    lwip_conn_destroyed,
    NULL
};


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
    return lwip_now != NULL ? (u32_t) lwip_now->now : 0;
}


tn_lwip_t *
tn_lwip_create(const tn_lwip_ops_t *ops, void *data, tn_ms_t now)
{
    static bool  initialized;

    size_t         i;
    tn_lwip_t     *lwip;
    ip4_addr_t     none;
    struct netif  *added;

    lwip = calloc(1, sizeof(tn_lwip_t));
    if (lwip == NULL) {
        return NULL;
    }

    lwip->ops = ops;
    lwip->data = data;
    lwip->now = now;
    lwip->tick = now;
    lwip->swept = now;
    lwip->current = TN_LWIP_NONE;
    tn_list_init(&lwip->starved);
    lwip->seed = ((uint64_t) tn_lwip_random() << 32) | tn_lwip_random();

    for (i = 0; i < tn_nelems(lwip->secret); i++) {
        lwip->secret[i] = tn_lwip_random();
    }

    lwip_hold(lwip);

    if (!initialized) {
        lwip_init();
        lwip_ext = tcp_ext_arg_alloc_id();
        lwip_ext_loss = tcp_ext_arg_alloc_id();
        lwip_ext_conn = tcp_ext_arg_alloc_id();
        initialized = true;
    }

    ip4_addr_set_zero(&none);

    netif_list = NULL;
    netif_default = NULL;

    added = netif_add(&lwip->netif, &none, &none, &none, lwip,
                      lwip_netif_init, ip_input);

    if (added != NULL) {
        netif_set_default(&lwip->netif);
        netif_set_up(&lwip->netif);
        netif_set_link_up(&lwip->netif);
    }

    lwip_release(lwip);

    if (added == NULL) {
        free(lwip);
        return NULL;
    }

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
    uint32_t  i;

    if (lwip == NULL) {
        return;
    }

    lwip_hold(lwip);

    while (lwip->listeners != NULL) {
        tn_lwip_unlisten(lwip, lwip->listeners->port);
    }

    for (i = 0; i < TN_LWIP_BUCKETS; i++) {
        lwip_clear(lwip, i);
    }

    lwip_capture_end(lwip);
    netif_remove(&lwip->netif);
    lwip_release(lwip);

    free(lwip);
}


static void
lwip_clear(tn_lwip_t *lwip, uint32_t i)
{
    uint32_t         former;
    tn_lwip_conn_t  *conn;
    struct tcp_pcb  *pcb;

    if (lwip->buckets[i].active == NULL && lwip->buckets[i].waiting == NULL) {
        return;
    }

    former = lwip_enter(lwip, i);

    while ((pcb = tcp_active_pcbs) != NULL) {
        conn = pcb->callback_arg;

        /* one that was not accepted yet has its listener's */

        if (pcb->state == SYN_RCVD) {
            conn = NULL;
        }

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

    lwip_leave(lwip, former);
}


void
tn_lwip_hold(tn_lwip_t *lwip, tn_ms_t now)
{
    lwip->now = now;
    lwip_hold(lwip);
}


void
tn_lwip_release(tn_lwip_t *lwip)
{
    lwip_release(lwip);
}


tn_lwip_t *
lwip_holder(void)
{
    return lwip_now;
}


void
lwip_hold(tn_lwip_t *lwip)
{
    if (lwip->held++ != 0) {
        return;
    }

    if (lwip->ops->turn != NULL) {
        lwip->ops->turn(true);
    }

    lwip_now = lwip;
    netif_list = &lwip->netif;
    netif_default = &lwip->netif;
    tcp_listen_pcbs.pcbs = lwip->listening;
    tcp_ticks = lwip->ticks;
}


void
lwip_release(tn_lwip_t *lwip)
{
    if (--lwip->held != 0) {
        return;
    }

    lwip->listening = tcp_listen_pcbs.pcbs;
    lwip_now = NULL;

    if (lwip->ops->turn != NULL) {
        lwip->ops->turn(false);
    }
}


void
tn_lwip_addresses(tn_lwip_t *lwip, const tn_ip_t *ips, size_t n)
{
    s8_t       slot;
    size_t     i;
    ip_addr_t  addr;
    ip4_addr_t any;

    lwip_hold(lwip);

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

    lwip_release(lwip);
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

    lwip = lwip_now;

    if (p->tot_len > sizeof(lwip->out)) {
        return ERR_BUF;
    }

    (void) pbuf_copy_partial(p, lwip->out, p->tot_len, 0);
    lwip->ops->packet(lwip->data, lwip->out, p->tot_len);

    return ERR_OK;
}


void
tn_lwip_joined(tn_lwip_t *lwip, bool joined)
{
    lwip->joined = joined;
}


void
tn_lwip_in(tn_lwip_t *lwip, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p)
{
    uint32_t      former, source;
    ip_addr_t     remote;
    struct pbuf  *buf;

    lwip->now = now;

    if (!lwip_wanted(p)) {
        lwip->joined = false;
        return;
    }

    lwip_from_ip(&p->src, &remote);

    former = lwip_enter(lwip, lwip_bucket(lwip, &remote, p->src_port,
                                          p->dst_port));

    lwip->source = lwip_memory_source(lwip, &p->src);
    source = lwip_memory_for(lwip->source);

    /* lwIP looks for the length of an option that is a header's last byte */

    buf = pbuf_alloc(PBUF_RAW, p->total_len + 1, PBUF_RAM);

    if (buf != NULL) {
        memcpy(buf->payload, packet, p->total_len);
        ((uint8_t *) buf->payload)[p->total_len] = 0;
        buf->len = p->total_len;
        buf->tot_len = p->total_len;

        lwip->loss = NULL;
        lwip->reopens = false;

        if ((p->tcp_flags & (TCP_SYN|TCP_ACK|TCP_RST)) == TCP_SYN) {
            lwip_reopen(lwip, &remote, packet, p);
        }

        if (lwip->joined) {
            NETIF_SET_CHECKSUM_CTRL(&lwip->netif,
                                    NETIF_CHECKSUM_ENABLE_ALL
                                    & ~NETIF_CHECKSUM_CHECK_TCP);
        }

        if (ip_input(buf, &lwip->netif) != ERR_OK) {
            pbuf_free(buf);
        }

        NETIF_SET_CHECKSUM_CTRL(&lwip->netif, NETIF_CHECKSUM_ENABLE_ALL);

        lwip_loss_after(lwip);
    }

    lwip->joined = false;

    (void) lwip_memory_for(source);
    lwip_leave(lwip, former);
}


/*
 * lwIP takes what is for an address of its interface, and accepts by the port
 * alone: so for the time of one packet the interface has the packet's
 * address, and of a SYN the list of listeners is a single one of its port.
 */
void
tn_lwip_in_captured(tn_lwip_t *lwip, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p, bool listens)
{
    u8_t             state;
    ip_addr_t        own, own6, to;
    struct netif    *netif;
    struct tcp_pcb  *listening;

    if (p->proto != TN_PROTO_TCP) {
        return;
    }

    lwip_hold(lwip);

    netif = &lwip->netif;
    own = netif->ip_addr;
    own6 = netif->ip6_addr[1];
    state = netif->ip6_addr_state[1];
    listening = tcp_listen_pcbs.pcbs;

    lwip_from_ip(&p->dst, &to);

    if (IP_IS_V6(&to)) {
        netif->ip6_addr[1] = to;
        netif->ip6_addr_state[1] = IP6_ADDR_PREFERRED;

    } else {
        netif->ip_addr = to;
    }

    tcp_listen_pcbs.pcbs = NULL;

    if (listens && lwip_capture_start(lwip)) {
        tcp_listen_pcbs.pcbs = lwip->captures.pcb;
        lwip->captures.pcb->local_port = p->dst_port;
    }

    tn_lwip_in(lwip, now, packet, p);

    tcp_listen_pcbs.pcbs = listening;
    netif->ip_addr = own;
    netif->ip6_addr[1] = own6;
    netif->ip6_addr_state[1] = state;

    lwip_release(lwip);
}


static bool
lwip_capture_start(tn_lwip_t *lwip)
{
    struct tcp_pcb  *pcb, *listening;

    if (lwip->captures.pcb != NULL) {
        return true;
    }

    pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);

    if (pcb == NULL) {
        return false;
    }

    listening = tcp_listen(pcb);

    if (listening == NULL) {
        (void) tcp_close(pcb);
        return false;
    }

    tcp_listen_pcbs.pcbs = listening->next;
    listening->next = NULL;

    lwip->captures.lwip = lwip;
    lwip->captures.pcb = listening;

    tcp_arg(listening, &lwip->captures);
    tcp_accept(listening, lwip_accept);
    tcp_ext_arg_set_callbacks(listening, lwip_ext, &lwip_listener_ext);

    return true;
}


/* when no connection points to it any more */
static void
lwip_capture_end(tn_lwip_t *lwip)
{
    struct tcp_pcb  *pcb;

    pcb = lwip->captures.pcb;

    if (pcb != NULL) {
        lwip->captures.pcb = NULL;
        pcb->next = tcp_listen_pcbs.pcbs;
        tcp_listen_pcbs.pcbs = pcb;
        (void) tcp_close(pcb);
    }
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


size_t
tn_lwip_count(const tn_lwip_t *lwip)
{
    return lwip->n_pcbs;
}


/* --- time */

tn_ms_t
tn_lwip_deadline(const tn_lwip_t *lwip)
{
    tn_ms_t  at;

    at = lwip_memory_reaps();

    if (lwip->n_busy != 0) {
        at = tn_min(at, lwip->tick);

    } else if (lwip->n_pcbs != 0) {
        at = tn_min(at, lwip->swept + TN_LWIP_IDLE_TICK_MS);
    }

    return tn_list_empty(&lwip->starved) ? at : tn_min(at, lwip->fed);
}


void
tn_lwip_tick(tn_lwip_t *lwip, tn_ms_t now)
{
    lwip->now = now;
    lwip_hold(lwip);

    lwip_memory_reap(now);

    if (now >= lwip->tick) {
        lwip_tick(lwip);
    }

    if (now >= lwip->fed && !tn_list_empty(&lwip->starved)) {
        lwip_feed(lwip);
    }

    lwip_release(lwip);
}


static void
lwip_tick(tn_lwip_t *lwip)
{
    lwip_catch_up(lwip, TN_LWIP_CATCH_UP);

    while (lwip->tick <= lwip->now) {
        lwip->tick += TN_LWIP_TICK_MS;
        lwip->odd = !lwip->odd;

        if (lwip->odd) {
            lwip->ticks++;
        }

        lwip_timers(lwip, lwip->odd);
    }

    lwip_sweep(lwip);
}


/* lwIP's clock without its timers, but for so many runs that are left owed */
static void
lwip_catch_up(tn_lwip_t *lwip, unsigned left)
{
    tn_ms_t  runs;

    if (lwip->now < lwip->tick) {
        return;
    }

    runs = (lwip->now - lwip->tick) / TN_LWIP_TICK_MS + 1;

    if (runs > left) {
        runs -= left;
        lwip->tick += runs * TN_LWIP_TICK_MS;
        lwip->ticks += (uint32_t) (runs / 2);
        tcp_ticks = lwip->ticks;
    }
}


static void
lwip_timers(tn_lwip_t *lwip, bool slow)
{
    size_t           i;
    uint32_t         former;
    lwip_bucket_t   *bucket;
    struct tcp_pcb  *pcb, *next;

    for (i = lwip->n_busy; i > 0; i--) {
        bucket = &lwip->buckets[lwip->busy[i - 1]];

        former = lwip_enter(lwip, lwip->busy[i - 1]);
        tcp_fasttmr();

        for (pcb = tcp_active_pcbs; pcb != NULL; pcb = next) {
            next = pcb->next;
            lwip_loss_tick(lwip, pcb);
            lwip_guard_tick(lwip, pcb);
        }

        if (slow) {
            /* it counts one up itself */
            tcp_ticks = lwip->ticks - 1;
            tcp_slowtmr();
        }

        lwip_leave(lwip, former);

        if (lwip_is_quiet(lwip, bucket)) {
            lwip->n_busy--;
            lwip->busy[i - 1] = lwip->busy[lwip->n_busy];
            lwip->buckets[lwip->busy[i - 1]].busy = (uint32_t) i;
            bucket->busy = 0;
        }
    }
}


/* none of its connections waits for anything, but for keepalive */
static bool
lwip_is_quiet(const tn_lwip_t *lwip, const lwip_bucket_t *bucket)
{
    struct tcp_pcb  *pcb;

    for (pcb = bucket->active; pcb != NULL; pcb = pcb->next) {
        if ((pcb->state != ESTABLISHED && pcb->state != CLOSE_WAIT)
            || pcb->unacked != NULL || pcb->unsent != NULL
            || pcb->ooseq != NULL || pcb->refused_data != NULL
            || pcb->persist_backoff != 0 || pcb->keep_cnt_sent != 0
            || (pcb->flags & (TF_ACK_DELAY|TF_ACK_NOW|TF_CLOSEPEND))
            || lwip->ticks - pcb->tmr > pcb->keep_idle / TCP_SLOW_INTERVAL)
        {
            return false;
        }
    }

    return true;
}


static void
lwip_sweep(tn_lwip_t *lwip)
{
    uint32_t         n;
    uint32_t         former;
    lwip_bucket_t   *bucket;
    const tn_ms_t    each = TN_LWIP_SWEEP_MS * 1024 / TN_LWIP_BUCKETS;

    if (lwip->n_pcbs == 0) {
        lwip->swept = lwip->now;
        return;
    }

    n = (uint32_t) tn_min((lwip->now - lwip->swept) * 1024 / each,
                          (tn_ms_t) TN_LWIP_BUCKETS);
    lwip->swept = lwip->now;

    for ( /* void */ ; n > 0; n--) {
        bucket = &lwip->buckets[lwip->sweep];

        if (bucket->busy == 0
            && (bucket->waiting != NULL || !lwip_is_quiet(lwip, bucket)))
        {
            former = lwip_enter(lwip, lwip->sweep);
            tcp_ticks = lwip->ticks - 1;
            tcp_slowtmr();
            lwip_leave(lwip, former);
        }

        lwip->sweep = (lwip->sweep + 1) % TN_LWIP_BUCKETS;
    }
}


/* --- buckets */

uint32_t
lwip_hash(const tn_lwip_t *lwip, const tn_ip_t *remote, uint32_t ports)
{
    size_t    i;
    uint64_t  h;
    uint32_t  words[4];

    memcpy(words, remote->b, sizeof(words));

    h = lwip->seed ^ ports;

    for (i = 0; i < 4; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
    }

    return (uint32_t) (h >> 32);
}


uint32_t
lwip_bucket(const tn_lwip_t *lwip, const ip_addr_t *remote,
    uint16_t remote_port, uint16_t local_port)
{
    tn_addr_t  addr;

    lwip_to_addr(remote, 0, &addr);

    return lwip_hash(lwip, &addr.ip, (uint32_t) remote_port << 16 | local_port)
           % TN_LWIP_BUCKETS;
}


uint32_t
lwip_enter(tn_lwip_t *lwip, uint32_t bucket)
{
    uint32_t  former;

    lwip_hold(lwip);

    former = lwip->current;

    if (former == bucket) {
        return former;
    }

    if (former != TN_LWIP_NONE) {
        lwip->buckets[former].active = tcp_active_pcbs;
        lwip->buckets[former].waiting = tcp_tw_pcbs;
    }

    tcp_active_pcbs = lwip->buckets[bucket].active;
    tcp_tw_pcbs = lwip->buckets[bucket].waiting;
    lwip->current = bucket;

    if (lwip->buckets[bucket].busy == 0) {
        lwip_set_busy(lwip, bucket);
    }

    return former;
}


void
lwip_leave(tn_lwip_t *lwip, uint32_t former)
{
    if (former != lwip->current) {
        lwip->buckets[lwip->current].active = tcp_active_pcbs;
        lwip->buckets[lwip->current].waiting = tcp_tw_pcbs;
        lwip->current = former;

        if (former == TN_LWIP_NONE) {
            tcp_active_pcbs = NULL;
            tcp_tw_pcbs = NULL;

        } else {
            tcp_active_pcbs = lwip->buckets[former].active;
            tcp_tw_pcbs = lwip->buckets[former].waiting;
        }
    }

    lwip_release(lwip);
}


static void
lwip_set_busy(tn_lwip_t *lwip, uint32_t i)
{
    /* the clock stood still while none was busy */

    if (lwip->n_busy == 0) {
        lwip_catch_up(lwip, 0);
    }

    lwip->busy[lwip->n_busy++] = i;
    lwip->buckets[i].busy = (uint32_t) lwip->n_busy;
}


/* --- listeners */

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

    lwip_hold(lwip);

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
    tcp_ext_arg_set_callbacks(listening, lwip_ext, &lwip_listener_ext);

    lwip_release(lwip);

    return TN_OK;

failed:

    if (pcb != NULL) {
        (void) tcp_close(pcb);
    }

    lwip_release(lwip);
    free(listener);

    return TN_NOMEM;
}


void
tn_lwip_unlisten(tn_lwip_t *lwip, uint16_t port)
{
    uint32_t          i;
    struct tcp_pcb   *pcb;
    lwip_listener_t  *listener, **link;

    link = &lwip->listeners;

    while (*link != NULL && (*link)->port != port) {
        link = &(*link)->next;
    }

    listener = *link;

    if (listener == NULL) {
        return;
    }

    lwip_hold(lwip);

    /* connections whose handshake is under way point to it */

    for (i = 0; i < TN_LWIP_BUCKETS; i++) {
        for (pcb = lwip->buckets[i].active; pcb != NULL; pcb = pcb->next) {
            if (pcb->listener != NULL
                && (struct tcp_pcb *) pcb->listener == listener->pcb)
            {
                pcb->listener = NULL;

                if (pcb->state == SYN_RCVD) {
                    pcb->callback_arg = NULL;
                }
            }
        }
    }

    *link = listener->next;
    (void) tcp_close(listener->pcb);
    free(listener);

    lwip_release(lwip);
}


/* --- how many there are */

void
lwip_count(tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    tcp_ext_arg_set(pcb, lwip_ext, NULL);
    tcp_ext_arg_set_callbacks(pcb, lwip_ext, &lwip_pcb_ext);
    lwip->n_pcbs++;
}


static err_t
lwip_passive_open(u8_t id, struct tcp_pcb_listen *listener,
    struct tcp_pcb *pcb)
{
    tn_addr_t   remote;
    uintptr_t   source;
    tn_lwip_t  *lwip;

    (void) listener;

    lwip = lwip_now;
    lwip_to_addr(&pcb->remote_ip, 0, &remote);
    source = lwip_hash(lwip, &remote.ip, 0) % TN_LWIP_SOURCES;

    if (lwip->n_half_open == TN_LWIP_HALF_OPEN
        || lwip->half_open[source] == TN_LWIP_HALF_OPEN_EACH)
    {
        return ERR_MEM;
    }

    lwip_count(lwip, pcb);
    tcp_ext_arg_set(pcb, id, (void *) (source + 1));

    lwip->n_half_open++;
    lwip->half_open[source]++;

    return ERR_OK;
}


void
lwip_opened(tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    uintptr_t  source;

    source = (uintptr_t) tcp_ext_arg_get(pcb, lwip_ext);

    if (source != 0) {
        lwip->n_half_open--;
        lwip->half_open[source - 1]--;
        tcp_ext_arg_set(pcb, lwip_ext, NULL);
    }
}


void
lwip_set_loss(struct tcp_pcb *pcb, lwip_loss_t *loss)
{
    tcp_ext_arg_set(pcb, lwip_ext_loss, loss);
    tcp_ext_arg_set_callbacks(pcb, lwip_ext_loss, &lwip_loss_ext);
}


void
lwip_set_conn(struct tcp_pcb *pcb, tn_lwip_conn_t *conn)
{
    tcp_ext_arg_set(pcb, lwip_ext_conn, conn);
    tcp_ext_arg_set_callbacks(pcb, lwip_ext_conn, &lwip_conn_ext);
}


/* lwIP does not tell of every end: that of TIME-WAIT it keeps to itself */
static void
lwip_conn_destroyed(u8_t id, void *data)
{
    tn_lwip_conn_t *conn = data;

    (void) id;

    if (conn != NULL) {
        conn->pcb = NULL;
        conn->state |= TN_LWIP_DEAD;
    }
}


lwip_loss_t *
lwip_get_loss(const struct tcp_pcb *pcb)
{
    return tcp_ext_arg_get(pcb, lwip_ext_loss);
}


static void
lwip_loss_destroyed(u8_t id, void *data)
{
    (void) id;

    if (lwip_now->loss == data) {
        lwip_now->loss = NULL;
    }

    tn_lwip_free(data);
}


static void
lwip_destroyed(u8_t id, void *data)
{
    uintptr_t   source;
    tn_lwip_t  *lwip;

    (void) id;

    lwip = lwip_now;
    source = (uintptr_t) data;
    lwip->n_pcbs--;

    if (source != 0) {
        lwip->n_half_open--;
        lwip->half_open[source - 1]--;
    }
}


/* --- addresses */

void
lwip_to_addr(const ip_addr_t *from, uint16_t port, tn_addr_t *to)
{
    to->port = port;
    to->ip = IP_IS_V6(from)
             ? tn_ip_from_v6((const uint8_t *) ip_2_ip6(from)->addr)
             : tn_ip_from_v4((const uint8_t *) &ip_2_ip4(from)->addr);
}


void
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

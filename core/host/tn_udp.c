
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Receive: one recvmmsg() per turn and socket, so that timers and the other
 * descriptors get theirs; level-triggered epoll comes back for the rest.  The
 * kernel merges datagrams of one source and size into a message and tells the
 * size (UDP_GRO).  A turn takes about TN_UDP_RX_TURN bytes, as much as stays
 * in the cache: many messages where the last were small, few of full ones.
 *
 * Send: a batch (tn_udp_batch.c) is sealed and sent by this thread, or by its
 * helper while that is worth it (tn_offload.c); then this thread fills another
 * one meanwhile.  Batches leave in the order in which they were filled: as
 * long as the helper has one, the next goes to it also.  What the kernel said
 * is read when the batch is back, at the next flush or, at the latest, by a
 * timer.  When no batch is left this thread waits for the oldest, which is
 * what it would have done by sending itself.  When the helper is behind, this
 * thread seals, and leaves only the sending to it.
 */

#include "host/tn_udp.h"

#include "host/tn_helper.h"
#include "host/tn_offload.h"
#include "host/tn_sockname.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO  104
#endif


typedef struct {
    tn_watch_t               watch;         /* fd -1: no socket */
    uint16_t                 port;
    bool                     segments;      /* UDP_SEGMENT may be tried */
    bool                     segments_worked;
} tn_udp_socket_t;

typedef union {
    struct cmsghdr           header;
    uint8_t                  bytes[CMSG_SPACE(sizeof(int))];
} tn_udp_control_t;

struct tn_udp_s {
    tn_loop_t               *loop;
    const tn_udp_ops_t      *ops;
    void                    *data;
    tn_log_t                *log;
    tn_udp_socket_t          sockets[2];    /* by "is IPv6" */
    tn_udp_stats_t           stats;
    bool                     dont_fragment;
    unsigned int             rx_messages;   /* of the next recvmmsg() */

    uint8_t                 *rx;            /* mapped: pages come with use */
    struct mmsghdr           rx_headers[TN_UDP_RX_MESSAGES];
    struct iovec             rx_iovs[TN_UDP_RX_MESSAGES];
    struct sockaddr_storage  rx_names[TN_UDP_RX_MESSAGES];
    tn_udp_control_t         rx_controls[TN_UDP_RX_MESSAGES];
    tn_addr_t                rx_from[TN_UDP_RX_MESSAGES];

    tn_udp_batch_t          *batch;         /* being filled */
    bool                     flushing;

    tn_helper_t             *helper;        /* NULL: was not needed yet */
    tn_udp_help_e            help;
    tn_offload_t             offload;
    tn_timer_t               helping;       /* set while there is a helper */
    tn_ms_t                  helped;        /* when it last was */
    unsigned                 free_n;
    tn_udp_batch_t          *free[TN_HELPER_SLOTS];
    uint8_t                 *out;           /* the helper's */
    char                     name[16];
};


static void tn_udp_event(tn_watch_t *watch, uint32_t events);
static void tn_udp_deliver(tn_udp_t *udp, unsigned int i);
static size_t tn_udp_gro_size(struct msghdr *header);
static tn_rc_t tn_udp_failed(tn_udp_t *udp, const tn_addr_t *to, int err,
    unsigned int count);
static void tn_udp_begin(tn_udp_t *udp, tn_udp_batch_t *batch);
static void tn_udp_give(tn_udp_t *udp);
static void tn_udp_collect(tn_udp_t *udp);
static void tn_udp_settle(tn_udp_t *udp, const tn_udp_batch_t *batch);
static void tn_udp_judge(tn_udp_t *udp);
static bool tn_udp_may_help(void);
static tn_rc_t tn_udp_hire(tn_udp_t *udp);
static void tn_udp_dismiss(tn_udp_t *udp);
static void tn_udp_work(void *item);
static void tn_udp_helping(void *data, tn_ms_t now);
static void tn_udp_set_fragment(int fd, bool v6, bool on);


tn_udp_t *
tn_udp_create(tn_loop_t *loop, const tn_udp_ops_t *ops, void *data,
    tn_log_t *log)
{
    unsigned int     i;
    tn_udp_t        *udp;
    struct msghdr   *header;

    udp = calloc(1, sizeof(tn_udp_t));
    if (udp == NULL) {
        return NULL;
    }

    udp->loop = loop;
    udp->ops = ops;
    udp->data = data;
    udp->rx_messages = TN_UDP_RX_LEAST;
    udp->log = log;
    udp->sockets[0].watch.fd = -1;
    udp->sockets[1].watch.fd = -1;

    tn_timer_init(&udp->helping, tn_udp_helping, udp);

    udp->batch = tn_udp_batch_create();
    udp->rx = mmap(NULL, TN_UDP_RX_MESSAGES * TN_UDP_RX_BYTES,
                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);

    if (udp->batch == NULL || udp->rx == MAP_FAILED) {
        udp->rx = udp->rx == MAP_FAILED ? NULL : udp->rx;
        tn_udp_destroy(udp);
        return NULL;
    }

    for (i = 0; i < TN_UDP_RX_MESSAGES; i++) {
        udp->rx_iovs[i].iov_base = udp->rx + i * TN_UDP_RX_BYTES;
        udp->rx_iovs[i].iov_len = TN_UDP_RX_BYTES;

        header = &udp->rx_headers[i].msg_hdr;
        header->msg_name = &udp->rx_names[i];
        header->msg_iov = &udp->rx_iovs[i];
        header->msg_iovlen = 1;
        header->msg_control = &udp->rx_controls[i];
    }

    return udp;
}


void
tn_udp_destroy(tn_udp_t *udp)
{
    if (udp == NULL) {
        return;
    }

    tn_udp_dismiss(udp);
    tn_udp_drop(udp, false);
    tn_udp_drop(udp, true);

    if (udp->rx != NULL) {
        (void) munmap(udp->rx, TN_UDP_RX_MESSAGES * TN_UDP_RX_BYTES);
    }

    tn_udp_batch_destroy(udp->batch);
    free(udp);
}


tn_rc_t
tn_udp_adopt(tn_udp_t *udp, int fd)
{
    int               type;
    bool              v6;
    socklen_t         len;
    tn_addr_t         addr;
    tn_udp_socket_t  *sock;

    len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1
        || type != SOCK_DGRAM
        || tn_sockname(fd, &addr) != TN_OK)
    {
        return TN_ERROR;
    }

    v6 = !tn_ip_is_v4(&addr.ip);
    sock = &udp->sockets[v6];

    tn_udp_drop(udp, v6);

    sock->watch.fd = fd;
    sock->watch.events = TN_LOOP_READ;
    sock->watch.handler = tn_udp_event;
    sock->watch.data = udp;
    sock->port = addr.port;
    sock->segments = true;
    sock->segments_worked = false;

    if (tn_udp_batch_is_empty(udp->batch)) {
        tn_udp_begin(udp, udp->batch);
    }

    if (udp->dont_fragment) {
        tn_udp_set_fragment(fd, v6, true);
    }

    if (!tn_udp_socket_is_roomy(fd)) {
        tn_loop_brief(udp->loop);
    }

    if (tn_loop_watch(udp->loop, &sock->watch) != TN_OK) {
        sock->watch.fd = -1;
        return TN_ERROR;
    }

    return TN_OK;
}


void
tn_udp_drop(tn_udp_t *udp, bool v6)
{
    tn_udp_socket_t  *sock;

    sock = &udp->sockets[v6];

    if (sock->watch.fd == -1) {
        return;
    }

    /* the number of a closed one may become another's */

    if (udp->helper != NULL) {
        tn_helper_wait(udp->helper, 0);
    }

    tn_loop_unwatch(udp->loop, &sock->watch);
    (void) close(sock->watch.fd);
    sock->watch.fd = -1;
    sock->port = 0;
}


void
tn_udp_dont_fragment(tn_udp_t *udp, bool on)
{
    udp->dont_fragment = on;

    tn_udp_set_fragment(udp->sockets[0].watch.fd, false, on);
    tn_udp_set_fragment(udp->sockets[1].watch.fd, true, on);
}


static void
tn_udp_set_fragment(int fd, bool v6, bool on)
{
    int  mode;

    if (fd == -1) {
        return;
    }

    if (v6) {
        mode = on ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_WANT;
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode,
                          sizeof(mode));
        return;
    }

    mode = on ? IP_PMTUDISC_PROBE : IP_PMTUDISC_WANT;
    (void) setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof(mode));
}


uint16_t
tn_udp_port(const tn_udp_t *udp, bool v6)
{
    return udp->sockets[v6].port;
}


bool
tn_udp_segments(const tn_udp_t *udp, bool v6)
{
    return udp->sockets[v6].segments;
}


const tn_udp_stats_t *
tn_udp_stats(const tn_udp_t *udp)
{
    return &udp->stats;
}


static void
tn_udp_event(tn_watch_t *watch, uint32_t events)
{
    int        n;
    size_t     size;
    uint64_t   before, bytes;
    unsigned   i;
    tn_udp_t  *udp;

    (void) events;

    udp = watch->data;

    for (i = 0; i < udp->rx_messages; i++) {
        udp->rx_headers[i].msg_hdr.msg_namelen = sizeof(udp->rx_names[0]);
        udp->rx_headers[i].msg_hdr.msg_controllen =
            sizeof(udp->rx_controls[0]);
    }

    n = recvmmsg(watch->fd, udp->rx_headers, udp->rx_messages, MSG_DONTWAIT,
                 NULL);

    udp->stats.rx_calls++;

    /* an error here is one of an earlier send, told once; epoll comes back */
    if (n <= 0) {
        return;
    }

    before = udp->stats.rx_datagrams;
    bytes = udp->stats.rx_bytes;

    for (i = 0; i < (unsigned int) n; i++) {
        tn_udp_deliver(udp, i);
    }

    udp->loop->packets += (unsigned int) (udp->stats.rx_datagrams - before);
    udp->loop->more |= n >= TN_UDP_RX_LEAST;

    size = (size_t) (udp->stats.rx_bytes - bytes) / (unsigned int) n + 1;
    udp->rx_messages = (unsigned int)
        tn_max(TN_UDP_RX_LEAST,
               tn_min(TN_UDP_RX_MESSAGES, TN_UDP_RX_TURN / size));

    if (udp->ops->batch != NULL) {
        udp->ops->batch(udp->data);
    }
}


static void
tn_udp_deliver(tn_udp_t *udp, unsigned int i)
{
    size_t          len, left, segment;
    uint8_t        *p;
    struct msghdr  *header;

    header = &udp->rx_headers[i].msg_hdr;
    left = udp->rx_headers[i].msg_len;

    udp->stats.rx_messages++;
    udp->stats.rx_bytes += left;

    if (header->msg_flags & MSG_TRUNC) {
        udp->stats.rx_truncated++;
        return;
    }

    if (tn_addr_from_sockaddr(&udp->rx_from[i], &udp->rx_names[i]) != TN_OK) {
        return;
    }

    segment = tn_udp_gro_size(header);

    if (segment == 0) {
        segment = left;
    }

    p = udp->rx_iovs[i].iov_base;

    do {
        len = tn_min(left, segment);

        udp->stats.rx_datagrams++;
        udp->ops->received(udp->data, &udp->rx_from[i], p, len);

        p += len;
        left -= len;

    } while (left > 0);
}


static size_t
tn_udp_gro_size(struct msghdr *header)
{
    int              size;
    struct cmsghdr  *cmsg;

    for (cmsg = CMSG_FIRSTHDR(header);
         cmsg != NULL;
         cmsg = CMSG_NXTHDR(header, cmsg))
    {
        if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_GRO
            && cmsg->cmsg_len >= CMSG_LEN(sizeof(size)))
        {
            memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
            return size > 0 ? (size_t) size : 0;
        }
    }

    return 0;
}


tn_rc_t
tn_udp_send(tn_udp_t *udp, const tn_addr_t *to, const void *bytes, size_t len)
{
    size_t                   ss_len;
    ssize_t                  n;
    tn_udp_socket_t         *sock;
    struct sockaddr_storage  ss;

    sock = &udp->sockets[!tn_ip_is_v4(&to->ip)];

    if (sock->watch.fd == -1) {
        return TN_NOTFOUND;
    }

    ss_len = tn_addr_to_sockaddr(to, &ss);

    do {
        n = sendto(sock->watch.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                   (struct sockaddr *) &ss, (socklen_t) ss_len);
    } while (n == -1 && errno == EINTR);

    udp->stats.tx_calls++;

    if (n == -1) {
        return tn_udp_failed(udp, to, errno, 1);
    }

    udp->stats.tx_messages++;
    udp->stats.tx_datagrams++;
    udp->stats.tx_bytes += len;

    return TN_OK;
}


static tn_rc_t
tn_udp_failed(tn_udp_t *udp, const tn_addr_t *to, int err,
    unsigned int count)
{
    tn_rc_t  rc;

    rc = tn_udp_err_sort(err);

    if (rc == TN_AGAIN) {
        udp->stats.tx_dropped += count;
        return TN_AGAIN;
    }

    udp->stats.tx_failed += count;

    if (rc == TN_NOTFOUND && udp->ops->unreachable != NULL) {
        udp->ops->unreachable(udp->data, to, err);
    }

    return TN_ERROR;
}


uint8_t *
tn_udp_room(tn_udp_t *udp, const tn_addr_t *to, size_t len)
{
    if (len == 0 || len > TN_UDP_MAX_DATAGRAM || udp->flushing
        || udp->sockets[!tn_ip_is_v4(&to->ip)].watch.fd == -1)
    {
        return NULL;
    }

    return tn_udp_batch_room(udp->batch, to, len);
}


void
tn_udp_add(tn_udp_t *udp, uint32_t flow)
{
    tn_udp_batch_add(udp->batch, flow);
}


bool
tn_udp_seal(tn_udp_t *udp, tn_aead_t *aead, const tn_aead_job_t *jobs,
    size_t n)
{
    return tn_udp_is_helped(udp)
           && tn_helper_waiting(udp->helper) < TN_UDP_AHEAD
           && tn_udp_batch_seal(udp->batch, aead, jobs, n);
}


bool
tn_udp_is_helped(const tn_udp_t *udp)
{
    return udp->helper != NULL
           && (udp->help == TN_UDP_HELP_ALWAYS || udp->offload.on);
}


void
tn_udp_flush(tn_udp_t *udp)
{
    int   fds[2];
    bool  open;

    if (tn_udp_batch_is_empty(udp->batch) || udp->flushing) {
        return;
    }

    udp->flushing = true;

    fds[0] = udp->sockets[0].watch.fd;
    fds[1] = udp->sockets[1].watch.fd;

    open = tn_udp_batch_is_open(udp->batch);

    tn_udp_judge(udp);

    if (udp->helper != NULL) {
        tn_udp_collect(udp);
    }

    if (tn_udp_is_helped(udp)
        || (udp->helper != NULL
            && (open || tn_helper_waiting(udp->helper) > 0)))
    {
        tn_udp_batch_set(udp->batch, fds, udp->out);
        tn_udp_give(udp);

    } else {
        tn_udp_batch_set(udp->batch, fds, NULL);
        tn_udp_batch_send(udp->batch);
        tn_udp_settle(udp, udp->batch);
        tn_udp_begin(udp, udp->batch);
    }

    udp->flushing = false;
}


static void
tn_udp_begin(tn_udp_t *udp, tn_udp_batch_t *batch)
{
    bool  segments[2];

    segments[0] = udp->sockets[0].segments;
    segments[1] = udp->sockets[1].segments;
    tn_udp_batch_begin(batch, segments);
}


/* the batch, to the helper; there are no more than it has slots */

static void
tn_udp_give(tn_udp_t *udp)
{
    if (udp->free_n == 0) {
        tn_helper_wait(udp->helper, TN_HELPER_SLOTS - 2);
        tn_udp_collect(udp);
    }

    (void) tn_helper_give(udp->helper, udp->batch);

    udp->helped = udp->loop->now;
    udp->batch = udp->free[--udp->free_n];
    tn_udp_begin(udp, udp->batch);
}


/* what the helper is done with */

static void
tn_udp_collect(tn_udp_t *udp)
{
    tn_udp_batch_t  *batch;

    while ((batch = tn_helper_take(udp->helper)) != NULL) {
        tn_udp_settle(udp, batch);
        tn_udp_begin(udp, batch);
        udp->free[udp->free_n++] = batch;
    }
}


static void
tn_udp_settle(tn_udp_t *udp, const tn_udp_batch_t *batch)
{
    int                   i, err;
    unsigned              n;
    tn_udp_socket_t      *sock;
    const tn_udp_sent_t  *sent;

    sent = tn_udp_batch_sent(batch);

    udp->stats.tx_calls += sent->calls;
    udp->stats.tx_messages += sent->messages;
    udp->stats.tx_datagrams += sent->datagrams;
    udp->stats.tx_bytes += sent->bytes;
    udp->stats.tx_dropped += sent->dropped;
    udp->stats.tx_failed += sent->failed;

    for (i = 0; i < 2; i++) {
        sock = &udp->sockets[i];
        sock->segments_worked |= sent->worked[i];
        err = sent->refused[i];

        if (err == 0 || !sock->segments
            || (err == EINVAL && sock->segments_worked))
        {
            continue;
        }

        sock->segments = false;
        tn_log(udp->log, TN_LOG_INFO,
               "UDP_SEGMENT does not work on the IPv%d socket (%s), "
               "datagrams are sent one by one", i == 1 ? 6 : 4,
               strerror(err));
    }

    if (udp->ops->unreachable == NULL) {
        return;
    }

    for (n = 0; n < sent->nfaults; n++) {
        udp->ops->unreachable(udp->data, &sent->faults[n].to,
                              sent->faults[n].err);
    }
}


/* --- the helper */

void
tn_udp_help(tn_udp_t *udp, tn_udp_help_e help, const char *name)
{
    udp->help = help;
    memset(&udp->offload, 0, sizeof(tn_offload_t));

    if (name != NULL) {
        (void) snprintf(udp->name, sizeof(udp->name), "tx-%.12s", name);
    }

    if (help == TN_UDP_HELP_ALWAYS) {
        (void) tn_udp_hire(udp);
    }
}


static void
tn_udp_judge(tn_udp_t *udp)
{
    bool               was;
    uint64_t           now;
    tn_helper_times_t  times;
    tn_offload_use_t   use;

    if (udp->help != TN_UDP_HELP_BUSY) {
        return;
    }

    now = tn_loop_mono_us();

    if (!tn_offload_is_due(&udp->offload, now)) {
        return;
    }

    memset(&use, 0, sizeof(use));
    use.own = tn_loop_clock_us(CLOCK_THREAD_CPUTIME_ID);

    if (udp->helper != NULL) {
        tn_helper_times(udp->helper, &times);
        use.helper = times.cpu;
        use.awake = times.awake;
    }

    was = udp->offload.on;

    if (!tn_offload_judge(&udp->offload, now, &use) || was) {
        return;
    }

    if (!tn_udp_may_help() || tn_udp_hire(udp) != TN_OK) {
        tn_offload_refuse(&udp->offload, now);
    }
}


/* affinity may change, so it is asked each time */

static bool
tn_udp_may_help(void)
{
    cpu_set_t  set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}


static tn_rc_t
tn_udp_hire(tn_udp_t *udp)
{
    tn_udp_batch_t  *batch;

    if (udp->helper != NULL) {
        return TN_OK;
    }

    while (udp->free_n < TN_HELPER_SLOTS - 1) {
        batch = tn_udp_batch_create();
        if (batch == NULL) {
            goto failed;
        }

        tn_udp_begin(udp, batch);
        udp->free[udp->free_n++] = batch;
    }

    udp->out = malloc(TN_UDP_TX_BYTES);
    udp->helper = tn_helper_create(udp->name, tn_udp_work);

    if (udp->out == NULL || udp->helper == NULL
        || tn_timer_set(&udp->loop->timers, &udp->helping,
                        udp->loop->now + TN_UDP_HELPING_MS)
           != TN_OK)
    {
        goto failed;
    }

    udp->helped = udp->loop->now;

    return TN_OK;

failed:

    tn_udp_dismiss(udp);

    return TN_NOMEM;
}


/* what it has yet to send, it sends; nobody is told of errors */

static void
tn_udp_dismiss(tn_udp_t *udp)
{
    tn_timer_cancel(&udp->loop->timers, &udp->helping);

    if (udp->helper != NULL) {
        tn_helper_wait(udp->helper, 0);

        for ( ;; ) {
            udp->free[udp->free_n] = tn_helper_take(udp->helper);

            if (udp->free[udp->free_n] == NULL) {
                break;
            }

            udp->free_n++;
        }

        tn_helper_destroy(udp->helper);
        udp->helper = NULL;
    }

    while (udp->free_n > 0) {
        tn_udp_batch_destroy(udp->free[--udp->free_n]);
    }

    free(udp->out);
    udp->out = NULL;
}


static void
tn_udp_work(void *item)
{
    tn_udp_batch_send(item);
}


static void
tn_udp_helping(void *data, tn_ms_t now)
{
    tn_udp_t *udp = data;

    udp->flushing = true;
    tn_udp_judge(udp);
    tn_udp_collect(udp);
    udp->flushing = false;

    if (!tn_udp_is_helped(udp) && tn_helper_waiting(udp->helper) == 0
        && !tn_udp_batch_is_open(udp->batch)
        && now - udp->helped >= TN_UDP_DISMISS_MS)
    {
        tn_udp_dismiss(udp);
        return;
    }

    (void) tn_timer_set(&udp->loop->timers, &udp->helping,
                        now + TN_UDP_HELPING_MS);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Receive: one recvmmsg() of TN_UDP_RX_MESSAGES buffers per turn and socket,
 * so that timers and the other descriptors get theirs; level-triggered epoll
 * comes back for the rest.  The kernel merges datagrams of one source and
 * size into a message and tells the size (UDP_GRO).
 *
 * Send: datagrams stand one after the other in one buffer; a message is a list
 * of them, of one size and to one destination, the last may be shorter
 * (UDP_SEGMENT).  Datagrams of different sizes often take turns, the packets
 * of many answers that are each a full one and a rest; so a datagram may join
 * a message before the last, as long as it overtakes none of its own flow:
 * each message knows its flows by one bit of their hash.  What stays alone is
 * tried as the short end of a message when the batch is sent.  The kernel says
 * EIO when the device cannot checksum, and EINVAL when it does not know
 * UDP_SEGMENT or when the path's MTU is below the size: the first is for
 * good, the second too unless segments have worked on this socket before.
 */

#include "host/tn_udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>


#ifndef UDP_SEGMENT
#define UDP_SEGMENT  103
#endif

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

typedef struct {
    uint32_t                 start;         /* in the buffer */
    uint16_t                 len;
    uint16_t                 next;          /* of its message */
} tn_udp_datagram_t;

typedef struct {
    tn_addr_t                to;
    size_t                   len;
    size_t                   segment;       /* size of the first datagram */
    uint64_t                 flows;         /* a bit for each */
    unsigned int             count;         /* of datagrams */
    uint16_t                 first;
    uint16_t                 last;
    bool                     v6;
} tn_udp_message_t;

struct tn_udp_s {
    tn_loop_t               *loop;
    const tn_udp_ops_t      *ops;
    void                    *data;
    tn_log_t                *log;
    tn_udp_socket_t          sockets[2];    /* by "is IPv6" */
    tn_udp_stats_t           stats;
    bool                     dont_fragment;

    uint8_t                 *rx;            /* mapped: pages come with use */
    struct mmsghdr           rx_headers[TN_UDP_RX_MESSAGES];
    struct iovec             rx_iovs[TN_UDP_RX_MESSAGES];
    struct sockaddr_storage  rx_names[TN_UDP_RX_MESSAGES];
    tn_udp_control_t         rx_controls[TN_UDP_RX_MESSAGES];
    tn_addr_t                rx_from[TN_UDP_RX_MESSAGES];

    uint8_t                 *tx;
    size_t                   tx_len;
    tn_udp_datagram_t        tx_datagrams[TN_UDP_TX_DATAGRAMS];
    tn_udp_message_t         tx_messages[TN_UDP_TX_MESSAGES];
    unsigned int             tx_datagrams_n;
    unsigned int             tx_n;
    tn_addr_t                room_to;
    size_t                   room_len;      /* 0: none was given */
    bool                     flushing;

    struct mmsghdr           tx_headers[TN_UDP_TX_MESSAGES];
    struct iovec             tx_iovs[TN_UDP_TX_DATAGRAMS];
    struct sockaddr_storage  tx_names[TN_UDP_TX_MESSAGES];
    tn_udp_control_t         tx_controls[TN_UDP_TX_MESSAGES];
};


static void tn_udp_event(tn_watch_t *watch, uint32_t events);
static void tn_udp_deliver(tn_udp_t *udp, unsigned int i);
static size_t tn_udp_gro_size(struct msghdr *header);
static tn_udp_message_t *tn_udp_message(tn_udp_t *udp, uint64_t flow);
static bool tn_udp_takes(const tn_udp_t *udp, const tn_udp_message_t *message,
    const tn_addr_t *to, size_t len);
static void tn_udp_ends(tn_udp_t *udp);
static bool tn_udp_end(tn_udp_t *udp, unsigned int n,
    const tn_udp_message_t *alone);
static void tn_udp_send_run(tn_udp_t *udp, unsigned int first,
    unsigned int end);
static size_t tn_udp_header(tn_udp_t *udp, unsigned int i, size_t iov);
static unsigned int tn_udp_refused(tn_udp_t *udp, unsigned int i,
    unsigned int end, int err);
static void tn_udp_send_singly(tn_udp_t *udp, tn_udp_message_t *message);
static tn_rc_t tn_udp_failed(tn_udp_t *udp, const tn_addr_t *to, int err,
    unsigned int count);
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
    udp->log = log;
    udp->sockets[0].watch.fd = -1;
    udp->sockets[1].watch.fd = -1;

    udp->tx = malloc(TN_UDP_TX_BYTES);
    udp->rx = mmap(NULL, TN_UDP_RX_MESSAGES * TN_UDP_RX_BYTES,
                   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);

    if (udp->tx == NULL || udp->rx == MAP_FAILED) {
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

    for (i = 0; i < TN_UDP_TX_MESSAGES; i++) {
        header = &udp->tx_headers[i].msg_hdr;
        header->msg_name = &udp->tx_names[i];
    }

    return udp;
}


void
tn_udp_destroy(tn_udp_t *udp)
{
    if (udp == NULL) {
        return;
    }

    tn_udp_drop(udp, false);
    tn_udp_drop(udp, true);

    if (udp->rx != NULL) {
        (void) munmap(udp->rx, TN_UDP_RX_MESSAGES * TN_UDP_RX_BYTES);
    }

    free(udp->tx);
    free(udp);
}


tn_rc_t
tn_udp_adopt(tn_udp_t *udp, int fd)
{
    int                      type;
    bool                     v6;
    socklen_t                len;
    tn_addr_t                addr;
    tn_udp_socket_t         *sock;
    struct sockaddr_storage  ss;

    len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1
        || type != SOCK_DGRAM)
    {
        return TN_ERROR;
    }

    memset(&ss, 0, sizeof(struct sockaddr_storage));
    len = sizeof(ss);

    if (getsockname(fd, (struct sockaddr *) &ss, &len) == -1
        || tn_addr_from_sockaddr(&addr, &ss) != TN_OK)
    {
        return TN_ERROR;
    }

    v6 = ss.ss_family == AF_INET6;
    sock = &udp->sockets[v6];

    tn_udp_drop(udp, v6);

    sock->watch.fd = fd;
    sock->watch.events = TN_LOOP_READ;
    sock->watch.handler = tn_udp_event;
    sock->watch.data = udp;
    sock->port = addr.port;
    sock->segments = true;
    sock->segments_worked = false;

    if (udp->dont_fragment) {
        tn_udp_set_fragment(fd, v6, true);
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
    uint64_t   before;
    unsigned   i;
    tn_udp_t  *udp;

    (void) events;

    udp = watch->data;

    for (i = 0; i < TN_UDP_RX_MESSAGES; i++) {
        udp->rx_headers[i].msg_hdr.msg_namelen = sizeof(udp->rx_names[0]);
        udp->rx_headers[i].msg_hdr.msg_controllen =
            sizeof(udp->rx_controls[0]);
    }

    n = recvmmsg(watch->fd, udp->rx_headers, TN_UDP_RX_MESSAGES,
                 MSG_DONTWAIT, NULL);

    udp->stats.rx_calls++;

    /* an error here is one of an earlier send, told once; epoll comes back */
    if (n <= 0) {
        return;
    }

    before = udp->stats.rx_datagrams;

    for (i = 0; i < (unsigned int) n; i++) {
        tn_udp_deliver(udp, i);
    }

    udp->loop->packets += (unsigned int) (udp->stats.rx_datagrams - before);
    udp->loop->more |= n == TN_UDP_RX_MESSAGES;

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


uint8_t *
tn_udp_room(tn_udp_t *udp, const tn_addr_t *to, size_t len)
{
    udp->room_len = 0;

    if (len == 0 || len > TN_UDP_MAX_DATAGRAM || udp->flushing
        || udp->sockets[!tn_ip_is_v4(&to->ip)].watch.fd == -1)
    {
        return NULL;
    }

    if (udp->tx_len + len > TN_UDP_TX_BYTES
        || udp->tx_datagrams_n == TN_UDP_TX_DATAGRAMS
        || udp->tx_n == TN_UDP_TX_MESSAGES)
    {
        return NULL;
    }

    udp->room_to = *to;
    udp->room_len = len;

    return udp->tx + udp->tx_len;
}


void
tn_udp_add(tn_udp_t *udp, uint32_t flow)
{
    uint16_t            i;
    tn_udp_message_t   *message;
    tn_udp_datagram_t  *datagram;

    if (udp->room_len == 0) {
        return;
    }

    message = tn_udp_message(udp, (uint64_t) 1 << (flow >> 26));

    i = (uint16_t) udp->tx_datagrams_n++;
    datagram = &udp->tx_datagrams[i];

    datagram->start = (uint32_t) udp->tx_len;
    datagram->len = (uint16_t) udp->room_len;

    if (message->count++ == 0) {
        message->first = i;

    } else {
        udp->tx_datagrams[message->last].next = i;
    }

    message->last = i;
    message->len += udp->room_len;

    udp->tx_len += udp->room_len;
    udp->room_len = 0;
}


/* where the datagram of the last room belongs */

static tn_udp_message_t *
tn_udp_message(tn_udp_t *udp, uint64_t flow)
{
    unsigned int       i;
    tn_udp_message_t  *message;

    for (i = udp->tx_n; i-- > 0; /* void */ ) {
        message = &udp->tx_messages[i];

        if (udp->room_len == message->segment
            && tn_udp_takes(udp, message, &udp->room_to, udp->room_len))
        {
            message->flows |= flow;
            return message;
        }

        if (message->flows & flow || udp->tx_n - i == TN_UDP_TX_BACK) {
            break;
        }
    }

    message = &udp->tx_messages[udp->tx_n++];

    message->to = udp->room_to;
    message->len = 0;
    message->segment = udp->room_len;
    message->flows = flow;
    message->count = 0;
    message->v6 = !tn_ip_is_v4(&udp->room_to.ip);

    return message;
}


static bool
tn_udp_takes(const tn_udp_t *udp, const tn_udp_message_t *message,
    const tn_addr_t *to, size_t len)
{
    return message->count < TN_UDP_TX_SEGMENTS
           && message->len == message->count * message->segment
           && message->len + len <= TN_UDP_MAX_DATAGRAM
           && udp->sockets[message->v6].segments
           && tn_addr_equal(&message->to, to);
}


void
tn_udp_flush(tn_udp_t *udp)
{
    unsigned int  first, end;

    if (udp->tx_n == 0 || udp->flushing) {
        return;
    }

    udp->flushing = true;

    if (udp->tx_n > 1) {
        tn_udp_ends(udp);
    }

    for (first = 0; first < udp->tx_n; first = end) {
        end = first + 1;

        while (end < udp->tx_n
               && udp->tx_messages[end].v6 == udp->tx_messages[first].v6)
        {
            end++;
        }

        tn_udp_send_run(udp, first, end);
    }

    udp->tx_n = 0;
    udp->tx_datagrams_n = 0;
    udp->tx_len = 0;
    udp->room_len = 0;
    udp->flushing = false;
}


/* datagrams that stayed alone become the ends of others */

static void
tn_udp_ends(tn_udp_t *udp)
{
    unsigned int  i, n;

    for (i = 0, n = 0; i < udp->tx_n; i++) {

        if (udp->tx_messages[i].count == 1
            && tn_udp_end(udp, n, &udp->tx_messages[i]))
        {
            continue;
        }

        if (n != i) {
            udp->tx_messages[n] = udp->tx_messages[i];
        }

        n++;
    }

    udp->tx_n = n;
}


/* of one of the first n messages */

static bool
tn_udp_end(tn_udp_t *udp, unsigned int n, const tn_udp_message_t *alone)
{
    unsigned int       i;
    tn_udp_message_t  *message;

    for (i = n; i-- > 0; /* void */ ) {
        message = &udp->tx_messages[i];

        if (alone->len < message->segment
            && tn_udp_takes(udp, message, &alone->to, alone->len))
        {
            udp->tx_datagrams[message->last].next = alone->first;
            message->last = alone->first;
            message->len += alone->len;
            message->flows |= alone->flows;
            message->count++;

            return true;
        }

        if (message->flows & alone->flows || n - i == TN_UDP_TX_BACK) {
            break;
        }
    }

    return false;
}


/* sends messages of one family */

static void
tn_udp_send_run(tn_udp_t *udp, unsigned int first, unsigned int end)
{
    int                n, fd;
    size_t             iov;
    unsigned int       i, sent;
    tn_udp_socket_t   *sock;
    tn_udp_message_t  *message;

    sock = &udp->sockets[udp->tx_messages[first].v6];
    iov = 0;

    for (i = first; i < end; i++) {
        iov = tn_udp_header(udp, i, iov);
    }

    while (first < end) {
        fd = sock->watch.fd;    /* a callback may have dropped the socket */

        n = sendmmsg(fd, udp->tx_headers + first, end - first,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

        udp->stats.tx_calls++;

        if (n == -1) {
            if (errno != EINTR) {
                first = tn_udp_refused(udp, first, end, errno);
            }

            continue;
        }

        for (sent = first + (unsigned int) n; first < sent; first++) {
            message = &udp->tx_messages[first];

            if (message->count > 1) {
                sock->segments_worked = true;
            }

            udp->stats.tx_messages++;
            udp->stats.tx_datagrams += message->count;
            udp->stats.tx_bytes += message->len;
        }
    }
}


/* the first iovec that is free; returns the next such */

static size_t
tn_udp_header(tn_udp_t *udp, unsigned int i, size_t iov)
{
    size_t                    len;
    uint8_t                  *p;
    uint16_t                  segment, at;
    unsigned int              n;
    struct iovec             *v;
    struct msghdr            *header;
    struct cmsghdr           *cmsg;
    const tn_udp_message_t   *message;
    const tn_udp_datagram_t  *datagram;

    message = &udp->tx_messages[i];
    header = &udp->tx_headers[i].msg_hdr;

    header->msg_namelen = (socklen_t)
                          tn_addr_to_sockaddr(&message->to, &udp->tx_names[i]);
    header->msg_iov = &udp->tx_iovs[iov];

    v = NULL;
    at = message->first;

    for (n = message->count; n > 0; n--) {
        datagram = &udp->tx_datagrams[at];
        p = udp->tx + datagram->start;
        len = datagram->len;
        at = datagram->next;

        if (v != NULL && (uint8_t *) v->iov_base + v->iov_len == p) {
            v->iov_len += len;
            continue;
        }

        v = &udp->tx_iovs[iov++];
        v->iov_base = p;
        v->iov_len = len;
    }

    header->msg_iovlen = (size_t) (v - header->msg_iov) + 1;

    if (message->count == 1) {
        header->msg_control = NULL;
        header->msg_controllen = 0;
        return iov;
    }

    segment = (uint16_t) message->segment;

    header->msg_control = &udp->tx_controls[i];
    header->msg_controllen = CMSG_SPACE(sizeof(segment));

    cmsg = CMSG_FIRSTHDR(header);
    cmsg->cmsg_level = IPPROTO_UDP;
    cmsg->cmsg_type = UDP_SEGMENT;
    cmsg->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(cmsg), &segment, sizeof(segment));

    return iov;
}


/* message i was not taken; returns the message to go on with */

static unsigned int
tn_udp_refused(tn_udp_t *udp, unsigned int i, unsigned int end, int err)
{
    tn_udp_socket_t   *sock;
    tn_udp_message_t  *message;

    message = &udp->tx_messages[i];
    sock = &udp->sockets[message->v6];

    if (err == EAGAIN) {

        /* the socket's buffer is full: the others would fare no better */
        for ( /* void */ ; i < end; i++) {
            udp->stats.tx_dropped += udp->tx_messages[i].count;
        }

        return end;
    }

    if (message->count > 1 && (err == EIO || err == EINVAL
                               || err == EMSGSIZE))
    {
        if (sock->segments
            && (err == EIO || (err == EINVAL && !sock->segments_worked)))
        {
            sock->segments = false;
            tn_log(udp->log, TN_LOG_INFO,
                   "UDP_SEGMENT does not work on the IPv%d socket (%s), "
                   "datagrams are sent one by one", message->v6 ? 6 : 4,
                   strerror(err));
        }

        tn_udp_send_singly(udp, message);

    } else {
        (void) tn_udp_failed(udp, &message->to, err, message->count);
    }

    return i + 1;
}


static void
tn_udp_send_singly(tn_udp_t *udp, tn_udp_message_t *message)
{
    uint16_t                  at;
    unsigned int              n;
    const tn_udp_datagram_t  *datagram;

    at = message->first;

    for (n = message->count; n > 0; n--) {
        datagram = &udp->tx_datagrams[at];
        at = datagram->next;

        (void) tn_udp_send(udp, &message->to, udp->tx + datagram->start,
                           datagram->len);
    }
}


static tn_rc_t
tn_udp_failed(tn_udp_t *udp, const tn_addr_t *to, int err,
    unsigned int count)
{
    if (err == EAGAIN || err == ENOBUFS) {
        udp->stats.tx_dropped += count;
        return TN_AGAIN;
    }

    udp->stats.tx_failed += count;

    switch (err) {

    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:     /* no source address: the family has no network */
    case EPERM:             /* a packet filter of this host */

        if (udp->ops->unreachable != NULL) {
            udp->ops->unreachable(udp->data, to, err);
        }

        break;

    default:
        break;
    }

    return TN_ERROR;
}

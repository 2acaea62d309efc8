
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Connections of a stack: how they come to be, what lwIP tells about them,
 * and the bytes.
 *
 * Received bytes are copied into chunks, not kept as segments: a peer that
 * sends one byte per segment would fill the window with headers otherwise.
 */

#include "tn_lwip_int.h"

#include <errno.h>
#include <stdlib.h>


#define TN_LWIP_PIECE       (16 * 1024)     /* of one tcp_write() */
#define TN_LWIP_LITTLE      (16 * 1024)     /* to begin with */
#define TN_LWIP_AHEAD       (512 * 1024)
#define TN_LWIP_BEGIN       10      /* segments sent at once, RFC 6928 */
#define TN_LWIP_PORT_FIRST  32768
#define TN_LWIP_PORTS       28232
#define TN_LWIP_PORT_TRIES  256
#define TN_LWIP_SYN_POLL    10      /* slow ticks */
#define TN_LWIP_SYN_POLLS   60      /* until nobody is believed to be there */


static tn_lwip_conn_t *lwip_conn(tn_lwip_t *lwip, struct tcp_pcb *pcb);
static bool lwip_bind(tn_lwip_t *lwip, struct tcp_pcb *pcb,
    const ip_addr_t *remote, uint16_t port, uint32_t *bucket);
static err_t lwip_unanswered(void *arg, struct tcp_pcb *pcb);
static err_t lwip_connected(void *arg, struct tcp_pcb *pcb, err_t err);
static err_t lwip_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p,
    err_t err);
static bool lwip_keep(tn_lwip_conn_t *conn, const struct pbuf *p,
    bool last);
static err_t lwip_sent(void *arg, struct tcp_pcb *pcb, u16_t len);
static void lwip_failed(void *arg, err_t err);
static void lwip_ready(tn_lwip_conn_t *conn);
static bool lwip_has_no_memory(const tn_lwip_conn_t *conn);
static void lwip_starves(tn_lwip_conn_t *conn);
static size_t lwip_room_queue(const struct tcp_pcb *pcb);


tn_lwip_conn_t *
tn_lwip_connect(tn_lwip_t *lwip, const tn_addr_t *to, void *data)
{
    err_t            err;
    uint32_t         bucket, former;
    ip_addr_t        remote;
    struct tcp_pcb  *pcb;
    tn_lwip_conn_t  *conn;

    lwip_from_ip(&to->ip, &remote);
    lwip_hold(lwip);

    conn = NULL;
    pcb = tcp_new_ip_type(IP_GET_TYPE(&remote));

    if (pcb == NULL) {
        goto failed;
    }

    lwip_count(lwip, pcb);

    if (!lwip_bind(lwip, pcb, &remote, to->port, &bucket)) {
        goto failed;
    }

    conn = lwip_conn(lwip, pcb);

    if (conn == NULL) {
        goto failed;
    }

    conn->data = data;
    conn->bucket = bucket;
    conn->source = lwip_memory_source(lwip, &to->ip);
    conn->remote = *to;
    tcp_poll(pcb, lwip_unanswered, TN_LWIP_SYN_POLL);

    former = lwip_enter(lwip, bucket);
    err = tcp_connect(pcb, &remote, to->port, lwip_connected);
    lwip_leave(lwip, former);

    if (err != ERR_OK) {
        goto failed;
    }

    lwip_to_addr(&pcb->local_ip, pcb->local_port, &conn->local);
    lwip_release(lwip);

    return conn;

failed:

    if (pcb != NULL) {
        tcp_arg(pcb, NULL);
        tcp_err(pcb, NULL);
        tcp_abort(pcb);
    }

    lwip_release(lwip);
    free(conn);

    return NULL;
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
    tn_list_init(&conn->starved);

    tcp_arg(pcb, conn);
    tcp_recv(pcb, lwip_received);
    tcp_sent(pcb, lwip_sent);
    tcp_err(pcb, lwip_failed);
    tcp_nagle_disable(pcb);
    lwip_set_conn(pcb, conn);
    ip_set_option(pcb, SOF_KEEPALIVE);

    return conn;
}


void
lwip_conn_free(tn_lwip_conn_t *conn)
{
    lwip_chunk_t  *chunk;

    while ((chunk = conn->first) != NULL) {
        conn->first = chunk->next;
        tn_lwip_free(chunk);
    }

    tn_list_remove(&conn->starved);
    free(conn);
}


/* --- what lwIP tells */

err_t
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

    lwip_opened(lwip, pcb);

    conn->state = TN_LWIP_CONNECTED;
    conn->bucket = lwip_bucket(lwip, &pcb->remote_ip, pcb->remote_port,
                               pcb->local_port);
    lwip_to_addr(&pcb->local_ip, pcb->local_port, &conn->local);
    lwip_to_addr(&pcb->remote_ip, pcb->remote_port, &conn->remote);
    conn->source = lwip_memory_source(lwip, &conn->remote.ip);

    lwip->ops->accepted(lwip->data, conn, listener->port);

    return ERR_OK;
}


/* lwIP's table of SYNs is too short for the timeouts that nginx has */
static err_t
lwip_unanswered(void *arg, struct tcp_pcb *pcb)
{
    tn_lwip_conn_t *conn = arg;

    if (pcb->state == SYN_SENT && conn->polls++ < TN_LWIP_SYN_POLLS) {
        pcb->nrtx = tn_min(pcb->nrtx, 1);
    }

    return ERR_OK;
}


static err_t
lwip_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    tn_lwip_conn_t *conn = arg;

    (void) err;

    tcp_poll(pcb, NULL, 0);
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

    } else if (lwip_keep(conn, p, pcb->state >= CLOSE_WAIT)) {
        (void) pbuf_free(p);

    } else if (pcb->state != TIME_WAIT) {

        /* lwIP keeps the segments and offers them again */

        return ERR_MEM;

    } else {

        /* which it does not in TIME-WAIT, nor does it free them then */

        (void) pbuf_free(p);
        conn->err = ENOMEM;
        conn->state |= TN_LWIP_DEAD;
    }

    lwip_ready(conn);

    return ERR_OK;
}


/*
 * All of it, or nothing for want of memory.  Even if that is short: the last,
 * which nothing can follow any more; and when all before was read, or what
 * lwIP keeps instead could be all that memory is short of, for ever.  It takes
 * no more then than lwIP has of it.
 */
static bool
lwip_keep(tn_lwip_conn_t *conn, const struct pbuf *p, bool last)
{
    bool           is_short;
    size_t         n, done, room, size;
    uint32_t       former;
    lwip_chunk_t  *chunk, *fresh, **link;

    is_short = lwip_memory_is_short(conn->source, false);

    if (is_short && !last && conn->first != NULL) {
        return false;
    }

    fresh = NULL;
    link = &fresh;
    room = conn->last != NULL ? conn->last->size - conn->last->end : 0;

    for (n = p->tot_len; n > room; room += size) {
        size = is_short ? tn_min(n - room, (size_t) TN_LWIP_CHUNK)
                        : TN_LWIP_CHUNK;

        former = lwip_memory_for(conn->source);
        chunk = tn_lwip_malloc(sizeof(lwip_chunk_t) + size);
        (void) lwip_memory_for(former);

        if (chunk == NULL) {
            while ((chunk = fresh) != NULL) {
                fresh = chunk->next;
                tn_lwip_free(chunk);
            }

            return false;
        }

        chunk->next = NULL;
        chunk->start = 0;
        chunk->end = 0;
        chunk->size = size;
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

        if (chunk->end == chunk->size) {
            chunk = chunk->next;
            conn->last = chunk;
        }

        n = tn_min((size_t) p->tot_len - done, chunk->size - chunk->end);
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

    if (err == ERR_CLSD) {

        /* both ends in order, and the last of them acknowledged */
        conn->err = 0;
        conn->state |= TN_LWIP_EOF;

    } else if (err != ERR_RST) {
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


/* to send anything */
static bool
lwip_has_no_memory(const tn_lwip_conn_t *conn)
{
    return lwip_memory_is_short(conn->source,
                                conn->pcb != NULL && conn->pcb->unsent == NULL
                                && conn->pcb->unacked == NULL);
}


/*
 * One that was told of no room for want of memory is told when there is some:
 * with nothing on its way, no acknowledgment would do it.
 */
static void
lwip_starves(tn_lwip_conn_t *conn)
{
    tn_lwip_t  *lwip;

    lwip = conn->lwip;

    if (tn_list_empty(&lwip->starved)) {
        lwip->fed = lwip->now + TN_LWIP_TICK_MS;
    }

    if (tn_list_empty(&conn->starved)) {
        tn_list_push(&lwip->starved, &conn->starved);
    }
}


void
lwip_feed(tn_lwip_t *lwip)
{
    tn_link_t       *link, all;
    tn_lwip_conn_t  *conn;

    lwip->fed = lwip->now + TN_LWIP_TICK_MS;

    tn_list_init(&all);

    while ((link = tn_list_shift(&lwip->starved)) != NULL) {
        tn_list_push(&all, link);
    }

    while ((link = tn_list_shift(&all)) != NULL) {
        conn = tn_container(link, tn_lwip_conn_t, starved);

        if (lwip_has_no_memory(conn)) {
            tn_list_push(&lwip->starved, link);

        } else {
            lwip_ready(conn);
        }
    }
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

    if (conn->pcb == NULL
        ? conn->err == 0
        : conn->pcb->unsent == NULL && conn->pcb->unacked == NULL)
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

    former = lwip_enter(conn->lwip, conn->bucket);

    for (left = len; left != 0; left -= n) {
        chunk = conn->first;
        n = tn_min(left, chunk->end - chunk->start);
        chunk->start += n;

        if (chunk->start == chunk->end) {
            conn->first = chunk->next;

            if (conn->last == chunk) {
                conn->last = NULL;
            }

            tn_lwip_free(chunk);
        }
    }

    for (left = conn->pcb != NULL ? len : 0; left != 0; left -= n) {
        n = tn_min(left, UINT16_MAX);
        tcp_recved(conn->pcb, (u16_t) n);
    }

    lwip_leave(conn->lwip, former);
}


/*
 * Beside what is on its way a connection holds TN_LWIP_AHEAD: enough until
 * nginx is asked for more, and neither memory nor lists grow with the buffer
 * that a long path needs.
 */
size_t
tn_lwip_room(tn_lwip_conn_t *conn)
{
    size_t  queued, most, room;

    if (conn->pcb == NULL || !(conn->state & TN_LWIP_CONNECTED)
        || tcp_sndqueuelen(conn->pcb) + 64 > TCP_SND_QUEUELEN)
    {
        return 0;
    }

    if (lwip_has_no_memory(conn)) {
        lwip_starves(conn);
        return 0;
    }

    queued = TCP_SND_BUF - tn_min((size_t) conn->pcb->snd_buf,
                                  (size_t) TCP_SND_BUF);
    most = conn->pcb->snd_nxt - conn->pcb->lastack + TN_LWIP_AHEAD;

    if (queued >= most) {
        return 0;
    }

    room = tn_min((size_t) conn->pcb->snd_buf, most - queued);

    if (lwip_memory_is_short(conn->source, false)) {
        room = tn_min(room, (size_t) TN_LWIP_LITTLE);
    }

    return tn_min(room, lwip_room_queue(conn->pcb));
}


/*
 * What lwIP's queue takes, in segments as tcp_write() makes them: a quarter of
 * it is for the ends of each TN_LWIP_PIECE, which are segments of their own.
 */
static size_t
lwip_room_queue(const struct tcp_pcb *pcb)
{
    size_t  len;

    len = pcb->mss;

    if (pcb->snd_wnd_max >= 2) {
        len = tn_min(len, (size_t) pcb->snd_wnd_max / 2);
    }

    return ((size_t) TCP_SND_QUEUELEN - tcp_sndqueuelen(pcb)) / 4 * 3 * len;
}


size_t
tn_lwip_write(tn_lwip_conn_t *conn, const void *bytes, size_t len)
{
    size_t    n, done;
    uint32_t  former, source;

    former = lwip_enter(conn->lwip, conn->bucket);
    source = lwip_memory_for(conn->source);

    /* asked once: what it takes may make memory short */

    len = tn_min(len, tn_lwip_room(conn));

    if (len != 0) {
        lwip_guard_write(conn->pcb);
    }

    for (done = 0; done < len; done += n) {
        n = tn_min(len - done, (size_t) TN_LWIP_PIECE);

        if (tcp_write(conn->pcb, (const uint8_t *) bytes + done, (u16_t) n,
                      TCP_WRITE_FLAG_COPY)
            != ERR_OK)
        {
            break;
        }
    }

    (void) lwip_memory_for(source);
    lwip_leave(conn->lwip, former);

    return done;
}


void
tn_lwip_push(tn_lwip_conn_t *conn)
{
    uint32_t         former;
    struct tcp_pcb  *pcb;

    pcb = conn->pcb;

    if (pcb == NULL) {
        return;
    }

    former = lwip_enter(conn->lwip, conn->bucket);

    /* lwIP's own number, of about three, is no option of it */

    if (tn_unlikely(!conn->begun) && (conn->state & TN_LWIP_CONNECTED)) {
        pcb->cwnd = tn_max(pcb->cwnd,
                           (tcpwnd_size_t) TN_LWIP_BEGIN * pcb->mss);
    }

    lwip_loss_output(pcb);

    conn->begun |= pcb->unacked != NULL && pcb->unacked->len != 0;
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
tn_lwip_orphan(tn_lwip_conn_t *conn)
{
    if (conn->pcb != NULL) {
        lwip_guard_close(conn->lwip, conn->pcb);
    }
}


void
tn_lwip_close(tn_lwip_conn_t *conn, bool abort)
{
    uint32_t         former;
    tn_lwip_t       *lwip;
    struct tcp_pcb  *pcb;

    lwip = conn->lwip;
    pcb = conn->pcb;

    former = lwip_enter(lwip, conn->bucket);

    if (pcb != NULL) {
        tcp_arg(pcb, NULL);
        tcp_sent(pcb, NULL);
        tcp_err(pcb, NULL);
        tcp_poll(pcb, NULL, 0);
        lwip_set_conn(pcb, NULL);
        lwip_guard_close(lwip, pcb);

        if (abort || tcp_close(pcb) != ERR_OK) {
            tcp_abort(pcb);
        }
    }

    lwip_conn_free(conn);
    lwip_leave(lwip, former);
}

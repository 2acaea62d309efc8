
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Datagrams stand one after the other in one buffer; a message is a list of
 * them, of one size and to one destination, the last may be shorter
 * (UDP_SEGMENT).  Datagrams of different sizes often take turns, the packets
 * of many answers that are each a full one and a rest; so a datagram may join
 * a message before the last, as long as it overtakes none of its own flow:
 * each message knows its flows by one bit of their hash.  What stays alone is
 * tried as the short end of a message when the batch is sent.  The kernel says
 * EIO when the device cannot checksum, and EINVAL when it does not know
 * UDP_SEGMENT or when the path's MTU is below the size: the first is for
 * good, the second too unless segments have worked on this socket before.
 */

#include "host/tn_udp_batch.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/socket.h>


#ifndef UDP_SEGMENT
#define UDP_SEGMENT  103
#endif


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

/* a run of jobs */
typedef struct {
    tn_aead_t               *aead;
    size_t                   n;
} tn_udp_key_t;

struct tn_udp_batch_s {
    uint8_t                 *bytes;
    uint8_t                 *out;           /* or NULL */
    uint8_t                 *sealed;        /* bytes, or out */
    size_t                   len;
    unsigned int             datagrams_n;
    unsigned int             n;             /* of messages */
    tn_addr_t                room_to;
    size_t                   room_len;      /* 0: none was given */

    size_t                   jobs_n;
    unsigned int             keys_n;
    tn_udp_key_t             keys[TN_UDP_TX_KEYS];

    int                      fds[2];
    bool                     segments[2];
    tn_udp_sent_t            sent;

    tn_udp_message_t         messages[TN_UDP_TX_MESSAGES];
    tn_udp_datagram_t        datagrams[TN_UDP_TX_DATAGRAMS];
    tn_aead_job_t            jobs[TN_UDP_TX_SEALS];

    struct mmsghdr           headers[TN_UDP_TX_MESSAGES];
    struct iovec             iovs[TN_UDP_TX_DATAGRAMS];
    struct sockaddr_storage  names[TN_UDP_TX_MESSAGES];
    tn_udp_control_t         controls[TN_UDP_TX_MESSAGES];
};


static void tn_udp_batch_release(tn_udp_batch_t *batch);
static tn_udp_message_t *tn_udp_batch_message(tn_udp_batch_t *batch,
    uint64_t flow);
static bool tn_udp_batch_takes(const tn_udp_batch_t *batch,
    const tn_udp_message_t *message, const tn_addr_t *to, size_t len);
static void tn_udp_batch_ends(tn_udp_batch_t *batch);
static bool tn_udp_batch_end(tn_udp_batch_t *batch, unsigned int n,
    const tn_udp_message_t *alone);
static void tn_udp_batch_move(tn_udp_batch_t *batch);
static void tn_udp_batch_close(tn_udp_batch_t *batch);
static void tn_udp_batch_run(tn_udp_batch_t *batch, unsigned int first,
    unsigned int end);
static size_t tn_udp_batch_header(tn_udp_batch_t *batch, unsigned int i,
    size_t iov);
static unsigned int tn_udp_batch_refused(tn_udp_batch_t *batch,
    unsigned int i, unsigned int end, int err);
static void tn_udp_batch_singly(tn_udp_batch_t *batch, unsigned int i);
static void tn_udp_batch_failed(tn_udp_batch_t *batch, const tn_addr_t *to,
    int err, unsigned int count);


tn_udp_batch_t *
tn_udp_batch_create(void)
{
    unsigned int     i;
    tn_udp_batch_t  *batch;

    batch = calloc(1, sizeof(tn_udp_batch_t));
    if (batch == NULL) {
        return NULL;
    }

    batch->bytes = malloc(TN_UDP_TX_BYTES);

    if (batch->bytes == NULL) {
        free(batch);
        return NULL;
    }

    for (i = 0; i < TN_UDP_TX_MESSAGES; i++) {
        batch->headers[i].msg_hdr.msg_name = &batch->names[i];
    }

    return batch;
}


void
tn_udp_batch_destroy(tn_udp_batch_t *batch)
{
    if (batch == NULL) {
        return;
    }

    tn_udp_batch_release(batch);
    tn_wipe(batch->bytes, TN_UDP_TX_BYTES);
    free(batch->bytes);
    free(batch);
}


void
tn_udp_batch_begin(tn_udp_batch_t *batch, const bool segments[2])
{
    tn_udp_batch_release(batch);

    batch->len = 0;
    batch->datagrams_n = 0;
    batch->n = 0;
    batch->room_len = 0;
    batch->jobs_n = 0;
    batch->segments[0] = segments[0];
    batch->segments[1] = segments[1];
}


static void
tn_udp_batch_release(tn_udp_batch_t *batch)
{
    while (batch->keys_n > 0) {
        tn_aead_destroy(batch->keys[--batch->keys_n].aead);
    }
}


uint8_t *
tn_udp_batch_room(tn_udp_batch_t *batch, const tn_addr_t *to, size_t len)
{
    if (batch->len + len > TN_UDP_TX_BYTES
        || batch->datagrams_n == TN_UDP_TX_DATAGRAMS
        || batch->n == TN_UDP_TX_MESSAGES)
    {
        batch->room_len = 0;
        return NULL;
    }

    batch->room_to = *to;
    batch->room_len = len;

    return batch->bytes + batch->len;
}


void
tn_udp_batch_add(tn_udp_batch_t *batch, uint32_t flow)
{
    uint16_t            i;
    tn_udp_message_t   *message;
    tn_udp_datagram_t  *datagram;

    if (batch->room_len == 0) {
        return;
    }

    message = tn_udp_batch_message(batch, (uint64_t) 1 << (flow >> 26));

    i = (uint16_t) batch->datagrams_n++;
    datagram = &batch->datagrams[i];

    datagram->start = (uint32_t) batch->len;
    datagram->len = (uint16_t) batch->room_len;

    if (message->count++ == 0) {
        message->first = i;

    } else {
        batch->datagrams[message->last].next = i;
    }

    message->last = i;
    message->len += batch->room_len;

    batch->len += batch->room_len;
    batch->room_len = 0;
}


bool
tn_udp_batch_seal(tn_udp_batch_t *batch, tn_aead_t *aead,
    const tn_aead_job_t *jobs, size_t n)
{
    tn_aead_t  *apart;

    if (batch->jobs_n + n > TN_UDP_TX_SEALS
        || batch->keys_n == TN_UDP_TX_KEYS)
    {
        return false;
    }

    apart = tn_aead_apart(aead);
    if (apart == NULL) {
        return false;
    }

    memcpy(batch->jobs + batch->jobs_n, jobs, n * sizeof(tn_aead_job_t));
    batch->jobs_n += n;

    batch->keys[batch->keys_n].aead = apart;
    batch->keys[batch->keys_n++].n = n;

    return true;
}


bool
tn_udp_batch_is_empty(const tn_udp_batch_t *batch)
{
    return batch->n == 0;
}


bool
tn_udp_batch_is_open(const tn_udp_batch_t *batch)
{
    return batch->jobs_n != 0;
}


/* where the datagram of the last room belongs */

static tn_udp_message_t *
tn_udp_batch_message(tn_udp_batch_t *batch, uint64_t flow)
{
    unsigned int       i;
    tn_udp_message_t  *message;

    for (i = batch->n; i-- > 0; /* void */ ) {
        message = &batch->messages[i];

        if (batch->room_len == message->segment
            && tn_udp_batch_takes(batch, message, &batch->room_to,
                                  batch->room_len))
        {
            message->flows |= flow;
            return message;
        }

        if (message->flows & flow || batch->n - i == TN_UDP_TX_BACK) {
            break;
        }
    }

    message = &batch->messages[batch->n++];

    message->to = batch->room_to;
    message->len = 0;
    message->segment = batch->room_len;
    message->flows = flow;
    message->count = 0;
    message->v6 = !tn_ip_is_v4(&batch->room_to.ip);

    return message;
}


static bool
tn_udp_batch_takes(const tn_udp_batch_t *batch,
    const tn_udp_message_t *message, const tn_addr_t *to, size_t len)
{
    return message->count < TN_UDP_TX_SEGMENTS
           && message->len == message->count * message->segment
           && message->len + len <= TN_UDP_MAX_DATAGRAM
           && batch->segments[message->v6]
           && tn_addr_equal(&message->to, to);
}


/* datagrams that stayed alone become the ends of others */

static void
tn_udp_batch_ends(tn_udp_batch_t *batch)
{
    unsigned int  i, n;

    for (i = 0, n = 0; i < batch->n; i++) {

        if (batch->messages[i].count == 1
            && tn_udp_batch_end(batch, n, &batch->messages[i]))
        {
            continue;
        }

        if (n != i) {
            batch->messages[n] = batch->messages[i];
        }

        n++;
    }

    batch->n = n;
}


/* of one of the first n messages */

static bool
tn_udp_batch_end(tn_udp_batch_t *batch, unsigned int n,
    const tn_udp_message_t *alone)
{
    unsigned int       i;
    tn_udp_message_t  *message;

    for (i = n; i-- > 0; /* void */ ) {
        message = &batch->messages[i];

        if (alone->len < message->segment
            && tn_udp_batch_takes(batch, message, &alone->to, alone->len))
        {
            batch->datagrams[message->last].next = alone->first;
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


void
tn_udp_batch_set(tn_udp_batch_t *batch, const int fds[2], uint8_t *out)
{
    batch->out = out;
    batch->fds[0] = fds[0];
    batch->fds[1] = fds[1];
}


void
tn_udp_batch_send(tn_udp_batch_t *batch)
{
    unsigned int  first, end;

    memset(&batch->sent, 0, offsetof(tn_udp_sent_t, faults));

    batch->sealed = batch->bytes;

    /* then each job belongs to the datagram of its place */

    if (batch->out != NULL && batch->jobs_n == batch->datagrams_n) {
        tn_udp_batch_move(batch);
    }

    tn_udp_batch_close(batch);

    if (batch->n > 1) {
        tn_udp_batch_ends(batch);
    }

    for (first = 0; first < batch->n; first = end) {
        end = first + 1;

        while (end < batch->n
               && batch->messages[end].v6 == batch->messages[first].v6)
        {
            end++;
        }

        tn_udp_batch_run(batch, first, end);
    }
}


/* all that is sent will stand in `out`; what is not sealed is copied */

static void
tn_udp_batch_move(tn_udp_batch_t *batch)
{
    size_t          i, head, start;
    tn_aead_job_t  *job;

    batch->sealed = batch->out;

    for (i = 0; i < batch->jobs_n; i++) {
        job = &batch->jobs[i];
        start = batch->datagrams[i].start;
        head = (size_t) (job->dst - batch->bytes) - start;

        memcpy(batch->out + start, batch->bytes + start, head);
        job->dst = batch->out + start + head;
    }
}


/* seals what was left over */

static void
tn_udp_batch_close(tn_udp_batch_t *batch)
{
    unsigned int    k;
    tn_aead_job_t  *jobs;

    jobs = batch->jobs;

    for (k = 0; k < batch->keys_n; k++) {
        tn_aead_seal_many(batch->keys[k].aead, jobs, batch->keys[k].n);
        jobs += batch->keys[k].n;
    }

    batch->jobs_n = 0;
}


/* sends messages of one family */

static void
tn_udp_batch_run(tn_udp_batch_t *batch, unsigned int first, unsigned int end)
{
    int                n;
    bool               v6;
    size_t             iov;
    unsigned int       i, sent;
    tn_udp_message_t  *message;

    v6 = batch->messages[first].v6;
    iov = 0;

    for (i = first; i < end; i++) {
        iov = tn_udp_batch_header(batch, i, iov);
    }

    while (first < end) {
        n = sendmmsg(batch->fds[v6], batch->headers + first, end - first,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

        batch->sent.calls++;

        if (n == -1) {
            if (errno != EINTR) {
                first = tn_udp_batch_refused(batch, first, end, errno);
            }

            continue;
        }

        for (sent = first + (unsigned int) n; first < sent; first++) {
            message = &batch->messages[first];

            if (message->count > 1) {
                batch->sent.worked[v6] = true;
            }

            batch->sent.messages++;
            batch->sent.datagrams += message->count;
            batch->sent.bytes += message->len;
        }
    }
}


/* the first iovec that is free; returns the next such */

static size_t
tn_udp_batch_header(tn_udp_batch_t *batch, unsigned int i, size_t iov)
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

    message = &batch->messages[i];
    header = &batch->headers[i].msg_hdr;

    header->msg_namelen = (socklen_t)
                          tn_addr_to_sockaddr(&message->to, &batch->names[i]);
    header->msg_iov = &batch->iovs[iov];

    v = NULL;
    at = message->first;

    for (n = message->count; n > 0; n--) {
        datagram = &batch->datagrams[at];
        p = batch->sealed + datagram->start;
        len = datagram->len;
        at = datagram->next;

        if (v != NULL && (uint8_t *) v->iov_base + v->iov_len == p) {
            v->iov_len += len;
            continue;
        }

        v = &batch->iovs[iov++];
        v->iov_base = p;
        v->iov_len = len;
    }

    header->msg_iovlen = (size_t) (&batch->iovs[iov] - header->msg_iov);

    if (message->count == 1) {
        header->msg_control = NULL;
        header->msg_controllen = 0;
        return iov;
    }

    segment = (uint16_t) message->segment;

    header->msg_control = &batch->controls[i];
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
tn_udp_batch_refused(tn_udp_batch_t *batch, unsigned int i, unsigned int end,
    int err)
{
    tn_udp_message_t  *message;

    message = &batch->messages[i];

    if (err == EAGAIN) {

        /* the socket's buffer is full: the others would fare no better */
        for ( /* void */ ; i < end; i++) {
            batch->sent.dropped += batch->messages[i].count;
        }

        return end;
    }

    if (message->count > 1 && (err == EIO || err == EINVAL
                               || err == EMSGSIZE))
    {
        if (err != EMSGSIZE && batch->sent.refused[message->v6] != EIO) {
            batch->sent.refused[message->v6] = err;
        }

        tn_udp_batch_singly(batch, i);

    } else {
        tn_udp_batch_failed(batch, &message->to, err, message->count);
    }

    return i + 1;
}


static void
tn_udp_batch_singly(tn_udp_batch_t *batch, unsigned int i)
{
    int                       fd;
    ssize_t                   sent;
    uint16_t                  at;
    socklen_t                 len;
    unsigned int              n;
    tn_udp_message_t         *message;
    const tn_udp_datagram_t  *datagram;

    message = &batch->messages[i];
    fd = batch->fds[message->v6];
    len = batch->headers[i].msg_hdr.msg_namelen;
    at = message->first;

    for (n = message->count; n > 0; n--) {
        datagram = &batch->datagrams[at];
        at = datagram->next;

        do {
            sent = sendto(fd, batch->sealed + datagram->start, datagram->len,
                          MSG_DONTWAIT | MSG_NOSIGNAL,
                          (struct sockaddr *) &batch->names[i], len);
        } while (sent == -1 && errno == EINTR);

        batch->sent.calls++;

        if (sent == -1) {
            tn_udp_batch_failed(batch, &message->to, errno, 1);
            continue;
        }

        batch->sent.messages++;
        batch->sent.datagrams++;
        batch->sent.bytes += datagram->len;
    }
}


static void
tn_udp_batch_failed(tn_udp_batch_t *batch, const tn_addr_t *to, int err,
    unsigned int count)
{
    tn_rc_t         rc;
    unsigned int    i;
    tn_udp_sent_t  *sent;

    sent = &batch->sent;

    rc = tn_udp_err_sort(err);

    if (rc == TN_AGAIN) {
        sent->dropped += count;
        return;
    }

    sent->failed += count;

    if (rc != TN_NOTFOUND) {
        return;
    }

    for (i = 0; i < sent->nfaults; i++) {
        if (tn_addr_equal(&sent->faults[i].to, to)) {
            return;
        }
    }

    if (sent->nfaults < TN_UDP_TX_FAULTS) {
        sent->faults[sent->nfaults].to = *to;
        sent->faults[sent->nfaults++].err = err;
    }
}


const tn_udp_sent_t *
tn_udp_batch_sent(const tn_udp_batch_t *batch)
{
    return &batch->sent;
}


tn_rc_t
tn_udp_err_sort(int err)
{
    switch (err) {

    case EAGAIN:
    case ENOBUFS:
        return TN_AGAIN;

    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:     /* no source address: the family has no network */
    case EPERM:             /* a packet filter of this host */
        return TN_NOTFOUND;

    default:
        return TN_ERROR;
    }
}

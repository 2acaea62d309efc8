
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP's TCP as a state machine: packets and time in, packets and events
 * out.  For where the kernel's stack cannot be had.  Each stack belongs to
 * one thread; several of a process take turns, since lwIP has globals.
 */

#ifndef TN_LWIP_H_INCLUDED_
#define TN_LWIP_H_INCLUDED_

#include <sys/uio.h>

#include "wire/tn_ip.h"


#define TN_LWIP_MTU             1280
#define TN_LWIP_TICK_MS         50      /* while connections have timers */
#define TN_LWIP_HALF_OPEN       4096    /* at a time; further SYNs are lost */
#define TN_LWIP_HALF_OPEN_EACH  512     /* of these, from one address */

/*
 * Of all stacks of the process together.  Three quarters are for data, and of
 * these a peer's address has at most as much as is left, or twice that with
 * what its connections begin to send.
 */
#define TN_LWIP_MEMORY          ((size_t) 512 * 1024 * 1024)


typedef struct tn_lwip_s       tn_lwip_t;
typedef struct tn_lwip_conn_s  tn_lwip_conn_t;

/* what tn_lwip_conn_state() says */
#define TN_LWIP_CONNECTED  0x01     /* the handshake is done */
#define TN_LWIP_EOF        0x02     /* the peer sends no more */
#define TN_LWIP_DEAD       0x04     /* reset or timed out: only close it */
#define TN_LWIP_DRAINED    0x08     /* the peer has all that was written */


/*
 * All are called from within a call of the stack.  They may read, write and
 * shut down any connection, but not close one: that is put off by the owner
 * until the call has returned.
 */
typedef struct {
    /* a packet to be sent; its bytes are gone when the call returns */
    void  (*packet)(void *data, uint8_t *packet, size_t len);

    /*
     * A new connection to a listened port, 0: to an address that is not an
     * own one; `data` of it is to be set
     */
    void  (*accepted)(void *data, tn_lwip_conn_t *conn, uint16_t port);

    /* there is something to read, room to write, or another state */
    void  (*ready)(void *data, tn_lwip_conn_t *conn);

    /*
     * Waits for the turn of this thread, or ends it; the same for all stacks
     * of the process, never nested.  NULL: there is one thread.
     */
    void  (*turn)(bool begin);
} tn_lwip_ops_t;


/* NULL: no memory */
tn_lwip_t *tn_lwip_create(const tn_lwip_ops_t *ops, void *data, tn_ms_t now);

/* aborts all connections; their owners must not use them any more */
void tn_lwip_destroy(tn_lwip_t *lwip);

/*
 * Around several calls of one turn: the time of all of them, and the turn is
 * waited for once.  The calls below work without it as well; `now` is then
 * that of the last tn_lwip_in() or tn_lwip_tick().
 */
void tn_lwip_hold(tn_lwip_t *lwip, tn_ms_t now);
void tn_lwip_release(tn_lwip_t *lwip);

/* own addresses from now on: the first of IPv4, up to three of IPv6 */
void tn_lwip_addresses(tn_lwip_t *lwip, const tn_ip_t *ips, size_t n);

/*
 * The next packet that comes in is several of TCP in one, as tn_coalesce.h
 * makes them: their checksums were verified, the field has none.  At most
 * TN_COALESCE_BYTES.
 */
void tn_lwip_joined(tn_lwip_t *lwip, bool joined);

/* a packet that the filter let through; it is copied */
void tn_lwip_in(tn_lwip_t *lwip, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p);

/*
 * The same of a TCP packet for an address that is not an own one; whether a
 * connection is accepted there is the caller's to say.
 */
void tn_lwip_in_captured(tn_lwip_t *lwip, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p, bool listens);

/*
 * When tn_lwip_tick() is to be called, TN_NEVER_MS: nothing waits.  Any call
 * can bring it forward.
 */
tn_ms_t tn_lwip_deadline(const tn_lwip_t *lwip);
void tn_lwip_tick(tn_lwip_t *lwip, tn_ms_t now);

/* listens in both families; TN_OK, TN_REFUSED when taken, TN_NOMEM */
tn_rc_t tn_lwip_listen(tn_lwip_t *lwip, uint16_t port);
void tn_lwip_unlisten(tn_lwip_t *lwip, uint16_t port);

/* starts a connection; NULL: no memory, port or address of that family */
tn_lwip_conn_t *tn_lwip_connect(tn_lwip_t *lwip, const tn_addr_t *to,
    void *data);

/* connections, those that wait out their last packets too */
size_t tn_lwip_count(const tn_lwip_t *lwip);

/* bytes that the stacks of this process have allocated for connections */
size_t tn_lwip_used(void);


void tn_lwip_conn_set_data(tn_lwip_conn_t *conn, void *data);
void *tn_lwip_conn_data(const tn_lwip_conn_t *conn);
unsigned tn_lwip_conn_state(const tn_lwip_conn_t *conn);

/* errno of what ended a connection that is dead */
int tn_lwip_conn_error(const tn_lwip_conn_t *conn);

void tn_lwip_conn_addresses(const tn_lwip_conn_t *conn, tn_addr_t *local,
    tn_addr_t *remote);

/*
 * The bytes that came, without a copy: fills up to n iovecs and returns how
 * many; they stand until tn_lwip_take(), which opens the peer's window.
 */
int tn_lwip_peek(const tn_lwip_conn_t *conn, struct iovec *iov, int n);
void tn_lwip_take(tn_lwip_conn_t *conn, size_t len);

/* how much tn_lwip_write() takes now; none: ready() tells when there is some */
size_t tn_lwip_room(tn_lwip_conn_t *conn);

/* copies bytes in; returns how many, sent by the next tn_lwip_push() */
size_t tn_lwip_write(tn_lwip_conn_t *conn, const void *bytes, size_t len);
void tn_lwip_push(tn_lwip_conn_t *conn);

/* no more bytes from here: FIN behind what was written */
void tn_lwip_shutdown(tn_lwip_conn_t *conn);

/*
 * Nobody reads it any more, and nothing is written but what there is already:
 * it ends as one that is closed does when its peer takes nothing for long
 */
void tn_lwip_orphan(tn_lwip_conn_t *conn);

/* frees it; bytes written are still delivered, unless it is aborted (RST) */
void tn_lwip_close(tn_lwip_conn_t *conn, bool abort);


#endif /* TN_LWIP_H_INCLUDED_ */

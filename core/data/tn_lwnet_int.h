
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of tn_lwnet share.  Included by nobody else.
 */

#ifndef TN_LWNET_INT_H_INCLUDED_
#define TN_LWNET_INT_H_INCLUDED_

#include "data/tn_lwnet.h"

#include "base/tn_list.h"
#include "data/tn_udpnet.h"
#include "stack/tn_lwip.h"
#include "stack/tn_vnet.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>


#define TN_LWNET_QUEUE  512         /* packets between two runs */
#define TN_LWNET_BYTES  (2 * 1024 * 1024)   /* and of all of them */
#define TN_LWNET_FULL   8           /* listeners known to be full */


typedef struct {
    uint16_t            proto;      /* TN_IPC_TCP, TN_IPC_UDP; 0: unused */
    uint16_t            port;
    uint16_t            family;
    uint32_t            flags;      /* TN_IPC_CAPTURE, TN_IPC_PROBE,
                                       TN_LWNET_SERVICE, TN_LWNET_CORE */
    bool                marked;     /* by tn_lwnet_table_mark() */
    tn_ip_t             ip;         /* of a service */
    socklen_t           len;        /* 0: the kernel listens */
    struct sockaddr_un  addr;
} lwnet_port_t;


/* a dial on its way to the data thread */
typedef struct {
    tn_link_t           link;
    int                 fd;
    uint32_t            seq;
    uint16_t            proto;
    uint16_t            port;
    uint32_t            timeout_ms;
    size_t              n_ips;
    tn_ip_t             ips[TN_LWNET_IPS];
} lwnet_order_t;


struct tn_lwnet_table_s {
    pthread_mutex_t     lock;
    atomic_uint         version;    /* of ports and addresses */
    size_t              n;
    lwnet_port_t        ports[TN_LWNET_PORTS];
    size_t              n_ips;
    tn_ip_t             ips[4];
    tn_link_t           orders;
    size_t              n_orders;
    tn_lwnet_t         *net;        /* to be woken, or NULL */
    bool                woken;      /* and has not looked yet */
    tn_loop_t          *loop;
};


typedef struct lwnet_dial_s  lwnet_dial_t;

typedef struct {
    tn_link_t           dirty;
    tn_link_t           all;
    tn_lwnet_t         *net;
    tn_lwip_conn_t     *tcp;
    lwnet_dial_t       *dial;       /* while nginx waits for it */
    tn_watch_t          watch;
    bool                foreign;    /* to no own address */
    bool                connected;  /* the socket is there */
    bool                gone;       /* nginx has closed it */
    bool                read_end;   /* nginx sends no more */
    bool                write_end;  /* nginx was told that the peer is done */
} lwnet_conn_t;


struct lwnet_dial_s {
    tn_link_t           link;
    tn_lwnet_t         *net;
    tn_watch_t          watch;      /* who asked */
    tn_timer_t          timer;
    uint32_t            seq;
    tn_addr_t           to;
    lwnet_conn_t       *conn;
};


struct tn_lwnet_s {
    tn_loop_t          *loop;
    tn_lwnet_table_t   *table;
    tn_lwnet_frame_pt   frame;
    tn_lwnet_done_pt    done;
    void               *data;
    tn_log_t           *log;
    tn_lwip_t          *lwip;
    tn_timer_t          timer;
    unsigned            version;
    size_t              n_ips;
    tn_ip_t             ips[4];
    bool                serves;     /* there are services, or were */
    uint8_t             listens[65536 / 8];     /* ports of TCP */

    size_t              n_conns;
    tn_link_t           dirty;
    tn_link_t           waiting;    /* for room in nginx's queue */
    tn_timer_t          retry;
    size_t              n_full;     /* until then; they are not asked */
    struct {
        socklen_t           len;
        struct sockaddr_un  addr;
    } full[TN_LWNET_FULL];
    tn_link_t           conns;

    size_t              n_dials;
    tn_link_t           dials;

    tn_udpnet_t        *udp;

    size_t              queued;
    size_t              used;
    struct {
        tn_packet_t     p;
        bool            capture;
        bool            joined;
        const uint8_t  *bytes;
    } queue[TN_LWNET_QUEUE];
    uint8_t             bytes[TN_LWNET_BYTES];
};


/* --- tn_lwnet_table.c */

/* the data thread's end; what waits there is announced by lwnet_wake() */
void lwnet_table_attach(tn_lwnet_table_t *table, tn_lwnet_t *net,
    tn_loop_t *loop);

/*
 * `kind`: see TN_LWNET_SERVICE.  Capturing listeners of this port, then of
 * all; the kernel's are not found.
 */
bool lwnet_table_find(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *local, uint32_t kind, lwnet_port_t *found);

/* the next dial, the caller's now, or NULL */
lwnet_order_t *lwnet_table_order(tn_lwnet_table_t *table);

/*
 * Connects to nginx's listener with the name "remote local serial"; -1 with
 * errno and a line in the log.  type: SOCK_STREAM or SOCK_SEQPACKET.
 */
int lwnet_socket(tn_log_t *log, const lwnet_port_t *port, int type,
    const tn_addr_t *remote, const tn_addr_t *local);


/* --- tn_lwnet.c */

/* called in the data thread after the table has changed */
void lwnet_wake(void *data);

/* sends a packet that stands behind room for a tn_vnet_t */
void lwnet_emit(tn_lwnet_t *net, uint8_t *frame, size_t len);

/* without its tcp; NULL: no memory */
lwnet_conn_t *lwnet_conn(tn_lwnet_t *net);

/* what lwIP marked, until it marks nothing more; ends a turn */
void lwnet_settle(tn_lwnet_t *net);

void lwnet_close(lwnet_conn_t *conn, bool abort);


/* --- tn_lwnet_dial.c */

void lwnet_dial_start(tn_lwnet_t *net, lwnet_order_t *order);

/* a dialled connection has changed; false: it is gone */
bool lwnet_dial_ready(lwnet_conn_t *conn);

/* a router says that the packets of a dial do not arrive */
void lwnet_dial_unreachable(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote);

/* answers with an error and ends the dial with its connection */
void lwnet_dial_fail(lwnet_dial_t *dial, int err, const char *text);

/* without an answer, when the net ends: the worker dials again */
void lwnet_dial_drop(lwnet_dial_t *dial);

/* sends `passed`, which stays the caller's, or when it is -1 the error */
void lwnet_reply(int fd, uint32_t seq, const tn_addr_t *to, int passed,
    int err, const char *text);


#endif /* TN_LWNET_INT_H_INCLUDED_ */

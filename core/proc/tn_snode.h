
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node as the supervisor holds it: its holder process, the TUN, the UDP
 * sockets of WireGuard and the store of listening sockets, all of which
 * outlive the core.  Used by tn_super only.
 */

#ifndef TN_SNODE_H_INCLUDED_
#define TN_SNODE_H_INCLUDED_

#include "base/tn_list.h"
#include "base/tn_log.h"
#include "proc/tn_ipc.h"


#define TN_SNODE_HOLDER_MS    3000      /* for a holder to become ready */
#define TN_SNODE_REQUEST_MS   2000      /* for a holder to answer */
#define TN_SNODE_RETRY_MS     1000      /* first pause before a restart */
#define TN_SNODE_RETRY_MAX_MS 30000
#define TN_SNODE_LISTENERS    4096


typedef struct {
    tn_link_t      link;
    tn_ipc_listen_t  key;
    int            fd;
    bool           lwip;        /* AF_UNIX, the core connects to it */
    unsigned       refs;        /* lifelines that want it */
    uint64_t       committed;   /* the last of these to be, 0: none */
    uint32_t       flags;       /* as that one wants it, key has it in force */
} tn_snode_listener_t;


typedef struct {
    tn_link_t      link;
    char           name[TN_IPC_NAME];
    unsigned       refs;        /* lifelines that want it */

    bool           lwip;        /* the core is the stack: no holder */
    bool           running;     /* config is what the core has */
    tn_ipc_node_t  config;

    pid_t          holder_pid;  /* 0: none, or not our child */
    int            holder_fd;   /* -1: no holder */
    int            tun_fd;
    int            bulk_fd;     /* its second queue, or -1 */
    int            net_fd;
    int            user_fd;
    uint32_t       features;
    uint32_t       seq;
    unsigned       failures;    /* of the holder, in a row */
    tn_ms_t        started;     /* the holder, tn_ipc_now() */
    tn_ms_t        retry;       /* not before */
    tn_ms_t        attach;      /* when to try again to give the core a channel
                                   to the holder; 0: it has one */
    char           text[TN_IPC_TEXT];   /* why there is no stack */

    uint8_t        disco[32];   /* private key, only passed on */

    int            share_fd;    /* who is who, for nginx; -1: none */
    int            share_ro_fd; /* the same, not to be written */

    int            udp_fd[2];   /* IPv4, IPv6 */
    uint16_t       udp_port;    /* as configured */

    tn_link_t      listeners;
    size_t         n_listeners;
} tn_snode_t;


/* NULL when out of memory */
tn_snode_t *tn_snode_create(const char *name);

/* that of a former supervisor, taken over, in place of the node's own */
void tn_snode_share(tn_snode_t *node, int fd);

/* ends the holder and closes everything */
void tn_snode_destroy(tn_snode_t *node);

/*
 * Sees to it that a holder runs: starts it in a new namespace, or in the
 * node's one when that exists.  TN_OK, or TN_ERROR with node->text.  Detach:
 * the holder shall not be our child.  Blocks TN_SNODE_HOLDER_MS at most.
 */
tn_rc_t tn_snode_holder(tn_snode_t *node, int program_fd, int stderr_fd,
    bool detach);

/* after its channel broke or it died; sets when to try again */
void tn_snode_holder_lost(tn_snode_t *node);

/* a new channel to the holder for the core, or -1 with errno */
int tn_snode_channel(tn_snode_t *node);

/*
 * The stored or a new listening socket, without a reference counted; NULL
 * with one line in text.  A stored one keeps its flags.
 */
tn_snode_listener_t *tn_snode_listen(tn_snode_t *node,
    const tn_ipc_listen_t *conf, bool lwip, char *text);

/* the stored one for this stack, family, protocol, port, worker, or NULL */
tn_snode_listener_t *tn_snode_find(tn_snode_t *node,
    const tn_ipc_listen_t *conf, bool lwip);

/* takes a reference away; the last closes the socket */
void tn_snode_unlisten(tn_snode_t *node, tn_snode_listener_t *listener);

/*
 * Opens the UDP sockets, again when the configured port changed.  Without one,
 * port 0, it is that of the last time when that is free.
 */
void tn_snode_udp(tn_snode_t *node, uint16_t port, const char *state_dir,
    tn_log_t *log);

/*
 * Tries the configured port again where another one was taken for it.  TN_OK:
 * the sockets are new ones; TN_AGAIN: it cannot be had yet; TN_NOTFOUND:
 * there is nothing to try.
 */
tn_rc_t tn_snode_udp_again(tn_snode_t *node, tn_log_t *log);


#endif /* TN_SNODE_H_INCLUDED_ */

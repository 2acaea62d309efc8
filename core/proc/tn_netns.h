
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's private network namespace: made or joined by the holder process,
 * its TUN, its settings, its addresses and the sockets made in it.  Acts on
 * the calling process; errors are one line that names call and remedy.
 */

#ifndef TN_NETNS_H_INCLUDED_
#define TN_NETNS_H_INCLUDED_

#include "proc/tn_ipc.h"
#include "proc/tn_near.h"


#define TN_NETNS_TUN           "tailnet0"
#define TN_NETNS_MTU           1280
#define TN_NETNS_QUEUE         1000     /* packets */

/* one super-packet becomes one sendmsg() of UDP_SEGMENT: 49 segments */
#define TN_NETNS_GSO_BYTES     60224
#define TN_NETNS_GSO_SEGMENTS  49

typedef struct {
    int       net_fd;           /* the namespace, to join it again */
    int       user_fd;          /* the user namespace that owns it, or -1 */
    int       tun_fd;
    int       bulk_fd;          /* its second queue, detached, or -1 */
    int       ifindex;
    uint32_t  features;         /* TN_IPC_TUN_USO and the like */
    tn_near_t near;
} tn_netns_t;


/*
 * Each: TN_OK, or TN_ERROR with errno and one line in text (TN_IPC_TEXT
 * bytes).
 *
 * Moves this process to a new namespace, as root by CLONE_NEWNET alone, else
 * or where that is not allowed with a user namespace around it, and sets
 * everything up except for addresses.  On an error no descriptor is left.
 */
tn_rc_t tn_netns_create(tn_netns_t *ns, char *text);

/* moves this process to the one of net_fd and user_fd, finds the TUN */
tn_rc_t tn_netns_join(tn_netns_t *ns, char *text);

/*
 * Whether everybody may bind to any port of this process' namespace.  Not
 * where /proc/sys is read-only, as in most containers: there it takes
 * CAP_NET_BIND_SERVICE.
 */
bool tn_netns_any_port(void);

/*
 * Makes these the addresses of the TUN; count 0 takes all away.  The last
 * `services` of them can be reached, but connections do not come from them
 * unless they are bound to them.
 */
tn_rc_t tn_netns_addresses(tn_netns_t *ns, const tn_ip_t *ips, size_t count,
    size_t services, char *text);

/*
 * A non-blocking close-on-exec socket of this process' namespace, or -1.
 * The first is bound to the wildcard address and, for TCP, listens.
 */
int tn_netns_listen(const tn_ipc_listen_t *conf, char *text);
int tn_netns_socket(uint16_t family, uint16_t proto);


#endif /* TN_NETNS_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Makes the UDP sockets of nodes: for the supervisor, which keeps them, and
 * for the core when it needs one of its own.
 */

#ifndef TN_UDP_SOCKET_H_INCLUDED_
#define TN_UDP_SOCKET_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_UDP_BUFFER_BYTES  (7 * 1024 * 1024)  /* of the kernel, each way */
#define TN_UDP_ROOMY_BYTES   (2 * 1024 * 1024)  /* 10 Gbit/s for 1.6 ms */

/*
 * A bound, non-blocking, close-on-exec socket with UDP_GRO and large buffers
 * (forced when privileged); IPv6 ones are V6ONLY.  Port 0: any.  `ip` NULL:
 * any address.  Returns the descriptor, or -1 with errno.
 */
int tn_udp_socket(bool v6, const tn_ip_t *ip, uint16_t port);

/* the local port of a socket, 0 when fd is none */
uint16_t tn_udp_socket_port(int fd);

/* what is received has room for TN_UDP_ROOMY_BYTES at least */
bool tn_udp_socket_is_roomy(int fd);


#endif /* TN_UDP_SOCKET_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ICMP echos over the host's network from unprivileged sockets, for round
 * trips to peers that answer nothing else.  One loop, one thread.
 */

#ifndef TN_ECHO_H_INCLUDED_
#define TN_ECHO_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"


typedef struct tn_echo_s  tn_echo_t;

/* the answer to tn_echo_send() from this address */
typedef void (*tn_echo_pt)(void *data, const tn_ip_t *ip,
    uint32_t latency_us);

/*
 * Opens nothing yet; NULL when out of memory.  lack: what is not possible
 * without ICMP, for the log; stays the caller's.
 */
tn_echo_t *tn_echo_create(tn_loop_t *loop, tn_echo_pt fn, void *data,
    const char *lack, tn_log_t *log);

/* NULL is allowed */
void tn_echo_destroy(tn_echo_t *echo);

/*
 * One request.  An answer within TN_ECHO_MS is told, never inside of this
 * call; nothing is told of one that is lost, nor when net.ipv4.ping_group_range
 * lets this process have no socket.
 */
void tn_echo_send(tn_echo_t *echo, const tn_ip_t *ip);

#define TN_ECHO_MS  5000


#endif /* TN_ECHO_H_INCLUDED_ */

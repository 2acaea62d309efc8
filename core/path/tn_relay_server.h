
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The server side of a peer relay: places that two nodes bind to and talk
 * through.  It owns no socket and no clock; its owner judges by the packet
 * filter's grants who may allocate, and sends what it is given.
 */

#ifndef TN_RELAY_SERVER_H_INCLUDED_
#define TN_RELAY_SERVER_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "wire/tn_disco.h"


#define TN_RELAY_BIND_MS       30000    /* upstream: defaultBindLifetime */
#define TN_RELAY_STEADY_MS     300000   /* defaultSteadyStateLifetime */
#define TN_RELAY_SECRET_MS     120000   /* macSecretRotationInterval */
#define TN_RELAY_SESSIONS_MAX  4096
#define TN_RELAY_ASKER_MAX     256      /* sessions that one node asked for */

typedef struct tn_relay_server_s  tn_relay_server_t;

/* the keys are copied; at most `max` sessions; NULL when out of memory */
tn_relay_server_t *tn_relay_server_create(const tn_keypair_t *disco,
    uint32_t max);

void tn_relay_server_destroy(tn_relay_server_t *server);

/*
 * The session of two disco keys, a new one when they have none; `asker` is
 * the proven sender of the request.  TN_OK; TN_REFUSED when the asker is
 * neither or the keys are not two; TN_NOMEM also over a limit.
 */
tn_rc_t tn_relay_server_allocate(tn_relay_server_t *server, tn_ms_t now,
    const tn_key_t *asker, const tn_key_t client[2], tn_disco_relay_t *relay);

/*
 * A datagram from the relay's socket.  Returns the length of what is to be
 * sent to *to, 0: nothing.  *out is `bytes` itself or the server's own until
 * the next call.
 */
size_t tn_relay_server_input(tn_relay_server_t *server, tn_ms_t now,
    const tn_addr_t *from, const uint8_t *bytes, size_t len,
    const uint8_t **out, tn_addr_t *to);

/* frees what has expired; to be called every TN_RELAY_BIND_MS or so */
void tn_relay_server_sweep(tn_relay_server_t *server, tn_ms_t now);

uint32_t tn_relay_server_sessions(const tn_relay_server_t *server);

/* those through which packets pass, as both clients have bound */
uint32_t tn_relay_server_bound(const tn_relay_server_t *server);


#endif /* TN_RELAY_SERVER_H_INCLUDED_ */

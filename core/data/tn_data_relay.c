
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's peer relay on its data thread: UDP sockets of its own and the
 * timer that ends what has expired.  Who may ask for a place is judged by
 * the paths, what happens there by tn_relay_server.
 */

#include "tn_data_private.h"

#include "crypto/tn_curve.h"
#include "path/tn_relay_server.h"
#include "wire/tn_stun.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>


#define DATA_RELAY_RETRY_MS  5000       /* of a port that is in use */


struct tn_data_relay_s {
    tn_data_t          *data;
    tn_loop_t          *loop;
    tn_log_t           *log;
    tn_relay_server_t  *server;
    tn_udp_t           *udp;
    uint16_t            port;
    int                 errs[2];        /* of the last tries, 0: bound */
    tn_timer_t          timer;
};


static void data_relay_bind(tn_data_relay_t *relay);
static void data_relay_arm(tn_data_relay_t *relay, tn_ms_t now);
static void data_relay_timer(void *arg, tn_ms_t now);
static void data_relay_received(void *arg, const tn_addr_t *from,
    uint8_t *bytes, size_t len);
static void data_relay_batch(void *arg);


static const tn_udp_ops_t  data_relay_ops = {
    data_relay_received,
    data_relay_batch,
    NULL
};


tn_data_relay_t *
tn_data_relay_create(tn_data_t *data, uint16_t port)
{
    tn_keypair_t      disco;
    tn_data_relay_t  *relay;

    relay = calloc(1, sizeof(tn_data_relay_t));
    if (relay == NULL) {
        return NULL;
    }

    relay->data = data;
    relay->loop = &data->loop;
    relay->log = data->log;
    relay->port = port;
    tn_timer_init(&relay->timer, data_relay_timer, relay);

    /* not the node's disco key: clients know a relay by its own */

    tn_curve_keypair(&disco);
    relay->server = tn_relay_server_create(&disco, TN_RELAY_SESSIONS_MAX);
    tn_wipe(&disco, sizeof(tn_keypair_t));

    relay->udp = tn_udp_create(relay->loop, &data_relay_ops, relay,
                               relay->log);

    if (relay->server == NULL || relay->udp == NULL) {
        tn_data_relay_destroy(relay);
        return NULL;
    }

    relay->errs[0] = -1;
    relay->errs[1] = -1;
    data_relay_bind(relay);
    data_relay_arm(relay, relay->loop->now);

    return relay;
}


void
tn_data_relay_destroy(tn_data_relay_t *relay)
{
    if (relay == NULL) {
        return;
    }

    tn_timer_cancel(&relay->loop->timers, &relay->timer);
    tn_udp_destroy(relay->udp);
    tn_relay_server_destroy(relay->server);
    free(relay);
}


tn_rc_t
tn_data_relay_allocate(void *arg, tn_ms_t now, const tn_key_t *asker,
    const tn_key_t client[2], tn_disco_relay_t *place)
{
    tn_data_t *data = arg;

    if (data->relay == NULL
        || (tn_udp_port(data->relay->udp, false) == 0
            && tn_udp_port(data->relay->udp, true) == 0))
    {
        return TN_NOTFOUND;
    }

    return tn_relay_server_allocate(data->relay->server, now, asker, client,
                                    place);
}


tn_rc_t
tn_data_relay_send(void *arg, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_data_t *data = arg;

    if (data->relay == NULL) {
        return TN_ERROR;
    }

    return tn_udp_send(data->relay->udp, to, bytes, len);
}


void
tn_data_relay_local(tn_data_relay_t *relay)
{
    if (relay == NULL || relay->data->plane == NULL) {
        return;
    }

    tn_path_set_relay_ports(tn_plane_path(relay->data->plane),
                            relay->loop->now,
                            tn_udp_port(relay->udp, false),
                            tn_udp_port(relay->udp, true));
}


void
tn_data_relay_status(tn_data_relay_t *relay, tn_data_relay_status_t *status)
{
    memset(status, 0, sizeof(tn_data_relay_status_t));

    if (relay == NULL) {
        return;
    }

    tn_relay_server_sweep(relay->server, relay->loop->now);

    status->port = relay->port;
    status->sessions = tn_relay_server_sessions(relay->server);
    status->bound = tn_relay_server_bound(relay->server);
}


/* the former core, or the former run of this node, may still hold the port */
static void
data_relay_bind(tn_data_relay_t *relay)
{
    int  i, fd, err;

    for (i = 0; i < 2; i++) {
        if (relay->errs[i] != -1 && relay->errs[i] != EADDRINUSE) {
            continue;
        }

        err = 0;
        fd = tn_udp_socket(i == 1, NULL, relay->port);

        if (fd == -1 || tn_udp_adopt(relay->udp, fd) != TN_OK) {
            err = errno;

            if (fd != -1) {
                (void) close(fd);
            }

            if (err != relay->errs[i]) {
                tn_log(relay->log, i == 1 ? TN_LOG_INFO : TN_LOG_ERR,
                       "no UDP socket of the peer relay for IPv%c: %s",
                       i == 1 ? '6' : '4', strerror(err));
            }

        } else {
            tn_log(relay->log, TN_LOG_INFO,
                   "the peer relay is at port %u of IPv%c",
                   (unsigned int) relay->port, i == 1 ? '6' : '4');
        }

        relay->errs[i] = err;
    }
}


static void
data_relay_arm(tn_data_relay_t *relay, tn_ms_t now)
{
    bool  again;

    again = relay->errs[0] == EADDRINUSE || relay->errs[1] == EADDRINUSE;

    (void) tn_timer_set(&relay->loop->timers, &relay->timer,
                        now + (again ? DATA_RELAY_RETRY_MS
                                     : TN_RELAY_BIND_MS));
}


static void
data_relay_timer(void *arg, tn_ms_t now)
{
    tn_data_relay_t *relay = arg;

    if (relay->errs[0] == EADDRINUSE || relay->errs[1] == EADDRINUSE) {
        data_relay_bind(relay);
        tn_data_relay_local(relay);
    }

    tn_relay_server_sweep(relay->server, now);
    data_relay_arm(relay, now);
}


static void
data_relay_received(void *arg, const tn_addr_t *from, uint8_t *bytes,
    size_t len)
{
    tn_data_relay_t *relay = arg;

    uint8_t        *room;
    tn_addr_t       to;
    const uint8_t  *out;

    if (tn_unlikely(tn_stun_is_binding(bytes, len))) {
        if (relay->data->plane != NULL) {
            tn_path_relay_stun(tn_plane_path(relay->data->plane),
                               relay->loop->now, bytes, len);
        }

        return;
    }

    len = tn_relay_server_input(relay->server, relay->loop->now, from, bytes,
                                len, &out, &to);
    if (len == 0) {
        return;
    }

    room = tn_udp_room(relay->udp, &to, len);

    if (room == NULL) {
        tn_udp_flush(relay->udp);
        room = tn_udp_room(relay->udp, &to, len);
    }

    if (room != NULL) {
        memcpy(room, out, len);
        tn_udp_add(relay->udp, 0);
    }
}


static void
data_relay_batch(void *arg)
{
    tn_data_relay_t *relay = arg;

    tn_udp_flush(relay->udp);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The world of a control client, for t/unit/control_*.c: a clock that stands
 * still, its owner, who does what it asks for, and the way to the server of
 * control_server.h.
 */

#ifndef CONTROL_WORLD_H_INCLUDED_
#define CONTROL_WORLD_H_INCLUDED_

#include "control_server.h"


/* one more thing that the client did to the world; false: it died before */
static bool
world_lives(void)
{
    if (w.ops_left != 0 && --w.ops_left == 0) {
        w.dead = true;
    }

    return !w.dead;
}


static conn_t *
world_conn(uint32_t id)
{
    conn_t  *conn;

    conn = &w.conns[(id - 1) % CONNS];

    return id != 0 && conn->id == id ? conn : NULL;
}


static void
conn_free(conn_t *conn)
{
    size_t  i;

    for (i = 0; i < conn->nstreams; i++) {
        free(conn->streams[i].body);
        free(conn->streams[i].out);
    }

    nghttp2_session_del(conn->h2);
    tn_aead_destroy(conn->tx);
    tn_aead_destroy(conn->rx);
    free(conn->out);
    memset(conn, 0, sizeof(*conn));
}


static tn_ms_t
op_now(void *data)
{
    (void) data;

    return w.now;
}


static int64_t
op_wall(void *data)
{
    (void) data;

    return w.wall + (int64_t) (w.now / 1000);
}


static void
op_connect(void *data, uint32_t id, const char *host, uint16_t port, bool tls)
{
    conn_t  *conn;

    (void) data;

    conn = &w.conns[(id - 1) % CONNS];
    conn_free(conn);

    conn->id = id;
    snprintf(conn->host, sizeof(conn->host), "%s", host);
    conn->port = port;
    conn->tls = tls;
    conn->dropped = w.drop && w.only != NULL && strcmp(host, w.only) != 0;
    conn->refused = !conn->dropped
                    && (w.down || (w.down_plain && !tls)
                        || (w.only != NULL && strcmp(host, w.only) != 0));
    w.nconns = id;
}


static void
op_send(void *data, uint32_t id, const uint8_t *bytes, size_t len)
{
    conn_t  *conn;

    (void) data;

    conn = world_conn(id);

    if (conn == NULL || !conn->connected) {
        abort();
    }

    if (!world_lives()) {
        return;
    }

    server_receive(conn, bytes, len);
}


static void
op_close(void *data, uint32_t id)
{
    conn_t  *conn;

    (void) data;

    conn = world_conn(id);

    if (conn == NULL) {
        abort();
    }

    conn_free(conn);
}


static tn_rc_t
op_save(void *data, const tn_control_saved_t *saved)
{
    (void) data;

    if (w.save_fails) {
        return TN_ERROR;
    }

    if (!world_lives()) {
        return TN_OK;
    }

    w.saves++;
    w.saved = *saved;

    return TN_OK;
}


static void
op_changed(void *data, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes)
{
    (void) data;
    (void) netmap;

    w.changed = changes->what;
    w.nchanged = changes->npeers;
    w.nremoved += changes->nremoved;
    w.changes++;
}


static void
op_state(void *data, tn_control_state_e state, const char *text)
{
    (void) data;

    w.state = state;
    snprintf(w.text, sizeof(w.text), "%s", text);
}


static void
op_ping(void *data, const tn_control_ping_t *ping)
{
    (void) data;

    snprintf(w.ping, sizeof(w.ping), "%s", ping->type);
    w.ping_id = ping->id;
}


static void
op_key(void *data, const tn_keypair_t *node)
{
    (void) data;
    (void) node;

    w.key_changes++;
}


static const tn_control_ops_t  world_ops = {
    .now = op_now,
    .wall = op_wall,
    .connect = op_connect,
    .send = op_send,
    .close = op_close,
    .save = op_save,
    .netmap_changed = op_changed,
    .state_changed = op_state,
    .ping = op_ping,
    .node_key_changed = op_key
};


static void
world_log_write(tn_log_t *log, tn_log_level_e level, const char *line,
    size_t len)
{
    (void) log;

    if (getenv("CONTROL_LOG") != NULL) {
        printf("# %8llu %.*s\n", (unsigned long long) w.now, (int) len, line);
    }

    if (level == TN_LOG_ERR && strstr(line, "expired") != NULL) {
        snprintf(w.error, sizeof(w.error), "%.*s", (int) len, line);
        w.errors++;
    }

    if (level == TN_LOG_INFO) {
        snprintf(w.info, sizeof(w.info), "%.*s", (int) len, line);
    }

    if (level < TN_LOG_INFO) {
        snprintf(w.log, sizeof(w.log), "%.*s", (int) len, line);
        w.logs++;
    }
}


static tn_log_t  world_log = { TN_LOG_DEBUG, world_log_write, NULL };


/* gives the client what is there for it; true when there was something */
static bool
world_deliver(void)
{
    bool      any;
    size_t    i, n;
    conn_t   *conn;
    uint8_t  *bytes;
    uint32_t  id;

    any = false;

    for (i = 0; i < CONNS; i++) {
        conn = &w.conns[i];
        id = conn->id;

        if (id == 0) {
            continue;
        }

        if (conn->refused) {
            conn_free(conn);
            tn_control_closed(w.control, id, "connection refused");
            any = true;
            continue;
        }

        if (conn->dropped) {
            continue;
        }

        if (!conn->connected) {
            conn->connected = true;
            tn_control_connected(w.control, id);
            any = true;
            continue;
        }

        if (conn->out_len != 0) {
            n = tn_min(conn->out_len, w.piece);
            bytes = malloc(n);

            if (bytes == NULL) {
                abort();
            }

            memcpy(bytes, conn->out, n);
            conn->out_len -= n;
            memmove(conn->out, conn->out + n, conn->out_len);
            tn_control_received(w.control, id, bytes, n);
            free(bytes);
            any = true;
        }
    }

    return any;
}


/* lets that much time pass, all events in their order */
static void
run(tn_ms_t ms)
{
    tn_ms_t  end, next;

    end = w.now + ms;

    for ( ;; ) {
        while (world_deliver()) { /* void */ }

        next = tn_timers_next(&w.timers);

        if (next > end) {
            w.now = end;
            return;
        }

        w.now = tn_max(w.now, next);
        tn_timers_run(&w.timers, w.now);
    }
}


/* the server closes all connections */
static inline void
server_close(const char *reason)
{
    size_t    i;
    uint32_t  id;

    for (i = 0; i < CONNS; i++) {
        id = w.conns[i].id;

        if (id != 0) {
            conn_free(&w.conns[i]);
            tn_control_closed(w.control, id, reason);
        }
    }
}


/* the client is: nobody is told */
static inline void
server_gone(void)
{
    size_t  i;

    for (i = 0; i < CONNS; i++) {
        conn_free(&w.conns[i]);
    }
}


static inline size_t
open_conns(void)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < CONNS; i++) {
        n += w.conns[i].id != 0;
    }

    return n;
}


/* of the next client, see world_begin() */
static tn_control_conf_t  conf;


/*
 * A server that lets everybody in and has this map, and no client yet, but
 * the configuration of a new one, to be changed.
 */
static void
world_begin(uint64_t seed, const char *map)
{
    memset(&w, 0, sizeof(w));
    memset(&conf, 0, sizeof(conf));

    conf.url = "http://127.0.0.1:8080";
    conf.auth_key = "tskey-secret";
    conf.hostname = "web";
    memset(conf.disco.b, 7, sizeof(conf.disco.b));

    tn_random_seed_for_tests(seed);
    tn_timers_init(&w.timers);
    tn_curve_keypair(&w.key);

    w.now = 1000000;
    w.wall = 1800000000;
    w.piece = 100000;
    w.register_answer = "{\"MachineAuthorized\":true}";
    w.register_status = 200;
    w.map_status = 200;
    w.map = map;
}


static inline void
create(void)
{
    w.control = tn_control_create(&conf, &world_ops, NULL, &w.timers,
                                  &world_log);
}


/* it was registered in another run */
static inline void
saved_state(void)
{
    tn_curve_keypair(&conf.saved.machine);
    tn_curve_keypair(&conf.saved.node);
    conf.saved.registered = true;
}


static inline bool
running(void)
{
    return w.state == TN_CONTROL_RUNNING && tn_control_online(w.control);
}


static void
world_end(void)
{
    size_t  i;

    tn_control_destroy(w.control);

    for (i = 0; i < CONNS; i++) {
        conn_free(&w.conns[i]);
    }

    tn_timers_done(&w.timers);
    free(w.last_register);
    free(w.last_map);
    free(w.last_update);
    free(w.last_body);
    memset(&w, 0, sizeof(w));
}


#endif /* CONTROL_WORLD_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two threads meet here and share nothing but messages.  To the data thread
 * go netmap updates, a new identity and questions; to the control thread go
 * own endpoints, NetInfo and word of a changed network.  Each message is one
 * allocation, posted to the other's loop, and owns what it carries.
 *
 * A message to the control thread may still be queued there when the node is
 * stopped.  It finds the `gate`, which it shares with the node, closed, and
 * the last of its holders frees it.
 */

#include "host/tn_data.h"

#include "crypto/tn_curve.h"
#include "host/tn_derpconn.h"
#include "host/tn_netmon.h"
#include "host/tn_resolve.h"
#include "host/tn_tun.h"
#include "host/tn_udp.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


/* only the control thread looks at it */
typedef struct {
    tn_data_t             *owner;       /* NULL once it is stopped */
    atomic_uint            refs;
} data_gate_t;


typedef struct {
    tn_link_t              link;
    tn_data_t             *data;
    tn_resolve_t          *question;
    uint32_t               id;
} data_name_t;


struct tn_data_s {
    tn_loop_t              loop;
    pthread_t              thread;
    bool                   running;

    const tn_data_ops_t   *ops;
    void                  *data;
    tn_loop_t             *control;
    data_gate_t           *gate;
    tn_log_t              *log;
    char                   name[16];

    /* the data thread's */

    tn_plane_t            *plane;
    tn_plane_conf_t        plane_conf;
    tn_udp_t              *udp;
    uint16_t               port;            /* configured, or 0 */
    bool                   random_port;     /* control wants any other */
    tn_tun_t              *tun;
    tn_netmon_t           *netmon;
    tn_resolver_t         *resolver;
    tn_derpconn_t         *derp;
    tn_link_t              names;
};


/* to the data thread */
typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_update_t           *update;
    tn_keypair_t           node;
    bool                   up;
} data_order_t;


typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_data_status_pt      fn;
    void                  *fn_data;
    size_t                 n;
    size_t                 found;
    data_gate_t           *gate;
    int64_t               *ids;
    tn_plane_peer_status_t  status[];
} data_question_t;


typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    data_gate_t           *gate;
    tn_key_t               key;
    tn_path_pong_t         pong;
    tn_data_pong_pt        fn;
    void                  *fn_data;
} data_ping_t;


/* to the control thread */
typedef struct {
    tn_post_t              post;
    data_gate_t           *gate;
    void                 (*tell)(tn_data_t *data, void *word);
    union {
        tn_netinfo_t       netinfo;
        struct {
            size_t         n;
            tn_endpoint_t  list[TN_ENDPOINTS_MAX];
        } endpoints;
    } u;
} data_word_t;


static void *data_thread(void *arg);
static void data_close(int *fds);
static void data_free(tn_data_t *data);
static void data_gate_release(data_gate_t *gate);
static tn_rc_t data_plane(tn_data_t *data);
static void data_local(tn_data_t *data);
static data_order_t *data_order(tn_data_t *data);
static void data_on_update(void *arg);
static void data_on_identity(void *arg);
static void data_on_control_up(void *arg);
static void data_on_question(void *arg);
static void data_on_answer(void *arg);
static void data_on_ping(void *arg);
static void data_ponged(void *arg, tn_ms_t now, const tn_path_pong_t *pong);
static void data_on_pong(void *arg);

static data_word_t *data_word(tn_data_t *data,
    void (*tell)(tn_data_t *data, void *word));
static void data_say(tn_data_t *data, data_word_t *word);
static void data_on_word(void *arg);
static void data_tell_endpoints(tn_data_t *data, void *word);
static void data_tell_netinfo(tn_data_t *data, void *word);
static void data_tell_network(tn_data_t *data, void *word);

static void data_udp_received(void *arg, const tn_addr_t *from,
    uint8_t *bytes, size_t len);
static void data_udp_batch(void *arg);
static void data_udp_unreachable(void *arg, const tn_addr_t *to, int err);
static void data_tun_packet(void *arg, uint8_t *frame, size_t len);
static void data_tun_batch(void *arg);
static void data_tun_gone(void *arg, int err);
static void data_net_changed(void *arg, bool addrs_changed);

static uint8_t *data_udp_room(void *arg, const tn_addr_t *to, size_t len);
static void data_udp_add(void *arg);
static void data_udp_flush(void *arg);
static tn_rc_t data_udp_send(void *arg, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void data_tun_write(void *arg, const struct iovec *iov, int n);
static void data_derp_open(void *arg, uint32_t region,
    const tn_derpmap_node_t *node);
static tn_rc_t data_derp_write(void *arg, uint32_t region,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len);
static void data_derp_close(void *arg, uint32_t region);
static void data_resolve(void *arg, uint32_t id, const char *host);
static void data_resolved(void *arg, tn_rc_t rc, const tn_ip_t *ips,
    size_t n, const char *text);
static void data_endpoints(void *arg, const tn_endpoint_t *endpoints,
    size_t n);
static void data_netinfo(void *arg, const tn_netinfo_t *netinfo);
static uint64_t data_wall(void *arg);
static uint64_t data_us(void *arg);
static void data_dont_fragment(void *arg, bool on);
static void data_https_probe(void *arg, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);
static void data_rebind(tn_data_t *data, uint16_t port);


static const tn_plane_ops_t  data_plane_ops = {
    data_udp_room,
    data_udp_add,
    data_udp_flush,
    data_udp_send,
    data_tun_write,
    data_derp_open,
    data_derp_write,
    data_derp_close,
    data_resolve,
    data_endpoints,
    data_netinfo,
    data_wall,
    data_us,
    data_dont_fragment,
    data_https_probe
};

static const tn_udp_ops_t  data_udp_ops = {
    data_udp_received,
    data_udp_batch,
    data_udp_unreachable
};

static const tn_tun_ops_t  data_tun_ops = {
    data_tun_packet,
    data_tun_batch,
    data_tun_gone
};


tn_data_t *
tn_data_start(const tn_data_conf_t *conf)
{
    int         fd, i, given[3];
    tn_data_t  *data;

    given[0] = conf->udp4;
    given[1] = conf->udp6;
    given[2] = conf->tun;

    data = calloc(1, sizeof(tn_data_t));
    if (data == NULL) {
        tn_log(conf->log, TN_LOG_ERR, "no memory for the data path");
        data_close(given);
        return NULL;
    }

    tn_list_init(&data->names);

    if (tn_loop_init(&data->loop) != TN_OK) {
        tn_log(conf->log, TN_LOG_ERR, "no event loop: %s", strerror(errno));
        data_close(given);
        free(data);
        return NULL;
    }

    data->ops = conf->ops;
    data->data = conf->data;
    data->control = conf->control;
    data->port = conf->port;
    data->log = conf->log;
    (void) snprintf(data->name, sizeof(data->name), "tn-%.12s", conf->name);

    data->plane_conf.ops = &data_plane_ops;
    data->plane_conf.data = data;
    data->plane_conf.timers = &data->loop.timers;
    data->plane_conf.log = conf->log;
    data->plane_conf.node = conf->node;
    data->plane_conf.disco = conf->disco;
    data->plane_conf.udp_offload = conf->udp_offload;

    data->gate = calloc(1, sizeof(data_gate_t));
    data->resolver = tn_resolve_create(&data->loop);
    data->udp = tn_udp_create(&data->loop, &data_udp_ops, data, conf->log);

    if (data->gate == NULL || data->resolver == NULL || data->udp == NULL) {
        tn_log(conf->log, TN_LOG_ERR, "no memory for the data path");
        goto failed;
    }

    data->gate->owner = data;
    atomic_init(&data->gate->refs, 1);

    data->derp = tn_derpconn_create(&data->loop, data->resolver,
                                    conf->ca_file, data_udp_batch, data,
                                    conf->log);
    if (data->derp == NULL) {
        goto failed;
    }

    for (i = 0; i < 2; i++) {
        fd = given[i] != -1 ? given[i]
                            : tn_udp_socket(i == 1, NULL, conf->port);
        given[i] = -1;

        if (fd == -1) {
            tn_log(conf->log, i == 1 ? TN_LOG_INFO : TN_LOG_ERR,
                   "no UDP socket for IPv%c: %s", i == 1 ? '6' : '4',
                   strerror(errno));
            continue;
        }

        if (tn_udp_adopt(data->udp, fd) != TN_OK) {
            tn_log(conf->log, TN_LOG_ERR, "a UDP socket cannot be used: %s",
                   strerror(errno));
            (void) close(fd);
        }
    }

    if (conf->tun != -1) {
        data->tun = tn_tun_create(&data->loop, conf->tun, &data_tun_ops, data);

        if (data->tun == NULL) {
            tn_log(conf->log, TN_LOG_ERR, "the TUN cannot be used: %s",
                   strerror(errno));
            (void) close(conf->tun);
        }

        given[2] = -1;
    }

    if (data_plane(data) != TN_OK) {
        goto failed;
    }

    data->netmon = tn_netmon_create(&data->loop, data_net_changed, data,
                                    conf->log);
    data_local(data);

    if (pthread_create(&data->thread, NULL, data_thread, data) != 0) {
        tn_log(conf->log, TN_LOG_ERR, "no thread: %s", strerror(errno));
        goto failed;
    }

    data->running = true;

    return data;

failed:

    data_close(given);
    data_free(data);

    return NULL;
}


void
tn_data_stop(tn_data_t *data)
{
    if (data == NULL) {
        return;
    }

    tn_loop_stop(&data->loop);
    (void) pthread_join(data->thread, NULL);

    data->gate->owner = NULL;

    data_free(data);
}


void
tn_data_update(tn_data_t *data, tn_update_t *update)
{
    data_order_t  *order;

    order = data_order(data);

    if (order == NULL) {
        tn_update_free(update);
        return;
    }

    order->update = update;
    order->post.fn = data_on_update;

    if (tn_loop_post_item(&data->loop, &order->post) != TN_OK) {
        tn_update_free(update);
        free(order);
    }
}


void
tn_data_identity(tn_data_t *data, const tn_keypair_t *node)
{
    data_order_t  *order;

    order = data_order(data);

    if (order == NULL) {
        return;
    }

    order->node = *node;
    order->post.fn = data_on_identity;

    if (tn_loop_post_item(&data->loop, &order->post) != TN_OK) {
        tn_wipe(order, sizeof(data_order_t));
        free(order);
    }
}


void
tn_data_control_up(tn_data_t *data, bool up)
{
    data_order_t  *order;

    order = data_order(data);

    if (order == NULL) {
        return;
    }

    order->up = up;
    order->post.fn = data_on_control_up;

    if (tn_loop_post_item(&data->loop, &order->post) != TN_OK) {
        free(order);
    }
}


tn_rc_t
tn_data_status(tn_data_t *data, const int64_t *ids, size_t n,
    tn_data_status_pt fn, void *fn_data)
{
    data_question_t  *question;

    question = calloc(1, sizeof(data_question_t)
                         + n * sizeof(tn_plane_peer_status_t));
    if (question == NULL) {
        return TN_NOMEM;
    }

    question->ids = calloc(n ? n : 1, sizeof(int64_t));
    if (question->ids == NULL) {
        free(question);
        return TN_NOMEM;
    }

    memcpy(question->ids, ids, n * sizeof(int64_t));
    question->n = n;
    question->fn = fn;
    question->fn_data = fn_data;
    question->data = data;
    question->post.fn = data_on_question;
    question->post.data = question;
    question->gate = data->gate;
    atomic_fetch_add(&data->gate->refs, 1);

    if (tn_loop_post_item(&data->loop, &question->post) != TN_OK) {
        data_gate_release(question->gate);
        free(question->ids);
        free(question);
        return TN_NOMEM;
    }

    return TN_OK;
}


tn_rc_t
tn_data_ping(tn_data_t *data, const tn_key_t *peer, tn_data_pong_pt fn,
    void *fn_data)
{
    data_ping_t  *ping;

    ping = calloc(1, sizeof(data_ping_t));
    if (ping == NULL) {
        return TN_NOMEM;
    }

    ping->data = data;
    ping->gate = data->gate;
    ping->key = *peer;
    ping->fn = fn;
    ping->fn_data = fn_data;
    ping->post.fn = data_on_ping;
    ping->post.data = ping;
    atomic_fetch_add(&data->gate->refs, 1);

    if (tn_loop_post_item(&data->loop, &ping->post) != TN_OK) {
        data_gate_release(ping->gate);
        free(ping);
        return TN_NOMEM;
    }

    return TN_OK;
}


static void *
data_thread(void *arg)
{
    tn_data_t *data = arg;

    (void) pthread_setname_np(pthread_self(), data->name);

    if (tn_loop_run(&data->loop) != TN_OK) {
        tn_log(data->log, TN_LOG_ALERT, "the data thread ended: %s",
               strerror(errno));
    }

    return NULL;
}


static void
data_close(int *fds)
{
    int  i;

    for (i = 0; i < 3; i++) {
        if (fds[i] != -1) {
            (void) close(fds[i]);
        }
    }
}


static void
data_free(tn_data_t *data)
{
    tn_link_t    *link;
    data_name_t  *name;

    tn_plane_destroy(data->plane);

    tn_derpconn_destroy(data->derp);

    if (data->netmon != NULL) {
        tn_netmon_destroy(data->netmon);
    }

    if (data->tun != NULL) {
        tn_tun_destroy(data->tun);
    }

    if (data->udp != NULL) {
        tn_udp_destroy(data->udp);
    }

    if (data->resolver != NULL) {
        tn_resolve_destroy(data->resolver);
    }

    while ((link = tn_list_shift(&data->names)) != NULL) {
        name = tn_container(link, data_name_t, link);
        free(name);
    }

    if (data->gate != NULL) {
        data_gate_release(data->gate);
    }

    tn_loop_done(&data->loop);
    tn_wipe(&data->plane_conf, sizeof(data->plane_conf));
    free(data);
}


static void
data_gate_release(data_gate_t *gate)
{
    if (atomic_fetch_sub(&gate->refs, 1) == 1) {
        free(gate);
    }
}


static tn_rc_t
data_plane(tn_data_t *data)
{
    data->plane = tn_plane_create(&data->plane_conf);

    if (data->plane == NULL) {
        tn_log(data->log, TN_LOG_ERR, "no memory for the data plane");
        return TN_NOMEM;
    }

    tn_derpconn_set_path(data->derp, tn_plane_path(data->plane));

    return TN_OK;
}


static void
data_local(tn_data_t *data)
{
    size_t     i, n;
    tn_ip_t    ips[TN_NETMON_MAX];
    uint16_t   port4, port6;
    tn_addr_t  addrs[TN_NETMON_MAX];

    if (data->plane == NULL) {
        return;
    }

    port4 = tn_udp_port(data->udp, false);
    port6 = tn_udp_port(data->udp, true);

    n = tn_netmon_addrs(ips, TN_NETMON_MAX);

    for (i = 0; i < n; i++) {
        addrs[i].ip = ips[i];
        addrs[i].port = tn_ip_is_v4(&ips[i]) ? port4 : port6;
    }

    tn_path_set_local(tn_plane_path(data->plane), data->loop.now, addrs, n,
                      port4, port6);
}


/* --- on the data thread: orders of the control thread */

static data_order_t *
data_order(tn_data_t *data)
{
    data_order_t  *order;

    order = calloc(1, sizeof(data_order_t));

    if (order == NULL) {
        tn_log(data->log, TN_LOG_ERR, "no memory to tell the data thread");
        return NULL;
    }

    order->data = data;
    order->post.data = order;

    return order;
}


static void
data_on_update(void *arg)
{
    data_order_t *order = arg;

    bool        rebind;
    tn_data_t  *data;

    data = order->data;

    if (data->plane != NULL) {
        rebind = order->update->has_self
                 && order->update->random_port != data->random_port;

        if (rebind) {
            data->random_port = order->update->random_port;
        }

        tn_plane_update(data->plane, data->loop.now, order->update);

        if (rebind) {
            data_rebind(data, data->random_port ? 0 : data->port);
        }

    } else {
        tn_update_free(order->update);
    }

    free(order);
}


static void
data_on_identity(void *arg)
{
    data_order_t *order = arg;

    tn_data_t  *data;

    data = order->data;

    tn_derpconn_set_path(data->derp, NULL);
    tn_plane_destroy(data->plane);
    data->plane = NULL;

    data->plane_conf.node = order->node;

    if (data_plane(data) == TN_OK) {
        data_local(data);
    }

    tn_wipe(order, sizeof(data_order_t));
    free(order);
}


static void
data_on_control_up(void *arg)
{
    data_order_t *order = arg;

    if (order->data->plane != NULL) {
        tn_path_set_control_up(tn_plane_path(order->data->plane),
                               order->data->loop.now, order->up);
    }

    free(order);
}


static void
data_on_question(void *arg)
{
    data_question_t *question = arg;

    size_t      i;
    tn_data_t  *data;

    data = question->data;

    for (i = 0; i < question->n && data->plane != NULL; i++) {
        if (tn_plane_peer_status(data->plane, data->loop.now,
                                 question->ids[i],
                                 &question->status[question->found]))
        {
            question->found++;
        }
    }

    question->post.fn = data_on_answer;

    if (tn_loop_post_item(data->control, &question->post) != TN_OK) {
        data_gate_release(question->gate);
        free(question->ids);
        free(question);
    }
}


static void
data_on_answer(void *arg)
{
    data_question_t *question = arg;

    if (question->gate->owner != NULL) {
        question->fn(question->fn_data, question->status, question->found);
    }

    data_gate_release(question->gate);
    free(question->ids);
    free(question);
}


static void
data_on_ping(void *arg)
{
    data_ping_t *ping = arg;

    tn_data_t       *data;
    tn_path_peer_t  *peer;
    tn_path_pong_t   none;

    data = ping->data;
    peer = NULL;

    if (data->plane != NULL) {
        peer = tn_path_peer_find(tn_plane_path(data->plane), &ping->key);
    }

    memset(&none, 0, sizeof(none));
    none.rc = TN_NOTFOUND;

    if (peer != NULL) {
        none.rc = tn_path_ping(peer, data->loop.now, data_ponged, ping);
    }

    if (none.rc != TN_OK) {
        data_ponged(ping, data->loop.now, &none);
    }
}


/* also called when the plane goes */
static void
data_ponged(void *arg, tn_ms_t now, const tn_path_pong_t *pong)
{
    data_ping_t *ping = arg;

    (void) now;

    ping->pong = *pong;
    ping->post.fn = data_on_pong;

    if (tn_loop_post_item(ping->data->control, &ping->post) != TN_OK) {
        data_gate_release(ping->gate);
        free(ping);
    }
}


static void
data_on_pong(void *arg)
{
    data_ping_t *ping = arg;

    if (ping->gate->owner != NULL) {
        ping->fn(ping->fn_data, &ping->pong);
    }

    data_gate_release(ping->gate);
    free(ping);
}


/* --- words to the control thread */

static data_word_t *
data_word(tn_data_t *data, void (*tell)(tn_data_t *data, void *word))
{
    data_word_t  *word;

    word = calloc(1, sizeof(data_word_t));

    if (word == NULL) {
        tn_log(data->log, TN_LOG_ERR, "no memory to tell the control thread");
        return NULL;
    }

    word->post.fn = data_on_word;
    word->post.data = word;
    word->tell = tell;
    word->gate = data->gate;
    atomic_fetch_add(&data->gate->refs, 1);

    return word;
}


static void
data_say(tn_data_t *data, data_word_t *word)
{
    if (tn_loop_post_item(data->control, &word->post) != TN_OK) {
        data_gate_release(word->gate);
        free(word);
    }
}


static void
data_on_word(void *arg)
{
    data_word_t *word = arg;

    if (word->gate->owner != NULL) {
        word->tell(word->gate->owner, word);
    }

    data_gate_release(word->gate);
    free(word);
}


static void
data_tell_endpoints(tn_data_t *data, void *arg)
{
    data_word_t *word = arg;

    data->ops->endpoints(data->data, word->u.endpoints.list,
                         word->u.endpoints.n);
}


static void
data_tell_netinfo(tn_data_t *data, void *arg)
{
    data_word_t *word = arg;

    data->ops->netinfo(data->data, &word->u.netinfo);
}


static void
data_tell_network(tn_data_t *data, void *arg)
{
    (void) arg;

    data->ops->network_changed(data->data);
}


/* --- on the data thread: sockets and the TUN */

static void
data_udp_received(void *arg, const tn_addr_t *from, uint8_t *bytes,
    size_t len)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_udp(data->plane, data->loop.now, from, bytes, len);
    }
}


static void
data_udp_batch(void *arg)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_udp_done(data->plane);
    }
}


static void
data_udp_unreachable(void *arg, const tn_addr_t *to, int err)
{
    tn_data_t *data = arg;

    (void) err;

    if (data->plane != NULL) {
        tn_plane_unreachable(data->plane, data->loop.now, to);
    }
}


static void
data_tun_packet(void *arg, uint8_t *frame, size_t len)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_tun(data->plane, data->loop.now, frame, len);
    }
}


static void
data_tun_batch(void *arg)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_tun_done(data->plane);
    }
}


static void
data_tun_gone(void *arg, int err)
{
    tn_data_t *data = arg;

    tn_log(data->log, TN_LOG_ERR, "the TUN is gone: %s", strerror(err));
}


static void
data_net_changed(void *arg, bool addrs_changed)
{
    tn_data_t *data = arg;

    data_word_t  *word;

    tn_log(data->log, TN_LOG_INFO, "the network changed%s",
           addrs_changed ? ", and so did own addresses" : "");

    if (data->plane != NULL) {
        data_local(data);
        tn_path_network_changed(tn_plane_path(data->plane), data->loop.now);
    }

    word = data_word(data, data_tell_network);

    if (word != NULL) {
        data_say(data, word);
    }
}


/* --- on the data thread: what the plane asks for */

static uint8_t *
data_udp_room(void *arg, const tn_addr_t *to, size_t len)
{
    tn_data_t *data = arg;

    return tn_udp_room(data->udp, to, len);
}


static void
data_udp_add(void *arg)
{
    tn_data_t *data = arg;

    tn_udp_add(data->udp);
}


static void
data_udp_flush(void *arg)
{
    tn_data_t *data = arg;

    tn_udp_flush(data->udp);
}


static tn_rc_t
data_udp_send(void *arg, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_data_t *data = arg;

    return tn_udp_send(data->udp, to, bytes, len);
}


static void
data_tun_write(void *arg, const struct iovec *iov, int n)
{
    tn_data_t *data = arg;

    if (data->tun != NULL) {
        (void) tn_tun_write(data->tun, iov, n);
    }
}


static void
data_derp_open(void *arg, uint32_t region, const tn_derpmap_node_t *node)
{
    tn_data_t *data = arg;

    tn_derpconn_open(data->derp, region, node);
}


static tn_rc_t
data_derp_write(void *arg, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    tn_data_t *data = arg;

    return tn_derpconn_write(data->derp, region, head, head_len, body,
                             body_len);
}


static void
data_derp_close(void *arg, uint32_t region)
{
    tn_data_t *data = arg;

    tn_derpconn_close(data->derp, region);
}


static void
data_resolve(void *arg, uint32_t id, const char *host)
{
    tn_data_t *data = arg;

    data_name_t  *name;

    name = calloc(1, sizeof(data_name_t));
    if (name == NULL) {
        return;
    }

    name->data = data;
    name->id = id;
    name->question = tn_resolve_start(data->resolver, host, 0, data_resolved,
                                      name);

    if (name->question == NULL) {
        free(name);
        return;
    }

    tn_list_push(&data->names, &name->link);
}


static void
data_resolved(void *arg, tn_rc_t rc, const tn_ip_t *ips, size_t n,
    const char *text)
{
    data_name_t *name = arg;

    tn_data_t  *data;

    data = name->data;

    if (rc != TN_OK) {
        tn_log(data->log, TN_LOG_INFO, "STUN server not found: %s", text);
        n = 0;
    }

    if (data->plane != NULL) {
        tn_path_resolved(tn_plane_path(data->plane), data->loop.now, name->id,
                         ips, n);
    }

    tn_list_remove(&name->link);
    free(name);
}


static void
data_endpoints(void *arg, const tn_endpoint_t *endpoints, size_t n)
{
    tn_data_t *data = arg;

    data_word_t  *word;

    word = data_word(data, data_tell_endpoints);

    if (word == NULL) {
        return;
    }

    word->u.endpoints.n = tn_min(n, (size_t) TN_ENDPOINTS_MAX);
    memcpy(word->u.endpoints.list, endpoints,
           word->u.endpoints.n * sizeof(tn_endpoint_t));

    data_say(data, word);
}


static void
data_netinfo(void *arg, const tn_netinfo_t *netinfo)
{
    tn_data_t *data = arg;

    data_word_t  *word;

    word = data_word(data, data_tell_netinfo);

    if (word == NULL) {
        return;
    }

    word->u.netinfo = *netinfo;

    data_say(data, word);
}


static uint64_t
data_wall(void *arg)
{
    (void) arg;

    return tn_loop_wall_ns();
}


static uint64_t
data_us(void *arg)
{
    (void) arg;

    return tn_loop_mono_us();
}


static void
data_dont_fragment(void *arg, bool on)
{
    tn_data_t *data = arg;

    tn_udp_dont_fragment(data->udp, on);
}


static void
data_https_probe(void *arg, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_data_t *data = arg;

    tn_derpconn_https_probe(data->derp, id, region, node);
}


/*
 * Other sockets: on any port when `port` is 0.  The configured port may still
 * be held by the supervisor; then those that are there stay.
 */
static void
data_rebind(tn_data_t *data, uint16_t port)
{
    int  i, fd;

    for (i = 0; i < 2; i++) {
        if (tn_udp_port(data->udp, i == 1) == 0) {
            continue;
        }

        fd = tn_udp_socket(i == 1, NULL, port);

        if (fd == -1 || tn_udp_adopt(data->udp, fd) != TN_OK) {
            tn_log(data->log, TN_LOG_NOTICE,
                   "no other UDP socket for IPv%c: %s", i == 1 ? '6' : '4',
                   strerror(errno));

            if (fd != -1) {
                (void) close(fd);
            }
        }
    }

    data_local(data);
    tn_path_network_changed(tn_plane_path(data->plane), data->loop.now);
}


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

#include "tn_data_private.h"

#include "crypto/tn_curve.h"

#include <stdlib.h>


/* peers hear of a new node key within that time or not so soon */


/* to the data thread */
typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_update_t           *update;
    tn_keypair_t           node;
    bool                   up;
    tn_capture_t          *capture;
    tn_addr_t              peerapi[TN_DATA_PEERAPI];
    size_t                 npeerapi;
} data_order_t;


typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_data_status_pt      fn;
    void                  *fn_data;
    size_t                 n;
    size_t                 found;
    tn_data_gate_t        *gate;
    tn_data_relay_status_t  relay;
    tn_plane_stats_t       stats;
    int64_t               *ids;
    tn_plane_peer_status_t  status[];
} data_question_t;


typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_data_gate_t        *gate;
    tn_key_t               key;
    tn_data_ping_e         kind;
    tn_path_pong_t         pong;
    tn_data_pong_pt        fn;
    void                  *fn_data;
} data_ping_t;


typedef struct {
    tn_post_t              post;
    tn_data_t             *data;
    tn_data_gate_t        *gate;
    tn_data_act_e          act;
    uint32_t               region;
    tn_key_t               key;
    tn_data_done_t         done;
    tn_data_done_pt        fn;
    void                  *fn_data;
} data_act_t;


/* to the control thread */
typedef struct {
    tn_post_t              post;
    tn_data_gate_t        *gate;
    void                 (*tell)(tn_data_t *data, void *word);
    union {
        tn_netinfo_t       netinfo;
        struct {
            size_t         n;
            tn_endpoint_t  list[TN_ENDPOINTS_MAX];
        } endpoints;
        struct {
            int64_t         id;
            tn_path_kind_e  kind;
            uint32_t        derp;
        } path;
        struct {
            tn_ip_t         ips[2];
            bool            near;
        } near;
        bool               major;
    } u;
} data_word_t;


static data_order_t *data_order(tn_data_t *data);
static void data_on_update(void *arg);
static void data_on_identity(void *arg);
static void data_on_control_up(void *arg);
static void data_on_capture(void *arg);
static void data_on_peerapi(void *arg);
static void data_on_question(void *arg);
static void data_on_answer(void *arg);
static void data_on_ping(void *arg);
static void data_ponged(void *arg, tn_ms_t now, const tn_path_pong_t *pong);
static void data_on_pong(void *arg);
static void data_on_act(void *arg);
static tn_rc_t data_do(tn_data_t *data, data_act_t *act);
static void data_on_acted(void *arg);
static void data_act_free(data_act_t *act);
static data_word_t *data_word(tn_data_t *data,
    void (*tell)(tn_data_t *data, void *word));
static void data_say(tn_data_t *data, data_word_t *word);
static void data_on_word(void *arg);
static void data_tell_endpoints(tn_data_t *data, void *word);
static void data_tell_netinfo(tn_data_t *data, void *word);
static void data_tell_network(tn_data_t *data, void *word);
static void data_tell_path(tn_data_t *data, void *word);
static void data_tell_near(tn_data_t *data, void *word);


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
        tn_data_gate_release(question->gate);
        free(question->ids);
        free(question);
        return TN_NOMEM;
    }

    return TN_OK;
}


tn_rc_t
tn_data_ping(tn_data_t *data, const tn_key_t *peer, tn_data_ping_e kind,
    tn_data_pong_pt fn, void *fn_data)
{
    data_ping_t  *ping;

    ping = calloc(1, sizeof(data_ping_t));
    if (ping == NULL) {
        return TN_NOMEM;
    }

    ping->data = data;
    ping->gate = data->gate;
    ping->key = *peer;
    ping->kind = kind;
    ping->fn = fn;
    ping->fn_data = fn_data;
    ping->post.fn = data_on_ping;
    ping->post.data = ping;
    atomic_fetch_add(&data->gate->refs, 1);

    if (tn_loop_post_item(&data->loop, &ping->post) != TN_OK) {
        tn_data_gate_release(ping->gate);
        free(ping);
        return TN_NOMEM;
    }

    return TN_OK;
}


tn_rc_t
tn_data_act(tn_data_t *data, tn_data_act_e what, uint32_t region,
    const tn_key_t *peer, tn_data_done_pt fn, void *fn_data)
{
    data_act_t  *act;

    act = calloc(1, sizeof(data_act_t));
    if (act == NULL) {
        return TN_NOMEM;
    }

    act->data = data;
    act->gate = data->gate;
    act->act = what;
    act->region = region;
    act->fn = fn;
    act->fn_data = fn_data;
    act->post.fn = data_on_act;
    act->post.data = act;

    if (peer != NULL) {
        act->key = *peer;
    }

    atomic_fetch_add(&data->gate->refs, 1);

    if (tn_loop_post_item(&data->loop, &act->post) != TN_OK) {
        tn_data_gate_release(act->gate);
        free(act);
        return TN_NOMEM;
    }

    return TN_OK;
}


tn_rc_t
tn_data_peerapi(tn_data_t *data, const tn_addr_t *addrs, size_t n)
{
    data_order_t  *order;

    order = data_order(data);

    if (order == NULL) {
        return TN_NOMEM;
    }

    order->npeerapi = tn_min(n, (size_t) TN_DATA_PEERAPI);
    memcpy(order->peerapi, addrs, order->npeerapi * sizeof(tn_addr_t));
    order->post.fn = data_on_peerapi;

    if (tn_loop_post_item(&data->loop, &order->post) != TN_OK) {
        free(order);
        return TN_NOMEM;
    }

    return TN_OK;
}


tn_rc_t
tn_data_capture(tn_data_t *data, tn_capture_t *capture)
{
    data_order_t  *order;

    order = data_order(data);

    if (order == NULL) {
        return TN_NOMEM;
    }

    order->capture = capture;
    order->post.fn = data_on_capture;

    if (capture != NULL) {
        tn_capture_hold(capture);
    }

    if (tn_loop_post_item(&data->loop, &order->post) != TN_OK) {
        if (capture != NULL) {
            tn_capture_release(capture);
        }

        free(order);
        return TN_NOMEM;
    }

    return TN_OK;
}


void
tn_data_gate_release(tn_data_gate_t *gate)
{
    if (atomic_fetch_sub(&gate->refs, 1) == 1) {
        free(gate);
    }
}


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

        tn_data_portmap_update(data, order->update);
        tn_plane_update(data->plane, data->loop.now, order->update);

        if (rebind) {
            tn_data_rebind(data, data->random_port ? 0 : data->port);
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

    /* the next plane numbers its questions anew */

    tn_data_names_forget(data);
    tn_derpconn_set_path(data->derp, NULL);
    tn_plane_destroy(data->plane);
    data->plane = NULL;

    data->plane_conf.node = order->node;
    data->plane_conf.hurry_until = data->loop.now + TN_DATA_HURRY_MS;

    if (tn_data_plane_create(data) == TN_OK) {
        tn_data_local(data);
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
data_on_peerapi(void *arg)
{
    data_order_t *order = arg;

    tn_data_t  *data;

    data = order->data;
    data->npeerapi = order->npeerapi;
    memcpy(data->peerapi, order->peerapi, sizeof(data->peerapi));

    if (data->plane != NULL) {
        tn_plane_set_peerapi(data->plane, data->peerapi, data->npeerapi);
    }

    free(order);
}


static void
data_on_capture(void *arg)
{
    data_order_t *order = arg;

    tn_data_t  *data;

    data = order->data;

    if (data->capture != NULL) {
        tn_capture_stop(data->capture);
    }

    data->capture = order->capture;

    if (data->capture != NULL) {
        tn_capture_start(data->capture, &data->loop);
    }

    if (data->plane != NULL) {
        tn_plane_set_capture(data->plane, data->capture != NULL);
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

    if (data->plane != NULL) {
        question->stats = *tn_plane_stats(data->plane);
    }

    tn_data_relay_status(data->relay, &question->relay);
    question->post.fn = data_on_answer;

    if (tn_loop_post_item(data->control, &question->post) != TN_OK) {
        tn_data_gate_release(question->gate);
        free(question->ids);
        free(question);
    }
}


static void
data_on_answer(void *arg)
{
    data_question_t *question = arg;

    if (question->gate->owner != NULL) {
        question->fn(question->fn_data, question->status, question->found,
                     &question->relay, &question->stats);
    }

    tn_data_gate_release(question->gate);
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
        peer = tn_plane_path_peer(data->plane, data->loop.now, &ping->key);
    }

    memset(&none, 0, sizeof(none));
    none.rc = TN_NOTFOUND;

    if (peer != NULL && ping->kind != TN_DATA_PING_DISCO) {
        none.rc = tn_plane_ping(data->plane, data->loop.now, &ping->key,
                                ping->kind == TN_DATA_PING_ICMP
                                ? TN_PLANE_PING_ICMP : TN_PLANE_PING_TSMP,
                                data_ponged, ping);

    } else if (peer != NULL) {
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
        tn_data_gate_release(ping->gate);
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

    tn_data_gate_release(ping->gate);
    free(ping);
}


static void
data_on_act(void *arg)
{
    data_act_t *act = arg;

    tn_data_t  *data;

    data = act->data;

    act->done.rc = data->plane != NULL ? data_do(data, act) : TN_NOTFOUND;
    act->post.fn = data_on_acted;

    if (tn_loop_post_item(data->control, &act->post) != TN_OK) {
        data_act_free(act);
    }
}


static tn_rc_t
data_do(tn_data_t *data, data_act_t *act)
{
    tn_path_t       *path;
    tn_path_peer_t  *peer;

    path = tn_plane_path(data->plane);
    act->done.reports = tn_path_counters(path)->reports;

    switch (act->act) {

    case TN_DATA_HISTORY:
        peer = tn_plane_path_peer(data->plane, data->loop.now, &act->key);

        if (peer == NULL) {
            return TN_NOTFOUND;
        }

        act->done.n = tn_path_history(peer, act->done.changes);
        return TN_OK;

    case TN_DATA_HOME:
        return tn_path_force_home(path, data->loop.now, act->region);

    case TN_DATA_BREAK:
        return tn_path_break_derp(path, data->loop.now, act->region);

    case TN_DATA_RESTUN:
        tn_path_stun_again(path, data->loop.now);
        return TN_OK;

    case TN_DATA_REBIND:
        tn_data_rebind(data, data->random_port ? 0 : data->port);
        return TN_OK;

    case TN_DATA_POKE:
        tn_data_net_changed(data, TN_NETMON_MOVED);
        return TN_OK;

    case TN_DATA_HELPER:
        tn_udp_help(data->udp, (tn_udp_help_e) act->region, NULL);
        return TN_OK;

    case TN_DATA_TALLY:
        act->done.counts = tn_plane_tally(data->plane, data->loop.now,
                                          &act->done.ncounts,
                                          &act->done.left_out,
                                          &act->done.since);
        return act->done.counts ? TN_OK : TN_NOMEM;
    }

    return TN_ERROR;
}


static void
data_on_acted(void *arg)
{
    data_act_t *act = arg;

    if (act->gate->owner != NULL) {
        act->fn(act->fn_data, &act->done);
    }

    data_act_free(act);
}


static void
data_act_free(data_act_t *act)
{
    tn_data_gate_release(act->gate);
    free(act->done.counts);
    free(act);
}


/* --- words to the control thread */

void
tn_data_say_endpoints(void *arg, const tn_endpoint_t *endpoints, size_t n)
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


void
tn_data_say_netinfo(void *arg, const tn_netinfo_t *netinfo)
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


void
tn_data_say_network(tn_data_t *data, bool major)
{
    data_word_t  *word;

    word = data_word(data, data_tell_network);

    if (word != NULL) {
        word->u.major = major;
        data_say(data, word);
    }
}


void
tn_data_say_path(void *arg, int64_t id, tn_path_kind_e kind, uint32_t derp)
{
    tn_data_t *data = arg;

    data_word_t  *word;

    word = data_word(data, data_tell_path);

    if (word == NULL) {
        return;
    }

    word->u.path.id = id;
    word->u.path.kind = kind;
    word->u.path.derp = derp;

    data_say(data, word);
}


void
tn_data_say_near(void *arg, const tn_ip_t ips[2], bool near)
{
    tn_data_t *data = arg;

    data_word_t  *word;

    word = data_word(data, data_tell_near);

    if (word == NULL) {
        return;
    }

    word->u.near.ips[0] = ips[0];
    word->u.near.ips[1] = ips[1];
    word->u.near.near = near;

    data_say(data, word);
}


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
        tn_data_gate_release(word->gate);
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

    tn_data_gate_release(word->gate);
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
    data_word_t *word = arg;

    data->ops->network_changed(data->data, word->u.major);
}


static void
data_tell_path(tn_data_t *data, void *arg)
{
    data_word_t *word = arg;

    data->ops->path_changed(data->data, word->u.path.id, word->u.path.kind,
                            word->u.path.derp);
}


static void
data_tell_near(tn_data_t *data, void *arg)
{
    data_word_t *word = arg;

    data->ops->near_changed(data->data, word->u.near.ips, word->u.near.near);
}

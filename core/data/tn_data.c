
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The life of a data thread: its sockets, the TUN, the plane, the thread
 * itself, and the end of them all.
 */

#include "tn_data_private.h"

#include "crypto/tn_curve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


static void *data_thread(void *arg);
static void data_close(int *fds, int n);
static void data_free(tn_data_t *data);


tn_data_t *
tn_data_start(const tn_data_conf_t *conf)
{
    int         fd, err, i, given[4];
    uint64_t    seed;
    tn_data_t  *data;

    given[0] = conf->udp4;
    given[1] = conf->udp6;
    given[2] = conf->tun;
    given[3] = conf->bulk;

    data = calloc(1, sizeof(tn_data_t));
    if (data == NULL) {
        tn_log(conf->log, TN_LOG_ERR, "no memory for the data path");
        data_close(given, 4);
        return NULL;
    }

    tn_list_init(&data->names);

    if (tn_loop_init(&data->loop) != TN_OK) {
        tn_log(conf->log, TN_LOG_ERR, "no event loop: %s", strerror(errno));
        data_close(given, 4);
        free(data);
        return NULL;
    }

    data->ops = conf->ops;
    data->data = conf->data;
    data->control = conf->control;
    data->port = conf->port;
    data->log = conf->log;
    (void) snprintf(data->name, sizeof(data->name), "tn-%.12s", conf->name);

    data->plane_conf.ops = &tn_data_plane_ops;
    data->plane_conf.data = data;
    data->plane_conf.timers = &data->loop.timers;
    data->plane_conf.log = conf->log;
    data->plane_conf.node = conf->node;
    data->plane_conf.disco = conf->disco;
    data->plane_conf.hurry_until = data->loop.now + TN_DATA_HURRY_MS;
    data->plane_conf.udp_offload = conf->udp_offload;
    data->plane_conf.shields_up = conf->shields_up;
    data->plane_conf.told_ns = conf->told_ns;
    data->plane_conf.routes = data->routes;
    data->plane_conf.nroutes = tn_min(conf->nroutes,
                                      (size_t) TN_PLANE_ROUTES);

    for (i = 0; i < (int) data->plane_conf.nroutes; i++) {
        data->routes[i] = conf->routes[i];
    }

    data->nextra = tn_min(conf->nstatic, (size_t) TN_DATA_STATIC);

    for (i = 0; i < (int) data->nextra; i++) {
        data->extra[i].addr = conf->static_endpoints[i];
        data->extra[i].type = TN_ENDPOINT_EXPLICIT;
    }

    data->gate = calloc(1, sizeof(tn_data_gate_t));
    data->resolver = tn_resolve_create(&data->loop);
    data->echo = tn_echo_create(&data->loop, tn_data_echoed, data,
                                "addresses of peers with WireGuard alone are "
                                "tried in turn", conf->log);
    data->udp = tn_udp_create(&data->loop, &tn_data_udp_ops, data,
                              conf->log);

    if (data->gate == NULL || data->resolver == NULL || data->udp == NULL
        || data->echo == NULL)
    {
        tn_log(conf->log, TN_LOG_ERR, "no memory for the data path");
        goto failed;
    }

    tn_udp_help(data->udp, TN_UDP_HELP_BUSY, conf->name);

    data->gate->owner = data;
    atomic_init(&data->gate->refs, 1);

    data->derp = tn_derpconn_create(&data->loop, data->resolver,
                                    conf->tls, conf->proxies,
                                    tn_data_udp_batch, data, conf->log);
    if (data->derp == NULL) {
        goto failed;
    }

    if (conf->relay_port != 0) {
        data->relay = tn_data_relay_create(data, conf->relay_port);
        if (data->relay == NULL) {
            tn_log(conf->log, TN_LOG_ERR, "no memory for the peer relay");
            goto failed;
        }
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
        tn_random(&seed, sizeof(seed));
        tn_bulk_init(&data->bulk, seed);

        if (given[3] != -1 && tn_tun_attach(given[3]) != TN_OK) {
            (void) close(given[3]);
            given[3] = -1;
        }

        data->tun = tn_tun_create(&data->loop, given[2], given[3],
                                  &tn_data_tun_ops, data);

        if (data->tun == NULL) {
            tn_log(conf->log, TN_LOG_ERR, "the TUN cannot be used: %s",
                   strerror(errno));
            data_close(given + 2, 2);
        }

        given[2] = -1;
        given[3] = -1;
    }

    if (conf->by_lwip && conf->listeners != NULL) {
        data->plane_conf.udp_offload = false;
        data->plane_conf.singly = true;
        data->lwnet = tn_lwnet_create(&data->loop, conf->listeners,
                                      tn_data_frame, tn_data_lwip_done,
                                      data, conf->log);

        if (data->lwnet == NULL) {
            tn_log(conf->log, TN_LOG_ERR, "no stack lwip: out of memory, or "
                   "built without it");
        }
    }

    if (conf->listeners != NULL) {
        data->plane_conf.transit = tn_data_transit;
        data->transit = tn_data_transit_create(data, conf->listeners);

        if (data->transit == NULL) {
            tn_log(conf->log, TN_LOG_ERR, "no memory for the gateway");
            goto failed;
        }
    }

    if (tn_data_plane_create(data) != TN_OK) {
        goto failed;
    }

    if (tn_data_portmap_create(data, conf) != TN_OK) {
        goto failed;
    }

    data->netmon = tn_netmon_create(&data->loop, tn_data_net_changed,
                                    tn_data_woke, data, conf->log);
    tn_data_local(data);

    err = pthread_create(&data->thread, NULL, data_thread, data);

    if (err != 0) {
        tn_log(conf->log, TN_LOG_ERR, "no thread: %s", strerror(err));
        goto failed;
    }

    data->running = true;

    return data;

failed:

    data_close(given, 4);
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


static void *
data_thread(void *arg)
{
    tn_data_t *data = arg;

    (void) pthread_setname_np(pthread_self(), data->name);
    tn_loop_moderate(&data->loop);

    if (tn_loop_run(&data->loop) != TN_OK) {
        tn_log(data->log, TN_LOG_ALERT, "the data thread ended: %s",
               strerror(errno));
    }

    return NULL;
}


static void
data_close(int *fds, int n)
{
    int  i;

    for (i = 0; i < n; i++) {
        if (fds[i] != -1) {
            (void) close(fds[i]);
        }
    }
}


static void
data_free(tn_data_t *data)
{
    /* its connections end by resets, which are packets like any */
    tn_lwnet_destroy(data->lwnet);

    tn_data_transit_destroy(data->transit);
    tn_plane_destroy(data->plane);
    tn_portmap_stop(data->portmap);

    if (data->capture != NULL) {
        tn_capture_stop(data->capture);
    }

    tn_derpconn_destroy(data->derp);
    tn_data_relay_destroy(data->relay);
    tn_echo_destroy(data->echo);

    if (data->netmon != NULL) {
        tn_netmon_destroy(data->netmon);
    }

    if (data->tun != NULL) {
        tn_tun_destroy(data->tun);
    }

    if (data->udp != NULL) {
        tn_udp_destroy(data->udp);
    }

    tn_data_names_forget(data);

    if (data->resolver != NULL) {
        tn_resolve_destroy(data->resolver);
    }

    if (data->gate != NULL) {
        tn_data_gate_release(data->gate);
    }

    free(data->services);
    tn_loop_done(&data->loop);
    tn_wipe(&data->plane_conf, sizeof(data->plane_conf));
    free(data);
}


tn_rc_t
tn_data_plane_create(tn_data_t *data)
{
    data->plane = tn_plane_create(&data->plane_conf);

    if (data->plane == NULL) {
        tn_log(data->log, TN_LOG_ERR, "no memory for the data plane");
        return TN_NOMEM;
    }

    tn_plane_set_capture(data->plane, data->capture != NULL);
    tn_plane_set_peerapi(data->plane, data->peerapi, data->npeerapi);
    tn_data_reach(data);
    tn_derpconn_set_path(data->derp, tn_plane_path(data->plane));
    tn_data_portmap_say(data);

    return TN_OK;
}


void
tn_data_local(tn_data_t *data)
{
    size_t     i, n;
    tn_ip_t    ips[TN_NETMON_MAX], *machine;
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
    tn_data_relay_local(data->relay);
    tn_data_portmap_want(data);

    if (data->transit != NULL) {
        n = tn_netmon_machine(&machine);
        tn_data_transit_machine(data->transit, machine, n);

        if (n == 0 || tn_plane_set_host(data->plane, machine, n) != TN_OK) {
            tn_log(data->log, TN_LOG_ERR, "the machine's own addresses are "
                   "not known, so nothing is behind it");
        }

        free(machine);
    }
}


void
tn_data_rebind(tn_data_t *data, uint16_t port)
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

    tn_data_local(data);
    tn_path_network_changed(tn_plane_path(data->plane), data->loop.now);
}

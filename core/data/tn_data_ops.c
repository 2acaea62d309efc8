
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What is called on a data thread: by its sockets, the TUN and the watch of
 * the network, whose bytes go to the plane, and by the plane, whose bytes go
 * out.
 */

#include "tn_data_private.h"

#include "stack/tn_vnet.h"
#include "wire/tn_icmp.h"

#include <stdlib.h>


static void data_udp_received(void *arg, const tn_addr_t *from,
    uint8_t *bytes, size_t len);
static void data_udp_unreachable(void *arg, const tn_addr_t *to, int err);
static void data_tun_packet(void *arg, uint8_t *frame, size_t len);
static void data_tun_batch(void *arg);
static void data_tun_gone(void *arg, int err);
static uint8_t *data_udp_room(void *arg, const tn_addr_t *to, size_t len);
static void data_udp_add(void *arg, uint32_t flow);
static void data_udp_flush(void *arg);
static bool data_udp_seal(void *arg, tn_aead_t *aead,
    const tn_aead_job_t *jobs, size_t n);
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
static uint64_t data_wall(void *arg);
static uint64_t data_us(void *arg);
static void data_dont_fragment(void *arg, bool on);
static void data_https_probe(void *arg, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);
static void data_icmp_echo(void *arg, const tn_ip_t *ip);
static void data_capture(void *arg, bool out, const uint8_t *packet,
    size_t len);


const tn_plane_ops_t  tn_data_plane_ops = {
    data_udp_room,
    data_udp_add,
    data_udp_flush,
    data_udp_send,
    data_tun_write,
    data_derp_open,
    data_derp_write,
    data_derp_close,
    data_resolve,
    tn_data_say_endpoints,
    tn_data_say_netinfo,
    data_wall,
    data_us,
    data_dont_fragment,
    data_https_probe,
    tn_data_relay_allocate,
    tn_data_relay_send,
    data_icmp_echo,
    data_capture,
    tn_data_say_path,
    tn_data_say_near,
    data_udp_seal
};

const tn_udp_ops_t  tn_data_udp_ops = {
    data_udp_received,
    tn_data_udp_batch,
    data_udp_unreachable
};

const tn_tun_ops_t  tn_data_tun_ops = {
    data_tun_packet,
    data_tun_batch,
    data_tun_gone
};


/* --- the sockets and the TUN */

static void
data_udp_received(void *arg, const tn_addr_t *from, uint8_t *bytes,
    size_t len)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_udp(data->plane, data->loop.now, from, bytes, len);
    }
}


void
tn_data_udp_batch(void *arg)
{
    tn_data_t *data = arg;

    if (tn_likely(data->plane != NULL)) {
        tn_plane_udp_done(data->plane);
    }

    if (data->lwnet != NULL) {
        tn_lwnet_run(data->lwnet);
    }
}


/* --- the lwIP stack */

void
tn_data_frame(void *arg, uint8_t *frame, size_t len)
{
    tn_data_t *data = arg;

    if (data->transit != NULL) {
        tn_data_transit_out(data->transit, frame, len);
    }

    if (tn_likely(data->plane != NULL)) {
        tn_plane_tun(data->plane, data->loop.now, frame, len);
    }
}


void
tn_data_lwip_done(void *arg)
{
    tn_data_t *data = arg;

    if (data->plane != NULL) {
        tn_plane_tun_done(data->plane);
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

    if (len > TN_BULK_BIG_BYTES && tn_tun_has_bulk(data->tun)) {
        tn_bulk_sent(&data->bulk, data->loop.now, frame + sizeof(tn_vnet_t),
                     len - sizeof(tn_vnet_t));
    }

    tn_data_frame(data, frame, len);
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


void
tn_data_net_changed(void *arg, tn_netmon_change_e change)
{
    tn_data_t *data = arg;

    bool        major;
    tn_path_t  *path;

    major = change != TN_NETMON_TOUCHED;

    if (major) {
        tn_log(data->log, TN_LOG_INFO, change == TN_NETMON_MOVED
               ? "the network changed" : "other addresses of this machine");
    }

    if (data->plane != NULL) {
        tn_data_local(data);
        tn_derpconn_network_changed(data->derp, major);

        path = tn_plane_path(data->plane);

        switch (change) {

        case TN_NETMON_MOVED:
            tn_path_network_changed(path, data->loop.now);
            break;

        case TN_NETMON_ADDRESSES:
            tn_path_network_readdressed(path, data->loop.now);
            break;

        default:
            tn_path_network_touched(path, data->loop.now);
            break;
        }
    }

    if (major && data->portmap != NULL) {
        tn_portmap_network_changed(data->portmap);
    }

    tn_data_say_network(data, major);
}


/* the word that the network has changed follows */
void
tn_data_woke(void *arg, tn_ms_t slept)
{
    tn_data_t *data = arg;

    if (data->plane != NULL) {
        tn_plane_woke(data->plane, data->loop.now, slept);
    }
}


/* --- what the plane asks for */

static uint8_t *
data_udp_room(void *arg, const tn_addr_t *to, size_t len)
{
    tn_data_t *data = arg;

    return tn_udp_room(data->udp, to, len);
}


static void
data_udp_add(void *arg, uint32_t flow)
{
    tn_data_t *data = arg;

    tn_udp_add(data->udp, flow);
}


static void
data_udp_flush(void *arg)
{
    tn_data_t *data = arg;

    tn_udp_flush(data->udp);
}


static bool
data_udp_seal(void *arg, tn_aead_t *aead, const tn_aead_job_t *jobs,
    size_t n)
{
    tn_data_t *data = arg;

    return tn_udp_seal(data->udp, aead, jobs, n);
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

    if (data->lwnet != NULL) {
        tn_lwnet_write(data->lwnet, iov, n);

    } else if (data->tun != NULL) {
        tn_data_tun_write(data, iov, n);
    }
}


void
tn_data_tun_write(tn_data_t *data, const struct iovec *iov, int n)
{
    tn_bulk_e  is;

    is = tn_bulk_of(&data->bulk, data->loop.now, iov[1].iov_base,
                    iov[1].iov_len);

    if (tn_unlikely(is == TN_BULK_MOVED)) {
        tn_tun_moved(data->tun);
    }

    (void) tn_tun_write(data->tun, is != TN_BULK_NO, iov, n);
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

    tn_data_name_t  *name;

    name = calloc(1, sizeof(tn_data_name_t));
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
    tn_data_name_t *name = arg;

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


void
tn_data_names_forget(tn_data_t *data)
{
    tn_link_t       *link;
    tn_data_name_t  *name;

    while ((link = tn_list_shift(&data->names)) != NULL) {
        name = tn_container(link, tn_data_name_t, link);
        tn_resolve_cancel(name->question);
        free(name);
    }
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
data_icmp_echo(void *arg, const tn_ip_t *ip)
{
    tn_data_t *data = arg;

    tn_echo_send(data->echo, ip);
}


void
tn_data_echoed(void *arg, const tn_ip_t *ip, uint32_t latency_us)
{
    tn_data_t *data = arg;

    if (data->plane != NULL) {
        tn_path_echoed(tn_plane_path(data->plane), data->loop.now, ip,
                       latency_us);
    }
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


static void
data_capture(void *arg, bool out, const uint8_t *packet, size_t len)
{
    tn_data_t *data = arg;

    tn_capture_packet(data->capture, out, packet, len);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of a data thread share.  Included by nobody else.
 */

#ifndef TN_DATA_PRIVATE_H_INCLUDED_
#define TN_DATA_PRIVATE_H_INCLUDED_

#include "tn_data.h"

#include "data/tn_derpconn.h"
#include "host/tn_echo.h"
#include "host/tn_netmon.h"
#include "host/tn_portmap.h"
#include "host/tn_resolve.h"
#include "host/tn_tun.h"
#include "host/tn_udp.h"
#include "stack/tn_bulk.h"

#include <stdatomic.h>
#include <pthread.h>


/* only the control thread looks at it */
typedef struct {
    tn_data_t             *owner;       /* NULL once it is stopped */
    atomic_uint            refs;
} tn_data_gate_t;


typedef struct {
    tn_link_t              link;
    tn_data_t             *data;
    tn_resolve_t          *question;
    uint32_t               id;
} tn_data_name_t;


/* the last orders of tn_data_reach.c: the same is not given again */
typedef struct {
    bool                   services_given;
    size_t                 nservices;
    tn_filter_service_t    services[TN_FILTER_SERVICES_MAX];
    bool                   routes_given;
    size_t                 nroutes;
    tn_prefix_t            routes[TN_PLANE_ROUTES];
} tn_data_said_t;


typedef struct tn_data_relay_s    tn_data_relay_t;
typedef struct tn_data_transit_s  tn_data_transit_t;


struct tn_data_s {
    tn_loop_t              loop;
    pthread_t              thread;
    bool                   running;

    const tn_data_ops_t   *ops;
    void                  *data;
    tn_loop_t             *control;
    tn_data_gate_t        *gate;
    tn_log_t              *log;
    char                   name[16];

    /* the data thread's */

    tn_plane_t            *plane;
    tn_plane_conf_t        plane_conf;
    tn_udp_t              *udp;
    uint16_t               port;            /* configured, or 0 */
    bool                   random_port;     /* control wants any other */
    tn_tun_t              *tun;
    tn_bulk_t              bulk;            /* of a TUN with two queues */
    tn_lwnet_t            *lwnet;
    tn_netmon_t           *netmon;
    tn_resolver_t         *resolver;
    tn_derpconn_t         *derp;
    tn_link_t              names;
    tn_capture_t          *capture;         /* NULL: none */
    tn_addr_t              peerapi[TN_DATA_PEERAPI];
    size_t                 npeerapi;
    tn_filter_service_t   *services;        /* served, or NULL */
    size_t                 nservices;

    tn_data_relay_t       *relay;           /* NULL: none */
    tn_data_transit_t     *transit;         /* NULL: no routes */
    tn_echo_t             *echo;

    tn_endpoint_t          extra[TN_DATA_STATIC];
    size_t                 nextra;

    tn_portmap_t          *portmap;         /* NULL: not wanted */
    tn_portmap_state_t     mapped;
    bool                   may_map;         /* control has said what we may */
    bool                   no_upnp;
    tn_prefix_t            routes[TN_PLANE_ROUTES];

    tn_data_said_t         said;            /* the control thread's */
};


#define TN_DATA_HURRY_MS  10000     /* of new keys, or a new core */


extern const tn_plane_ops_t  tn_data_plane_ops;
extern const tn_udp_ops_t    tn_data_udp_ops;
extern const tn_tun_ops_t    tn_data_tun_ops;


/* tn_data.c */

tn_rc_t tn_data_plane_create(tn_data_t *data);

/* tells the path machine which addresses the host and the sockets have */
void tn_data_local(tn_data_t *data);

/*
 * Other sockets: on any port when `port` is 0.  The configured port may still
 * be held by the supervisor; then those that are there stay.
 */
void tn_data_rebind(tn_data_t *data, uint16_t port);


/* tn_data_talk.c */

void tn_data_gate_release(tn_data_gate_t *gate);

void tn_data_say_endpoints(void *arg, const tn_endpoint_t *endpoints,
    size_t n);
void tn_data_say_netinfo(void *arg, const tn_netinfo_t *netinfo);
void tn_data_say_network(tn_data_t *data, bool major);
void tn_data_say_path(void *arg, int64_t id, tn_path_kind_e kind,
    uint32_t derp);
void tn_data_say_near(void *arg, const tn_ip_t ips[2], bool near);


/* tn_data_reach.c: what others may reach here */

/* says it to a plane that is new */
void tn_data_reach(tn_data_t *data);


/* tn_data_relay.c: the peer relay of this node, with sockets of its own */

/* NULL when out of memory; a port in use is waited for */
tn_data_relay_t *tn_data_relay_create(tn_data_t *data, uint16_t port);

/* NULL is allowed */
void tn_data_relay_destroy(tn_data_relay_t *relay);

/* NULL is allowed */
void tn_data_relay_status(tn_data_relay_t *relay,
    tn_data_relay_status_t *status);

/* tells the path machine of its sockets; NULL is allowed */
void tn_data_relay_local(tn_data_relay_t *relay);

/* see tn_path_ops_t */
tn_rc_t tn_data_relay_allocate(void *arg, tn_ms_t now, const tn_key_t *asker,
    const tn_key_t client[2], tn_disco_relay_t *place);
tn_rc_t tn_data_relay_send(void *arg, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);


/* tn_data_transit.c: packets for what is behind this node */

/* NULL when out of memory */
tn_data_transit_t *tn_data_transit_create(tn_data_t *data,
    tn_lwnet_table_t *listeners);

/* NULL is allowed */
void tn_data_transit_destroy(tn_data_transit_t *transit);

/* all addresses of the machine, copied */
void tn_data_transit_machine(tn_data_transit_t *transit, const tn_ip_t *ips,
    size_t n);

/* see tn_plane_conf_t */
tn_plane_transit_e tn_data_transit(void *arg, const uint8_t *packet,
    const tn_packet_t *p, bool service);

/* looks at a frame of the stack, for a peer */
void tn_data_transit_out(tn_data_transit_t *transit, const uint8_t *frame,
    size_t len);


/* tn_data_portmap.c */

/* TN_OK also when there is to be none */
tn_rc_t tn_data_portmap_create(tn_data_t *data, const tn_data_conf_t *conf);

/* an update from control, an own port, or the plane is another one */
void tn_data_portmap_update(tn_data_t *data, const tn_update_t *update);
void tn_data_portmap_want(tn_data_t *data);
void tn_data_portmap_say(tn_data_t *data);


/* tn_data_ops.c */

/* the plane that has asked for them is gone: they are answered to nobody */
void tn_data_names_forget(tn_data_t *data);

/* a virtio header and the packet, whose headers stand in iov[1] */
void tn_data_tun_write(tn_data_t *data, const struct iovec *iov, int n);

void tn_data_echoed(void *arg, const tn_ip_t *ip, uint32_t latency_us);

void tn_data_udp_batch(void *arg);
void tn_data_frame(void *arg, uint8_t *frame, size_t len);
void tn_data_lwip_done(void *arg);
void tn_data_net_changed(void *arg, tn_netmon_change_e change);
void tn_data_woke(void *arg, tn_ms_t slept);


#endif /* TN_DATA_PRIVATE_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What path learns about the network and control tells the coordination
 * server: own endpoints with their kinds, and NetInfo (upstream: tailcfg).
 */

#ifndef TN_NETINFO_H_INCLUDED_
#define TN_NETINFO_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_ENDPOINTS_MAX  64

/* numbers of tailcfg.EndpointType, as they go to control */
typedef enum {
    TN_ENDPOINT_UNKNOWN = 0,
    TN_ENDPOINT_LOCAL = 1,
    TN_ENDPOINT_STUN = 2,
    TN_ENDPOINT_PORTMAPPED = 3,
    TN_ENDPOINT_STUN4_LOCAL_PORT = 4,
    TN_ENDPOINT_EXPLICIT = 5
} tn_endpoint_type_e;

typedef struct {
    tn_addr_t           addr;
    tn_endpoint_type_e  type;
} tn_endpoint_t;


#define TN_NETINFO_LATENCIES_MAX  64

/* JSON null, false and true of opt.Bool */
typedef enum {
    TN_UNKNOWN = 0,
    TN_NO,
    TN_YES
} tn_tristate_e;

typedef struct {
    uint32_t            region;
    bool                v4;
    double              seconds;
} tn_netinfo_latency_t;

typedef struct {
    uint32_t              preferred_derp;   /* home region, 0: none */
    tn_tristate_e         mapping_varies_by_dest_ip;
    tn_tristate_e         working_ipv6;
    tn_tristate_e         os_has_ipv6;
    tn_tristate_e         working_udp;
    tn_tristate_e         upnp;
    tn_tristate_e         pmp;
    tn_tristate_e         pcp;
    bool                  have_port_map;    /* there is one now */
    tn_netinfo_latency_t  latency[TN_NETINFO_LATENCIES_MAX];
    uint32_t              nlatency;
} tn_netinfo_t;


#endif /* TN_NETINFO_H_INCLUDED_ */

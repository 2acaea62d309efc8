
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One exchange with the gateway by one protocol.  Each call blocks for some
 * seconds at most.  Called by the thread of tn_portmap.c alone.
 */

#ifndef TN_PORTMAP_ASK_H_INCLUDED_
#define TN_PORTMAP_ASK_H_INCLUDED_

#include "host/tn_portmap.h"
#include "wire/tn_pcp.h"


#define TN_PORTMAP_URL      256
#define TN_PORTMAP_SERVICE  128

/* who asks whom, for what */
typedef struct {
    tn_ip_t              gateway;
    tn_ip_t              self;
    uint16_t             port;
    uint8_t              nonce[TN_PCP_NONCE];
    atomic_bool         *stop;      /* ends a wait early */
} tn_portmap_site_t;

typedef struct {
    tn_portmap_proto_e   proto;
    tn_addr_t            external;
    uint32_t             lifetime;  /* seconds, never 0 */

    /* UPnP: where it was got */
    char                 url[TN_PORTMAP_URL];
    char                 service[TN_PORTMAP_SERVICE];
} tn_portmap_lease_t;


/*
 * Asks for a mapping, or renews `lease`, which may be zeroed.  TN_OK: the
 * lease is what was granted; TN_REFUSED: the service is there and grants
 * none; TN_NOTFOUND: nobody answers.
 */
tn_rc_t tn_portmap_ask(tn_portmap_proto_e proto,
    const tn_portmap_site_t *site, tn_portmap_lease_t *lease);

/* whether the service is there at all; for NAT-PMP and UPnP */
bool tn_portmap_look(tn_portmap_proto_e proto, const tn_portmap_site_t *site);

/* gives it back; whether that was heard is not waited for long */
void tn_portmap_release(const tn_portmap_site_t *site,
    const tn_portmap_lease_t *lease);


/* tn_portmap_upnp.c */

tn_rc_t tn_portmap_upnp_ask(const tn_portmap_site_t *site,
    tn_portmap_lease_t *lease);
bool tn_portmap_upnp_look(const tn_portmap_site_t *site);
void tn_portmap_upnp_release(const tn_portmap_lease_t *lease);

/* whether a gateway may say that this is our address for everybody */
bool tn_portmap_external_sound(const tn_addr_t *external);

/* a lifetime as granted, within reason; 0 stays 0 */
uint32_t tn_portmap_lifetime(uint32_t seconds);

#define TN_PORTMAP_LEASE_S      7200
#define TN_PORTMAP_LEASE_MAX_S  86400


#endif /* TN_PORTMAP_ASK_H_INCLUDED_ */

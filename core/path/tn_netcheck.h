
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the network around this node is like, asked of STUN servers through
 * the WireGuard socket: own addresses, kind of NAT, latency of each region,
 * and the home region that follows.  Called by path alone.
 */

#ifndef TN_NETCHECK_H_INCLUDED_
#define TN_NETCHECK_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "wire/tn_derpmap.h"
#include "wire/tn_netinfo.h"


#define TN_NETCHECK_STUN_MS        3000     /* the longest report */
#define TN_NETCHECK_HTTPS_MS       3000     /* more, when UDP is blocked */
#define TN_NETCHECK_FULL_EVERY_MS  300000
#define TN_NETCHECK_SEEN_MAX       16

typedef struct tn_netcheck_s  tn_netcheck_t;

typedef struct {
    tn_addr_t      addr;
    uint32_t       count;
} tn_netcheck_seen_t;

typedef struct {
    bool           full;
    bool           udp;             /* any answer came */
    bool           v4;
    bool           v6;
    tn_tristate_e  mapping_varies;  /* IPv4 only */

    /* own addresses as servers saw them: the first is the fastest's */
    tn_netcheck_seen_t  seen4[TN_NETCHECK_SEEN_MAX];
    tn_netcheck_seen_t  seen6[TN_NETCHECK_SEEN_MAX];
    uint32_t       nseen4;
    uint32_t       nseen6;

    bool           answered;        /* some region did, by UDP or HTTPS */
    uint32_t       preferred;       /* region, 0: nothing to go by */
    uint32_t       passed_over;     /* the one that would be preferred if it
                                       took connections, or 0 */
} tn_netcheck_report_t;

typedef struct {
    tn_rc_t (*send)(void *data, const tn_addr_t *to, const uint8_t *bytes,
        size_t len);
    void (*resolve)(void *data, uint32_t id, const char *host);

    /* when the DERP connection of a region last gave a frame, 0: never */
    tn_ms_t (*heard)(void *data, uint32_t region);

    /* the region takes no connections: no home while others answer; may be
     * NULL */
    bool (*lost)(void *data, uint32_t region);

    /*
     * One probe over HTTPS, which ends in tn_netcheck_probed(), never inside
     * of this call.  False when the host cannot do that.
     */
    bool (*https)(void *data, uint32_t id, uint32_t region,
        const tn_derpmap_node_t *node);

    /* may start the next one */
    void (*done)(void *data, tn_ms_t now, const tn_netcheck_report_t *report);
} tn_netcheck_ops_t;


/* NULL when out of memory */
tn_netcheck_t *tn_netcheck_create(const tn_netcheck_ops_t *ops, void *data,
    tn_timers_t *timers, tn_log_t *log);

/* NULL is allowed */
void tn_netcheck_destroy(tn_netcheck_t *netcheck);

/*
 * The map stays the caller's and must live until the next one is set.  A
 * report under way ends without done(); histories of regions that remain
 * are kept.  TN_OK or TN_NOMEM, and then there is no map.
 */
tn_rc_t tn_netcheck_set_derpmap(tn_netcheck_t *netcheck,
    const tn_derpmap_t *map);

/*
 * Starts a report, full when asked for, when the last full one is older than
 * TN_NETCHECK_FULL_EVERY_MS, or when there was none.  have4 and have6: which
 * families this machine has.  done() may be called from inside.  Nothing
 * happens when one is running.
 */
void tn_netcheck_start(tn_netcheck_t *netcheck, tn_ms_t now, bool have4,
    bool have6, uint32_t home, bool full);

bool tn_netcheck_is_running(const tn_netcheck_t *netcheck);

/*
 * The home region takes no connection: the report that ends next asks over
 * HTTPS when UDP is blocked, however short ago that was done.
 */
void tn_netcheck_doubt(tn_netcheck_t *netcheck);

/* a STUN message from the socket; what answers no request is ignored */
void tn_netcheck_input(tn_netcheck_t *netcheck, tn_ms_t now,
    const uint8_t *bytes, size_t len);

/* n is 0 when the name has no address */
void tn_netcheck_resolved(tn_netcheck_t *netcheck, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n);

/* latency 0: it failed; an id of a former report is ignored */
void tn_netcheck_probed(tn_netcheck_t *netcheck, tn_ms_t now, uint32_t id,
    uint32_t latency_us);

/* the lowest of the last answers of a region in ms, 0: it gave none */
uint32_t tn_netcheck_latency(const tn_netcheck_t *netcheck, uint32_t region,
    bool v4);


#endif /* TN_NETCHECK_H_INCLUDED_ */

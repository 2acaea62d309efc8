
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the parts of netcheck share.  Included by them alone.
 */

#ifndef TN_NETCHECK_PRIVATE_H_INCLUDED_
#define TN_NETCHECK_PRIVATE_H_INCLUDED_

#include "tn_netcheck.h"

#include "wire/tn_stun.h"


#define TN_NETCHECK_RETRY_FULL_MS   100
#define TN_NETCHECK_ENOUGH          3       /* regions that have answered */
#define TN_NETCHECK_HISTORY         16

typedef struct {
    tn_ms_t    at;
    uint32_t   ms;
} tn_netcheck_sample_t;

typedef struct {
    uint32_t              id;
    uint32_t              v4_ms;    /* of this report, 0: no answer */
    uint32_t              v6_ms;
    uint32_t              https_ms;
    uint32_t              https_id; /* of the probe under way, or 0 */
    uint32_t              last_ms;  /* of the report before, any family */
    uint32_t              told_v4;  /* of the last report */
    uint32_t              told_v6;
    uint32_t              node;     /* first of its nodes in `nodes` */
    uint32_t              nsamples;
    tn_netcheck_sample_t  sample[TN_NETCHECK_HISTORY];
} tn_netcheck_region_t;

typedef struct {
    const tn_derpmap_node_t  *node;
    uint32_t                  id;   /* of the resolution under way, or 0 */
    bool                      resolved;
    tn_ip_t                   ip4;
    tn_ip_t                   ip6;
} tn_netcheck_node_t;

typedef enum {
    TN_NETCHECK_WAITING = 0,
    TN_NETCHECK_HELD,               /* due, but its name is not resolved */
    TN_NETCHECK_SENT,
    TN_NETCHECK_OVER
} tn_netcheck_state_e;

typedef struct {
    tn_netcheck_state_e  state;
    bool                 v4;
    uint32_t             region;    /* index */
    uint32_t             node;      /* index */
    uint32_t             set;
    tn_ms_t              at;        /* to be sent, then sent */
    uint8_t              txid[TN_STUN_TXID];
} tn_netcheck_probe_t;

typedef struct {
    uint32_t             left;      /* probes that may still answer */
} tn_netcheck_set_t;

struct tn_netcheck_s {
    const tn_netcheck_ops_t  *ops;
    void                     *data;
    tn_timers_t              *timers;
    tn_log_t                 *log;
    tn_timer_t                timer;

    const tn_derpmap_t       *map;
    tn_netcheck_region_t     *regions;
    tn_netcheck_node_t       *nodes;
    uint32_t                  nnodes;
    uint32_t                  last_id;

    bool                      running;
    bool                      advancing;
    bool                      https;    /* HTTPS probes are under way */
    bool                      asked;    /* this report was to be full */
    tn_ms_t                   https_at; /* when they last were, 0: never */
    bool                      had4;     /* in the report before */
    bool                      had6;
    uint32_t                  home;
    tn_ms_t                   started;
    tn_ms_t                   stop_at;
    tn_ms_t                   full_at;  /* 0: there was none */
    uint32_t                  answered; /* regions */

    tn_netcheck_probe_t      *probes;
    uint32_t                  nprobes;
    uint32_t                  probes_size;
    tn_netcheck_set_t        *sets;
    uint32_t                  nsets;

    tn_netcheck_report_t      report;
};


/* tn_netcheck_plan.c: the probes of a report, none of them sent yet */

void tn_netcheck_plan_full(tn_netcheck_t *nc, bool have4, bool have6);
void tn_netcheck_plan_some(tn_netcheck_t *nc, bool have4, bool have6);


/* tn_netcheck_probe.c */

/* sends what is due, ends the report when it is complete, sets the timer */
void tn_netcheck_advance(tn_netcheck_t *nc, tn_ms_t now);


/* tn_netcheck.c */

/* ends the report, or asks over HTTPS first; done() may start the next */
void tn_netcheck_finish(tn_netcheck_t *nc, tn_ms_t now);

/* the latency of a region in this report, 0: no answer */
uint32_t tn_netcheck_any(const tn_netcheck_region_t *region);


#endif /* TN_NETCHECK_PRIVATE_H_INCLUDED_ */

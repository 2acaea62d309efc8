
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The certificates of one node in the world: HTTPS to the ACME server, TXT
 * records through control, files in the state directory, and nginx's workers
 * who use them.  Control's thread only.
 */

#ifndef TN_NODECERT_H_INCLUDED_
#define TN_NODECERT_H_INCLUDED_

#include "cert/tn_certs.h"
#include "control/tn_control.h"
#include "host/tn_http.h"
#include "proc/tn_ipc.h"
#include "host/tn_state.h"



typedef struct tn_nodecert_s  tn_nodecert_t;


/* texts are copied, the rest must outlive the object */
typedef struct {
    tn_loop_t           *loop;
    tn_http_t           *http;
    tn_certs_queue_t    *queue;
    tn_log_t            *log;
    tn_state_t          *state;
    tn_control_t        *control;
    const tn_proxies_t  *proxies;
    const char          *directory;     /* of the ACME server, or NULL */
    const char          *ca_file;       /* or NULL */
} tn_nodecert_conf_t;


/* NULL when out of memory */
tn_nodecert_t *tn_nodecert_create(const tn_nodecert_conf_t *conf);

/* for people: what there is of them */
const tn_certs_t *tn_nodecert_certs(const tn_nodecert_t *nc);

/* closes the workers' connections; before control is destroyed */
void tn_nodecert_destroy(tn_nodecert_t *nc);

/* the netmap's names may have changed */
void tn_nodecert_netmap(tn_nodecert_t *nc, const tn_netmap_t *netmap);

/* control came or went */
void tn_nodecert_online(tn_nodecert_t *nc, bool online);

/* what ops->dns_set of tn_control.h says */
void tn_nodecert_dns_set(tn_nodecert_t *nc, const char *error);

/* takes over the connection of a worker that wants to be kept informed */
void tn_nodecert_take(tn_nodecert_t *nc, int fd, const tn_ipc_cert_t *msg);


#endif /* TN_NODECERT_H_INCLUDED_ */

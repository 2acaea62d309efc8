
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Who is at the other end of a connection, and rules about it: for http and
 * stream alike.
 */

#ifndef _NGX_TAILNET_IDENTITY_H_INCLUDED_
#define _NGX_TAILNET_IDENTITY_H_INCLUDED_


#include "ngx_tailnet.h"


typedef enum {
    NGX_TAILNET_CALLER_NOBODY = 0,
    NGX_TAILNET_CALLER_PEER,
    NGX_TAILNET_CALLER_UNTOLD       /* the core was dead in that moment */
} ngx_tailnet_caller_e;


/* whom a connection was accepted from; it never becomes another */

typedef struct {
    ngx_tailnet_node_t         *node;
    ngx_tailnet_caller_e        known;
    int64_t                     id;
    tn_ip_t                     ip;
    ngx_str_t                   ingress;    /* by funnel: who passed it on */
    unsigned                    funnel:1;
} ngx_tailnet_caller_t;


/* what of it is known now; fields that are not are empty */

typedef struct {
    ngx_tailnet_caller_t       *caller;     /* NULL: not of a tailnet */
    ngx_str_t                   peer[TN_SNAPSHOT_NFIELDS];
    ngx_str_t                   self[TN_SNAPSHOT_NFIELDS];
    unsigned                    self_read:1;
} ngx_tailnet_identity_t;


typedef enum {
    NGX_TAILNET_VAR_NAME = 0,
    NGX_TAILNET_VAR_FQDN,
    NGX_TAILNET_VAR_IP,
    NGX_TAILNET_VAR_PEER,
    NGX_TAILNET_VAR_PEER_FQDN,
    NGX_TAILNET_VAR_PEER_ID,
    NGX_TAILNET_VAR_TAGS,
    NGX_TAILNET_VAR_LOGIN,
    NGX_TAILNET_VAR_DISPLAY,
    NGX_TAILNET_VAR_PICTURE,
    NGX_TAILNET_VAR_CAPS,
    NGX_TAILNET_VAR_PATH,
    NGX_TAILNET_VAR_FUNNEL,
    NGX_TAILNET_VAR_INGRESS
} ngx_tailnet_var_e;


typedef struct {
    ngx_str_t                   name;
    ngx_tailnet_var_e           var;
} ngx_tailnet_var_t;


/* ends with an empty name */
extern ngx_tailnet_var_t  ngx_tailnet_vars[];


/* ngx_tailnet_identity.c */

/* at accept, of a listener of this node; NGX_OK or NGX_ERROR */
ngx_int_t ngx_tailnet_caller_note(ngx_connection_t *c,
    ngx_tailnet_node_t *node);

/* NULL for a connection of another listener */
ngx_tailnet_caller_t *ngx_tailnet_caller(ngx_connection_t *c);

/* as the netmap is now; NULL when out of memory */
ngx_tailnet_identity_t *ngx_tailnet_identity(ngx_connection_t *c,
    ngx_pool_t *pool);

/* *value stays as long as pool; NGX_OK or NGX_ERROR */
ngx_int_t ngx_tailnet_identity_var(ngx_tailnet_identity_t *identity,
    ngx_tailnet_var_e var, ngx_pool_t *pool, ngx_str_t *value);

/* the JSON array of a capability, empty when it is not granted */
void ngx_tailnet_identity_cap(ngx_tailnet_identity_t *identity,
    ngx_str_t *name, ngx_str_t *value);

/* the capabilities of the address the connection came from */
ngx_str_t *ngx_tailnet_identity_caps(ngx_tailnet_identity_t *identity);

/*
 * The next member of a JSON object as the core writes it; *p points behind
 * the one before, at first behind "{".  NGX_DONE after the last.
 */
ngx_int_t ngx_tailnet_json_next(u_char **p, u_char *last, ngx_str_t *name,
    ngx_str_t *value);


/* ngx_tailnet_rule.c */

/* tailnet_allow and tailnet_deny: adds to *rules, which is made if NULL */
char *ngx_tailnet_rule(ngx_conf_t *cf, ngx_array_t **rules, ngx_uint_t deny);

/*
 * The first rule that matches decides: NGX_OK, or NGX_ABORT for no.
 * NGX_DECLINED when none does.
 */
ngx_int_t ngx_tailnet_rules_check(ngx_array_t *rules,
    ngx_tailnet_identity_t *identity, ngx_log_t *log);


#endif /* _NGX_TAILNET_IDENTITY_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the parts of the glue share.  ngx_tailnet_*.c are for http and stream
 * alike; nothing of http or stream is named here.
 */

#ifndef _NGX_TAILNET_H_INCLUDED_
#define _NGX_TAILNET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include "proc/tn_client.h"
#include "host/tn_proxy.h"
#include "node/tn_directory.h"


/* the context of the directives inside of tailnet {} */
#define NGX_TAILNET_CONF  0x02000000


/* whether nginx's servers have an id, for "sticky" */
#define NGX_TAILNET_SID                                                       \
    (nginx_version >= 1029006 && (NGX_HTTP_UPSTREAM_SID || NGX_COMPAT))


typedef char *(*ngx_tailnet_set_pt)(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


typedef struct ngx_tailnet_certs_s  ngx_tailnet_certs_t;


/* a tailnet {} block */

typedef struct {
    ngx_str_t                       name;

    ngx_str_t                       control_url;
    ngx_str_t                       auth_key;   /* the key itself, or unset */
    ngx_str_t                       hostname;
    ngx_str_t                       state;
    ngx_str_t                       tags;       /* joined by commas */
    ngx_str_t                       certificate;
    ngx_str_t                       proxy;      /* secret; unset, "off" */
    ngx_flag_t                      ephemeral;
    ngx_flag_t                      accept_routes;
    ngx_flag_t                      shields_up;
    ngx_flag_t                      port_mapping;
    ngx_int_t                       port;
    ngx_uint_t                      stack;
    tn_addr_t                       endpoints[TN_IPC_STATIC];
    ngx_uint_t                      nendpoints;
    ngx_int_t                       relay_port;     /* 0: no peer relay */
    tn_prefix_t                     routes[TN_IPC_ROUTES];  /* advertised */
    ngx_uint_t                      nroutes;
    ngx_flag_t                      be_exit_node;   /* advertised */
    ngx_str_t                       exit_node;      /* to use */

    tn_directory_t                  directory;  /* mem NULL: none */

    ngx_str_t                       domains;    /* of Funnel, by commas */
    ngx_str_t                       acme;       /* directory, or unset */
    ngx_tailnet_certs_t            *certs;      /* NULL: none are used */
    ngx_str_t                       cert_domains;   /* that are used */
    unsigned                        cert_fallback:1;

    unsigned                        failed:1;   /* no listeners this cycle */
} ngx_tailnet_node_t;


/* a socket that "listen ... tailnet" asks for; its stand-in is in nginx */

typedef struct {
    ngx_str_t                       path;       /* of the stand-in's sockaddr */
    ngx_tailnet_node_t             *node;
    in_port_t                       port;
    ngx_uint_t                      family;     /* 4 or 6 */
    unsigned                        implicit:1; /* IPv6 without [::] */
    unsigned                        funnel:1;   /* of the Internet */
    unsigned                        lwip:1;     /* its last socket: AF_UNIX */
    unsigned                        capture:1;  /* for advertised routes */
    ngx_str_t                       service;    /* "svc:name", or empty */
    unsigned                        probe:1;    /* TN_IPC_PROBE */
    unsigned                        ssl:1;      /* by some "listen" */
    unsigned                        proxy:1;    /* PROXY protocol, likewise */
    ngx_tailnet_set_pt              set[2];     /* who uses TCP, UDP */
} ngx_tailnet_listen_t;


/* a listener of the cycle that has its socket */

typedef struct {
    ngx_uint_t                      index;      /* in cycle->listening of the
                                                   master */
    ngx_connection_handler_pt       handler;    /* nginx's */
    ngx_tailnet_node_t             *node;
    unsigned                        lwip:1;
    unsigned                        udp:1;      /* with lwip */
    unsigned                        funnel:1;
    unsigned                        capture:1;
    unsigned                        reuseport:1;
} ngx_tailnet_opened_t;


typedef struct ngx_tailnet_members_s  ngx_tailnet_members_t;
typedef struct ngx_tailnet_stock_s    ngx_tailnet_stock_t;
typedef struct ngx_tailnet_serving_s  ngx_tailnet_serving_t;


/* where "server ... tailnet" leads */

typedef struct {
    ngx_tailnet_node_t             *node;
    ngx_str_t                       host;
    in_port_t                       port;
    unsigned                        group:1;    /* "tag:name": many peers */
    ngx_tailnet_members_t          *members;    /* when it is watched */
} ngx_tailnet_target_t;


/* what there is to change of a server of a balancer, of http or stream */

typedef struct {
    struct sockaddr                *sockaddr;
    ngx_uint_t                     *down;
    ngx_uint_t                     *fails;
    time_t                         *accessed;
    time_t                         *checked;
    ngx_int_t                      *current_weight;
    ngx_int_t                      *effective_weight;
    ngx_int_t                      *weight;
    u_char                         *sid;        /* NULL: not ours to say */
} ngx_tailnet_slot_t;


typedef struct ngx_tailnet_group_s  ngx_tailnet_group_t;

/* tells nginx whether a list has one server only; whether it has now */
typedef ngx_uint_t (*ngx_tailnet_single_pt)(ngx_tailnet_group_t *group,
    ngx_uint_t single);


/* the servers that one target has in one list of a balancer */

struct ngx_tailnet_group_s {
    struct ngx_tailnet_conf_s      *conf;
    ngx_tailnet_target_t           *target;
    ngx_tailnet_slot_t              slots[TN_IPC_MEMBERS_MAX];
    ngx_uint_t                      nslots;
    ngx_int_t                       weight;     /* of each that counts */
    ngx_uint_t                      up;         /* what is not down has */
    ngx_uint_t                     *tries;      /* of the list */
    ngx_uint_t                     *total_weight;   /* or NULL: to be left */
    ngx_atomic_t                   *lock;       /* NULL without a zone */
    void                           *peers;      /* the list */
    ngx_tailnet_single_pt           single;
};


typedef struct ngx_tailnet_conf_s {
    ngx_cycle_t                    *cycle;
    ngx_str_t                       core;       /* of tailnet_core */
    ngx_str_t                       program;    /* the core's program */
    ngx_str_t                       dir;        /* at run time */

    ngx_array_t                     nodes;      /* ngx_tailnet_node_t * */
    ngx_array_t                     listens;    /* ngx_tailnet_listen_t */
    ngx_array_t                     targets;    /* ngx_tailnet_target_t */

    ngx_array_t                     groups;     /* ngx_tailnet_group_t */
    ngx_array_t                     stocks;     /* ngx_tailnet_stock_t * */
    ngx_array_t                     servings;   /* ngx_tailnet_serving_t * */
    ngx_array_t                     layouts;    /* ngx_listening_t *; whose
                                                   port is to be as of IPv6 */
    ngx_uint_t                      nwatched;   /* names of one peer */

    ngx_array_t                     opened;     /* ngx_tailnet_opened_t */
    ngx_array_t                     contexts;   /* SSL_CTX *, of all servers */

    tn_client_t                     client;     /* the lifeline */
} ngx_tailnet_conf_t;


/* a dial that waits for the core's answer */

typedef struct {
    ngx_connection_t               *channel;    /* to the core, or NULL */
    ngx_connection_t               *connection; /* the upstream's own */
    ngx_uint_t                      tries;
} ngx_tailnet_dial_t;


/* stands between nginx and the balancer of one upstream request */

typedef struct {
    ngx_tailnet_conf_t             *conf;
    ngx_pool_t                     *pool;
    ngx_tailnet_target_t           *target;     /* of the last get */
    ngx_str_t                       host;       /* whom to dial */

    void                           *data;
    ngx_event_get_peer_pt           get;
    ngx_event_free_peer_pt          free;
    ngx_event_notify_peer_pt        notify;

#if (NGX_SSL || NGX_COMPAT)
    ngx_event_set_peer_session_pt   set_session;
    ngx_event_save_peer_session_pt  save_session;
#endif

    ngx_peer_connection_t          *pc;
    struct sockaddr                *sockaddr;   /* the stand-in, or NULL */
    socklen_t                       socklen;
    struct sockaddr_un              standin;    /* a copy, of a group */

    ngx_tailnet_dial_t              dial;
} ngx_tailnet_peer_t;


/* ngx_tailnet_module.c */

/* the module's configuration, NULL when this cycle does not load it */
ngx_tailnet_conf_t *ngx_tailnet_get_conf(ngx_cycle_t *cycle);

/*
 * Replaces the handler of a stock directive and returns the one before, or
 * NULL when the module has no such directive.
 */
ngx_tailnet_set_pt ngx_tailnet_wrap(ngx_module_t *module, char *name,
    ngx_tailnet_set_pt set);

/* the same of a module that may not be there, by its name */
ngx_tailnet_set_pt ngx_tailnet_wrap_named(char *module, char *name,
    ngx_tailnet_set_pt set);

/*
 * Calls the handler with `first` for the first argument and without `skip`
 * and `skip2` (NULL: none).
 */
char *ngx_tailnet_call(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set, ngx_str_t *first, ngx_str_t *skip,
    ngx_str_t *skip2);


/* ngx_tailnet_channel.c */

/*
 * A connection of this worker's own to the core, over `fd`, which is closed on
 * an error; NULL then.  Nothing is ever written by an event; the caller asks
 * for reads when it has kept the connection.
 */
ngx_connection_t *ngx_tailnet_channel(int fd, ngx_log_t *log, void *data,
    ngx_event_handler_pt read);

/* nothing is left to be read: waits for more.  NGX_OK or NGX_ERROR */
ngx_int_t ngx_tailnet_channel_wait(ngx_event_t *rev);

/* asks the core: the socket, or -1 */
typedef int (*ngx_tailnet_line_open_pt)(void *data);

/* NGX_OK: it is to be opened again, unless the worker ends */
typedef ngx_int_t (*ngx_tailnet_line_lost_pt)(void *data);

/* one that is opened again when it is lost, as by another core */

typedef struct {
    ngx_connection_t               *channel;    /* NULL: none now */
    ngx_event_t                     retry;
    ngx_connection_t                dummy;      /* a timer wants one */
    ngx_msec_t                      pause;
    ngx_tailnet_line_open_pt        open;
    ngx_event_handler_pt            read;
    ngx_tailnet_line_lost_pt        lost;       /* or NULL */
    void                           *data;       /* of the channel, too */
    unsigned                        idle:1;     /* read is called, with close
                                                   set, when a worker quits */
} ngx_tailnet_line_t;

void ngx_tailnet_line_init(ngx_tailnet_line_t *line, ngx_msec_t pause,
    ngx_tailnet_line_open_pt open, ngx_event_handler_pt read,
    ngx_tailnet_line_lost_pt lost, void *data);

/* nothing happens when it is open */
void ngx_tailnet_line_open(ngx_tailnet_line_t *line, ngx_log_t *log);

/* the read handler has seen the end, or what cannot be */
void ngx_tailnet_line_lost(ngx_tailnet_line_t *line);

void ngx_tailnet_line_stop(ngx_tailnet_line_t *line);


/* ngx_tailnet_conf.c */

/* the parameters with commas between them: NGX_CONF_OK, or why not */
char *ngx_tailnet_join(ngx_conf_t *cf, ngx_str_t *list);

char *ngx_tailnet_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_control_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_auth_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_hostname(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_tags(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_relay_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_endpoints(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_stack(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_certificate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/*
 * The parameter "tailnet" or "tailnet=name" of a directive and its node.
 * NGX_DECLINED: there is none; NGX_ERROR: it was logged.
 */
ngx_int_t ngx_tailnet_parameter(ngx_conf_t *cf, ngx_str_t **param,
    ngx_tailnet_node_t **node);

/* one character or more, each a letter, a digit or one of `more` */
ngx_uint_t ngx_tailnet_is_word(u_char *p, size_t len, char *more);


/* ngx_tailnet_route.c */

char *ngx_tailnet_exit_node(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_tailnet_routes(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* adds the two routes of an exit node */
void ngx_tailnet_route_exit(ngx_tailnet_node_t *node);

/* "address:port" that the client connected to; NGX_OK or NGX_ERROR */
ngx_int_t ngx_tailnet_destination(ngx_connection_t *c, ngx_pool_t *pool,
    ngx_str_t *value);


/* ngx_tailnet_process.c */

ngx_int_t ngx_tailnet_init_zone(ngx_shm_zone_t *zone, void *data);
ngx_int_t ngx_tailnet_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_tailnet_init_process(ngx_cycle_t *cycle);
void ngx_tailnet_exit_process(ngx_cycle_t *cycle);
void ngx_tailnet_exit_master(ngx_cycle_t *cycle);


/* ngx_tailnet_listen.c */

/* in place of the stock "listen", which is `set` */
char *ngx_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set);

/*
 * Gives the stand-ins their sockets; those that get none leave the cycle's
 * list.  Before nginx opens its own.
 */
void ngx_tailnet_listen_open(ngx_tailnet_conf_t *tcf);

/* after nginx opened its own: makes the stand-ins look like what they are */
ngx_int_t ngx_tailnet_listen_commit(ngx_tailnet_conf_t *tcf);

/* after all of nginx's core modules */
void ngx_tailnet_listen_committed(ngx_tailnet_conf_t *tcf);

/* an accepted connection that nginx's own handler has not seen */
void ngx_tailnet_listen_close(ngx_connection_t *c);

/* which of ours it is, or NULL; after ngx_tailnet_listen_commit() */
ngx_tailnet_opened_t *ngx_tailnet_listen_opened(ngx_listening_t *ls);

/* whether a connection was accepted by a listener with "capture" */
ngx_uint_t ngx_tailnet_listen_captured(ngx_connection_t *c);

/* what an old binary passed on without meaning to is not ours to close */
void ngx_tailnet_listen_forget(ngx_cycle_t *old_cycle);


/* dst becomes what src was, which is of no use then */
void ngx_tailnet_listen_move(ngx_listening_t *dst, ngx_listening_t *src);


/* ngx_tailnet_service.c */

/*
 * The parameter "service=svc:name" of a "listen".  NGX_OK; NGX_DECLINED: there
 * is none; NGX_ERROR: it was logged.
 */
ngx_int_t ngx_tailnet_service_parameter(ngx_conf_t *cf, ngx_str_t **param,
    ngx_str_t *name);

/* takes a listener over that is to leave the cycle's list */
ngx_int_t ngx_tailnet_service_take(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_listen_t *tl, ngx_listening_t *ls);

/* whose service a listener is of, or NULL */
ngx_tailnet_node_t *ngx_tailnet_service_of(ngx_listening_t *ls);

/* in a worker: serves */
void ngx_tailnet_service_start(ngx_tailnet_conf_t *tcf);
void ngx_tailnet_service_stop(ngx_tailnet_conf_t *tcf);


/* ngx_tailnet_funnel.c */

/*
 * Takes "funnel" or "funnel=only" out of the arguments of a "listen".
 * NGX_OK; NGX_DECLINED: there was none; NGX_ERROR: it was logged.
 */
ngx_int_t ngx_tailnet_funnel_parameter(ngx_conf_t *cf, ngx_uint_t *only);

/* the directive "funnel_domains" */
char *ngx_tailnet_funnel_domains(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* a connection of the core to a listener of Funnel */
void ngx_tailnet_funnel_accepted(ngx_connection_t *c,
    ngx_tailnet_opened_t *opened);


/* ngx_tailnet_lwip.c */

/* whether a socket of the core or the supervisor is of the stack lwip */
ngx_uint_t ngx_tailnet_lwip_is(ngx_socket_t s);

/*
 * Has the core refuse a connection or flow that is closed next; 0: it is the
 * kernel's
 */
ngx_uint_t ngx_tailnet_lwip_refuse(ngx_connection_t *c);

/* a listener that got such a socket; before nginx looks at its options */
void ngx_tailnet_lwip_listen(ngx_listening_t *ls);

/* gives a port, if it is of http, the layout of IPv6 */
ngx_int_t ngx_tailnet_lwip_layout(ngx_cycle_t *cycle, ngx_listening_t *ls);

/* has nginx see who called; NGX_ERROR: nobody it would believe */
ngx_int_t ngx_tailnet_lwip_names(ngx_connection_t *c);

/* a connection that carries datagrams becomes a session of nginx's */
void ngx_tailnet_lwip_session(ngx_connection_t *c,
    ngx_connection_handler_pt *handler);

/* an upstream's connection that got such a socket */
void ngx_tailnet_lwip_connected(ngx_connection_t *c);


/* ngx_tailnet_upstream.c */

/*
 * In place of the stock "server" of an upstream, which is `set`.  With the
 * parameter "tailnet", *name becomes the name as written and *addr the host
 * and port to show; the caller puts them over those of the stand-in.
 * Without it, name->len is 0.  default_port is 0 when there is none.
 */
char *ngx_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set, in_port_t default_port, ngx_str_t *name,
    ngx_str_t *addr);

/* whether this address is a stand-in that ngx_tailnet_server() made */
ngx_uint_t ngx_tailnet_is_target(struct sockaddr *sockaddr);

/* whether that stand-in is of a "tag:name" */
ngx_uint_t ngx_tailnet_is_group(ngx_cycle_t *cycle,
    struct sockaddr *sockaddr);

/* the target that a stand-in is of, or NULL */
ngx_tailnet_target_t *ngx_tailnet_target(ngx_tailnet_conf_t *tcf,
    struct sockaddr *sockaddr);

/* the peer that a slot's stand-in names, or 0 */
int64_t ngx_tailnet_target_id(struct sockaddr *sockaddr);
void ngx_tailnet_target_name(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_target_t *target, int64_t id, struct sockaddr *sockaddr);

/* puts a zeroed peer between pc and its balancer, after peer.init */
void ngx_tailnet_peer_init(ngx_tailnet_peer_t *peer,
    ngx_tailnet_conf_t *tcf, ngx_peer_connection_t *pc, ngx_pool_t *pool);


/* ngx_tailnet_members.c */

/* for the server of a group: the addresses of its slots */
ngx_int_t ngx_tailnet_members_addrs(ngx_conf_t *cf, ngx_addr_t **addrs,
    ngx_uint_t *naddrs);

/*
 * Takes the slots over that a target has in a list; in the master, before
 * workers are made.
 */
ngx_int_t ngx_tailnet_members_group(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_group_t *group);

/* in a worker: keeps the slots up to date */
void ngx_tailnet_members_start(ngx_tailnet_conf_t *tcf);
void ngx_tailnet_members_stop(ngx_tailnet_conf_t *tcf);

/*
 * Has the worker told of the address of a target that is a name, as long as
 * there are not too many.
 */
void ngx_tailnet_members_watch(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_target_t *target);

/* the address of a target, of its peer `id` if it is a group, or NULL */
tn_ip_t *ngx_tailnet_members_ip(ngx_tailnet_target_t *target, int64_t id);

/* the name of a peer in a slot, or that of the target: whom to ask for */
ngx_str_t *ngx_tailnet_members_host(ngx_tailnet_target_t *target, int64_t id,
    ngx_str_t *host);


/* ngx_tailnet_stock.c */

/* a socket of the node's namespace that is not connected, for TCP, or -1 */
ngx_socket_t ngx_tailnet_stock_take(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node, ngx_uint_t family);
void ngx_tailnet_stock_stop(ngx_tailnet_conf_t *tcf);


extern ngx_module_t  ngx_tailnet_module;


#endif /* _NGX_TAILNET_H_INCLUDED_ */

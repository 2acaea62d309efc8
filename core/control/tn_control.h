
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The control client: one node's way into its tailnet and the source of its
 * netmap.  The node creates one and carries bytes, time and saved state
 * between it and the world.  Owns no socket, clock, thread or file.
 */

#ifndef TN_CONTROL_H_INCLUDED_
#define TN_CONTROL_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "control/tn_netmap.h"
#include "wire/tn_netinfo.h"


#define TN_CONTROL_URL_DEFAULT  "https://controlplane.tailscale.com"

typedef struct tn_control_s  tn_control_t;


typedef enum {
    TN_CONTROL_STOPPED = 0,     /* before start and after stop */
    TN_CONTROL_STARTING,        /* no map yet: connecting, or waiting to */
    TN_CONTROL_NEEDS_LOGIN,     /* text: the URL to visit, or why a key or
                                   an auth key was refused */
    TN_CONTROL_NEEDS_APPROVAL,  /* an admin has to approve the machine */
    TN_CONTROL_RUNNING          /* has a map; stays so while control is away */
} tn_control_state_e;


/* one of Hostinfo.Services: proto "peerapi4", "peerapi6", "tcp", "udp" ... */
typedef struct {
    const char     *proto;
    uint16_t        port;
} tn_control_service_t;


/*
 * What must survive a restart; see save() below.  All of it is secret or
 * personal except `server`.
 */
typedef struct {
    tn_keypair_t    machine;
    tn_keypair_t    node;
    tn_keypair_t    next;       /* priv not zero: it is to replace `node`, and
                                   control has not been heard to accept it */
    bool            registered; /* control accepted `node` without a login
                                   pending */
} tn_control_saved_t;


/* everything is copied by tn_control_create() */
typedef struct {
    const char             *url;        /* NULL: the default one */
    const char             *auth_key;   /* NULL: none */
    const char             *hostname;
    const char            **tags;       /* "tag:web", ... */
    size_t                  ntags;
    const tn_prefix_t      *routes;     /* RoutableIPs to advertise */
    size_t                  nroutes;
    bool                    ephemeral;
    bool                    shields_up;
    bool                    peer_relay; /* relays for other peers */
    bool                    tls_only;   /* by https never without TLS */

    /* for Hostinfo; each may be NULL */
    const char             *version;    /* ours; NULL: tn_control's own */
    const char             *os_version; /* kernel release */
    const char             *machine_type;   /* uname -m */
    const char             *distro;
    const char             *distro_version;
    const char             *distro_codename;

    /*
     * machine.priv zero: both pairs are made anew and saved before first
     * use; node.priv zero: the node pair is.  `pub` need not be set.
     */
    tn_control_saved_t      saved;
    tn_key_t                disco;      /* public; set before start */
} tn_control_conf_t;


/* a ping control asks for, disco, TSMP, ICMP or peerapi; ids never repeat */
typedef struct {
    uint32_t        id;
    const char     *type;       /* one type; several are asked one by one */
    tn_ip_t         ip;
} tn_control_ping_t;

typedef struct {
    const char     *error;      /* NULL: it worked */
    double          seconds;
    const char     *node_ip;    /* texts; each may be NULL */
    const char     *node_name;
    const char     *endpoint;
    const char     *peer_relay;
    uint32_t        derp_region;
    const char     *derp_code;
    uint16_t        peerapi_port;
} tn_control_pong_t;


/* a request control sends through the map to be run here ("c2n") */
typedef struct {
    uint32_t        id;
    const char     *method;
    const char     *path;       /* with its query */
    const char     *body;
    size_t          body_len;
} tn_control_c2n_t;


/*
 * What control asks of its owner.  Calls may come from any function below;
 * none may destroy the object, and no event may be delivered from inside
 * one.  `conn` numbers are never zero and never used again.
 */
typedef struct {
    /* monotonic milliseconds, and Unix seconds */
    tn_ms_t (*now)(void *data);
    int64_t (*wall)(void *data);

    /*
     * Open a connection, without TLS or with it: then the certificate must
     * be good for `host` by the system's roots and the configured ones.  No
     * ALPN.  Answered by tn_control_connected() or _closed().
     */
    void (*connect)(void *data, uint32_t conn, const char *host,
        uint16_t port, bool tls);

    /* takes all the bytes (queues what the socket does not) */
    void (*send)(void *data, uint32_t conn, const uint8_t *bytes,
        size_t len);

    /* flush what was sent and close; no event comes for conn after this */
    void (*close)(void *data, uint32_t conn);

    /* on stable storage when it returns TN_OK; else nothing that depends on
     * it is sent, and it is tried again */
    tn_rc_t (*save)(void *data, const tn_control_saved_t *saved);

    /* a copy of the netmap to be kept for tn_control_restore(), in place of
     * the one before, NULL: of none; seldom, and may be NULL */
    void (*keep_netmap)(void *data, const uint8_t *bytes, size_t len);

    /* the same of tailnet lock's updates, for tn_control_restore_lock(); on
     * stable storage when it returns TN_OK; may be NULL */
    tn_rc_t (*keep_lock)(void *data, const uint8_t *bytes, size_t len);

    /* also with no changes, once for each stream: control is there again */
    void (*netmap_changed)(void *data, tn_netmap_t *netmap,
        const tn_netmap_changes_t *changes);

    /* text: the login URL or the reason, "" when there is none; of STOPPED,
     * why control did not hear of a logout */
    void (*state_changed)(void *data, tn_control_state_e state,
        const char *text);

    /* each may be NULL: then control is told that we cannot */
    void (*ping)(void *data, const tn_control_ping_t *ping);
    void (*c2n)(void *data, const tn_control_c2n_t *request);

    /* another node key is in force (also in save()): give it to WireGuard
     * and DERP; may be NULL */
    void (*node_key_changed)(void *data, const tn_keypair_t *node);

    /* the answer to tn_control_set_dns(): NULL, or why not; may be NULL */
    void (*dns_set)(void *data, const char *error);
} tn_control_ops_t;


/*
 * NULL when out of memory or the URL is bad (the log says which).  ops, data,
 * timers and log must outlive the object.  Nothing is sent before start.
 */
tn_control_t *tn_control_create(const tn_control_conf_t *conf,
    const tn_control_ops_t *ops, void *data, tn_timers_t *timers,
    tn_log_t *log);

/* closes its connections, wipes keys, frees the netmap */
void tn_control_destroy(tn_control_t *control);

/* TN_MALFORMED with a reason in err (of size bytes) when control could not
 * use this URL; for checking a configuration */
tn_rc_t tn_control_check_url(const char *url, char *err, size_t size);

/*
 * Before start: a netmap that was kept, so that the node runs while control
 * is away.  TN_OK: ops->netmap_changed() was called and the state is RUNNING.
 * TN_REFUSED: of another registration, or not one to run by; TN_MALFORMED;
 * TN_NOMEM.
 */
tn_rc_t tn_control_restore(tn_control_t *control, const uint8_t *bytes,
    size_t len);

/*
 * Before tn_control_restore(): tailnet lock as it was kept.  TN_OK;
 * TN_MALFORMED, and there is none then.
 */
tn_rc_t tn_control_restore_lock(tn_control_t *control, const uint8_t *bytes,
    size_t len);

/* setters called before start fill the first requests */
void tn_control_start(tn_control_t *control);

/*
 * Ends.  `leave`: for good; if the connection stands, an ephemeral node logs
 * out, and another takes back its routes and services.  True when there is
 * something to wait for: state becomes STOPPED when it is done, within 5 s.
 */
bool tn_control_stop(tn_control_t *control, bool leave);

/*
 * Forget the registration: log out at control, then STOPPED.  When control
 * does not hear of it the registration is kept.  The result as above.
 */
bool tn_control_logout(tn_control_t *control);

/*
 * Replace the node key, while the present one goes on serving until control
 * has accepted the new one.  False: there is no registration to renew, or it
 * is being done.
 */
bool tn_control_renew(tn_control_t *control);

/* the network changed: check the connection now, or dial without waiting */
void tn_control_wake(tn_control_t *control);


/* events of a connection asked for */
void tn_control_connected(tn_control_t *control, uint32_t conn);
void tn_control_received(tn_control_t *control, uint32_t conn,
    const uint8_t *bytes, size_t len);
void tn_control_closed(tn_control_t *control, uint32_t conn,
    const char *reason);


/* each compares, and when something changed tells control a moment later */
void tn_control_set_endpoints(tn_control_t *control,
    const tn_endpoint_t *endpoints, size_t n);
void tn_control_set_netinfo(tn_control_t *control,
    const tn_netinfo_t *netinfo);
void tn_control_set_disco(tn_control_t *control, const tn_key_t *disco);
void tn_control_set_services(tn_control_t *control,
    const tn_control_service_t *services, size_t n);
void tn_control_set_routes(tn_control_t *control, const tn_prefix_t *routes,
    size_t n);
/* Hostinfo.IngressEnabled and .WireIngress */
void tn_control_set_ingress(tn_control_t *control, bool enabled, bool wire);
/* Hostinfo.ServicesHash, "" for none: at another one control asks what the
 * services are */
void tn_control_set_services_hash(tn_control_t *control, const char *hash);
/* control has taken all that the setters said, or is away */
bool tn_control_is_told(const tn_control_t *control);
/* a new configuration's; used only while there is no valid node key */
void tn_control_set_auth_key(tn_control_t *control, const char *auth_key);

/*
 * Asks control to publish a TXT record, in place of one asked for before.
 * TN_OK: ops->dns_set() will follow; TN_CLOSED: control is away; TN_NOMEM.
 */
tn_rc_t tn_control_set_dns(tn_control_t *control, const char *name,
    const char *value);

/* answers to ops->ping and ops->c2n; an unknown id is ignored */
void tn_control_pong(tn_control_t *control, uint32_t id,
    const tn_control_pong_t *pong);
void tn_control_c2n_answer(tn_control_t *control, uint32_t id, int status,
    const char *content_type, const char *body, size_t len);


tn_control_state_e tn_control_state(const tn_control_t *control,
    const char **text);
/* true while the map stream is up */
bool tn_control_online(const tn_control_t *control);
/* why it is not, one line, "" when it is */
const char *tn_control_trouble(const tn_control_t *control);
/* what is wrong with the node's registration and what to do, one line, or
 * NULL; code (may be NULL): its name among the health warnings */
const char *tn_control_health(const tn_control_t *control,
    const char **code);
/* never NULL; empty until the first map */
tn_netmap_t *tn_control_netmap(tn_control_t *control);
const tn_control_saved_t *tn_control_saved(const tn_control_t *control);


#endif /* TN_CONTROL_H_INCLUDED_ */

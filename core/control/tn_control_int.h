
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of the control client: its state, and who does what in
 * it.  Nobody outside core/control includes it.
 */

#ifndef TN_CONTROL_INT_H_INCLUDED_
#define TN_CONTROL_INT_H_INCLUDED_

#include "control/tn_control.h"
#include "control/tn_h2.h"
#include "control/tn_http1.h"
#include "control/tn_mapstream.h"
#include "control/tn_netmap_int.h"
#include "control/tn_noise.h"
#include "lock/tn_aums.h"
#include "lock/tn_resign.h"


/*
 * The capability version we claim, which is also the Noise protocol version.
 * It promises all of the list in tailcfg up to it: deltas, patches, named
 * filters, the split update, stateful and jailed filtering, null AllowedIPs,
 * display messages, peer relay messages.  Servers' floors lie at 106
 * (headscale 0.28) and 113 (0.29).
 */
#define TN_CONTROL_CAPABILITY_VERSION  130

/*
 * Hostinfo.IPNVersion: the one of Tailscale's clients whose behaviour ours is
 * beside, which servers and their consoles read as such.
 */
#define TN_CONTROL_VERSION       "1.102.5-ngx_tailnet"
#define TN_CONTROL_APP           "ngx_tailnet"

#define TN_CONTROL_DIAL_MS       10000  /* one attempt, by the name */
#define TN_CONTROL_PLANNED_MS    3000   /* and by an address of the plan */
#define TN_CONTROL_FALLBACK_MS   500    /* 443 after 80 */
#define TN_CONTROL_RECENT_MS     120000 /* a dial by 80 that did not last */
#define TN_CONTROL_WATCHDOG_MS   120000 /* silence on the map stream */
#define TN_CONTROL_REGISTER_MS   60000  /* without a followup */
#define TN_CONTROL_UPDATE_MS     30000  /* an update without an answer */
#define TN_CONTROL_LOGOUT_MS     5000
#define TN_CONTROL_PING_MS       2500   /* HTTP/2 PING after a wake-up */
#define TN_CONTROL_ALIVE_MS      60000  /* between PINGs in a followup */
#define TN_CONTROL_DEBOUNCE_MS   200    /* from a change to its update */
#define TN_CONTROL_NETINFO_MS    700    /* the first update waits for one */
#define TN_CONTROL_BACKOFF_MS    500    /* the first; then doubled */
#define TN_CONTROL_BACKOFF_MAX_MS  30000
#define TN_CONTROL_UNTAKEN_MS    3600000    /* at most, between renewals */
#define TN_CONTROL_GOOD_MS       10000  /* a map stream that counts as good */
#define TN_CONTROL_SLEEP_MAX_MS  300000 /* Debug.SleepSeconds */

#define TN_CONTROL_WARN_FIRST_S  604800 /* before the node key expires */
#define TN_CONTROL_WARN_LAST_S   86400

#define TN_CONTROL_ANSWER_MAX    (1024 * 1024)
#define TN_CONTROL_EARLY_MAX     (1024 * 1024)  /* early payload, bytes */
#define TN_CONTROL_SERVICES_MAX  32
#define TN_CONTROL_ROUTES_MAX    256
#define TN_CONTROL_TAGS_MAX      64
#define TN_CONTROL_PINGS_MAX     16     /* control's requests under way */
#define TN_CONTROL_PLAN_MAX      8      /* addresses of control */
#define TN_CONTROL_TEXT          512


typedef enum {
    TN_CONTROL_IDLE = 0,        /* stopped */
    TN_CONTROL_WAITING,         /* for the retry timer */
    TN_CONTROL_KEY,             /* fetching the server's key */
    TN_CONTROL_DIALING,
    TN_CONTROL_REGISTERING,     /* also while somebody logs in */
    TN_CONTROL_POLLING,
    TN_CONTROL_LEAVING          /* logging out */
} tn_control_phase_e;


/* one connection before it carries HTTP/2 */
typedef enum {
    TN_DIAL_KEY = 0,
    TN_DIAL_PLAIN,
    TN_DIAL_TLS,
    TN_DIAL_URL,                /* a HEAD for a PingRequest */
    TN_DIAL_API,                /* an auth key is made */
    TN_DIAL_NKINDS
} tn_control_dial_e;

typedef struct {
    uint32_t            conn;
    bool                upgraded;
    tn_url_t            url;
    tn_http1_t          http;
    tn_noise_t          noise;
} tn_control_dial_t;


/* a request over HTTP/2 with its answer collected */
typedef struct tn_control_call_s  tn_control_call_t;

typedef void (*tn_control_answer_pt)(tn_control_t *c,
    tn_control_call_t *call, const char *error);

struct tn_control_call_s {
    tn_h2_call_t           h2;
    tn_control_t          *control;
    tn_control_answer_pt   answer;
    char                   path[TN_URL_PATH_MAX + 1];
    char                  *text;        /* zero at its end, or NULL */
    size_t                 text_len;
};


/* a PingRequest that waits for its answer */
typedef struct {
    uint32_t            id;             /* 0: free */
    bool                c2n;
    bool                noise;          /* the answer goes over Noise */
    char                type[16];
    char                url[TN_URL_PATH_MAX + 1];
} tn_control_ask_t;


struct tn_control_s {
    const tn_control_ops_t  *ops;
    void                    *data;
    tn_timers_t             *timers;
    tn_log_t                *log;

    /* configuration, owned */
    tn_url_t                 url;
    char                    *auth_key;
    char                    *hostname;
    char                   **tags;
    size_t                   ntags;
    bool                     ephemeral;
    bool                     shields_up;
    char                    *version;
    char                    *os_version;
    char                    *machine_type;
    char                    *distro;
    char                    *distro_version;
    char                    *distro_codename;

    tn_control_saved_t       saved;
    bool                     unsaved;

    /* what the node tells */
    tn_key_t                 disco;
    tn_endpoint_t            endpoints[TN_ENDPOINTS_MAX];
    size_t                   nendpoints;
    tn_netinfo_t             netinfo;
    bool                     netinfo_given;
    struct {
        char                 proto[32];
        uint16_t             port;
    }                        services[TN_CONTROL_SERVICES_MAX];
    size_t                   nservices;
    tn_prefix_t              routes[TN_CONTROL_ROUTES_MAX];
    size_t                   nroutes;
    char                     services_hash[65];
    bool                     ingress;
    bool                     wire_ingress;
    bool                     peer_relay;
    bool                     tls_only;

    /* where we are */
    tn_control_state_e       state;
    char                     text[TN_CONTROL_TEXT];
    tn_control_phase_e       phase;
    unsigned                 depth;     /* of entries from outside */
    bool                     failed;
    bool                     refused;   /* the failure is control's word */
    char                     trouble[TN_CONTROL_TEXT];
    char                     logged[TN_CONTROL_TEXT];
    char                     unheard[TN_CONTROL_TEXT]; /* a logout was, why */
    unsigned                 attempts;
    uint64_t                 retry_ms;  /* what control asked for, or 0 */
    bool                     rekeyed;   /* a new node key was made since the
                                           last success */
    bool                     next_sent; /* control may have saved.next */
    bool                     poll_next; /* the map is asked for with it */
    bool                     key_due;   /* the owner has the former key yet */
    bool                     put_off;   /* a renewal was, and that was said */
    unsigned                 untaken;   /* renewals in a row that had no answer
                                           and that control knows nothing of */
    bool                     must_register;
    bool                     reregistered;  /* and no map since */
    bool                     stopping;
    bool                     parting;   /* with a last update, no logout */

    /* connections */
    uint32_t                 next_conn;
    tn_key_t                 server_key;
    bool                     server_key_known;
    tn_ms_t                  plain_dialed_at;
    tn_control_dial_t       *dial[TN_DIAL_NKINDS];
    char                     plain_error[192];
    tn_ip_t                  plan[TN_CONTROL_PLAN_MAX]; /* control's word for
                                           where it is, the best first */
    size_t                   nplan;
    size_t                   planned;   /* of these were tried, 0: none yet */
    uint32_t                 link;      /* the one that carries HTTP/2 */
    tn_noise_t               noise;
    size_t                   early_have;
    uint8_t                  early[9];
    uint64_t                 early_left;
    bool                     early_done;
    bool                     ping_sent; /* an HTTP/2 PING is unanswered */
    tn_h2_t                 *h2;

    /* requests under way; each at most once */
    tn_control_call_t       *registering;
    tn_control_call_t       *polling;
    tn_control_call_t       *updating;
    tn_control_call_t       *dns;
    tn_control_call_t       *leaving;   /* the logout whose answer counts */
    char                    *followup;  /* the URL somebody has to visit */

    /* the map */
    tn_netmap_t             *netmap;
    tn_mapstream_t           stream;
    bool                     mapped;    /* this stream has brought a map */
    tn_ms_t                  mapped_at;
    bool                     dirty;     /* an update is due */
    tn_ms_t                  update_late;   /* for the one under way */
    char                    *popped;    /* the last PopBrowserURL */
    char                     version_said[TN_CONTROL_TEXT]; /* of the last
                                           ClientVersion */
    unsigned                 expiry_warned; /* of the node key: stages told */
    bool                     expired_told;

    /* the copy of it that is kept */
    bool                     stale;     /* it is not what the netmap is */
    bool                     kept;      /* there is one, of kept_at */
    tn_ms_t                  kept_at;

    /* an OAuth client's secret in the place of the auth key */
    char                    *minted;    /* for the next registration */
    char                    *mint_token;

    /* tailnet lock */
    tn_aums_t              *chain;     /* NULL: off, or not known yet */
    tn_control_call_t       *locking;
    bool                     lock_new;  /* control has not heard we have it */
    bool                     locked_out;
    char                     lock_asked[TN_AUMS_TEXT]; /* control's head at
                                           the last offer */
    char                     lock_seen[TN_AUMS_TEXT]; /* the one that we did
                                           all we could about */
    const char              *lock_trouble;  /* told last */
    uint8_t                 *old_signature; /* of the former node key's */
    size_t                   old_signature_len;

    /* control's pings */
    tn_control_ask_t         asks[TN_CONTROL_PINGS_MAX];
    uint32_t                 next_ask;
    uint64_t                 pinged[TN_CONTROL_PINGS_MAX];
    size_t                   npinged;
    size_t                   npongs;    /* answers it has not taken yet */

    tn_timer_t               retry_timer;
    tn_timer_t               dial_timer;
    tn_timer_t               fallback_timer;
    tn_timer_t               watchdog_timer;
    tn_timer_t               update_timer;
    tn_timer_t               alive_timer;
    tn_timer_t               expiry_timer;
    tn_timer_t               renew_timer;   /* set: a renewal is put off */
    tn_timer_t               url_timer;
    tn_timer_t               keep_timer;
    tn_timer_t               lock_timer;
    tn_timer_t               mint_timer;
};


/* --- tn_control.c: the whole */

/* around everything that comes from outside: at the last leave what was
 * queued is sent, or what failed is torn down */
void tn_control_enter(tn_control_t *c);
void tn_control_leave(tn_control_t *c);

/* notes why the connection cannot go on; the first reason counts */
void tn_control_fail(tn_control_t *c, const char *fmt, ...)
    tn_printf_like(2, 3);
/* the same when it was control's decision, not the network's */
void tn_control_refuse(tn_control_t *c, const char *fmt, ...)
    tn_printf_like(2, 3);

void tn_control_set_state(tn_control_t *c, tn_control_state_e state,
    const char *text);
void tn_control_timer(tn_control_t *c, tn_timer_t *timer, uint64_t in_ms);
/* TN_OK when the state is on stable storage */
tn_rc_t tn_control_save(tn_control_t *c);
/* the first node key */
tn_rc_t tn_control_new_node_key(tn_control_t *c);
/* one that is to replace it; TN_OK also when there is one */
tn_rc_t tn_control_next_node_key(tn_control_t *c);
bool tn_control_rotating(const tn_control_t *c);
/* control has accepted it */
void tn_control_take_next(tn_control_t *c);
/* tells the owner, if it is due */
void tn_control_hand_key(tn_control_t *c);
/* no node key, as if there had never been one */
void tn_control_forget(tn_control_t *c);
/* an update will be sent a moment later */
void tn_control_changed(tn_control_t *c);
/* everything closed and cancelled */
void tn_control_teardown(tn_control_t *c);
/* what control asked for, or the default of 5 to 10 s (tailcfg, 429) */
uint64_t tn_control_retry_after(tn_control_t *c, const char *value);

/* --- tn_control_dial.c: from nothing to HTTP/2 over Noise */

void tn_control_dial(tn_control_t *c);
void tn_control_dial_url(tn_control_t *c, const tn_url_t *url);
/* ControlDialPlan: where control is when its name leads nowhere */
void tn_control_dial_plan(tn_control_t *c, tn_json_span_t span);
tn_control_dial_t *tn_control_dial_open(tn_control_t *c,
    tn_control_dial_e kind, const tn_url_t *url);
void tn_control_dial_close(tn_control_t *c, tn_control_dial_e kind);
void tn_control_dial_connected(tn_control_t *c, tn_control_dial_e kind);
void tn_control_dial_received(tn_control_t *c, tn_control_dial_e kind,
    const uint8_t *bytes, size_t len);
void tn_control_dial_closed(tn_control_t *c, tn_control_dial_e kind,
    const char *reason);
void tn_control_dial_timeout(void *data, tn_ms_t now);
void tn_control_dial_fallback(void *data, tn_ms_t now);
void tn_control_url_timeout(void *data, tn_ms_t now);
void tn_control_link_received(tn_control_t *c, const uint8_t *bytes,
    size_t len);
void tn_control_link_close(tn_control_t *c);
extern const tn_h2_ops_t  tn_control_h2_ops;

/* --- tn_control_session.c: what is said over it */

/* the connection stands: register or poll */
void tn_control_session_start(tn_control_t *c);
void tn_control_session_register(tn_control_t *c);
void tn_control_session_poll(tn_control_t *c);
void tn_control_session_logout(tn_control_t *c);
/* what of the map decides about our own state */
void tn_control_session_self(tn_control_t *c);
void tn_control_update(void *data, tn_ms_t now);
void tn_control_watchdog(void *data, tn_ms_t now);
void tn_control_alive(void *data, tn_ms_t now);

/* a request; text is taken over.  NULL when it cannot be made, and then the
 * connection has failed */
tn_control_call_t *tn_control_request(tn_control_t *c, const char *method,
    const char *path, const char *type, char *text,
    tn_control_answer_pt answer);
void tn_control_call_cancel(tn_control_call_t **call);

/* the first line of a body, for people */
const char *tn_control_answer_text(tn_control_call_t *call);

/* no, and why: of control, or of who makes auth keys */
void tn_control_register_refused(tn_control_t *c, const char *why);

/* --- tn_control_renew.c: another node key beside a map stream */

/* the present key is good, whatever becomes of another */
bool tn_control_serves(const tn_control_t *c);
/* a new key that was refused is given up when the present one is good */
bool tn_control_unrenewed(tn_control_t *c, const char *why);
/* so is one that could not be saved; `unsaved`: as before there was one */
bool tn_control_unmade(tn_control_t *c, bool unsaved);
/* it is tried again after so long; false: there is no stream beside which it
 * could wait */
bool tn_control_put_off(tn_control_t *c, uint64_t in_ms, const char *why);
/*
 * Control has not got the next key that it was told, and the present one is
 * asked for a map.  Once that is mended at once; what is lost again would cost
 * the stream each time, so it waits, up to an hour.
 */
void tn_control_untaken(tn_control_t *c);
void tn_control_renew_due(void *data, tn_ms_t now);

/* --- tn_control_mint.c: auth keys by an OAuth client's secret */

/* one has to be made before there is a registration */
bool tn_control_mint_due(const tn_control_t *c);
/* and then that is done */
void tn_control_mint(tn_control_t *c);
/* what was made was used, or is not wanted */
void tn_control_mint_drop(tn_control_t *c);
void tn_control_mint_timeout(void *data, tn_ms_t now);
void tn_control_mint_connected(tn_control_t *c);
void tn_control_mint_received(tn_control_t *c);
void tn_control_mint_closed(tn_control_t *c, const char *reason);

/* --- tn_control_expiry.c: keys that expire */

void tn_control_expiry(void *data, tn_ms_t now);
/* peers whose key does, and when to look again */
void tn_control_expire(tn_control_t *c);
/* says, once, that our own has and what to do */
void tn_control_expired_tell(tn_control_t *c);
/* in_s: seconds until our own will, INT64_MAX for never */
bool tn_control_self_expired(const tn_control_t *c, int64_t *in_s);

/* --- tn_control_request.c: JSON of what we say; NULL: no memory */

typedef enum {
    TN_REGISTER_NEW = 0,
    TN_REGISTER_LOGOUT
} tn_control_register_e;

char *tn_control_register_json(tn_control_t *c, tn_control_register_e kind);
char *tn_control_map_json(tn_control_t *c, bool stream);

/* --- tn_control_keep.c: the copy of the netmap for the next start */

void tn_control_keep_changed(tn_control_t *c,
    const tn_netmap_changes_t *changes);
/* writes what is stale, now */
void tn_control_keep(tn_control_t *c);
void tn_control_keep_due(void *data, tn_ms_t now);

/* --- tn_control_lock.c: tailnet lock */

/* after a map message: asks control for what there is to ask */
void tn_control_lock_look(tn_control_t *c);
void tn_control_lock_due(void *data, tn_ms_t now);
void tn_control_lock_self(tn_control_t *c);
void tn_control_lock_forget(tn_control_t *c);
/* secret may be NULL */
bool tn_control_lock_key(tn_control_t *c, tn_key_t *pub,
    uint8_t secret[TN_RESIGN_SECRET_LEN]);
/* of a request: TKAHead, NodeKeySignature */
void tn_control_lock_put_head(tn_control_t *c, json_t *request);
void tn_control_lock_sign(tn_control_t *c, json_t *request,
    const tn_key_t *node);
/* takes what is to be signed anew; false: that was done before */
bool tn_control_lock_resign(tn_control_t *c, const json_t *signature);

/* --- tn_control_notice.c: PopBrowserURL and ClientVersion */

void tn_control_notice_url(tn_control_t *c, tn_json_span_t span);
void tn_control_notice_version(tn_control_t *c, tn_json_span_t span);

/* --- tn_control_ping.c: what control asks through the map */

void tn_control_ping(tn_control_t *c, tn_json_span_t span);
void tn_control_pings_drop(tn_control_t *c);

/* --- tn_control_offer.c: what others may reach by way of this node */

/* takes it back before the end; false: there is nothing, or nobody to tell */
bool tn_control_offer_end(tn_control_t *c);

/* --- tn_control_c2n.c: false for what only the owner can answer */

bool tn_control_c2n_own(tn_control_t *c, const tn_control_c2n_t *request);


#endif /* TN_CONTROL_INT_H_INCLUDED_ */

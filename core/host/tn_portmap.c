
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The life of a port mapping.
 *
 * There is one, or none.  Without one all protocols are asked in the order
 * PCP, NAT-PMP, UPnP: PCP's nonce cannot be guessed, UPnP's answers can come
 * from anybody.  The first that grants wins; the others are looked for once,
 * for NetInfo.  Nobody there: asked again after half a minute, then after
 * twice as long each time.
 *
 * A mapping is renewed at half of its lifetime, after TN_PORTMAP_RENEW_MS at
 * the latest, so that a router that restarted in silence is noticed; at once
 * when the network changes or the router announces that it restarted (RFC
 * 6886, 3.2.1, RFC 6887, 14.1), but not more often than each
 * TN_PORTMAP_CALM_MS whoever announces what.  A renewal that is not answered
 * leaves it alone until it expires; one that is refused ends it.
 *
 * The thread waits in a loop of its own and blocks in what it calls from
 * there.  It and its owner hold one reference each.  What the owner reads or
 * sets, and what is used of the owner, is under the lock; tn_portmap_stop()
 * cuts that tie, and the thread lives on until the mapping is given back.
 */

#include "host/tn_portmap_ask.h"

#include "base/tn_cursor.h"
#include "crypto/tn_blake2s.h"
#include "host/tn_gateway.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_PORTMAP_RENEW_MS      300000
#define TN_PORTMAP_CALM_MS       2000
#define TN_PORTMAP_RETRY_MS      30000
#define TN_PORTMAP_RETRY_MAX_MS  600000


struct tn_portmap_s {
    tn_loop_t             loop;
    pthread_t             thread;
    atomic_uint           refs;
    atomic_bool           stop;
    char                  name[16];
    uint8_t               secret[TN_BLAKE2S_LEN];
    tn_ip_t               forced;           /* gateway, or none */

    pthread_mutex_t       lock;             /* over the rest of this block */
    tn_loop_t            *owner;            /* NULL: stopped */
    tn_portmap_pt         changed;
    void                 *data;
    tn_log_t             *log;
    tn_portmap_want_t     want;
    tn_portmap_state_t    state;
    tn_post_t             post;
    bool                  posted;

    /* the thread's */

    tn_portmap_want_t     have;             /* what is being obeyed */
    tn_portmap_site_t     site;
    bool                  asked;            /* at this site */
    unsigned              fresh;            /* bits of offers that are */
    tn_tristate_e         offers[TN_PORTMAP_PROTOS];
    tn_portmap_lease_t    lease;
    tn_ms_t               until;            /* it expires */
    tn_ms_t               last;             /* ask */
    tn_ms_t               retry;            /* the pause after a failure */
    tn_timer_t            timer;
    tn_watch_t            news;
};


static pthread_mutex_t  portmap_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t   portmap_ended = PTHREAD_COND_INITIALIZER;
static unsigned         portmap_living;


static void *portmap_thread(void *arg);
static void portmap_order(void *arg);
static void portmap_news_open(tn_portmap_t *pm);
static void portmap_news(tn_watch_t *watch, uint32_t events);
static void portmap_timer(void *arg, tn_ms_t now);
static bool portmap_site(tn_portmap_t *pm);
static void portmap_nonce(tn_portmap_t *pm);
static void portmap_work(tn_portmap_t *pm);
static tn_rc_t portmap_ask(tn_portmap_t *pm);
static void portmap_granted(tn_portmap_t *pm, tn_ms_t now,
    const tn_portmap_lease_t *before);
static void portmap_look(tn_portmap_t *pm);
static void portmap_forget(tn_portmap_t *pm, const char *why);
static void portmap_wait(tn_portmap_t *pm, tn_ms_t ms);
static bool portmap_same(const tn_portmap_state_t *a,
    const tn_portmap_state_t *b);
static void portmap_tell(tn_portmap_t *pm);
static void portmap_told(void *arg);
static void portmap_say(tn_portmap_t *pm, tn_log_level_e level,
    const char *fmt, ...) tn_printf_like(3, 4);
static void portmap_release(tn_portmap_t *pm);


tn_portmap_t *
tn_portmap_start(const tn_portmap_conf_t *conf)
{
    tn_portmap_t  *pm;

    pm = calloc(1, sizeof(tn_portmap_t));

    if (pm == NULL || tn_loop_init(&pm->loop) != TN_OK) {
        tn_log(conf->log, TN_LOG_ERR, "no memory for port mapping");
        free(pm);
        return NULL;
    }

    atomic_init(&pm->refs, 2);
    atomic_init(&pm->stop, false);
    (void) pthread_mutex_init(&pm->lock, NULL);

    pm->owner = conf->loop;
    pm->changed = conf->changed;
    pm->data = conf->data;
    pm->log = conf->log;
    pm->post.fn = portmap_told;
    pm->post.data = pm;
    (void) snprintf(pm->name, sizeof(pm->name), "tn-map-%.8s", conf->name);

    if (conf->gateway != NULL) {
        pm->forced = *conf->gateway;
    }

    pm->site.stop = &pm->stop;
    pm->retry = TN_PORTMAP_RETRY_MS;
    pm->news.fd = -1;
    tn_timer_init(&pm->timer, portmap_timer, pm);

    if (tn_blake2s_hmac(pm->secret, conf->secret, sizeof(tn_key_t),
                        "port mapping", 12, NULL, 0) != TN_OK
        || pthread_create(&pm->thread, NULL, portmap_thread, pm) != 0)
    {
        tn_log(conf->log, TN_LOG_ERR, "no thread for port mapping: %s",
               strerror(errno));
        tn_loop_done(&pm->loop);
        tn_wipe(pm, sizeof(tn_portmap_t));
        free(pm);
        return NULL;
    }

    (void) pthread_detach(pm->thread);

    (void) pthread_mutex_lock(&portmap_lock);
    portmap_living++;
    (void) pthread_mutex_unlock(&portmap_lock);

    return pm;
}


void
tn_portmap_want(tn_portmap_t *pm, const tn_portmap_want_t *want)
{
    bool  differs;

    (void) pthread_mutex_lock(&pm->lock);

    differs = pm->want.port != want->port
              || pm->want.no_upnp != want->no_upnp;
    pm->want = *want;

    (void) pthread_mutex_unlock(&pm->lock);

    if (differs) {
        (void) tn_loop_post(&pm->loop, portmap_order, pm);
    }
}


void
tn_portmap_network_changed(tn_portmap_t *pm)
{
    (void) tn_loop_post(&pm->loop, portmap_order, pm);
}


void
tn_portmap_stop(tn_portmap_t *pm)
{
    if (pm == NULL) {
        return;
    }

    (void) pthread_mutex_lock(&pm->lock);
    pm->owner = NULL;
    pm->log = NULL;
    (void) pthread_mutex_unlock(&pm->lock);

    atomic_store(&pm->stop, true);
    tn_loop_stop(&pm->loop);
    portmap_release(pm);
}


void
tn_portmap_drain(tn_ms_t max_ms)
{
    uint64_t         ns;
    struct timespec  at;

    ns = tn_loop_wall_ns() + max_ms * 1000000;
    at.tv_sec = (time_t) (ns / 1000000000);
    at.tv_nsec = (long) (ns % 1000000000);

    (void) pthread_mutex_lock(&portmap_lock);

    while (portmap_living != 0) {
        if (pthread_cond_timedwait(&portmap_ended, &portmap_lock, &at) != 0) {
            break;
        }
    }

    (void) pthread_mutex_unlock(&portmap_lock);
}


const char *
tn_portmap_proto_text(tn_portmap_proto_e proto)
{
    switch (proto) {

    case TN_PORTMAP_PCP:
        return "PCP";

    case TN_PORTMAP_PMP:
        return "NAT-PMP";

    case TN_PORTMAP_UPNP:
        return "UPnP";

    default:
        return "none";
    }
}


/* --- the thread */

static void *
portmap_thread(void *arg)
{
    tn_portmap_t *pm = arg;

    (void) pthread_setname_np(pthread_self(), pm->name);

    if (tn_loop_run(&pm->loop) != TN_OK) {
        portmap_say(pm, TN_LOG_ALERT, "port mapping ended: %s",
                    strerror(errno));
    }

    if (pm->lease.proto != TN_PORTMAP_NONE) {
        tn_portmap_release(&pm->site, &pm->lease);
    }

    tn_timer_cancel(&pm->loop.timers, &pm->timer);
    tn_loop_unwatch(&pm->loop, &pm->news);

    if (pm->news.fd != -1) {
        (void) close(pm->news.fd);
    }

    portmap_release(pm);

    (void) pthread_mutex_lock(&portmap_lock);
    portmap_living--;
    (void) pthread_cond_broadcast(&portmap_ended);
    (void) pthread_mutex_unlock(&portmap_lock);

    return NULL;
}


/* the owner wants something else, or says that the network has changed */
static void
portmap_order(void *arg)
{
    tn_portmap_t *pm = arg;

    tn_portmap_want_t  want;

    (void) pthread_mutex_lock(&pm->lock);
    want = pm->want;
    (void) pthread_mutex_unlock(&pm->lock);

    if (want.port != pm->have.port && pm->lease.proto != TN_PORTMAP_NONE) {
        tn_portmap_release(&pm->site, &pm->lease);
        portmap_forget(pm, "another port is wanted");
    }

    if (want.no_upnp && pm->lease.proto == TN_PORTMAP_UPNP) {
        tn_portmap_release(&pm->site, &pm->lease);
        portmap_forget(pm, "control forbids UPnP");
    }

    pm->have = want;
    pm->site.port = want.port;

    if (want.port == 0) {
        tn_timer_cancel(&pm->loop.timers, &pm->timer);
        memset(pm->offers, 0, sizeof(pm->offers));
        pm->asked = false;
        portmap_tell(pm);
        return;
    }

    pm->fresh = 0;
    pm->retry = TN_PORTMAP_RETRY_MS;

    if (pm->news.fd == -1) {
        portmap_news_open(pm);
    }

    portmap_wait(pm, 0);
}


/* announcements of gateways, where the host lets us listen for them */
static void
portmap_news_open(tn_portmap_t *pm)
{
    int                 on;
    struct sockaddr_in  sin;

    pm->news.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                         0);
    pm->news.events = TN_LOOP_READ;
    pm->news.handler = portmap_news;
    pm->news.data = pm;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(TN_PCP_NEWS_PORT);
    on = 1;

    /* other clients of the host listen there too */

    if (pm->news.fd == -1
        || setsockopt(pm->news.fd, SOL_SOCKET, SO_REUSEADDR, &on,
                      sizeof(on)) == -1
        || setsockopt(pm->news.fd, SOL_SOCKET, SO_REUSEPORT, &on,
                      sizeof(on)) == -1
        || bind(pm->news.fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || tn_loop_watch(&pm->loop, &pm->news) != TN_OK)
    {
        portmap_say(pm, TN_LOG_INFO, "announcements of port mapping gateways "
                    "are not heard: %s", strerror(errno));

        if (pm->news.fd != -1) {
            (void) close(pm->news.fd);
            pm->news.fd = -1;
        }
    }
}


static void
portmap_news(tn_watch_t *watch, uint32_t events)
{
    tn_portmap_t *pm = watch->data;

    bool                     news;
    ssize_t                  n;
    uint8_t                  bytes[64];
    tn_ms_t                  now;
    socklen_t                len;
    tn_addr_t                from;
    tn_pcp_response_t        response;
    struct sockaddr_storage  ss;

    (void) events;

    news = false;

    for ( ;; ) {
        len = sizeof(ss);
        n = recvfrom(watch->fd, bytes, sizeof(bytes), 0,
                     (struct sockaddr *) &ss, &len);

        if (n == -1) {
            break;
        }

        if (tn_addr_from_sockaddr(&from, &ss) != TN_OK
            || !tn_ip_equal(&from.ip, &pm->site.gateway))
        {
            continue;
        }

        /* NAT-PMP's is the answer to the question for its address */

        news |= (n == 12 && bytes[0] == 0 && bytes[1] == 0x80)
                || (tn_pcp_response(bytes, (size_t) n, &response) == TN_OK
                    && response.opcode == TN_PCP_ANNOUNCE);
    }

    if (!news || pm->have.port == 0) {
        return;
    }

    now = pm->loop.now;
    portmap_wait(pm, tn_max(pm->last + TN_PORTMAP_CALM_MS, now) - now);
}


static void
portmap_timer(void *arg, tn_ms_t now)
{
    tn_portmap_t *pm = arg;

    (void) now;

    portmap_work(pm);
}


/* false: there is nobody to ask; what was of another site is forgotten */
static bool
portmap_site(tn_portmap_t *pm)
{
    tn_ip_t  gateway, self;
    tn_rc_t  rc;

    if (!tn_ip_is_none(&pm->forced)) {
        gateway = pm->forced;
        rc = tn_gateway_self(&gateway, &self);

    } else {
        rc = tn_gateway_find(&gateway, &self);
    }

    if (rc != TN_OK) {
        memset(&gateway, 0, sizeof(gateway));
        memset(&self, 0, sizeof(self));
    }

    if (!tn_ip_equal(&gateway, &pm->site.gateway)
        || !tn_ip_equal(&self, &pm->site.self))
    {
        /* the old gateway would not hear us, or not as whom it knows */

        portmap_forget(pm, "the network is another one");

        pm->site.gateway = gateway;
        pm->site.self = self;
        pm->asked = false;
        pm->fresh = 0;
        memset(pm->offers, 0, sizeof(pm->offers));
    }

    if (rc == TN_OK) {
        portmap_nonce(pm);
    }

    return rc == TN_OK;
}


/*
 * RFC 6887, 11.2: a mapping is renewed by its nonce alone.  What is derived
 * is as hard to guess as what is random, and known to the next process too.
 */
static void
portmap_nonce(tn_portmap_t *pm)
{
    uint8_t      out[TN_BLAKE2S_LEN], about[34];
    tn_writer_t  w;

    w = tn_writer(about, sizeof(about));
    tn_write_bytes(&w, pm->site.gateway.b, sizeof(pm->site.gateway.b));
    tn_write_bytes(&w, pm->site.self.b, sizeof(pm->site.self.b));
    tn_write_u16(&w, pm->site.port);

    if (tn_blake2s_hmac(out, pm->secret, sizeof(pm->secret), about,
                        sizeof(about), NULL, 0) == TN_OK)
    {
        memcpy(pm->site.nonce, out, TN_PCP_NONCE);
    }
}


static void
portmap_work(tn_portmap_t *pm)
{
    tn_ms_t             now;
    tn_rc_t             rc;
    tn_portmap_lease_t  before;

    if (pm->have.port == 0 || atomic_load(&pm->stop)) {
        return;
    }

    if (!portmap_site(pm)) {
        portmap_tell(pm);
        return;             /* until the network changes */
    }

    before = pm->lease;
    rc = portmap_ask(pm);
    now = tn_loop_clock_ms();
    pm->last = now;

    if (atomic_load(&pm->stop)) {
        return;
    }

    if (rc == TN_OK) {
        portmap_granted(pm, now, &before);
        portmap_look(pm);
        return;
    }

    if (pm->lease.proto != TN_PORTMAP_NONE
        && (rc == TN_REFUSED || now >= pm->until))
    {
        portmap_forget(pm, rc == TN_REFUSED ? "the gateway takes it back"
                                            : "the gateway does not answer");
    }

    if (!pm->asked) {
        portmap_say(pm, TN_LOG_INFO, "no port mapping: the gateway %s",
                    rc == TN_REFUSED ? "grants none" : "knows no protocol");
    }

    pm->asked = true;

    portmap_wait(pm, pm->retry);
    pm->retry = tn_min(pm->retry * 2, (tn_ms_t) TN_PORTMAP_RETRY_MAX_MS);
    portmap_tell(pm);
}


/* by what there was, then by the others */
static tn_rc_t
portmap_ask(tn_portmap_t *pm)
{
    int                 i;
    tn_rc_t             rc, worst;
    tn_portmap_proto_e  proto, first;

    worst = TN_NOTFOUND;
    first = pm->lease.proto;

    for (i = 0; i < TN_PORTMAP_PROTOS; i++) {
        proto = i == 0 ? first : (tn_portmap_proto_e) i;

        if (proto == TN_PORTMAP_NONE || (i != 0 && proto == first)) {
            continue;
        }

        pm->fresh |= 1u << proto;

        if (proto == TN_PORTMAP_UPNP && pm->have.no_upnp) {
            pm->offers[proto] = TN_NO;
            continue;
        }

        rc = tn_portmap_ask(proto, &pm->site, &pm->lease);

        if (atomic_load(&pm->stop)) {
            return TN_CLOSED;
        }

        pm->offers[proto] = rc == TN_NOTFOUND ? TN_NO : TN_YES;

        if (rc == TN_OK) {
            return TN_OK;
        }

        /* what is held ends by the word of who gave it alone */

        if (rc == TN_REFUSED && (first == TN_PORTMAP_NONE || proto == first)) {
            worst = TN_REFUSED;
        }
    }

    return worst;
}


static void
portmap_granted(tn_portmap_t *pm, tn_ms_t now,
    const tn_portmap_lease_t *before)
{
    char                       text[TN_ADDR_TEXT], gateway[TN_ADDR_TEXT];
    tn_ms_t                    lifetime;
    const tn_portmap_lease_t  *lease;

    lease = &pm->lease;
    lifetime = (tn_ms_t) lease->lifetime * 1000;

    pm->until = now + lifetime;
    pm->retry = TN_PORTMAP_RETRY_MS;
    pm->asked = true;

    if (lease->proto != before->proto
        || !tn_addr_equal(&lease->external, &before->external))
    {
        portmap_say(pm, TN_LOG_NOTICE, "UDP port %u is %s, mapped by %s of "
                    "the gateway %s", pm->site.port,
                    tn_addr_text(&lease->external, text),
                    tn_portmap_proto_text(lease->proto),
                    tn_ip_text(&pm->site.gateway, gateway));
    }

    portmap_wait(pm, tn_max(tn_min(lifetime / 2,
                                   (tn_ms_t) TN_PORTMAP_RENEW_MS),
                            (tn_ms_t) TN_PORTMAP_CALM_MS));
    portmap_tell(pm);
}


/* which other services there are; once after each change of the network */
static void
portmap_look(tn_portmap_t *pm)
{
    int   i;
    bool  there;

    for (i = TN_PORTMAP_PMP; i < TN_PORTMAP_PROTOS; i++) {

        if (pm->fresh & 1u << i) {
            continue;
        }

        pm->fresh |= 1u << i;

        there = (i != TN_PORTMAP_UPNP || !pm->have.no_upnp)
                && tn_portmap_look((tn_portmap_proto_e) i, &pm->site);

        pm->offers[i] = there ? TN_YES : TN_NO;
    }

    portmap_tell(pm);
}


static void
portmap_forget(tn_portmap_t *pm, const char *why)
{
    char  text[TN_ADDR_TEXT];

    if (pm->lease.proto == TN_PORTMAP_NONE) {
        return;
    }

    portmap_say(pm, TN_LOG_NOTICE, "the port mapping %s by %s is lost: %s",
                tn_addr_text(&pm->lease.external, text),
                tn_portmap_proto_text(pm->lease.proto), why);

    memset(&pm->lease, 0, sizeof(pm->lease));
    portmap_tell(pm);
}


static void
portmap_wait(tn_portmap_t *pm, tn_ms_t ms)
{
    (void) tn_timer_set(&pm->loop.timers, &pm->timer,
                        tn_loop_clock_ms() + ms);
}


/* --- to the owner */

static bool
portmap_same(const tn_portmap_state_t *a, const tn_portmap_state_t *b)
{
    return a->proto == b->proto
           && tn_addr_equal(&a->external, &b->external)
           && memcmp(a->offers, b->offers, sizeof(a->offers)) == 0;
}


static void
portmap_tell(tn_portmap_t *pm)
{
    tn_portmap_state_t  state;

    memset(&state, 0, sizeof(state));
    state.proto = pm->lease.proto;

    if (state.proto != TN_PORTMAP_NONE) {
        state.external = pm->lease.external;
    }

    memcpy(state.offers, pm->offers, sizeof(state.offers));

    (void) pthread_mutex_lock(&pm->lock);

    if (pm->owner != NULL && !portmap_same(&state, &pm->state)) {
        pm->state = state;

        if (!pm->posted) {
            pm->posted = tn_loop_post_item(pm->owner, &pm->post) == TN_OK;
        }
    }

    (void) pthread_mutex_unlock(&pm->lock);
}


/* on the owner's loop, which has ended before tn_portmap_stop() */
static void
portmap_told(void *arg)
{
    tn_portmap_t *pm = arg;

    tn_portmap_state_t  state;

    (void) pthread_mutex_lock(&pm->lock);
    state = pm->state;
    pm->posted = false;
    (void) pthread_mutex_unlock(&pm->lock);

    pm->changed(pm->data, &state);
}


static void
portmap_say(tn_portmap_t *pm, tn_log_level_e level, const char *fmt, ...)
{
    char     line[256];
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    (void) pthread_mutex_lock(&pm->lock);
    tn_log(pm->log, level, "%s", line);
    (void) pthread_mutex_unlock(&pm->lock);
}


static void
portmap_release(tn_portmap_t *pm)
{
    if (atomic_fetch_sub(&pm->refs, 1) != 1) {
        return;
    }

    tn_loop_done(&pm->loop);
    (void) pthread_mutex_destroy(&pm->lock);
    tn_wipe(pm, sizeof(tn_portmap_t));
    free(pm);
}

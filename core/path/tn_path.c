
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The path machine as a whole: peers, what control and the host tell it, and
 * the sorting of datagrams.  The parts are tn_path_peer.c (one peer's direct
 * path), tn_path_disco.c (its messages), tn_path_derp.c (relays),
 * tn_netcheck.c with tn_path_endpoints.c (own addresses and home).
 */

#include "tn_path_private.h"

#include "wire/tn_stun.h"

#include <stdio.h>
#include <stdlib.h>


static tn_rc_t tn_path_peer_set(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_peer_conf_t *conf);
static void tn_path_peer_free(tn_path_member_t *peer);
static void tn_path_renew(tn_path_member_t *peer);
static void tn_path_renetwork(tn_path_t *path, tn_ms_t now,
    void (*peer_again)(tn_path_member_t *peer, tn_ms_t now));
static void tn_path_tell(tn_path_member_t *peer, tn_ms_t now);
static bool tn_path_near(const tn_path_member_t *peer, tn_path_kind_e kind);
static void tn_path_remember(tn_path_member_t *peer, tn_ms_t now,
    tn_path_kind_e kind, tn_path_why_e why);


tn_path_t *
tn_path_create(const tn_path_ops_t *ops, void *data,
    const tn_keypair_t *node, const tn_keypair_t *disco, tn_timers_t *timers,
    tn_log_t *log)
{
    tn_path_t  *path;

    path = calloc(1, sizeof(tn_path_t));

    if (path == NULL) {
        return NULL;
    }

    path->ops = ops;
    path->data = data;
    path->node = *node;
    path->disco = *disco;
    path->timers = timers;
    path->log = log;
    path->control_up = true;

    tn_hash_init(&path->peers, TN_KEY_LEN);
    tn_hash_init(&path->discos, TN_KEY_LEN);
    tn_hash_init(&path->pings, TN_DISCO_TXID);
    tn_list_init(&path->pings_fifo);
    tn_list_init(&path->calls);
    tn_list_init(&path->servers);
    tn_list_init(&path->places);

    tn_timer_init(&path->pings_timer, tn_path_pings_timer, path);
    tn_timer_init(&path->sweep, tn_path_sweep_timer, path);
    tn_timer_init(&path->race, tn_path_race_timer, path);
    tn_timer_init(&path->restun, tn_path_restun_timer, path);
    tn_timer_init(&path->own_timer, tn_path_own_timer, path);

    path->netcheck = tn_netcheck_create(&tn_path_netcheck_ops, path, timers,
                                        log);

    path->own_check = tn_netcheck_create(&tn_path_own_ops, path, timers, log);

    if (path->netcheck == NULL || path->own_check == NULL) {
        tn_path_destroy(path);
        return NULL;
    }

    return path;
}


void
tn_path_destroy(tn_path_t *path)
{
    tn_hash_node_t  *link;

    if (path == NULL) {
        return;
    }

    while ((link = tn_hash_next(&path->peers, NULL)) != NULL) {
        tn_path_peer_free(tn_container(link, tn_path_member_t, link));
    }

    tn_netcheck_destroy(path->netcheck);
    tn_netcheck_destroy(path->own_check);
    tn_path_regions_done(path);

    tn_timer_cancel(path->timers, &path->pings_timer);
    tn_timer_cancel(path->timers, &path->sweep);
    tn_timer_cancel(path->timers, &path->race);
    tn_timer_cancel(path->timers, &path->restun);
    tn_timer_cancel(path->timers, &path->own_timer);

    tn_hash_done(&path->peers);
    tn_hash_done(&path->discos);
    tn_hash_done(&path->pings);

    tn_wipe(path, sizeof(tn_path_t));
    free(path);
}


void
tn_path_start(tn_path_t *path, tn_ms_t now)
{
    if (path->started) {
        return;
    }

    path->started = true;

    if (path->map != NULL) {
        tn_path_only_home(path, now);
        tn_path_open_home(path, now);
        tn_path_restun(path, now, true);
    }
}


tn_rc_t
tn_path_set_derpmap(tn_path_t *path, tn_ms_t now, const tn_derpmap_t *map)
{
    tn_rc_t          rc;
    tn_hash_node_t  *link;

    if (path->map != NULL && tn_derpmap_equal(path->map, map)) {
        return TN_OK;
    }

    rc = tn_path_regions_set(path, map);

    if (rc != TN_OK) {
        return rc;
    }

    path->racing = false;
    path->again = false;
    path->again_full = false;

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        tn_path_pick_derp(tn_container(link, tn_path_member_t, link));
    }

    if (path->started) {
        tn_path_only_home(path, now);
        tn_path_restun(path, now, true);
    }

    tn_path_own_restart(path, now);

    return TN_OK;
}


void
tn_path_set_knobs(tn_path_t *path, tn_ms_t now, const tn_path_knobs_t *knobs)
{
    bool               udp, mtu, home, relay;
    tn_hash_node_t    *link;
    tn_path_member_t  *peer;

    udp = knobs->only_tcp_443 != path->knobs.only_tcp_443;
    mtu = knobs->peer_mtu != path->knobs.peer_mtu;
    home = knobs->homeless != path->knobs.homeless;
    relay = knobs->no_relay && !path->knobs.no_relay;

    path->knobs = *knobs;

    if (mtu && path->ops->dont_fragment != NULL) {
        path->ops->dont_fragment(path->data, knobs->peer_mtu);
    }

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);
        tn_path_renew(peer);

        if (udp || mtu || (relay && peer->via_vni != 0)) {
            tn_path_peer_reset(peer, now, TN_PATH_WHY_NETWORK);
        }

        if (peer->wireguard_only) {
            tn_path_plain_set(peer, now);
        }
    }

    if (udp) {
        tn_log(path->log, TN_LOG_NOTICE, "path: control %s UDP",
               knobs->only_tcp_443 ? "forbids" : "allows");
    }

    if (home && knobs->homeless && path->map != NULL) {
        tn_path_set_home(path, now, 0);
        tn_path_tell_netinfo(path, now);
    }

    if (udp || home) {
        tn_path_restun(path, now, true);
    }

    if (udp) {
        tn_path_own_restart(path, now);
    }
}


bool
tn_path_has_udp(const tn_path_t *path)
{
    return !path->knobs.only_tcp_443;
}


void
tn_path_set_disco(tn_path_t *path, tn_ms_t now, const tn_keypair_t *disco)
{
    tn_hash_node_t    *link;
    tn_path_disco_t   *other;
    tn_path_member_t  *peer;

    path->disco = *disco;

    for (link = tn_hash_next(&path->discos, NULL); link != NULL;
         link = tn_hash_next(&path->discos, link))
    {
        other = tn_container(link, tn_path_disco_t, link);
        other->have_box = false;
        tn_wipe(&other->box, sizeof(tn_box_key_t));
    }

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);

        if (!peer->wireguard_only) {
            tn_path_pings_forget(peer);
            tn_path_relay_forget(peer, false);
            tn_path_peer_reset(peer, now, TN_PATH_WHY_NETWORK);
        }
    }

    /* what they search for now is asked with the new key */

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);

        if (!peer->wireguard_only) {
            tn_path_peer_restart(peer, now);
        }
    }
}


const tn_key_t *
tn_path_disco_key(const tn_path_t *path)
{
    return &path->disco.pub;
}


void
tn_path_set_control_up(tn_path_t *path, tn_ms_t now, bool up)
{
    if (up && !path->control_up) {
        path->control_up = true;
        tn_path_restun(path, now, false);
        return;
    }

    path->control_up = up;
}


void
tn_path_hint_home(tn_path_t *path, tn_ms_t now, uint32_t region)
{
    if (path->home == 0 && path->map != NULL
        && tn_path_region_find(path, region) != NULL)
    {
        tn_path_set_home(path, now, region);
    }
}


tn_path_peer_t *
tn_path_peer_add(tn_path_t *path, tn_ms_t now,
    const tn_path_peer_conf_t *conf, void *data)
{
    tn_path_member_t  *peer;

    if (path->peers.count >= TN_PATH_PEERS_MAX
        || tn_path_peer_find(path, &conf->node_key) != NULL)
    {
        return NULL;
    }

    peer = calloc(1, sizeof(tn_path_member_t));

    if (peer == NULL) {
        return NULL;
    }

    peer->pub.path = path;
    peer->pub.data = data;
    peer->node_key = conf->node_key;
    peer->link.key = peer->node_key.b;
    tn_list_init(&peer->disco_link);
    tn_list_init(&peer->call_link);
    tn_list_init(&peer->server_link);
    tn_list_init(&peer->places);
    tn_path_peer_init(peer);

    if (tn_hash_insert(&path->peers, &peer->link) != TN_OK) {
        free(peer);
        return NULL;
    }

    if (tn_path_peer_set(peer, now, conf) != TN_OK) {
        tn_path_peer_free(peer);
        return NULL;
    }

    return &peer->pub;
}


tn_rc_t
tn_path_peer_update(tn_path_peer_t *peer, tn_ms_t now,
    const tn_path_peer_conf_t *conf)
{
    return tn_path_peer_set(tn_path_member(peer), now, conf);
}


void
tn_path_peer_set_relay(tn_path_peer_t *pub, bool client, bool server)
{
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);
    peer->relay = client;

    if (server != !tn_list_empty(&peer->server_link)) {
        tn_list_remove(&peer->server_link);

        if (server) {
            tn_list_push(&pub->path->servers, &peer->server_link);
        }
    }
}


void
tn_path_set_own_relay(tn_path_t *path, bool granted)
{
    path->own_relay = granted;
}


tn_rc_t
tn_path_peer_set_disco(tn_path_peer_t *pub, tn_ms_t now, const tn_key_t *key)
{
    tn_path_t         *path;
    tn_path_disco_t   *disco;
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);
    path = pub->path;

    if (tn_key_is_zero(key) || peer->wireguard_only
        || (peer->disco != NULL && tn_key_equal(&peer->disco->key, key)))
    {
        return TN_OK;
    }

    disco = tn_path_disco_get(path, key);

    if (disco == NULL) {
        return TN_NOMEM;
    }

    tn_path_pings_forget(peer);
    tn_path_relay_forget(peer, true);
    tn_path_long_forget(peer);
    tn_path_disco_leave(path, peer);
    tn_path_disco_join(disco, peer);
    tn_path_peer_reset(peer, now, TN_PATH_WHY_PEER);

    return TN_OK;
}


void
tn_path_peer_remove(tn_path_peer_t *peer)
{
    tn_path_peer_free(tn_path_member(peer));
}


tn_path_peer_t *
tn_path_peer_find(const tn_path_t *path, const tn_key_t *node_key)
{
    tn_hash_node_t  *link;

    link = tn_hash_find(&path->peers, node_key->b);

    return link ? &tn_container(link, tn_path_member_t, link)->pub : NULL;
}


void
tn_path_peer_disco(const tn_path_peer_t *pub, tn_key_t *key)
{
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);

    if (peer->disco != NULL) {
        *key = peer->disco->key;

    } else {
        memset(key, 0, sizeof(tn_key_t));
    }
}


bool
tn_path_has_region(const tn_path_t *path, uint32_t region)
{
    return tn_path_region_find(path, region) != NULL;
}


tn_path_peer_t *
tn_path_peer_at(const tn_path_t *path, const tn_addr_t *addr)
{
    uint32_t           i;
    tn_hash_node_t    *link;
    tn_path_member_t  *peer;

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);

        for (i = 0; i < peer->ncandidates; i++) {
            if (tn_addr_equal(&peer->candidates[i].addr, addr)) {
                return &peer->pub;
            }
        }
    }

    return NULL;
}


void
tn_path_set_local(tn_path_t *path, tn_ms_t now, const tn_addr_t *addrs,
    size_t n, uint16_t port4, uint16_t port6)
{
    bool       changed;
    size_t     i;
    uint32_t   nlocal;
    tn_addr_t  local[TN_PATH_LOCAL_MAX];

    nlocal = 0;

    for (i = 0; i < n && nlocal < TN_PATH_LOCAL_MAX; i++) {
        if (addrs[i].port != 0 && !tn_ip_is_tailscale(&addrs[i].ip)
            && !tn_ip_is_multicast(&addrs[i].ip))
        {
            local[nlocal++] = addrs[i];
        }
    }

    changed = nlocal != path->nlocal || port4 != path->port4
              || port6 != path->port6;

    for (i = 0; i < nlocal && !changed; i++) {
        changed = !tn_addr_equal(&local[i], &path->local[i]);
    }

    if (!changed) {
        return;
    }

    /* what STUN saw on another network would keep peers at a dead address */

    path->ncache = 0;

    path->nlocal = nlocal;
    path->port4 = port4;
    path->port6 = port6;
    path->have4 = false;
    path->have6 = false;

    for (i = 0; i < nlocal; i++) {
        path->local[i] = local[i];

        if (tn_ip_is_loopback(&local[i].ip)) {
            continue;
        }

        if (tn_ip_is_v4(&local[i].ip)) {
            path->have4 = true;

        } else if (!tn_ip_is_link_local(&local[i].ip)) {
            path->have6 = true;
        }
    }

    tn_path_own_restart(path, now);
    tn_path_restun(path, now, true);
}


void
tn_path_network_changed(tn_path_t *path, tn_ms_t now)
{
    tn_log(path->log, TN_LOG_INFO, "path: the network has changed");

    tn_path_renetwork(path, now, tn_path_peer_restart);
}


void
tn_path_network_readdressed(tn_path_t *path, tn_ms_t now)
{
    tn_path_renetwork(path, now, tn_path_peer_doubt);
}


/* what was proven was so on the network before */
static void
tn_path_renetwork(tn_path_t *path, tn_ms_t now,
    void (*peer_again)(tn_path_member_t *peer, tn_ms_t now))
{
    tn_hash_node_t  *link;

    path->endpoints_at = 0;

    tn_path_own_restart(path, now);
    tn_path_regions_probe(path, now);
    tn_path_restun(path, now, true);

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer_again(tn_container(link, tn_path_member_t, link), now);
    }
}


void
tn_path_network_touched(tn_path_t *path, tn_ms_t now)
{
    tn_path_restun(path, now, false);
}


bool
tn_path_udp(tn_path_t *path, tn_ms_t now, const tn_addr_t *from,
    const uint8_t *bytes, size_t len)
{
    tn_geneve_t     geneve;
    tn_path_from_t  source;

    if (path->knobs.only_tcp_443) {
        return true;
    }

    if (tn_stun_is_binding(bytes, len)) {
        tn_netcheck_input(path->netcheck, now, bytes, len);
        return true;
    }

    if (tn_disco_sender(bytes, len) != NULL) {
        memset(&source, 0, sizeof(tn_path_from_t));
        source.addr = *from;
        tn_path_disco_input(path, now, &source, bytes, len);
        return true;
    }

    if (tn_geneve_parse(&geneve, bytes, len) != TN_OK
        || geneve.protocol != TN_GENEVE_DISCO)
    {
        return false;
    }

    /* through a peer relay, or from the relay itself */

    memset(&source, 0, sizeof(tn_path_from_t));
    source.addr = *from;
    source.vni = geneve.vni;
    bytes += TN_GENEVE_HEADER;
    len -= TN_GENEVE_HEADER;

    if (geneve.control) {
        tn_path_relay_control(path, now, &source, bytes, len);

    } else {
        tn_path_disco_input(path, now, &source, bytes, len);
    }

    return true;
}


void
tn_path_probed(tn_path_t *path, tn_ms_t now, uint32_t id, uint32_t latency_us)
{
    tn_netcheck_probed(path->netcheck, now, id, latency_us);
}


void
tn_path_resolved(tn_path_t *path, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n)
{
    if (!tn_path_own_resolved(path, now, id, ips, n)) {
        tn_netcheck_resolved(path->netcheck, now, id, ips, n);
    }
}


tn_rc_t
tn_path_send_derp(tn_path_peer_t *peer, tn_ms_t now, uint32_t region,
    const uint8_t *bytes, size_t len)
{
    tn_path_member_t  *member;

    member = tn_path_member(peer);

    return tn_path_derp_send(peer->path, now, member, region,
                             &member->node_key, bytes, len);
}


tn_rc_t
tn_path_reply(tn_path_t *path, tn_ms_t now, const tn_path_from_t *from,
    const uint8_t *bytes, size_t len)
{
    tn_writer_t  w;
    tn_geneve_t  geneve;

    if (from->region != 0) {
        return tn_path_derp_send(path, now, NULL, from->region, &from->key,
                                 bytes, len);
    }

    if (path->knobs.only_tcp_443) {
        return TN_REFUSED;
    }

    if (from->vni != 0) {

        geneve.protocol = TN_GENEVE_WIREGUARD;
        geneve.vni = from->vni;
        geneve.control = false;

        w = tn_writer(path->wrapped, sizeof(path->wrapped));
        tn_geneve_write(&w, &geneve);
        tn_write_bytes(&w, bytes, len);

        return w.bad ? TN_REFUSED
                     : path->ops->send_udp(path->data, &from->addr,
                                           path->wrapped, tn_writer_len(&w));
    }

    return path->ops->send_udp(path->data, &from->addr, bytes, len);
}


uint32_t
tn_path_home(const tn_path_t *path)
{
    return path->home;
}


tn_path_kind_e
tn_path_kind(const tn_path_peer_t *peer, tn_ms_t now)
{
    if (peer->best.port != 0 && now < peer->trust_until) {
        return peer->vni != 0 ? TN_PATH_RELAY : TN_PATH_DIRECT;
    }

    return peer->derp != 0 ? TN_PATH_DERP : TN_PATH_NONE;
}


double
tn_path_latency(const tn_path_peer_t *peer)
{
    if (peer->best.port == 0) {
        return -1;
    }

    return tn_path_member((tn_path_peer_t *) peer)->best_us / 1000.0;
}


uint32_t
tn_path_mtu(const tn_path_peer_t *pub)
{
    uint32_t           i;
    tn_path_member_t  *peer;

    peer = tn_path_member((tn_path_peer_t *) pub);

    for (i = 0; i < peer->ncandidates && pub->vni == 0; i++) {
        if (tn_addr_equal(&peer->candidates[i].addr, &pub->best)) {
            return peer->candidates[i].mtu;
        }
    }

    return 0;
}


const char *
tn_path_text(const tn_addr_t *addr, uint32_t vni, char text[TN_PATH_TEXT])
{
    size_t  len;

    (void) tn_addr_text(addr, text);

    if (vni != 0) {
        len = strlen(text);
        (void) snprintf(text + len, TN_PATH_TEXT - len, ":vni:%u",
                        (unsigned int) vni);
    }

    return text;
}


const char *
tn_path_why_text(tn_path_why_e why)
{
    static const char  *const texts[] = {
        "became active", "answered", "better", "lost", "unreachable", "slow",
        "flapping", "recovered", "network changed", "peer changed",
        "relay changed"
    };

    return (size_t) why < tn_nelems(texts) ? texts[why] : "";
}


size_t
tn_path_history(const tn_path_peer_t *pub,
    tn_path_change_t changes[TN_PATH_HISTORY])
{
    uint32_t                 i, n, first;
    const tn_path_member_t  *peer;

    peer = tn_path_member((tn_path_peer_t *) pub);
    n = tn_min(peer->nchanges, (uint32_t) TN_PATH_HISTORY);
    first = peer->nchanges - n;

    for (i = 0; i < n; i++) {
        changes[i] = peer->changes[(first + i) % TN_PATH_HISTORY];
    }

    return n;
}


const tn_path_counters_t *
tn_path_counters(const tn_path_t *path)
{
    return &path->counters;
}


const tn_netcheck_report_t *
tn_path_report(const tn_path_t *path, tn_ms_t *at)
{
    *at = path->report_at;

    return path->report_at ? &path->report : NULL;
}


uint32_t
tn_path_region_latency(const tn_path_t *path, uint32_t region, bool v4)
{
    return tn_netcheck_latency(path->netcheck, region, v4);
}


tn_rc_t
tn_path_break_derp(tn_path_t *path, tn_ms_t now, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    if (region == NULL || !region->connected) {
        return TN_NOTFOUND;
    }

    tn_path_region_break(region, now);

    return TN_OK;
}


void
tn_path_stun_again(tn_path_t *path, tn_ms_t now)
{
    path->endpoints_at = 0;
    tn_path_restun(path, now, true);
}


void
tn_path_note(tn_path_member_t *peer, tn_ms_t now)
{
    bool            udp, told_udp, near;
    char            key[8], addr[TN_PATH_TEXT];
    tn_path_t      *path;
    tn_path_why_e   why;
    tn_path_kind_e  kind;

    path = peer->pub.path;
    kind = tn_path_kind(&peer->pub, now);
    why = peer->why;
    peer->why = TN_PATH_WHY_NONE;

    near = tn_path_near(peer, kind);

    udp = kind == TN_PATH_DIRECT || kind == TN_PATH_RELAY;
    told_udp = peer->told_kind == TN_PATH_DIRECT
               || peer->told_kind == TN_PATH_RELAY;

    /* the relay of a peer that nobody talks to is no news */

    if (!udp && !told_udp && !tn_timer_is_set(&peer->heartbeat)) {
        return;
    }

    if (kind == peer->told_kind
        && (!udp || (tn_addr_equal(&peer->told_best, &peer->pub.best)
                     && peer->told_vni == peer->pub.vni))
        && (kind != TN_PATH_DERP || peer->told_derp == peer->pub.derp))
    {
        if (near != peer->told_near) {
            peer->told_near = near;
            tn_path_tell(peer, now);
        }

        return;
    }

    if (why == TN_PATH_WHY_NONE && kind == peer->told_kind) {
        why = TN_PATH_WHY_RELAY;

    } else if (why == TN_PATH_WHY_NONE && told_udp) {
        why = TN_PATH_WHY_LOST;
    }

    tn_path_remember(peer, now, kind, why);
    peer->told_kind = kind;
    peer->told_best = peer->pub.best;
    peer->told_vni = peer->pub.vni;
    peer->told_derp = peer->pub.derp;
    peer->told_near = near;

    tn_key_short(&peer->node_key, key);

    switch (kind) {

    case TN_PATH_DIRECT:
        tn_log(path->log, TN_LOG_INFO,
               "path: peer %s is direct at %s, %u us (%s)", key,
               tn_addr_text(&peer->pub.best, addr), peer->best_us,
               tn_path_why_text(why));
        break;

    case TN_PATH_RELAY:
        tn_log(path->log, TN_LOG_INFO,
               "path: peer %s is reached through the peer relay %s, %u us "
               "(%s)", key,
               tn_path_text(&peer->pub.best, peer->pub.vni, addr),
               peer->best_us, tn_path_why_text(why));
        break;

    case TN_PATH_DERP:
        tn_log(path->log, TN_LOG_INFO,
               "path: peer %s is reached through DERP region %u (%s)", key,
               peer->pub.derp, tn_path_why_text(why));
        break;

    default:
        tn_log(path->log, TN_LOG_INFO, "path: peer %s has no path (%s)", key,
               tn_path_why_text(why));
        break;
    }

    tn_path_tell(peer, now);
}


static void
tn_path_tell(tn_path_member_t *peer, tn_ms_t now)
{
    tn_path_t  *path;

    path = peer->pub.path;
    peer->pub.near = peer->told_near;

    if (path->ops->changed != NULL) {
        path->ops->changed(path->data, now, &peer->pub);
    }
}


/*
 * By the lowest answer: a queue, or a machine that is busy, makes the way no
 * longer.  What was measured last counts while there is no direct way.
 */
static bool
tn_path_near(const tn_path_member_t *peer, tn_path_kind_e kind)
{
    if (kind != TN_PATH_DIRECT || peer->base_us == 0) {
        return peer->told_near;
    }

    return peer->base_us <= (peer->told_near ? TN_PATH_NEAR_END_US
                                             : TN_PATH_NEAR_US);
}


/* without memory it is forgotten */
static void
tn_path_remember(tn_path_member_t *peer, tn_ms_t now, tn_path_kind_e kind,
    tn_path_why_e why)
{
    tn_path_change_t  *change;

    if (peer->changes == NULL) {
        peer->changes = calloc(TN_PATH_HISTORY, sizeof(tn_path_change_t));

        if (peer->changes == NULL) {
            return;
        }
    }

    change = &peer->changes[peer->nchanges++ % TN_PATH_HISTORY];
    memset(change, 0, sizeof(tn_path_change_t));

    change->at = now;
    change->kind = kind;
    change->why = why;

    if (kind == TN_PATH_DIRECT || kind == TN_PATH_RELAY) {
        change->addr = peer->pub.best;
        change->vni = peer->pub.vni;
        change->latency_us = peer->best_us;

    } else if (kind == TN_PATH_DERP) {
        change->derp = peer->pub.derp;
    }
}


void
tn_path_pick_derp(tn_path_member_t *peer)
{
    tn_path_t  *path;

    path = peer->pub.path;
    peer->pub.derp = 0;

    if (peer->expired || peer->wireguard_only) {
        return;
    }

    if (tn_path_region_find(path, peer->home_derp) != NULL) {
        peer->pub.derp = peer->home_derp;

    } else if (tn_path_region_find(path, peer->reverse) != NULL) {
        peer->pub.derp = peer->reverse;
    }
}


static tn_rc_t
tn_path_peer_set(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_peer_conf_t *conf)
{
    bool              other;
    tn_path_t        *path;
    tn_path_disco_t  *disco;

    path = peer->pub.path;
    disco = NULL;

    if (!tn_key_is_zero(&conf->disco_key)) {
        disco = tn_path_disco_get(path, &conf->disco_key);

        if (disco == NULL) {
            return TN_NOMEM;
        }
    }

    /* another disco key is another process: nothing is proven of it */

    other = disco != peer->disco
            || conf->wireguard_only != peer->wireguard_only;

    if (disco != peer->disco) {
        tn_path_pings_forget(peer);
        tn_path_relay_forget(peer, true);
        tn_path_long_forget(peer);
        tn_path_disco_leave(path, peer);

        if (disco != NULL) {
            tn_path_disco_join(disco, peer);
        }
    }

    peer->home_derp = conf->home_derp;
    peer->expired = conf->expired;
    peer->wireguard_only = conf->wireguard_only;
    peer->relay_capable = conf->relay_capable;
    peer->pub.drive_at = 0;

    tn_path_pick_derp(peer);
    tn_path_peer_netmap(peer, now, conf->endpoints, conf->nendpoints);

    if (peer->expired || other) {
        tn_path_peer_reset(peer, now, TN_PATH_WHY_PEER);
    }

    if (peer->wireguard_only) {
        tn_path_plain_set(peer, now);
    }

    tn_path_renew(peer);

    return TN_OK;
}


static void
tn_path_peer_free(tn_path_member_t *peer)
{
    tn_path_t  *path;

    path = peer->pub.path;

    tn_path_pings_forget(peer);
    tn_path_relay_forget(peer, true);
    tn_path_disco_leave(path, peer);
    tn_list_remove(&peer->call_link);
    tn_list_remove(&peer->server_link);
    tn_path_peer_done(peer);
    tn_hash_remove(&path->peers, &peer->link);
    free(peer);
}


/* how early payload that comes proves the address it comes from */
static void
tn_path_renew(tn_path_member_t *peer)
{
    peer->pub.renew_ms = 0;

    if (peer->wireguard_only || peer->pub.path->knobs.silent_disco) {
        peer->pub.renew_ms = TN_PATH_RENEW_MS;
    }
}

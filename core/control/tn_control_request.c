
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * RegisterRequest, MapRequest and the Hostinfo in both (tailcfg), as JSON.
 */

#include "control/tn_control_int.h"

#include "crypto/tn_blake2s.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


static json_t *tn_control_hostinfo(tn_control_t *c);
static json_t *tn_control_netinfo_json(const tn_netinfo_t *netinfo);
static void tn_control_log_id(tn_control_t *c, char *buf, size_t size);
static const char *tn_control_goarch(const char *machine);
static void tn_control_put_text(json_t *o, const char *name,
    const char *text);
static void tn_control_put_state(json_t *o, const char *name,
    tn_tristate_e value);
static char *tn_control_dump(json_t *o);


char *
tn_control_register_json(tn_control_t *c, tn_control_register_e kind)
{
    char       buf[TN_KEY_TEXT], when[32];
    json_t    *o;
    time_t     now;
    tn_key_t   lock;
    struct tm  tm;
    bool       rotating;
    size_t     len, sig_len;
    uint8_t   *sig, secret[TN_RESIGN_SECRET_LEN];
    const char  *key;

    o = json_object();
    rotating = kind == TN_REGISTER_NEW && tn_control_rotating(c);

    json_object_set_new(o, "Version",
                        json_integer(TN_CONTROL_CAPABILITY_VERSION));
    json_object_set_new(o, "NodeKey",
                        json_string(tn_key_text(rotating
                                                ? &c->saved.next.pub
                                                : &c->saved.node.pub,
                                                TN_KEY_NODE, buf)));
    json_object_set_new(o, "Hostinfo", tn_control_hostinfo(c));

    if (kind == TN_REGISTER_LOGOUT) {

        /* any time that has passed; upstream takes the same one */
        json_object_set_new(o, "Expiry", json_string("1970-01-01T00:02:03Z"));

        return tn_control_dump(o);
    }

    json_object_set_new(o, "Expiry", json_string("0001-01-01T00:00:00Z"));

    if (rotating) {
        json_object_set_new(o, "OldNodeKey",
                            json_string(tn_key_text(&c->saved.node.pub,
                                                    TN_KEY_NODE, buf)));
    }

    if (tn_control_lock_key(c, &lock, NULL)) {
        json_object_set_new(o, "NLKey",
                            json_string(tn_key_text(&lock, TN_KEY_LOCK,
                                                    buf)));
    }

    tn_control_lock_sign(c, o, rotating ? &c->saved.next.pub
                                        : &c->saved.node.pub);

    key = c->minted ? c->minted : c->auth_key;

    if (key != NULL) {
        len = tn_resign_auth_key(key, &sig, &sig_len, secret);
        tn_wipe(secret, sizeof(secret));
        free(sig);

        json_object_set_new(o, "Auth",
                            json_pack("{s:s%}", "AuthKey", key, len));
    }

    json_object_set_new(o, "Followup",
                        json_string(c->followup ? c->followup : ""));

    if (c->ephemeral) {
        json_object_set_new(o, "Ephemeral", json_true());
    }

    now = (time_t) (c->ops->wall(c->data) + c->netmap->clock_offset);

    if (gmtime_r(&now, &tm) != NULL
        && strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm) != 0)
    {
        json_object_set_new(o, "Timestamp", json_string(when));
    }

    return tn_control_dump(o);
}


/*
 * Both kinds carry everything: newer servers read endpoints and Hostinfo
 * only from the update, headscale 0.28 also from the stream request, where
 * a disco key left out would be stored as zero.
 */
char *
tn_control_map_json(tn_control_t *c, bool stream)
{
    char     buf[TN_KEY_TEXT];
    size_t   i;
    json_t  *o, *addrs, *types;

    o = json_object();

    json_object_set_new(o, "Version",
                        json_integer(TN_CONTROL_CAPABILITY_VERSION));
    json_object_set_new(o, "Compress", json_string("zstd"));
    json_object_set_new(o, "KeepAlive", json_true());
    json_object_set_new(o, "NodeKey",
                        json_string(tn_key_text(c->poll_next
                                                ? &c->saved.next.pub
                                                : &c->saved.node.pub,
                                                TN_KEY_NODE, buf)));

    if (!tn_key_is_zero(&c->disco)) {
        json_object_set_new(o, "DiscoKey",
                            json_string(tn_key_text(&c->disco, TN_KEY_DISCO,
                                                    buf)));
    }

    tn_control_lock_put_head(c, o);
    json_object_set_new(o, stream ? "Stream" : "OmitPeers", json_true());
    json_object_set_new(o, "Hostinfo", tn_control_hostinfo(c));

    if (c->nendpoints != 0) {
        addrs = json_array();
        types = json_array();

        for (i = 0; i < c->nendpoints; i++) {
            json_array_append_new(addrs,
                       json_string(tn_addr_text(&c->endpoints[i].addr, buf)));
            json_array_append_new(types,
                                  json_integer(c->endpoints[i].type));
        }

        json_object_set_new(o, "Endpoints", addrs);
        json_object_set_new(o, "EndpointTypes", types);
    }

    return tn_control_dump(o);
}


static json_t *
tn_control_hostinfo(tn_control_t *c)
{
    char     buf[TN_KEY_TEXT];
    size_t   i;
    json_t  *o, *list;

    o = json_object();

    tn_control_put_text(o, "IPNVersion",
                        c->version ? c->version : TN_CONTROL_VERSION);
    tn_control_log_id(c, buf, sizeof(buf));
    tn_control_put_text(o, "BackendLogID", buf);
    tn_control_put_text(o, "OS", "linux");
    tn_control_put_text(o, "OSVersion", c->os_version);
    tn_control_put_text(o, "Distro", c->distro);
    tn_control_put_text(o, "DistroVersion", c->distro_version);
    tn_control_put_text(o, "DistroCodeName", c->distro_codename);
    tn_control_put_text(o, "App", TN_CONTROL_APP);
    tn_control_put_text(o, "Hostname", c->hostname);
    tn_control_put_text(o, "Machine", c->machine_type);
    tn_control_put_text(o, "GoArch", tn_control_goarch(c->machine_type));

    json_object_set_new(o, "NoLogsNoSupport", json_true());
    json_object_set_new(o, "Userspace", json_true());
    json_object_set_new(o, "UserspaceRouter", json_true());

    if (c->shields_up) {
        json_object_set_new(o, "ShieldsUp", json_true());
    }

    if (c->ingress) {
        json_object_set_new(o, "IngressEnabled", json_true());
    }

    if (c->wire_ingress) {
        json_object_set_new(o, "WireIngress", json_true());
    }

    tn_control_put_text(o, "ServicesHash", c->services_hash);

    if (c->peer_relay) {
        json_object_set_new(o, "PeerRelay", json_true());
    }

    if (c->nroutes != 0) {
        list = json_array();

        for (i = 0; i < c->nroutes; i++) {
            json_array_append_new(list,
                             json_string(tn_prefix_text(&c->routes[i], buf)));
        }

        json_object_set_new(o, "RoutableIPs", list);
    }

    if (c->ntags != 0) {
        list = json_array();

        for (i = 0; i < c->ntags; i++) {
            json_array_append_new(list, json_string(c->tags[i]));
        }

        json_object_set_new(o, "RequestTags", list);
    }

    if (c->nservices != 0) {
        list = json_array();

        for (i = 0; i < c->nservices; i++) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:i}",
                                            "Proto", c->services[i].proto,
                                            "Port",
                                            (int) c->services[i].port));
        }

        json_object_set_new(o, "Services", list);
    }

    if (c->netinfo_given) {
        json_object_set_new(o, "NetInfo",
                            tn_control_netinfo_json(&c->netinfo));
    }

    return o;
}


static json_t *
tn_control_netinfo_json(const tn_netinfo_t *netinfo)
{
    char      name[32];
    json_t   *o, *latency;
    uint32_t  i;

    o = json_object();

    tn_control_put_state(o, "MappingVariesByDestIP",
                         netinfo->mapping_varies_by_dest_ip);
    tn_control_put_state(o, "WorkingIPv6", netinfo->working_ipv6);
    tn_control_put_state(o, "OSHasIPv6", netinfo->os_has_ipv6);
    tn_control_put_state(o, "WorkingUDP", netinfo->working_udp);
    tn_control_put_state(o, "UPnP", netinfo->upnp);
    tn_control_put_state(o, "PMP", netinfo->pmp);
    tn_control_put_state(o, "PCP", netinfo->pcp);

    if (netinfo->have_port_map) {
        json_object_set_new(o, "HavePortMap", json_true());
    }

    if (netinfo->preferred_derp != 0) {
        json_object_set_new(o, "PreferredDERP",
                            json_integer(netinfo->preferred_derp));
    }

    if (netinfo->nlatency != 0) {
        latency = json_object();

        for (i = 0; i < netinfo->nlatency; i++) {
            snprintf(name, sizeof(name), "%u-%s", netinfo->latency[i].region,
                     netinfo->latency[i].v4 ? "v4" : "v6");
            json_object_set_new(latency, name,
                                json_real(netinfo->latency[i].seconds));
        }

        json_object_set_new(o, "DERPLatency", latency);
    }

    return o;
}


/*
 * Control wants a log id.  We upload no logs; this one is a hash, so that it
 * names this machine and nothing else.
 */
static void
tn_control_log_id(tn_control_t *c, char *buf, size_t size)
{
    uint8_t  hash[TN_BLAKE2S_LEN];

    static const char  purpose[] = "ngx_tailnet log id";

    if (tn_blake2s(hash, purpose, sizeof(purpose) - 1,
                   c->saved.machine.pub.b, TN_KEY_LEN)
        != TN_OK)
    {
        memset(hash, 0, sizeof(hash));
    }

    sodium_bin2hex(buf, size, hash, sizeof(hash));
}


static const char *
tn_control_goarch(const char *machine)
{
    size_t  i;

    static const struct {
        const char  *machine;
        const char  *goarch;
    }  names[] = {
        { "x86_64", "amd64" },
        { "aarch64", "arm64" },
        { "armv7l", "arm" },
        { "i686", "386" },
        { "riscv64", "riscv64" },
        { "ppc64le", "ppc64le" },
        { "s390x", "s390x" },
        { "loongarch64", "loong64" }
    };

    for (i = 0; machine != NULL && i < tn_nelems(names); i++) {
        if (strcmp(machine, names[i].machine) == 0) {
            return names[i].goarch;
        }
    }

    return machine;
}


static void
tn_control_put_text(json_t *o, const char *name, const char *text)
{
    if (text != NULL && *text != '\0') {
        json_object_set_new(o, name, json_string(text));
    }
}


static void
tn_control_put_state(json_t *o, const char *name, tn_tristate_e value)
{
    if (value != TN_UNKNOWN) {
        json_object_set_new(o, name, json_boolean(value == TN_YES));
    }
}


static char *
tn_control_dump(json_t *o)
{
    char  *text;

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    return text;
}

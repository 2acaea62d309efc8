
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_nodec2n.h"
#include "run/tn_services.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


typedef struct {
    tn_node_t               *node;
    const tn_certs_t        *certs;
    const tn_control_c2n_t  *request;
    tn_str_t                 query;
} nodec2n_t;

typedef struct {
    const char  *path;
    void       (*answer)(const nodec2n_t *ask);
} nodec2n_path_t;


static void nodec2n_metrics(const nodec2n_t *ask);
static void nodec2n_certificate(const nodec2n_t *ask);
static void nodec2n_services(const nodec2n_t *ask);
static void nodec2n_json(const nodec2n_t *ask, json_t *o);
static void nodec2n_time(json_t *o, const char *name, int64_t at);


/* all of them are asked by GET */
static const nodec2n_path_t  nodec2n_paths[] = {
    { "/debug/metrics", nodec2n_metrics },
    { "/tls-cert-status", nodec2n_certificate },
    { "/vip-services", nodec2n_services }
};


void
tn_nodec2n_ask(tn_node_t *node, const tn_certs_t *certs,
    const tn_control_c2n_t *request)
{
    size_t     i, len;
    nodec2n_t  ask;

    static const char  unknown[] = "unknown c2n path\n";
    static const char  method[] = "method not allowed\n";

    len = strcspn(request->path, "?");

    ask.node = node;
    ask.certs = certs;
    ask.request = request;
    ask.query.data = (const uint8_t *) request->path + len
                     + (request->path[len] != '\0');
    ask.query.len = strlen((const char *) ask.query.data);

    for (i = 0; i < tn_nelems(nodec2n_paths); i++) {

        if (strlen(nodec2n_paths[i].path) != len
            || strncmp(nodec2n_paths[i].path, request->path, len) != 0)
        {
            continue;
        }

        if (strcmp(request->method, "GET") != 0) {
            tn_control_c2n_answer(tn_node_control(node), request->id, 405,
                                  NULL, method, sizeof(method) - 1);
            return;
        }

        nodec2n_paths[i].answer(&ask);
        return;
    }

    tn_control_c2n_answer(tn_node_control(node), request->id, 400, NULL,
                          unknown, sizeof(unknown) - 1);
}


/* what the control thread knows; what packets do is on the status page */
static void
nodec2n_metrics(const nodec2n_t *ask)
{
    int                 n;
    char                text[2048];
    tn_ms_t             at;
    tn_control_t       *control;
    const tn_netmap_t  *netmap;
    const tn_netinfo_t *netinfo;

    control = tn_node_control(ask->node);
    netmap = tn_control_netmap(control);
    netinfo = tn_node_netinfo(ask->node, &at);

    n = snprintf(text, sizeof(text),
                 "# TYPE ngx_tailnet_peers gauge\n"
                 "ngx_tailnet_peers %zu\n"
                 "# TYPE ngx_tailnet_peers_locked_out gauge\n"
                 "ngx_tailnet_peers_locked_out %zu\n"
                 "# TYPE ngx_tailnet_health_messages gauge\n"
                 "ngx_tailnet_health_messages %zu\n"
                 "# TYPE ngx_tailnet_home_derp_region_id gauge\n"
                 "ngx_tailnet_home_derp_region_id %u\n"
                 "# TYPE ngx_tailnet_node_key_expiry_timestamp_seconds gauge\n"
                 "ngx_tailnet_node_key_expiry_timestamp_seconds %lld\n",
                 netmap->peers.count, netmap->hidden.count,
                 netmap->nmessages, netinfo ? netinfo->preferred_derp : 0,
                 (long long) (netmap->self ? netmap->self->key_expiry : 0));

    tn_control_c2n_answer(control, ask->request->id, 200,
                          "text/plain; version=0.0.4", text, (size_t) n);
}


/* upstream: tailcfg.C2NTLSCertInfo */
static void
nodec2n_certificate(const nodec2n_t *ask)
{
    size_t       i, len;
    int64_t      before, after, now;
    json_t      *o;
    const char  *name, *domain;

    static const char  key[] = "domain=";

    domain = strstr((const char *) ask->query.data, key);
    domain = domain ? domain + sizeof(key) - 1 : "";
    len = strcspn(domain, "&");
    name = NULL;
    after = 0;
    before = 0;

    for (i = 0; ask->certs != NULL; i++) {
        name = tn_certs_each(ask->certs, i, &before, &after);

        if (name == NULL
            || (strlen(name) == len && strncasecmp(name, domain, len) == 0))
        {
            break;
        }
    }

    now = (int64_t) time(NULL);
    o = json_object();

    if (name == NULL || after == 0) {
        json_object_set_new(o, "Missing", json_true());
        json_object_set_new(o, "Error",
                            json_string("there is no certificate yet"));

    } else if (after <= now) {
        json_object_set_new(o, "Expired", json_true());
        json_object_set_new(o, "Error",
                            json_string("the certificate has expired"));

    } else {
        json_object_set_new(o, "Valid", json_true());
        nodec2n_time(o, "NotBefore", before);
        nodec2n_time(o, "NotAfter", after);
    }

    nodec2n_json(ask, o);
}


/* upstream: tailcfg.C2NVIPServicesResponse */
static void
nodec2n_services(const nodec2n_t *ask)
{
    char  *text;

    if (tn_node_services(ask->node) == NULL) {
        nodec2n_json(ask, json_pack("{s:s}", "ServicesHash", ""));
        return;
    }

    text = tn_services_json(tn_node_services(ask->node));

    if (text != NULL) {
        tn_control_c2n_answer(tn_node_control(ask->node), ask->request->id,
                              200, "application/json", text, strlen(text));
    }

    free(text);
}


/* takes o over */
static void
nodec2n_json(const nodec2n_t *ask, json_t *o)
{
    char  *text;

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    if (text != NULL) {
        tn_control_c2n_answer(tn_node_control(ask->node), ask->request->id,
                              200, "application/json", text, strlen(text));
    }

    free(text);
}


static void
nodec2n_time(json_t *o, const char *name, int64_t at)
{
    char       text[32];
    time_t     t;
    struct tm  tm;

    t = (time_t) at;

    if (gmtime_r(&t, &tm) != NULL
        && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) != 0)
    {
        json_object_set_new(o, name, json_string(text));
    }
}

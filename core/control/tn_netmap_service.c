
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Addresses of Tailscale Services, upstream's tailcfg.ServiceIPMappings: the
 * attribute's value is a list of objects, in each lists of addresses by the
 * service's name.
 */

#include "control/tn_json.h"
#include "control/tn_netmap.h"


#define TN_NETMAP_SERVICE_CAP  "service-host"


bool
tn_netmap_service_ip(const tn_netmap_node_t *self, const char *name, bool v4,
    tn_ip_t *ip)
{
    bool                    found;
    size_t                  i, j;
    json_t                 *all, *list;
    const char             *text;
    tn_json_span_t          span;
    const tn_netmap_cap_t  *cap;

    cap = tn_netmap_node_cap(self, TN_NETMAP_SERVICE_CAP);

    if (cap == NULL || cap->json == NULL) {
        return false;
    }

    span.data = cap->json;
    span.len = strlen(cap->json);
    found = false;

    if (tn_json_load(span, &all) != TN_OK) {
        return false;
    }

    for (i = 0; !found && i < json_array_size(all); i++) {
        list = json_object_get(json_array_get(all, i), name);

        for (j = 0; !found && j < json_array_size(list); j++) {
            text = json_string_value(json_array_get(list, j));

            found = text != NULL
                    && tn_ip_parse(ip, text, strlen(text)) == TN_OK
                    && tn_ip_is_v4(ip) == v4
                    && tn_ip_is_tailscale(ip);
        }
    }

    json_decref(all);

    return found;
}

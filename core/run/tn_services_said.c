
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control is told of services: their list, by c2n, and its hash.
 */

#include "run/tn_services_int.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>


static json_t *services_list(const tn_services_t *services);
static void services_hash(const char *list, char hash[65]);


void
services_announce(tn_services_t *services)
{
    char     hash[65], *list;
    json_t  *o;

    if (services->node == NULL || tn_node_control(services->node) == NULL
        || (services->left != 0
            && services->loop->now < services->left + TN_SERVICES_CALM_MS
            && services->said != NULL))
    {
        return;
    }

    o = services_list(services);
    list = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);

    if (list == NULL) {
        return;
    }

    if (services->said == NULL || strcmp(services->said, list) != 0) {
        services_hash(list, hash);
        tn_control_set_services_hash(tn_node_control(services->node), hash);
        free(services->said);
        services->said = list;
        return;
    }

    free(list);
}


/* upstream: a list of tailcfg.VIPService, sorted by name; NULL: no memory */
static json_t *
services_list(const tn_services_t *services)
{
    char                     port[16];
    json_t                  *list, *one, *ports;
    tn_link_t               *link;
    const char              *name, *last;
    const services_entry_t  *entry;

    list = json_array();
    one = NULL;
    ports = NULL;
    name = "";
    last = "";

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->drained || services_is_void(entry)) {
            continue;
        }

        if (strcmp(name, entry->key.name) != 0) {
            name = entry->key.name;
            last = "";
            ports = json_array();
            one = json_pack("{s:s, s:o, s:b}", "Name", name, "Ports", ports,
                            "Active", 0);
            json_array_append_new(list, one);
        }

        (void) snprintf(port, sizeof(port), "%s:%u",
                        entry->key.proto == TN_IPC_TCP ? "tcp" : "udp",
                        entry->key.port);

        if (strcmp(last, port) != 0) {
            json_array_append_new(ports, json_string(port));
            last = json_string_value(json_array_get(ports,
                                                json_array_size(ports) - 1));
            last = last != NULL ? last : "";
        }

        if (entry->active != 0) {
            json_object_set_new(one, "Active", json_true());
        }
    }

    return list;
}


char *
tn_services_json(const tn_services_t *services)
{
    char     hash[65], *text;
    json_t  *list, *o;

    list = services_list(services);
    text = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;

    if (text == NULL) {
        json_decref(list);
        return NULL;
    }

    services_hash(text, hash);
    free(text);

    o = json_pack("{s:s}", "ServicesHash", hash);

    if (json_array_size(list) != 0) {
        json_object_set_new(o, "VIPServices", list);

    } else {
        json_decref(list);
    }

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    return text;
}


/* "" of an empty list */
static void
services_hash(const char *list, char hash[65])
{
    unsigned       i, len;
    unsigned char  bytes[EVP_MAX_MD_SIZE];

    hash[0] = '\0';
    len = 0;

    if (strcmp(list, "[]") == 0
        || EVP_Digest(list, strlen(list), bytes, &len, EVP_sha256(), NULL)
           != 1)
    {
        return;
    }

    for (i = 0; i < len && i < 32; i++) {
        (void) snprintf(hash + 2 * i, 3, "%02x", bytes[i]);
    }
}

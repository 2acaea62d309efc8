
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A data thread and its port mapping: what is wanted of the mapper, and what
 * it found out, as endpoints and NetInfo of the path machine.
 */

#include "tn_data_private.h"


static void data_portmap_changed(void *arg, const tn_portmap_state_t *state);
static void data_portmap_endpoints(tn_data_t *data);
static void data_portmap_offers(tn_data_t *data);


tn_rc_t
tn_data_portmap_create(tn_data_t *data, const tn_data_conf_t *conf)
{
    tn_portmap_conf_t  pm;

    if (!conf->port_mapping) {
        return TN_OK;
    }

    memset(&pm, 0, sizeof(pm));
    pm.loop = &data->loop;
    pm.changed = data_portmap_changed;
    pm.data = data;
    pm.log = conf->log;
    pm.name = conf->name;
    pm.secret = &conf->node.priv;

    data->portmap = tn_portmap_start(&pm);

    return data->portmap != NULL ? TN_OK : TN_NOMEM;
}


void
tn_data_portmap_update(tn_data_t *data, const tn_update_t *update)
{
    if (!update->has_self) {
        return;
    }

    data->may_map = !update->knobs.only_tcp_443;
    data->no_upnp = update->no_upnp;

    tn_data_portmap_want(data);
}


void
tn_data_portmap_want(tn_data_t *data)
{
    tn_portmap_want_t  want;

    if (data->portmap == NULL) {
        return;
    }

    want.port = data->may_map ? tn_udp_port(data->udp, false) : 0;
    want.no_upnp = data->no_upnp;

    tn_portmap_want(data->portmap, &want);
}


static void
data_portmap_changed(void *arg, const tn_portmap_state_t *state)
{
    tn_data_t *data = arg;

    bool  same;

    same = state->proto == data->mapped.proto
           && tn_addr_equal(&state->external, &data->mapped.external);
    data->mapped = *state;

    if (data->plane == NULL) {
        return;
    }

    if (!same) {
        data_portmap_endpoints(data);
    }

    data_portmap_offers(data);
}


void
tn_data_portmap_say(tn_data_t *data)
{
    data_portmap_endpoints(data);
    data_portmap_offers(data);
}


static void
data_portmap_endpoints(tn_data_t *data)
{
    size_t         n;
    tn_endpoint_t  list[TN_DATA_STATIC + 1];

    n = data->nextra;
    memcpy(list, data->extra, n * sizeof(tn_endpoint_t));

    if (data->mapped.proto != TN_PORTMAP_NONE) {
        list[n].addr = data->mapped.external;
        list[n].type = TN_ENDPOINT_PORTMAPPED;
        n++;
    }

    tn_path_set_extra(tn_plane_path(data->plane), data->loop.now, list, n);
}


static void
data_portmap_offers(tn_data_t *data)
{
    const tn_portmap_state_t  *mapped;

    mapped = &data->mapped;

    tn_path_set_portmap(tn_plane_path(data->plane), data->loop.now,
                        mapped->offers[TN_PORTMAP_UPNP],
                        mapped->offers[TN_PORTMAP_PMP],
                        mapped->offers[TN_PORTMAP_PCP],
                        mapped->proto != TN_PORTMAP_NONE);
}

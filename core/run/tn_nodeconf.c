
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_nodeconf.h"

#include <stdio.h>
#include <unistd.h>


void
tn_nodeconf_read(tn_nodeconf_t *nc, const tn_ipc_node_t *conf)
{
    char               *tag, *next;
    tn_control_conf_t  *control;

    memset(nc, 0, sizeof(tn_nodeconf_t));
    control = &nc->control;

    tn_osinfo_read(&nc->os);

    if (conf->control_url[0] != '\0') {
        control->url = conf->control_url;
    }

    if (conf->auth_key[0] != '\0') {
        control->auth_key = conf->auth_key;
    }

    if (conf->hostname[0] != '\0') {
        control->hostname = conf->hostname;

    } else {
        if (gethostname(nc->hostname, sizeof(nc->hostname)) != 0) {
            (void) snprintf(nc->hostname, sizeof(nc->hostname), "nginx");
        }

        nc->hostname[sizeof(nc->hostname) - 1] = '\0';
        control->hostname = nc->hostname;
    }

    (void) snprintf(nc->tags, sizeof(nc->tags), "%s", conf->tags);

    for (tag = strtok_r(nc->tags, ",", &next);
         tag != NULL && control->ntags < TN_NODECONF_TAGS_MAX;
         tag = strtok_r(NULL, ",", &next))
    {
        nc->list[control->ntags++] = tag;
    }

    control->tags = nc->list;
    control->routes = conf->routes;
    control->nroutes = conf->nroutes;
    control->ephemeral = (conf->flags & TN_IPC_EPHEMERAL) != 0;
    control->shields_up = (conf->flags & TN_IPC_SHIELDS_UP) != 0;
    control->peer_relay = conf->relay_port != 0;
    control->os_version = nc->os.release;
    control->machine_type = nc->os.machine;
    control->distro = nc->os.distro;
    control->distro_version = nc->os.distro_version;
    control->distro_codename = nc->os.distro_codename;
}

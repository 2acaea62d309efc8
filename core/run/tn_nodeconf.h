
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's configuration, and what its host is, as the control client wants
 * them.  Used by tn_node only.
 */

#ifndef TN_NODECONF_H_INCLUDED_
#define TN_NODECONF_H_INCLUDED_

#include "control/tn_control.h"
#include "proc/tn_ipc.h"
#include "host/tn_osinfo.h"


#define TN_NODECONF_TAGS_MAX  64


typedef struct {
    tn_control_conf_t   control;    /* points into the rest and into conf */
    tn_osinfo_t         os;
    char                hostname[TN_IPC_HOST];
    char                tags[TN_IPC_TAGS];
    const char         *list[TN_NODECONF_TAGS_MAX];
} tn_nodeconf_t;


/* conf has to stay; saved and disco are left to the caller */
void tn_nodeconf_read(tn_nodeconf_t *nc, const tn_ipc_node_t *conf);


#endif /* TN_NODECONF_H_INCLUDED_ */

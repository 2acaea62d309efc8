
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Counters of connections as JSON, and that as text.
 */

#ifndef TN_TOOLCONNS_H_INCLUDED_
#define TN_TOOLCONNS_H_INCLUDED_

#include "run/tn_node.h"

#include <jansson.h>


/* adds what was counted to the object of a node; now of the same clock */
void tn_toolconns_show(json_t *object, tn_node_t *node,
    const tn_data_done_t *done, tn_ms_t now);

/*
 * Writes such an object for people by `say`, which knows what a terminal may
 * be given.
 */
void tn_toolconns_print(const json_t *object,
    void (*say)(const char *fmt, ...));


#endif /* TN_TOOLCONNS_H_INCLUDED_ */

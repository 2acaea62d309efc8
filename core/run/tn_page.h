
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What tn_tool puts together about all nodes, as a page for people and as
 * metrics for Prometheus.  Pure: JSON in, text out.
 */

#ifndef TN_PAGE_H_INCLUDED_
#define TN_PAGE_H_INCLUDED_

#include "base/tn_base.h"

#include <jansson.h>


#define TN_PAGE_PEERS_MAX  1000     /* rows; the rest is counted */


/* each: the caller's to free, NULL when out of memory */

/* wall: Unix seconds, for what is said relative to now */
char *tn_page_html(const json_t *report, int64_t wall);

/* the text format 0.0.4 */
char *tn_page_metrics(const json_t *report);


#endif /* TN_PAGE_H_INCLUDED_ */

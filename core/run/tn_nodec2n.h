
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Requests that control sends through the map and that the control client
 * cannot answer by itself (upstream: c2n).  On the control thread.
 */

#ifndef TN_NODEC2N_H_INCLUDED_
#define TN_NODEC2N_H_INCLUDED_

#include "cert/tn_certs.h"
#include "run/tn_node.h"


/* answers at once; certs may be NULL */
void tn_nodec2n_ask(tn_node_t *node, const tn_certs_t *certs,
    const tn_control_c2n_t *request);


#endif /* TN_NODEC2N_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Gives nginx's workers sockets of a node's namespace in advance, out of the
 * node's pool, so that a dial to an address they know needs nobody else.
 * Belongs to the control thread; never blocks.
 */

#ifndef TN_STOCK_H_INCLUDED_
#define TN_STOCK_H_INCLUDED_

#include "run/tn_pool.h"


#define TN_STOCK_MAX  4096          /* connections; others are closed */

typedef struct tn_stock_s  tn_stock_t;

/* the pool of a node of this name, or NULL: it gives no sockets */
typedef tn_pool_t *(*tn_stock_pt)(void *data, const char *node);


/* NULL when out of memory */
tn_stock_t *tn_stock_create(tn_loop_t *loop, tn_stock_pt find, void *data);

/* closes all; after the last tn_pool_destroy() or before */
void tn_stock_destroy(tn_stock_t *stock);

/* takes the connection over, with its first request; `data`: a tn_stock_t */
void tn_stock_take(void *data, int fd, const tn_ipc_take_t *request);

/* the pool is going away: so do those that had something of it */
void tn_stock_forget(tn_stock_t *stock, const tn_pool_t *pool);


#endif /* TN_STOCK_H_INCLUDED_ */

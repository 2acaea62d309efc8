
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Workers of nginx that stay connected to the core to be told of something:
 * listeners of services, certificates.  One list for each such thing of a
 * node, control's thread only.
 */

#ifndef TN_WORKERS_H_INCLUDED_
#define TN_WORKERS_H_INCLUDED_

#include "base/tn_list.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"


#define TN_WORKERS_MAX  1024        /* of one list */

typedef struct {
    const char   *what;
    tn_loop_t    *loop;
    tn_log_t     *log;
    tn_link_t     list;             /* tn_worker_t */
    size_t        n;
} tn_workers_t;

/* begins its owner's structure, which was allocated by calloc() */
typedef struct {
    tn_link_t     link;
    tn_workers_t *workers;
    tn_watch_t    watch;            /* its connection */
    void         *data;
} tn_worker_t;


/* `what`, a constant, is what they are told of */
void tn_workers_init(tn_workers_t *workers, const char *what,
    tn_loop_t *loop, tn_log_t *log);

/*
 * A worker of `size` bytes for the connection `fd`, which is taken over, and
 * closed when this fails.  NULL: it is none of our own user or root, or one
 * too many, and the log says so; or no memory.  `handler` hears of what it
 * says and of its end.
 */
tn_worker_t *tn_workers_take(tn_workers_t *workers, int fd, size_t size,
    void (*handler)(tn_watch_t *watch, uint32_t events), void *data);

/* closes the connection and frees the whole structure */
void tn_workers_drop(tn_worker_t *worker);

/* the first one, or NULL */
tn_worker_t *tn_workers_first(const tn_workers_t *workers);


#endif /* TN_WORKERS_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_workers.h"

#include "proc/tn_ipc.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


void
tn_workers_init(tn_workers_t *workers, const char *what, tn_loop_t *loop,
    tn_log_t *log)
{
    workers->what = what;
    workers->log = log;
    workers->loop = loop;
    workers->n = 0;
    tn_list_init(&workers->list);
}


tn_worker_t *
tn_workers_take(tn_workers_t *workers, int fd, size_t size,
    void (*handler)(tn_watch_t *watch, uint32_t events), void *data)
{
    tn_worker_t   *w;
    struct ucred   peer;

    if (!tn_ipc_trusts(fd, &peer) || workers->n >= TN_WORKERS_MAX) {
        tn_log(workers->log, TN_LOG_WARN, "%s are not for process %d of user "
               "%d", workers->what, (int) peer.pid, (int) peer.uid);
        (void) close(fd);
        return NULL;
    }

    w = calloc(1, size);

    if (w == NULL) {
        (void) close(fd);
        return NULL;
    }

    w->workers = workers;
    w->data = data;
    w->watch.fd = fd;
    w->watch.events = TN_LOOP_READ;
    w->watch.handler = handler;
    w->watch.data = w;

    tn_list_push(&workers->list, &w->link);
    workers->n++;

    if (tn_loop_watch(workers->loop, &w->watch) != TN_OK) {
        tn_workers_drop(w);
        return NULL;
    }

    return w;
}


void
tn_workers_drop(tn_worker_t *worker)
{
    worker->workers->n--;
    tn_list_remove(&worker->link);
    tn_loop_unwatch(worker->workers->loop, &worker->watch);
    (void) close(worker->watch.fd);
    free(worker);
}


tn_worker_t *
tn_workers_first(const tn_workers_t *workers)
{
    return tn_list_empty(&workers->list)
           ? NULL : tn_container(workers->list.next, tn_worker_t, link);
}

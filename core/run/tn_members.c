
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Each connection has the message that was sent last.  Many changes of one
 * turn are one look; a message equal to the last one is not sent.  A worker
 * that does not read is not waited for: when it does it gets what is true
 * then, not what it missed.
 */

#include "run/tn_members.h"

#include <stdlib.h>
#include <unistd.h>


typedef struct {
    tn_link_t         link;
    tn_members_t     *members;
    tn_watch_t        watch;
    tn_ipc_watch_t    request;
    bool              told;
    tn_ipc_members_t  last;
} tn_members_watcher_t;


struct tn_members_s {
    tn_loop_t        *loop;
    tn_members_pt     find;
    void             *data;
    tn_link_t         watchers;
    size_t            n_watchers;
    tn_defer_t        look;
};


static void tn_members_look(void *data);
static void tn_members_tell(tn_members_watcher_t *watcher);
static void tn_members_event(tn_watch_t *watch, uint32_t events);
static void tn_members_free(tn_members_watcher_t *watcher);


tn_members_t *
tn_members_create(tn_loop_t *loop, tn_members_pt find, void *data)
{
    tn_members_t  *members;

    members = calloc(1, sizeof(*members));

    if (members == NULL) {
        return NULL;
    }

    members->loop = loop;
    members->find = find;
    members->data = data;

    tn_list_init(&members->watchers);
    tn_defer_init(&members->look, tn_members_look, members);

    return members;
}


void
tn_members_destroy(tn_members_t *members)
{
    while (!tn_list_empty(&members->watchers)) {
        tn_members_free(tn_container(members->watchers.next,
                                     tn_members_watcher_t, link));
    }

    tn_loop_undefer(&members->look);
    free(members);
}


void
tn_members_take(void *data, int fd, const tn_ipc_watch_t *request)
{
    tn_members_t          *members;
    tn_members_watcher_t  *watcher;

    members = data;
    watcher = NULL;

    if (members->n_watchers < TN_MEMBERS_MAX) {
        watcher = calloc(1, sizeof(*watcher));
    }

    if (watcher == NULL) {
        close(fd);
        return;
    }

    watcher->members = members;
    watcher->request = *request;
    watcher->watch.fd = fd;
    watcher->watch.events = TN_LOOP_READ;
    watcher->watch.handler = tn_members_event;
    watcher->watch.data = watcher;

    tn_list_push(&members->watchers, &watcher->link);
    members->n_watchers++;

    if (tn_loop_watch(members->loop, &watcher->watch) != TN_OK) {
        tn_members_free(watcher);
        return;
    }

    tn_members_tell(watcher);
}


void
tn_members_changed(tn_members_t *members)
{
    tn_loop_defer(members->loop, &members->look);
}


static void
tn_members_look(void *data)
{
    tn_link_t     *link, *tmp;
    tn_members_t  *members;

    members = data;

    tn_list_each_safe(link, tmp, &members->watchers) {
        tn_members_tell(tn_container(link, tn_members_watcher_t, link));
    }
}


static void
tn_members_tell(tn_members_watcher_t *watcher)
{
    tn_rc_t            rc;
    uint32_t           events;
    tn_members_t      *members;
    tn_ipc_members_t   msg;

    members = watcher->members;

    if (!members->find(members->data, &watcher->request, &msg)) {
        return;
    }

    rc = TN_OK;

    if (!watcher->told || memcmp(&msg, &watcher->last, sizeof(msg)) != 0) {
        rc = tn_ipc_send(watcher->watch.fd, &msg, NULL, 0);
    }

    if (rc == TN_OK) {
        watcher->told = true;
        watcher->last = msg;

    } else if (rc != TN_AGAIN) {
        tn_members_free(watcher);
        return;
    }

    events = TN_LOOP_READ | (rc == TN_AGAIN ? TN_LOOP_WRITE : 0);

    if (events != watcher->watch.events) {
        watcher->watch.events = events;

        if (tn_loop_watch(members->loop, &watcher->watch) != TN_OK) {
            tn_members_free(watcher);
        }
    }
}


/* a worker says nothing after its request: it went, or this is not one */
static void
tn_members_event(tn_watch_t *watch, uint32_t events)
{
    tn_members_watcher_t  *watcher;

    watcher = watch->data;

    if (events & (TN_LOOP_READ|TN_LOOP_ERROR)) {
        tn_members_free(watcher);
        return;
    }

    tn_members_tell(watcher);
}


static void
tn_members_free(tn_members_watcher_t *watcher)
{
    tn_loop_unwatch(watcher->members->loop, &watcher->watch);
    close(watcher->watch.fd);
    tn_list_remove(&watcher->link);
    watcher->members->n_watchers--;
    free(watcher);
}

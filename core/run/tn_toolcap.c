
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the data thread has captured is sent in pieces, as fast as the other
 * side reads; meanwhile the chunks wait in a queue, and the capture has no
 * more than a fixed number of them.  The end of a chunk, and so of a block,
 * is a piece without `more`: what the other side has got until then is a
 * whole file.
 */

#include "run/tn_toolcap.h"

#include "host/tn_capture.h"

#include <stdlib.h>
#include <unistd.h>


typedef struct {
    tn_link_t        link;
    tn_toolcaps_t   *caps;
    tn_node_t       *node;
    tn_watch_t       watch;
    uint32_t         seq;
    tn_capture_t    *capture;
    tn_link_t        chunks;
    size_t           sent;          /* of the first */
} toolcap_t;


struct tn_toolcaps_s {
    tn_loop_t        *loop;
    tn_tools_node_pt  node;
    void             *data;
    tn_link_t         list;
};


static const char *toolcap_start(toolcap_t *cap,
    const tn_ipc_tool_t *request);
static void toolcap_refuse(toolcap_t *cap, const char *why);
static void toolcap_chunk(void *data, tn_capture_chunk_t *chunk);
static void toolcap_event(tn_watch_t *watch, uint32_t events);
static void toolcap_send(toolcap_t *cap);
static void toolcap_free(toolcap_t *cap);


tn_toolcaps_t *
tn_toolcaps_create(tn_loop_t *loop, tn_tools_node_pt node, void *data)
{
    tn_toolcaps_t  *caps;

    caps = calloc(1, sizeof(tn_toolcaps_t));
    if (caps == NULL) {
        return NULL;
    }

    caps->loop = loop;
    caps->node = node;
    caps->data = data;
    tn_list_init(&caps->list);

    return caps;
}


void
tn_toolcaps_destroy(tn_toolcaps_t *caps)
{
    if (caps == NULL) {
        return;
    }

    while (!tn_list_empty(&caps->list)) {
        toolcap_free(tn_container(caps->list.next, toolcap_t, link));
    }

    free(caps);
}


void
tn_toolcaps_take(tn_toolcaps_t *caps, int fd, const tn_ipc_tool_t *request)
{
    toolcap_t   *cap;
    const char  *why;

    cap = calloc(1, sizeof(toolcap_t));
    if (cap == NULL) {
        (void) close(fd);
        return;
    }

    cap->caps = caps;
    cap->seq = request->head.seq;
    cap->watch.fd = fd;
    cap->watch.events = TN_LOOP_READ;
    cap->watch.handler = toolcap_event;
    cap->watch.data = cap;
    tn_list_init(&cap->link);
    tn_list_init(&cap->chunks);

    why = toolcap_start(cap, request);

    if (why != NULL) {
        toolcap_refuse(cap, why);
        toolcap_free(cap);
        return;
    }

    tn_list_push(&caps->list, &cap->link);
}


void
tn_toolcaps_forget(tn_toolcaps_t *caps, const tn_node_t *node)
{
    toolcap_t  *cap;
    tn_link_t  *link, *tmp;

    tn_list_each_safe(link, tmp, &caps->list) {
        cap = tn_container(link, toolcap_t, link);

        if (cap->node == node) {
            toolcap_free(cap);
        }
    }
}


/* NULL, or why not */
static const char *
toolcap_start(toolcap_t *cap, const tn_ipc_tool_t *request)
{
    size_t          i, found;
    tn_link_t      *link;
    tn_node_t      *node, *one;
    const char     *name;
    tn_toolcaps_t  *caps;

    caps = cap->caps;
    found = 0;
    one = NULL;

    for (i = 0; caps->node(caps->data, i, &name, &node); i++) {
        if (request->node[0] == '\0' || strcmp(request->node, name) == 0) {
            found++;
            one = node;
        }
    }

    if (found == 0) {
        return i ? "no node of this name" : "no node";
    }

    if (found != 1) {
        return "more than one node: --node says which";
    }

    if (one == NULL || tn_node_data(one) == NULL) {
        return "the node has no data path now";
    }

    tn_list_each(link, &caps->list) {
        if (tn_container(link, toolcap_t, link)->node == one) {
            return "the node is being captured already";
        }
    }

    if (tn_loop_watch(caps->loop, &cap->watch) != TN_OK) {
        return "out of memory";
    }

    cap->capture = tn_capture_create(caps->loop, toolcap_chunk, cap);

    if (cap->capture == NULL
        || tn_data_capture(tn_node_data(one), cap->capture) != TN_OK)
    {
        return "out of memory";
    }

    cap->node = one;

    return NULL;
}


static void
toolcap_refuse(toolcap_t *cap, const char *why)
{
    tn_ipc_tool_reply_t  reply;

    tn_ipc_init(&reply, TN_IPC_TOOL_REPLY);
    reply.head.seq = cap->seq;
    reply.rc = TN_ERROR;
    reply.len = (uint32_t) strlen(why);
    memcpy(reply.text, why, reply.len);

    (void) tn_ipc_send(cap->watch.fd, &reply, NULL, 0);
}


static void
toolcap_chunk(void *data, tn_capture_chunk_t *chunk)
{
    toolcap_t *cap = data;

    bool  first;

    first = tn_list_empty(&cap->chunks);
    tn_list_push(&cap->chunks, &chunk->link);

    if (first) {
        toolcap_send(cap);
    }
}


static void
toolcap_event(tn_watch_t *watch, uint32_t events)
{
    toolcap_t *cap = watch->data;

    if (tn_list_empty(&cap->chunks) || (events & TN_LOOP_ERROR) != 0) {

        /* closed, or a second request */

        toolcap_free(cap);
        return;
    }

    toolcap_send(cap);
}


static void
toolcap_send(toolcap_t *cap)
{
    size_t               n;
    tn_rc_t              rc;
    uint32_t             events;
    tn_capture_chunk_t  *chunk;
    tn_ipc_tool_reply_t  reply;

    rc = TN_OK;

    while (rc == TN_OK && !tn_list_empty(&cap->chunks)) {
        chunk = tn_container(cap->chunks.next, tn_capture_chunk_t, link);
        n = tn_min(chunk->len - cap->sent, (size_t) TN_IPC_CHUNK);

        tn_ipc_init(&reply, TN_IPC_TOOL_REPLY);
        reply.head.seq = cap->seq;
        reply.rc = TN_OK;
        reply.more = cap->sent + n < chunk->len;
        reply.len = (uint32_t) n;
        memcpy(reply.text, chunk->bytes + cap->sent, n);

        rc = tn_ipc_send(cap->watch.fd, &reply, NULL, 0);

        if (rc == TN_OK) {
            cap->sent += n;

            if (!reply.more) {
                tn_list_remove(&chunk->link);
                tn_capture_done(chunk);
                cap->sent = 0;
            }
        }
    }

    if (rc != TN_OK && rc != TN_AGAIN) {
        toolcap_free(cap);
        return;
    }

    events = rc == TN_AGAIN ? TN_LOOP_WRITE : TN_LOOP_READ;

    if (events != cap->watch.events) {
        cap->watch.events = events;

        if (tn_loop_watch(cap->caps->loop, &cap->watch) != TN_OK) {
            toolcap_free(cap);
        }
    }
}


static void
toolcap_free(toolcap_t *cap)
{
    if (cap->node != NULL && tn_node_data(cap->node) != NULL) {
        (void) tn_data_capture(tn_node_data(cap->node), NULL);
    }

    if (cap->capture != NULL) {
        tn_capture_close(cap->capture);
    }

    tn_loop_unwatch(cap->caps->loop, &cap->watch);
    tn_list_remove(&cap->link);
    (void) close(cap->watch.fd);
    free(cap);
}

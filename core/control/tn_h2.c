
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Flow control is nghttp2's own: what arrives is consumed at once, so it
 * sends WINDOW_UPDATE when half a window is used, for as long as the map
 * stream lives.  The windows are larger than the standard's so that the
 * first map of a large tailnet does not wait a round trip per 64 KiB.
 *
 * nghttp2's buffers have had an auth key in them: its memory is wiped when it
 * is freed.
 */

#include "control/tn_h2.h"

#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_H2_WINDOW_BYTES      (4 * 1024 * 1024)
#define TN_H2_HEADERS_MAX       65536


struct tn_h2_s {
    nghttp2_session     *session;
    const tn_h2_ops_t   *ops;
    void                *data;
    tn_link_t            calls;
    char                *authority;
    char                *lb;
    char                 error[160];
};


static int tn_h2_on_header(nghttp2_session *session,
    const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
    const uint8_t *value, size_t value_len, uint8_t flags, void *data);
static int tn_h2_on_frame(nghttp2_session *session,
    const nghttp2_frame *frame, void *data);
static int tn_h2_on_data(nghttp2_session *session, uint8_t flags,
    int32_t stream, const uint8_t *bytes, size_t len, void *data);
static int tn_h2_on_close(nghttp2_session *session, int32_t stream,
    uint32_t code, void *data);
static ssize_t tn_h2_read_body(nghttp2_session *session, int32_t stream,
    uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *source,
    void *data);
static void tn_h2_end(tn_h2_call_t *call, const char *error);
static void tn_h2_body_free(tn_h2_call_t *call);
static nghttp2_nv tn_h2_field(const char *name, const char *value);
static void *tn_h2_malloc(size_t size, void *data);
static void *tn_h2_calloc(size_t n, size_t size, void *data);
static void *tn_h2_realloc(void *p, size_t size, void *data);
static void tn_h2_free(void *p, void *data);


tn_h2_t *
tn_h2_create(const tn_h2_ops_t *ops, void *data, const char *authority,
    const char *lb)
{
    int                          rc;
    tn_h2_t                     *h2;
    nghttp2_mem                  mem;
    nghttp2_option              *option;
    nghttp2_session_callbacks   *callbacks;

    static const nghttp2_settings_entry  settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, TN_H2_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, TN_H2_HEADERS_MAX }
    };

    h2 = calloc(1, sizeof(tn_h2_t));
    if (h2 == NULL) {
        return NULL;
    }

    h2->ops = ops;
    h2->data = data;
    tn_list_init(&h2->calls);

    h2->authority = strdup(authority);
    h2->lb = strdup(lb ? lb : "");

    callbacks = NULL;
    option = NULL;

    if (h2->authority == NULL || h2->lb == NULL
        || nghttp2_session_callbacks_new(&callbacks) != 0
        || nghttp2_option_new(&option) != 0)
    {
        goto failed;
    }

    nghttp2_session_callbacks_set_on_header_callback(callbacks,
                                                     tn_h2_on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         tn_h2_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              tn_h2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           tn_h2_on_close);

    /* state of closed streams is only for priorities, which nobody uses */
    nghttp2_option_set_no_closed_streams(option, 1);

    mem.mem_user_data = NULL;
    mem.malloc = tn_h2_malloc;
    mem.free = tn_h2_free;
    mem.calloc = tn_h2_calloc;
    mem.realloc = tn_h2_realloc;

    rc = nghttp2_session_client_new3(&h2->session, callbacks, h2, option,
                                     &mem);
    if (rc != 0) {
        h2->session = NULL;
        goto failed;
    }

    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                tn_nelems(settings)) != 0
        || nghttp2_session_set_local_window_size(h2->session,
                                                 NGHTTP2_FLAG_NONE, 0,
                                                 TN_H2_WINDOW_BYTES) != 0)
    {
        goto failed;
    }

    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);

    return h2;

failed:

    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    tn_h2_destroy(h2, "");

    return NULL;
}


void
tn_h2_destroy(tn_h2_t *h2, const char *error)
{
    tn_link_t  *link;

    if (h2 == NULL) {
        return;
    }

    /* without a session no handler can add to the list */

    nghttp2_session_del(h2->session);
    h2->session = NULL;

    while (!tn_list_empty(&h2->calls)) {
        link = h2->calls.next;
        tn_h2_end(tn_container(link, tn_h2_call_t, link), error);
    }

    free(h2->authority);
    free(h2->lb);
    free(h2);
}


tn_rc_t
tn_h2_receive(tn_h2_t *h2, const uint8_t *bytes, size_t len)
{
    ssize_t  n;

    n = nghttp2_session_mem_recv(h2->session, bytes, len);

    if (n >= 0 && (size_t) n == len) {
        return TN_OK;
    }

    snprintf(h2->error, sizeof(h2->error), "%s",
             n < 0 ? nghttp2_strerror((int) n)
                   : "bytes after the end of the session");

    return TN_MALFORMED;
}


const char *
tn_h2_error(const tn_h2_t *h2)
{
    return h2->error;
}


tn_rc_t
tn_h2_flush(tn_h2_t *h2)
{
    ssize_t         n;
    const uint8_t  *bytes;

    for ( ;; ) {
        n = nghttp2_session_mem_send(h2->session, &bytes);

        if (n < 0) {
            snprintf(h2->error, sizeof(h2->error), "%s",
                     nghttp2_strerror((int) n));
            return TN_CLOSED;
        }

        if (n == 0) {
            break;
        }

        h2->ops->send(h2->data, bytes, (size_t) n);
    }

    if (!nghttp2_session_want_read(h2->session)
        && !nghttp2_session_want_write(h2->session))
    {
        snprintf(h2->error, sizeof(h2->error), "%s",
                 "control ended the HTTP/2 session");
        return TN_CLOSED;
    }

    return TN_OK;
}


tn_rc_t
tn_h2_request(tn_h2_t *h2, tn_h2_call_t *call)
{
    char                    length[24];
    size_t                  n;
    int32_t                 stream;
    nghttp2_nv              fields[8];
    nghttp2_data_provider   provider;

    if (h2->session == NULL
        || !nghttp2_session_check_request_allowed(h2->session))
    {
        return TN_CLOSED;
    }

    call->h2 = h2;
    call->status = 0;
    call->retry_after[0] = '\0';
    call->body_sent = 0;

    n = 0;
    fields[n++] = tn_h2_field(":method", call->method);
    fields[n++] = tn_h2_field(":scheme", "https");
    fields[n++] = tn_h2_field(":authority", h2->authority);
    fields[n++] = tn_h2_field(":path", call->path);

    if (h2->lb[0] != '\0') {
        fields[n++] = tn_h2_field("ts-lb", h2->lb);
    }

    if (call->content_type != NULL) {
        fields[n++] = tn_h2_field("content-type", call->content_type);
    }

    if (call->body != NULL) {
        snprintf(length, sizeof(length), "%zu", call->body_len);
        fields[n++] = tn_h2_field("content-length", length);
    }

    provider.source.ptr = call;
    provider.read_callback = tn_h2_read_body;

    stream = nghttp2_submit_request(h2->session, NULL, fields, n,
                                    call->body ? &provider : NULL, call);
    if (stream < 0) {
        return stream == NGHTTP2_ERR_NOMEM ? TN_NOMEM : TN_CLOSED;
    }

    call->stream = stream;
    tn_list_push(&h2->calls, &call->link);

    return TN_OK;
}


void
tn_h2_cancel(tn_h2_call_t *call)
{
    nghttp2_session  *session;

    session = call->h2->session;

    if (session != NULL) {
        (void) nghttp2_session_set_stream_user_data(session, call->stream,
                                                    NULL);
        (void) nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE,
                                         call->stream, NGHTTP2_CANCEL);
    }

    tn_list_remove(&call->link);
    tn_h2_body_free(call);
}


void
tn_h2_ping(tn_h2_t *h2)
{
    (void) nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
}


static int
tn_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *data)
{
    tn_h2_call_t  *call;

    (void) flags;
    (void) data;

    call = nghttp2_session_get_stream_user_data(session,
                                                frame->hd.stream_id);

    if (call == NULL || frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }

    /* nghttp2 has checked that it is there once, with three digits */

    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        call->status = (int) strtol((const char *) value, NULL, 10);

    } else if (name_len == 11 && memcmp(name, "retry-after", 11) == 0) {
        snprintf(call->retry_after, sizeof(call->retry_after), "%.*s",
                 (int) tn_min(value_len, (size_t) TN_H2_FIELD_MAX),
                 (const char *) value);
    }

    return 0;
}


static int
tn_h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame,
    void *data)
{
    tn_h2_t       *h2;
    tn_h2_call_t  *call;

    h2 = data;

    if (frame->hd.type == NGHTTP2_PING
        && (frame->hd.flags & NGHTTP2_FLAG_ACK))
    {
        h2->ops->pong(h2->data);
        return 0;
    }

    if (frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }

    call = nghttp2_session_get_stream_user_data(session,
                                                frame->hd.stream_id);

    /* an interim response is followed by the real one */

    if (call != NULL && call->headers != NULL && call->status >= 200
        && frame->headers.cat != NGHTTP2_HCAT_REQUEST
        && (frame->headers.cat == NGHTTP2_HCAT_RESPONSE
            || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0))
    {
        call->headers(call);
    }

    return 0;
}


static int
tn_h2_on_data(nghttp2_session *session, uint8_t flags, int32_t stream,
    const uint8_t *bytes, size_t len, void *data)
{
    tn_h2_call_t  *call;

    (void) flags;
    (void) data;

    call = nghttp2_session_get_stream_user_data(session, stream);

    if (call == NULL) {
        return 0;
    }

    if (call->data(call, bytes, len) != TN_OK) {
        (void) nghttp2_session_set_stream_user_data(session, stream, NULL);
        (void) nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream,
                                         NGHTTP2_CANCEL);
        tn_h2_end(call, "the answer was refused");
    }

    return 0;
}


static int
tn_h2_on_close(nghttp2_session *session, int32_t stream, uint32_t code,
    void *data)
{
    char           error[96];
    tn_h2_call_t  *call;

    (void) data;

    call = nghttp2_session_get_stream_user_data(session, stream);

    if (call == NULL) {
        return 0;
    }

    if (code == NGHTTP2_NO_ERROR && call->status >= 200) {
        tn_h2_end(call, NULL);
        return 0;
    }

    snprintf(error, sizeof(error), "control reset the request (%s)",
             nghttp2_http2_strerror(code));
    tn_h2_end(call, error);

    return 0;
}


static ssize_t
tn_h2_read_body(nghttp2_session *session, int32_t stream, uint8_t *buf,
    size_t len, uint32_t *flags, nghttp2_data_source *source, void *data)
{
    size_t         n;
    tn_h2_call_t  *call;

    (void) source;
    (void) data;

    /* NULL after a cancel, and then source->ptr must not be touched */

    call = nghttp2_session_get_stream_user_data(session, stream);

    if (call == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }

    n = tn_min(len, call->body_len - call->body_sent);

    if (n != 0) {
        memcpy(buf, call->body + call->body_sent, n);
        call->body_sent += n;
    }

    if (call->body_sent == call->body_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }

    return (ssize_t) n;
}


static void
tn_h2_end(tn_h2_call_t *call, const char *error)
{
    tn_list_remove(&call->link);
    tn_h2_body_free(call);

    call->done(call, error);
}


/* it may hold an auth key */
static void
tn_h2_body_free(tn_h2_call_t *call)
{
    if (call->body != NULL) {
        tn_wipe(call->body, call->body_len);
        free(call->body);
    }

    call->body = NULL;
    call->body_len = 0;
}


static nghttp2_nv
tn_h2_field(const char *name, const char *value)
{
    nghttp2_nv  nv;

    nv.name = (uint8_t *) (uintptr_t) name;
    nv.value = (uint8_t *) (uintptr_t) value;
    nv.namelen = strlen(name);
    nv.valuelen = strlen(value);
    nv.flags = NGHTTP2_NV_FLAG_NONE;

    return nv;
}


static void *
tn_h2_malloc(size_t size, void *data)
{
    (void) data;

    return malloc(size);
}


static void *
tn_h2_calloc(size_t n, size_t size, void *data)
{
    (void) data;

    return calloc(n, size);
}


static void *
tn_h2_realloc(void *p, size_t size, void *data)
{
    void    *more;
    size_t   had;

    (void) data;

    had = malloc_usable_size(p);

    if (p != NULL && size <= had) {
        return p;
    }

    more = malloc(size);

    if (more != NULL && p != NULL) {
        memcpy(more, p, had);
        tn_wipe_free(p);
    }

    return more;
}


static void
tn_h2_free(void *p, void *data)
{
    (void) data;

    tn_wipe_free(p);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Connections of a process of nginx to the core.
 */

#include "ngx_tailnet.h"


static void ngx_tailnet_channel_write(ngx_event_t *ev);
static void ngx_tailnet_line_retry(ngx_event_t *ev);


ngx_connection_t *
ngx_tailnet_channel(int fd, ngx_log_t *log, void *data,
    ngx_event_handler_pt read)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, log);

    if (c == NULL) {
        if (ngx_close_socket(fd) == -1) {
            ngx_log_error(NGX_LOG_ALERT, log, ngx_socket_errno,
                          ngx_close_socket_n " failed");
        }

        return NULL;
    }

    c->data = data;
    c->log = log;
    c->read->log = log;
    c->write->log = log;

    c->read->handler = read;
    c->write->handler = ngx_tailnet_channel_write;

    return c;
}


/*
 * As nginx's own functions do when they have read all.  With "use poll" or
 * "use select" an event that is still ready is taken out, and does not come
 * again.
 */

ngx_int_t
ngx_tailnet_channel_wait(ngx_event_t *rev)
{
    rev->ready = 0;

    return ngx_handle_read_event(rev, 0);
}


/* what is asked fits the socket; the handler must not be NULL */

static void
ngx_tailnet_channel_write(ngx_event_t *ev)
{
}


/* --- one that is made again */

void
ngx_tailnet_line_init(ngx_tailnet_line_t *line, ngx_msec_t pause,
    ngx_tailnet_line_open_pt open, ngx_event_handler_pt read,
    ngx_tailnet_line_lost_pt lost, void *data)
{
    line->pause = pause;
    line->open = open;
    line->read = read;
    line->lost = lost;
    line->data = data;

    line->dummy.fd = (ngx_socket_t) -1;
    line->dummy.data = line;
    line->retry.data = &line->dummy;
    line->retry.handler = ngx_tailnet_line_retry;
    line->retry.cancelable = 1;
}


void
ngx_tailnet_line_open(ngx_tailnet_line_t *line, ngx_log_t *log)
{
    int                fd;
    ngx_connection_t  *c;

    if (line->channel) {
        return;
    }

    line->retry.log = log;

    fd = line->open(line->data);
    c = (fd != -1) ? ngx_tailnet_channel(fd, log, line->data, line->read)
                   : NULL;

    line->channel = c;

    if (c) {
        c->idle = line->idle;
    }

    if (c == NULL || ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_tailnet_line_lost(line);
    }
}


void
ngx_tailnet_line_lost(ngx_tailnet_line_t *line)
{
    if (line->channel) {
        ngx_close_connection(line->channel);
        line->channel = NULL;
    }

    if ((line->lost == NULL || line->lost(line->data) == NGX_OK)
        && !ngx_exiting)
    {
        ngx_add_timer(&line->retry, line->pause);
    }
}


static void
ngx_tailnet_line_retry(ngx_event_t *ev)
{
    ngx_connection_t    *dummy;
    ngx_tailnet_line_t  *line;

    dummy = ev->data;
    line = dummy->data;

    if (!ngx_exiting) {
        ngx_tailnet_line_open(line, ev->log);

    } else if (line->lost) {
        (void) line->lost(line->data);
    }
}


void
ngx_tailnet_line_stop(ngx_tailnet_line_t *line)
{
    if (line->retry.timer_set) {
        ngx_del_timer(&line->retry);
    }

    if (line->channel) {
        ngx_close_connection(line->channel);
        line->channel = NULL;
    }
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A worker's connection stays open.  It is sent the whole set at once and
 * again after each change, as a sealed piece of memory; one that has not read
 * the one before gets the latest when it has.  Without a descriptor for that
 * memory it is tried again each TN_NODECERT_AGAIN_MS: the next change may be
 * weeks away.
 */

#include "run/tn_nodecert.h"

#include "control/tn_http1.h"
#include "run/tn_workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define TN_NODECERT_AGAIN_MS  1000


typedef struct {
    tn_worker_t        worker;
    uint64_t           sent;        /* serial number of what it has */
} nodecert_worker_t;


struct tn_nodecert_s {
    tn_nodecert_conf_t  conf;
    char                ca_file[TN_IPC_PATH];
    tn_certs_t         *certs;
    tn_http_call_t     *call;
    bool                presenting;
    tn_workers_t        workers;
    uint64_t            serial;     /* of the set as it is */
    tn_defer_t          tell;
    tn_timer_t          again;      /* to tell, after a failure */
    tn_defer_t          refused;    /* control cannot be asked */
    tn_defer_t          lost;       /* a request that was not even made */
};


static int64_t nodecert_wall(void *data);
static tn_ms_t nodecert_now(void *data);
static void nodecert_request(void *data, const tn_acme_request_t *request);
static void nodecert_answered(void *data, const tn_http_answer_t *answer,
    const char *error);
static void nodecert_lost(void *data);
static void nodecert_cancel(void *data);
static void nodecert_present(void *data, const char *name,
    const char *value);
static void nodecert_refused(void *data);
static tn_rc_t nodecert_save(void *data, const char *name, const void *bytes,
    size_t len);
static tn_rc_t nodecert_load(void *data, const char *name, uint8_t **bytes,
    size_t *len);
static void nodecert_unload(void *data, uint8_t *bytes, size_t len);
static void nodecert_changed(void *data);
static void nodecert_tell(void *data);
static void nodecert_again(void *data, tn_ms_t now);
static int nodecert_memory(tn_nodecert_t *nc, size_t *len);
static void nodecert_event(tn_watch_t *watch, uint32_t events);


static const tn_certs_ops_t  nodecert_ops = {
    .wall = nodecert_wall,
    .now = nodecert_now,
    .request = nodecert_request,
    .cancel = nodecert_cancel,
    .present = nodecert_present,
    .save = nodecert_save,
    .load = nodecert_load,
    .unload = nodecert_unload,
    .changed = nodecert_changed
};


tn_nodecert_t *
tn_nodecert_create(const tn_nodecert_conf_t *conf)
{
    tn_nodecert_t  *nc;

    nc = calloc(1, sizeof(tn_nodecert_t));
    if (nc == NULL) {
        return NULL;
    }

    nc->conf = *conf;

    if (conf->ca_file != NULL) {
        (void) snprintf(nc->ca_file, sizeof(nc->ca_file), "%s",
                        conf->ca_file);
    }

    tn_workers_init(&nc->workers, "certificates", conf->loop, conf->log);
    tn_defer_init(&nc->tell, nodecert_tell, nc);
    tn_timer_init(&nc->again, nodecert_again, nc);
    tn_defer_init(&nc->refused, nodecert_refused, nc);
    tn_defer_init(&nc->lost, nodecert_lost, nc);

    nc->certs = tn_certs_create(conf->directory, &nodecert_ops, nc,
                                &conf->loop->timers, conf->queue, conf->log);

    if (nc->certs == NULL) {
        free(nc);
        return NULL;
    }

    return nc;
}


const tn_certs_t *
tn_nodecert_certs(const tn_nodecert_t *nc)
{
    return nc->certs;
}


void
tn_nodecert_destroy(tn_nodecert_t *nc)
{
    tn_worker_t  *worker;

    if (nc == NULL) {
        return;
    }

    while ((worker = tn_workers_first(&nc->workers)) != NULL) {
        tn_workers_drop(worker);
    }

    tn_certs_destroy(nc->certs);
    nodecert_cancel(nc);
    tn_loop_undefer(&nc->tell);
    tn_timer_cancel(&nc->conf.loop->timers, &nc->again);
    free(nc);
}


void
tn_nodecert_netmap(tn_nodecert_t *nc, const tn_netmap_t *netmap)
{
    if (netmap->self != NULL) {
        tn_certs_names(nc->certs, netmap->dns.cert_domains,
                       netmap->dns.ncert_domains, netmap->self->name);
    }
}


void
tn_nodecert_online(tn_nodecert_t *nc, bool online)
{
    tn_certs_online(nc->certs, online);
}


void
tn_nodecert_dns_set(tn_nodecert_t *nc, const char *error)
{
    if (nc->presenting) {
        nc->presenting = false;
        tn_certs_presented(nc->certs, error);
    }
}


void
tn_nodecert_take(tn_nodecert_t *nc, int fd, const tn_ipc_cert_t *msg)
{
    /* private keys go to nginx's own user only */

    if (tn_workers_take(&nc->workers, fd, sizeof(nodecert_worker_t),
                        nodecert_event, nc)
        == NULL)
    {
        return;
    }

    if (nc->serial == 0) {
        nc->serial = 1;
    }

    tn_loop_defer(nc->conf.loop, &nc->tell);

    tn_certs_own(nc->certs, msg->domains);
    tn_certs_want(nc->certs, (msg->flags & TN_IPC_CERT_FALLBACK) != 0);
}


/* --- what the certificates ask for */

static int64_t
nodecert_wall(void *data)
{
    (void) data;

    return (int64_t) time(NULL);
}


static tn_ms_t
nodecert_now(void *data)
{
    tn_nodecert_t *nc = data;

    return tn_max(nc->conf.loop->now, tn_loop_clock_ms());
}


static void
nodecert_request(void *data, const tn_acme_request_t *request)
{
    tn_nodecert_t *nc = data;

    tn_url_t           url;
    const char        *err;
    tn_http_params_t   params;

    memset(&params, 0, sizeof(params));
    params.method = request->method;
    params.url = request->url;
    params.type = TN_ACME_TYPE;
    params.body = request->body;
    params.len = request->len;
    params.answer_max = TN_ACME_BODY_MAX;
    params.ca_file = nc->ca_file[0] != '\0' ? nc->ca_file : NULL;

    if (tn_url_parse(&url, request->url, &err) == TN_OK) {
        params.proxy = tn_proxies_choose(nc->conf.proxies, true, url.host,
                                         url.port_given ? url.port : 443);
    }

    nc->call = tn_http_request(nc->conf.http, &params, nodecert_answered, nc);

    if (nc->call == NULL) {
        tn_loop_defer(nc->conf.loop, &nc->lost);
    }
}


static void
nodecert_answered(void *data, const tn_http_answer_t *answer,
    const char *error)
{
    tn_nodecert_t *nc = data;

    tn_acme_answer_t  acme;

    nc->call = NULL;

    if (answer == NULL) {
        tn_certs_lost(nc->certs, error);
        return;
    }

    acme.status = answer->status;
    acme.nonce = answer->nonce;
    acme.location = answer->location;
    acme.retry_after = answer->retry_after;
    acme.body = answer->body;
    acme.len = answer->len;

    tn_certs_answered(nc->certs, &acme);
}


static void
nodecert_lost(void *data)
{
    tn_nodecert_t *nc = data;

    tn_certs_lost(nc->certs, "out of memory");
}


static void
nodecert_cancel(void *data)
{
    tn_nodecert_t *nc = data;

    if (nc->call != NULL) {
        tn_http_cancel(nc->call);
        nc->call = NULL;
    }

    nc->presenting = false;
    tn_loop_undefer(&nc->refused);
    tn_loop_undefer(&nc->lost);
}


static void
nodecert_present(void *data, const char *name, const char *value)
{
    tn_nodecert_t *nc = data;

    nc->presenting = true;

    if (tn_control_set_dns(nc->conf.control, name, value) != TN_OK) {
        tn_loop_defer(nc->conf.loop, &nc->refused);
    }
}


static void
nodecert_refused(void *data)
{
    tn_nodecert_dns_set(data, "it is not connected");
}


static tn_rc_t
nodecert_save(void *data, const char *name, const void *bytes, size_t len)
{
    tn_nodecert_t *nc = data;

    tn_rc_t           rc;
    tn_state_error_t  error;

    rc = tn_state_write(nc->conf.state, name, bytes, len, &error);

    if (rc != TN_OK) {
        tn_log(nc->conf.log, TN_LOG_ERR, "certificates: %s", error.text);
    }

    return rc;
}


static tn_rc_t
nodecert_load(void *data, const char *name, uint8_t **bytes, size_t *len)
{
    tn_nodecert_t *nc = data;

    tn_rc_t           rc;
    tn_state_error_t  error;

    rc = tn_state_read(nc->conf.state, name, TN_CHAIN_PEM_MAX, bytes, len,
                       &error);

    if (rc != TN_OK && rc != TN_NOTFOUND) {
        tn_log(nc->conf.log, TN_LOG_ERR, "certificates: %s", error.text);
    }

    return rc;
}


static void
nodecert_unload(void *data, uint8_t *bytes, size_t len)
{
    (void) data;

    tn_state_free(bytes, len);
}


static void
nodecert_changed(void *data)
{
    tn_nodecert_t *nc = data;

    nc->serial++;
    tn_loop_defer(nc->conf.loop, &nc->tell);
}


/* --- workers */

static void
nodecert_tell(void *data)
{
    tn_nodecert_t *nc = data;

    int                  fd;
    size_t               len;
    tn_rc_t              rc;
    tn_link_t           *link, *next;
    tn_watch_t          *watch;
    nodecert_worker_t   *worker;
    tn_ipc_cert_set_t    msg;

    fd = -1;
    len = 0;

    tn_list_each_safe(link, next, &nc->workers.list) {
        worker = tn_container(link, nodecert_worker_t, worker.link);
        watch = &worker->worker.watch;

        if (worker->sent == nc->serial) {
            continue;
        }

        if (fd == -1) {
            fd = nodecert_memory(nc, &len);

            if (fd == -1) {
                tn_log(nc->conf.log, TN_LOG_ERR, "no memory to tell workers "
                       "of the certificates, trying again");
                (void) tn_timer_set(&nc->conf.loop->timers, &nc->again,
                                    nc->conf.loop->now
                                    + TN_NODECERT_AGAIN_MS);
                return;
            }
        }

        tn_ipc_init(&msg, TN_IPC_CERT_SET);
        msg.len = (uint32_t) len;

        rc = tn_ipc_send(watch->fd, &msg, &fd, 1);

        if (rc == TN_OK) {
            worker->sent = nc->serial;
            watch->events = TN_LOOP_READ;

        } else if (rc == TN_AGAIN) {
            watch->events = TN_LOOP_READ|TN_LOOP_WRITE;
        }

        if ((rc != TN_OK && rc != TN_AGAIN)
            || tn_loop_watch(nc->conf.loop, watch) != TN_OK)
        {
            tn_workers_drop(&worker->worker);
        }
    }

    tn_ipc_close(&fd, 1);
}


static void
nodecert_again(void *data, tn_ms_t now)
{
    (void) now;

    nodecert_tell(data);
}


static int
nodecert_memory(tn_nodecert_t *nc, size_t *len)
{
    int       fd;
    uint8_t  *bytes;

    bytes = tn_certs_pack(nc->certs, len);
    if (bytes == NULL) {
        return -1;
    }

    fd = memfd_create("tailnet certificates", MFD_CLOEXEC|MFD_ALLOW_SEALING);

    if (fd != -1
        && (write(fd, bytes, *len) != (ssize_t) *len
            || fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW
                                      |F_SEAL_WRITE)
               == -1))
    {
        (void) close(fd);
        fd = -1;
    }

    tn_wipe(bytes, *len);
    free(bytes);

    return fd;
}


/* a worker says nothing after its request: it reads, or has gone */

static void
nodecert_event(tn_watch_t *watch, uint32_t events)
{
    int             fds[TN_IPC_FDS];
    size_t          n;
    tn_rc_t         rc;
    tn_ipc_msg_t    msg;
    tn_worker_t    *worker;
    tn_nodecert_t  *nc;

    worker = watch->data;
    nc = worker->data;

    if (events & (TN_LOOP_READ|TN_LOOP_ERROR)) {
        rc = tn_ipc_recv(watch->fd, &msg, fds, &n);

        if (rc != TN_AGAIN) {
            tn_ipc_close(fds, n);
            tn_workers_drop(worker);
            return;
        }
    }

    if (events & TN_LOOP_WRITE) {
        tn_loop_defer(nc->conf.loop, &nc->tell);
    }
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How a cycle of nginx meets the supervisor and the core: the lifeline, the
 * nodes, the commit; and the core as a thread of a single-process nginx.
 * Trouble here is one line in the error log and never stops nginx.
 */

#include "ngx_tailnet_cert.h"

#include "base/tn_log.h"
#include "run/tn_core.h"
#include "proc/tn_share.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>


#define NGX_TAILNET_PROGRAM     "ngx_tailnet_core"
#define NGX_TAILNET_DIR_SUFFIX  ".tailnet"

/* for the core's thread to write down what it has to */
#define NGX_TAILNET_STOP_S      5
#define NGX_TAILNET_TICK_MS  1000


static ngx_int_t ngx_tailnet_start(ngx_tailnet_conf_t *tcf);
static ngx_int_t ngx_tailnet_open(ngx_tailnet_conf_t *tcf);
static void ngx_tailnet_open_node(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node);
static void ngx_tailnet_open_share(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node, int fd);
static ngx_int_t ngx_tailnet_paths(ngx_tailnet_conf_t *tcf);
static ngx_int_t ngx_tailnet_program(ngx_tailnet_conf_t *tcf);
static void ngx_tailnet_copy(char *dst, ngx_str_t *src);
static ngx_log_t *ngx_tailnet_log_file(ngx_cycle_t *cycle);
static int ngx_tailnet_log_level(ngx_log_t *log);
static void ngx_tailnet_cleanup(void *data);
static ngx_int_t ngx_tailnet_start_thread(ngx_tailnet_conf_t *tcf);
static void *ngx_tailnet_thread_cycle(void *data);
static void ngx_tailnet_tick_handler(ngx_event_t *ev);


/* names this master in all its cycles */
static char       ngx_tailnet_token[TN_IPC_TOKEN];

static pthread_t  ngx_tailnet_tid;
static ngx_uint_t ngx_tailnet_threaded;

/* a timer wants the data of its event to look like a connection */
static ngx_event_t       ngx_tailnet_tick;
static ngx_connection_t  ngx_tailnet_tick_dummy;


ngx_int_t
ngx_tailnet_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_tailnet_conf_t  *tcf;

    tcf = zone->data;

    if (!ngx_test_config && ngx_tailnet_start(tcf) == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_tailnet_listen_open(tcf);

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_start(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t            i;
    ngx_pool_cleanup_t   *cln;
    ngx_tailnet_node_t  **node;

    if (ngx_tailnet_paths(tcf) != NGX_OK) {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(tcf->cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_tailnet_cleanup;
    cln->data = tcf;

    node = tcf->nodes.elts;

    if (ngx_tailnet_open(tcf) == NGX_OK) {

        for (i = 0; i < tcf->nodes.nelts; i++) {
            ngx_tailnet_open_node(tcf, node[i]);
        }
    }

    /* workers are going to inherit this memory */

    for (i = 0; i < tcf->nodes.nelts; i++) {
        ngx_explicit_memzero(node[i]->auth_key.data, node[i]->auth_key.len);
        ngx_str_null(&node[i]->auth_key);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_open(ngx_tailnet_conf_t *tcf)
{
    char               text[TN_IPC_TEXT];
    ngx_log_t         *file;
    ngx_core_conf_t   *ccf;
    tn_client_conf_t   conf;

    if (tcf->dir.len == 0 || tcf->program.len == 0) {
        return NGX_DECLINED;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(tcf->cycle->conf_ctx,
                                           ngx_core_module);

    if (ngx_tailnet_token[0] == '\0') {
        tn_client_token(ngx_tailnet_token);
    }

    ngx_memzero(&conf, sizeof(tn_client_conf_t));

    conf.dir = (char *) tcf->dir.data;
    conf.program = (char *) tcf->program.data;
    conf.token = ngx_tailnet_token;

    if (geteuid() == 0 && ccf->user != (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        conf.uid = ccf->user;
        conf.gid = ccf->group;

    } else {
        conf.uid = geteuid();
        conf.gid = getegid();
    }

    conf.log_fd = -1;
    conf.log_level = ngx_tailnet_log_level(tcf->cycle->log);

    file = ngx_tailnet_log_file(tcf->cycle);

    if (file) {
        conf.log_fd = file->file->fd;
        conf.log_level = ngx_tailnet_log_level(file);

        if (file->file->name.len) {
            conf.log_path = (char *) file->file->name.data;
        }
    }

    /* in a master, "master_process off" has no effect on a reload */

    conf.local = (ngx_process == NGX_PROCESS_SINGLE && !ccf->master);

    if (tn_client_open(&tcf->client, &conf, text) != TN_OK) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, 0,
                      "tailnet: %s, all its listeners are left out", text);
        return NGX_DECLINED;
    }

    if (tcf->client.started) {
        ngx_log_error(NGX_LOG_NOTICE, tcf->cycle->log, 0,
                      "tailnet: started supervisor %P", tcf->client.pid);
    }

    return NGX_OK;
}


static void
ngx_tailnet_open_node(ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node)
{
    int            share;
    char           text[TN_IPC_TEXT];
    tn_ipc_node_t  msg;

    ngx_memzero(&msg, sizeof(tn_ipc_node_t));

    ngx_tailnet_copy(msg.name, &node->name);
    ngx_tailnet_copy(msg.state_dir, &node->state);
    ngx_tailnet_copy(msg.control_url, &node->control_url);
    ngx_tailnet_copy(msg.auth_key, &node->auth_key);
    ngx_tailnet_copy(msg.hostname, &node->hostname);
    ngx_tailnet_copy(msg.tags, &node->tags);
    ngx_tailnet_copy(msg.tls_ca, &node->certificate);
    ngx_tailnet_copy(msg.acme, &node->acme);
    ngx_tailnet_copy(msg.proxy, &node->proxy);
    ngx_tailnet_copy(msg.exit_node, &node->exit_node);
    ngx_tailnet_copy(msg.domains, &node->domains);

    msg.flags = (node->ephemeral ? TN_IPC_EPHEMERAL : 0)
                | (node->accept_routes ? TN_IPC_ACCEPT_ROUTES : 0)
                | (node->shields_up ? TN_IPC_SHIELDS_UP : 0)
                | (node->port_mapping ? 0 : TN_IPC_NO_PORT_MAP);
    msg.udp_port = (uint16_t) node->port;
    msg.stack = (uint8_t) node->stack;
    msg.relay_port = (uint16_t) node->relay_port;
    msg.nstatic = (uint16_t) node->nendpoints;
    ngx_memcpy(msg.static_endpoints, node->endpoints,
               node->nendpoints * sizeof(tn_addr_t));
    msg.nroutes = (uint32_t) node->nroutes;
    ngx_memcpy(msg.routes, node->routes,
               node->nroutes * sizeof(tn_prefix_t));

    if (tn_client_node(&tcf->client, &msg, &share, text) != TN_OK) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, 0,
                      "tailnet \"%V\": %s, its listeners are left out",
                      &node->name, text);

        node->failed = 1;

    } else {
        ngx_tailnet_open_share(tcf, node, share);
    }

    ngx_explicit_memzero(&msg, sizeof(tn_ipc_node_t));
}


/* workers inherit it; without it nobody has an identity */

static void
ngx_tailnet_open_share(ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node,
    int fd)
{
    if (fd != -1) {
        node->directory.mem = tn_share_map(fd, false);
    }

    if (node->directory.mem == NULL) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, fd != -1 ? ngx_errno : 0,
                      "tailnet \"%V\": no memory shared with the core, its "
                      "peers are without an identity", &node->name);
    }

    if (fd != -1) {
        (void) close(fd);
    }
}


/* the configuration has checked that each fits */

static void
ngx_tailnet_copy(char *dst, ngx_str_t *src)
{
    if (src->len) {
        ngx_memcpy(dst, src->data, src->len);
    }

    dst[src->len] = '\0';
}


static ngx_int_t
ngx_tailnet_paths(ngx_tailnet_conf_t *tcf)
{
    u_char           *p;
    ngx_str_t         pid;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(tcf->cycle->conf_ctx,
                                           ngx_core_module);
    pid = ccf->pid;

    p = ngx_pnalloc(tcf->cycle->pool,
                    pid.len + sizeof(NGX_TAILNET_DIR_SUFFIX));
    if (p == NULL) {
        return NGX_ERROR;
    }

    tcf->dir.data = p;
    tcf->dir.len = pid.len + sizeof(NGX_TAILNET_DIR_SUFFIX) - 1;

    p = ngx_cpymem(p, pid.data, pid.len);
    ngx_memcpy(p, NGX_TAILNET_DIR_SUFFIX, sizeof(NGX_TAILNET_DIR_SUFFIX));

    if (tcf->core.len) {
        tcf->program = tcf->core;
        return NGX_OK;
    }

    return ngx_tailnet_program(tcf);
}


/* beside the object this function is in, or beside nginx when linked in */

static ngx_int_t
ngx_tailnet_program(ngx_tailnet_conf_t *tcf)
{
    char     *path;
    u_char   *p, *name;
    size_t    len;
    Dl_info   info;

    path = NULL;

    if (dladdr((void *) &ngx_tailnet_module, &info) != 0
        && info.dli_fname != NULL
        && strchr(info.dli_fname, '/') != NULL)
    {
        path = realpath(info.dli_fname, NULL);
    }

    if (path == NULL) {
        path = realpath("/proc/self/exe", NULL);
    }

    if (path == NULL) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, ngx_errno,
                      "tailnet: cannot tell where " NGX_TAILNET_PROGRAM
                      " is, see \"tailnet_core\", "
                      "all its listeners are left out");
        return NGX_OK;
    }

    name = (u_char *) strrchr(path, '/') + 1;
    len = name - (u_char *) path;

    p = ngx_pnalloc(tcf->cycle->pool, len + sizeof(NGX_TAILNET_PROGRAM));

    if (p) {
        ngx_memcpy(p, path, len);
        ngx_memcpy(p + len, NGX_TAILNET_PROGRAM, sizeof(NGX_TAILNET_PROGRAM));

        tcf->program.data = p;
        tcf->program.len = len + sizeof(NGX_TAILNET_PROGRAM) - 1;
    }

    free(path);

    return p ? NGX_OK : NGX_ERROR;
}


/* the first log that is a file, the one the core writes to */

static ngx_log_t *
ngx_tailnet_log_file(ngx_cycle_t *cycle)
{
    ngx_log_t  *log;

    for (log = cycle->log; log; log = log->next) {
        if (log->writer == NULL
            && log->file
            && log->file->fd != NGX_INVALID_FILE)
        {
            return log;
        }
    }

    return NULL;
}


static int
ngx_tailnet_log_level(ngx_log_t *log)
{
    /* the levels are the same; above NGX_LOG_DEBUG are the debug masks */

    return (log->log_level > NGX_LOG_DEBUG) ? TN_LOG_DEBUG
                                            : (int) log->log_level;
}


ngx_int_t
ngx_tailnet_init_module(ngx_cycle_t *cycle)
{
    char                 text[TN_IPC_TEXT];
    ngx_tailnet_conf_t  *tcf;

    ngx_tailnet_listen_forget(cycle->old_cycle);

    tcf = ngx_tailnet_get_conf(cycle);

    if (tcf == NULL || !tcf->client.open) {
        return NGX_OK;
    }

    if (ngx_tailnet_listen_commit(tcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (tn_client_commit(&tcf->client, text) != TN_OK) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "tailnet: %s", text);
    }

    if (ngx_process == NGX_PROCESS_SINGLE
        && !ngx_is_init_cycle(cycle->old_cycle))
    {
        /* on a reload nobody calls init_process */

        ngx_tailnet_cert_start(tcf);
        ngx_tailnet_service_start(tcf);

        return ngx_tailnet_start_thread(tcf);
    }

    return NGX_OK;
}


ngx_int_t
ngx_tailnet_init_process(ngx_cycle_t *cycle)
{
    ngx_tailnet_conf_t  *tcf;

    tcf = ngx_tailnet_get_conf(cycle);

    if (tcf == NULL
        || !tcf->client.open
        || ngx_process == NGX_PROCESS_HELPER)
    {
        return NGX_OK;
    }

    ngx_tailnet_members_start(tcf);
    ngx_tailnet_service_start(tcf);

    if (ngx_process == NGX_PROCESS_SINGLE
        && ngx_tailnet_start_thread(tcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_tailnet_cert_start(tcf);

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_start_thread(ngx_tailnet_conf_t *tcf)
{
    int        fd, err;
    sigset_t   all, saved;

    fd = tn_client_local_core();

    if (fd == -1) {

        /* it is running: a reload */

        return NGX_OK;
    }

    /* nginx's handlers expect nginx's thread */

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);

    err = pthread_create(&ngx_tailnet_tid, NULL, ngx_tailnet_thread_cycle,
                         (void *) (intptr_t) fd);

    pthread_sigmask(SIG_SETMASK, &saved, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, err,
                      "tailnet: pthread_create() failed, it does not run");

        (void) close(fd);

        return NGX_OK;
    }

    ngx_tailnet_threaded = 1;

    if (!ngx_tailnet_tick.timer_set) {
        ngx_tailnet_tick_dummy.fd = (ngx_socket_t) -1;
        ngx_tailnet_tick.data = &ngx_tailnet_tick_dummy;
        ngx_tailnet_tick.handler = ngx_tailnet_tick_handler;
        ngx_tailnet_tick.log = tcf->cycle->log;
        ngx_tailnet_tick.cancelable = 1;

        ngx_add_timer(&ngx_tailnet_tick, NGX_TAILNET_TICK_MS);
    }

    return NGX_OK;
}


/* without a supervisor somebody has to see to its tasks */

static void
ngx_tailnet_tick_handler(ngx_event_t *ev)
{
    tn_client_local_tick();

    if (ngx_tailnet_threaded && !ngx_exiting) {
        ev->log = ngx_cycle->log;
        ngx_add_timer(ev, NGX_TAILNET_TICK_MS);
    }
}


static void *
ngx_tailnet_thread_cycle(void *data)
{
    (void) tn_core_run((int) (intptr_t) data);

    return NULL;
}


void
ngx_tailnet_exit_process(ngx_cycle_t *cycle)
{
    struct timespec      until;
    ngx_tailnet_conf_t  *tcf;

    tcf = ngx_tailnet_get_conf(cycle);

    if (tcf == NULL) {
        return;
    }

    ngx_tailnet_members_stop(tcf);
    ngx_tailnet_stock_stop(tcf);
    ngx_tailnet_service_stop(tcf);
    ngx_tailnet_cert_stop(tcf);

    if (!ngx_tailnet_threaded) {
        return;
    }

    /* with what a reload has left of former cycles */

    tn_client_local_end();

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += NGX_TAILNET_STOP_S;

    if (pthread_timedjoin_np(ngx_tailnet_tid, NULL, &until) != 0) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "tailnet: the core did not stop in %d seconds",
                      NGX_TAILNET_STOP_S);
    }

    ngx_tailnet_threaded = 0;
}


/*
 * Who started nginx may kill what is left of it as soon as this process has
 * ended (KillMode=mixed of systemd, a container).  There are no workers any
 * more: it waits.
 */

void
ngx_tailnet_exit_master(ngx_cycle_t *cycle)
{
    ngx_tailnet_conf_t  *tcf;

    tcf = ngx_tailnet_get_conf(cycle);

    /* a new binary that does not have its lifeline yet finds all as it is */

    if (tcf == NULL || !tcf->client.open || ngx_new_binary > 0) {
        return;
    }

    /* the next nginx may be starting, and nobody accepts here */

    ngx_close_listening_sockets(cycle);

    if (tn_client_leave(&tcf->client, (char *) tcf->dir.data) != TN_OK) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "tailnet: the core has not left in %d ms",
                      TN_CLIENT_LEAVE_MS);
    }
}


static void
ngx_tailnet_cleanup(void *data)
{
    ngx_tailnet_conf_t *tcf = data;

    ngx_uint_t            i;
    ngx_tailnet_node_t  **node;

    ngx_tailnet_members_stop(tcf);
    ngx_tailnet_stock_stop(tcf);
    ngx_tailnet_service_stop(tcf);
    ngx_tailnet_cert_stop(tcf);
    tn_client_close(&tcf->client);

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {
        tn_share_unmap((void *) node[i]->directory.mem);
        node[i]->directory.mem = NULL;
    }
}


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_client.h"
#include "proc/tn_local.h"
#include "proc/tn_spawn.h"
#include "proc/tn_superd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>


#define TN_CLIENT_PAUSE_MS  10

/* dial.sock is listened at by the supervisor: full means no core for long */
#define TN_CLIENT_NO_CORE   "the core does not answer"


static tn_rc_t tn_client_directory(const char *dir, char *text);
static tn_rc_t tn_client_start(const tn_client_conf_t *conf,
    tn_ms_t deadline, char *text);
static tn_rc_t tn_client_peer(tn_client_t *client, char *text);
static tn_rc_t tn_client_hello(tn_client_t *client,
    const tn_client_conf_t *conf, tn_ms_t deadline, char *text);
static tn_rc_t tn_client_call(tn_client_t *client, tn_ipc_msg_t *msg,
    int log_fd, tn_ms_t deadline, tn_ipc_reply_t *reply, int *fd,
    char *text);
static tn_rc_t tn_client_exchange(tn_client_t *client, tn_ipc_msg_t *msg,
    int log_fd, tn_ms_t deadline, tn_ipc_msg_t *answer, int *fds, size_t *n);
static void tn_client_pause(void);
static tn_rc_t tn_client_ask(const char *dir, const void *msg, int *fd,
    char *text);


void
tn_client_token(char token[TN_IPC_TOKEN])
{
    uint64_t  bits;

    /* unique is enough, it is no secret */

    if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != sizeof(bits)) {
        bits = tn_ipc_now();
    }

    snprintf(token, TN_IPC_TOKEN, "%d.%llx", (int) getpid(),
             (unsigned long long) bits);
}


tn_rc_t
tn_client_open(tn_client_t *client, const tn_client_conf_t *conf, char *text)
{
    tn_rc_t  rc;
    tn_ms_t  deadline;

    memset(client, 0, sizeof(*client));
    client->fd = -1;
    client->hold = -1;
    text[0] = '\0';

    deadline = tn_ipc_now() + TN_CLIENT_OPEN_MS;

    for ( ;; ) {
        rc = tn_client_directory(conf->dir, text);

        if (rc != TN_OK) {
            return rc;
        }

        if (conf->local) {
            client->lifeline = tn_local_open(conf, text);

            if (client->lifeline) {
                rc = tn_client_hello(client, conf, deadline, text);
                break;
            }

            /* the supervisor of an nginx that ended a moment ago? */

            if (strcmp(text, TN_SUPERD_BUSY) != 0) {
                return TN_ERROR;
            }

            if (tn_ipc_now() >= deadline) {
                snprintf(text, TN_IPC_TEXT, "\"%.256s\" is in use by "
                         "another nginx", conf->dir);
                return TN_REFUSED;
            }

            tn_client_pause();
            continue;
        }

        client->fd = tn_ipc_connect(conf->dir, TN_IPC_SUPER_SOCK);

        if (client->fd != -1) {
            rc = tn_client_peer(client, text);

            if (rc == TN_OK) {
                rc = tn_client_hello(client, conf, deadline, text);
            }

            if (rc != TN_CLOSED) {
                break;
            }

            /* it was about to end */

            tn_ipc_close(&client->fd, 1);

        } else if (errno == ENOENT || errno == ECONNREFUSED) {
            rc = tn_client_start(conf, deadline, text);

            if (rc == TN_OK) {
                client->started = true;

            } else if (rc != TN_AGAIN) {
                /* empty: nobody serves it who would remove it */
                (void) rmdir(conf->dir);
                return rc;
            }

        } else if (errno != EAGAIN) {
            snprintf(text, TN_IPC_TEXT, "connect() to \"%.256s/%s\" failed "
                     "(%d: %s)", conf->dir, TN_IPC_SUPER_SOCK, errno,
                     strerror(errno));
            return TN_ERROR;
        }

        if (tn_ipc_now() >= deadline) {
            snprintf(text, TN_IPC_TEXT, "the supervisor of \"%.256s\" did "
                     "not start in time", conf->dir);
            return TN_ERROR;
        }

        if (!client->started) {
            tn_client_pause();
        }
    }

    if (rc != TN_OK) {
        client->open = true;
        tn_client_close(client);
        return rc;
    }

    client->open = true;

    return TN_OK;
}


/* made when it is not there; nobody else may have power over it */
static tn_rc_t
tn_client_directory(const char *dir, char *text)
{
    struct stat  st;

    if (dir[0] != '/' || strlen(dir) >= TN_IPC_PATH - 64) {
        snprintf(text, TN_IPC_TEXT, "the run-time directory \"%.256s\" is "
                 "not absolute or too long", dir);
        return TN_ERROR;
    }

    /* workers have to pass through, to dial.sock */

    if (mkdir(dir, 0711) == 0) {

        if (chmod(dir, 0711) == -1 && errno != ENOENT) {
            snprintf(text, TN_IPC_TEXT, "chmod(\"%.256s\") failed (%d: %s)",
                     dir, errno, strerror(errno));
            return TN_ERROR;
        }

    } else if (errno != EEXIST) {
        snprintf(text, TN_IPC_TEXT, "mkdir(\"%.256s\") failed (%d: %s)", dir,
                 errno, strerror(errno));
        return TN_ERROR;
    }

    if (lstat(dir, &st) == -1) {

        if (errno == ENOENT) {
            /* an ending supervisor removed it just now: made again later */
            return TN_OK;
        }

        snprintf(text, TN_IPC_TEXT, "lstat(\"%.256s\") failed (%d: %s)", dir,
                 errno, strerror(errno));
        return TN_ERROR;
    }

    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()
        || (st.st_mode & 022))
    {
        snprintf(text, TN_IPC_TEXT, "\"%.256s\" is not a directory of ours "
                 "alone", dir);
        return TN_REFUSED;
    }

    return TN_OK;
}


/* TN_OK: one was started; TN_AGAIN: another one serves or is ending */
static tn_rc_t
tn_client_start(const tn_client_conf_t *conf, tn_ms_t deadline, char *text)
{
    int            core_fd, pipefd[2];
    pid_t          pid;
    ssize_t        n;
    tn_rc_t        rc;
    tn_ms_t        now;
    tn_spawn_t     spawn;
    struct pollfd  pfd;

    memset(&spawn, 0, sizeof(spawn));
    core_fd = tn_spawn_program(conf->program);

    if (core_fd == -1) {
        snprintf(text, TN_IPC_TEXT, "open(\"%.256s\") failed (%d: %s)",
                 conf->program, errno, strerror(errno));
        return TN_ERROR;
    }

    spawn.program_fd = tn_spawn_beside(conf->program, text);

    if (spawn.program_fd == -1) {
        close(core_fd);
        return TN_ERROR;
    }

    if (pipe2(pipefd, O_CLOEXEC) == -1) {
        snprintf(text, TN_IPC_TEXT, "pipe2() failed (%d: %s)", errno,
                 strerror(errno));
        close(spawn.program_fd);
        close(core_fd);
        return TN_ERROR;
    }

    spawn.argv[0] = TN_SPAWN_SUPER;
    spawn.argv[1] = "super";
    spawn.argv[2] = conf->dir;
    spawn.fds[spawn.n_fds++] = pipefd[1];
    spawn.fds[spawn.n_fds++] = core_fd;
    spawn.stderr_fd = conf->log_fd;
    spawn.detach = true;

    rc = tn_spawn(&spawn, &pid, text);

    close(spawn.program_fd);
    close(core_fd);
    close(pipefd[1]);

    if (rc != TN_OK) {
        close(pipefd[0]);
        return rc;
    }

    do {
        now = tn_ipc_now();
        pfd.fd = pipefd[0];
        pfd.events = POLLIN;
        n = poll(&pfd, 1, now < deadline ? (int) (deadline - now) : 0);
    } while (n == -1 && errno == EINTR);

    if (n == 1) {
        n = read(pipefd[0], text, TN_IPC_TEXT - 1);
        text[tn_max(n, 0)] = '\0';

        if (n <= 0) {
            snprintf(text, TN_IPC_TEXT, "the supervisor of \"%.256s\" died at "
                     "its start", conf->program);
            rc = TN_ERROR;

        } else if (strcmp(text, TN_SUPERD_READY) == 0) {
            rc = TN_OK;

        } else if (strcmp(text, TN_SUPERD_BUSY) == 0) {
            rc = TN_AGAIN;

        } else {
            rc = TN_ERROR;
        }

    } else {
        /* the deadline is over, and the caller sees that */
        rc = TN_AGAIN;
    }

    close(pipefd[0]);

    return rc;
}


/* only root and we ourselves may be the supervisor */
static tn_rc_t
tn_client_peer(tn_client_t *client, char *text)
{
    struct ucred  peer;

    if (!tn_ipc_trusts(client->fd, &peer)) {
        snprintf(text, TN_IPC_TEXT, "the supervisor belongs to another user");
        return TN_REFUSED;
    }

    return TN_OK;
}


static tn_rc_t
tn_client_hello(tn_client_t *client, const tn_client_conf_t *conf,
    tn_ms_t deadline, char *text)
{
    int              fd;
    tn_rc_t          rc;
    tn_ipc_msg_t     msg;
    tn_ipc_reply_t   reply;

    tn_ipc_init(&msg, TN_IPC_HELLO);
    msg.hello.uid = conf->uid;
    msg.hello.gid = conf->gid;
    msg.hello.log_level = conf->log_level;

    snprintf(msg.hello.token, sizeof(msg.hello.token), "%s", conf->token);
    snprintf(msg.hello.log_path, sizeof(msg.hello.log_path), "%s",
             conf->log_path ? conf->log_path : "");

    rc = tn_client_call(client, &msg, conf->log_fd, deadline, &reply, &fd,
                        text);

    if (rc == TN_OK) {
        client->pid = reply.value;
        client->hold = fd;
    }

    return rc;
}


tn_rc_t
tn_client_node(tn_client_t *client, const tn_ipc_node_t *node, int *share,
    char *text)
{
    tn_rc_t         rc;
    tn_ipc_msg_t    msg;
    tn_ipc_reply_t  reply;

    tn_ipc_init(&msg, TN_IPC_NODE);
    msg.node.node = *node;

    rc = tn_client_call(client, &msg, -1,
                        tn_ipc_now() + TN_CLIENT_REQUEST_MS, &reply, share,
                        text);

    tn_wipe(&msg, sizeof(msg));

    return rc;
}


tn_rc_t
tn_client_listen(tn_client_t *client, const tn_ipc_listen_t *listen, int *fd,
    char *text)
{
    tn_rc_t         rc;
    tn_ipc_msg_t    msg;
    tn_ipc_reply_t  reply;

    tn_ipc_init(&msg, TN_IPC_LISTEN);
    memcpy(msg.listen.node, listen->node, sizeof(msg.listen.node));
    msg.listen.family = listen->family;
    msg.listen.proto = listen->proto;
    msg.listen.port = listen->port;
    msg.listen.worker = listen->worker;
    msg.listen.backlog = listen->backlog;
    msg.listen.flags = listen->flags;

    rc = tn_client_call(client, &msg, -1,
                        tn_ipc_now() + TN_CLIENT_REQUEST_MS, &reply, fd,
                        text);

    if (rc == TN_OK && *fd == -1) {
        snprintf(text, TN_IPC_TEXT, "the supervisor sent no socket");
        return TN_ERROR;
    }

    return rc;
}


tn_rc_t
tn_client_commit(tn_client_t *client, char *text)
{
    int             fd;
    tn_rc_t         rc;
    tn_ipc_msg_t    msg;
    tn_ipc_reply_t  reply;

    tn_ipc_init(&msg, TN_IPC_COMMIT);
    memset(&reply, 0, sizeof(reply));

    rc = tn_client_call(client, &msg, -1,
                        tn_ipc_now() + TN_CLIENT_REQUEST_MS, &reply, &fd,
                        text);

    /* without an answer it may still be read, and then nothing behind it */

    if (client->hold != -1 && reply.head.seq == client->seq) {
        tn_ipc_close(&client->fd, 1);
    }

    return rc;
}


void
tn_client_close(tn_client_t *client)
{
    if (!client->open) {
        return;
    }

    if (client->lifeline) {
        tn_local_close(client->lifeline);
        client->lifeline = NULL;
    }

    tn_ipc_close(&client->fd, 1);
    tn_ipc_close(&client->hold, 1);
    client->open = false;
}


tn_rc_t
tn_client_leave(tn_client_t *client, const char *dir)
{
    int            fds[TN_IPC_FDS];
    bool           local;
    char           text[TN_IPC_TEXT];
    size_t         n;
    tn_rc_t        rc;
    tn_ms_t        deadline;
    tn_ipc_msg_t   answer;
    tn_ipc_name_t  msg;

    if (!client->open) {
        return TN_OK;
    }

    local = client->lifeline != NULL;

    /* before the message, which asks who else has a lifeline */

    tn_client_close(client);

    if (local) {
        return TN_OK;
    }

    deadline = tn_ipc_now() + TN_CLIENT_LEAVE_MS;
    client->fd = tn_ipc_connect(dir, TN_IPC_SUPER_SOCK);

    if (client->fd == -1) {

        /* it has ended, or does not even accept */

        return errno == EAGAIN ? TN_AGAIN : TN_OK;
    }

    rc = tn_client_peer(client, text);

    if (rc == TN_OK) {
        tn_ipc_init(&msg, TN_IPC_LEAVE);
        rc = tn_ipc_send(client->fd, &msg, NULL, 0);
    }

    if (rc == TN_OK) {
        rc = tn_ipc_recv_until(client->fd, &answer, fds, &n, deadline);

        if (rc == TN_OK) {
            tn_ipc_close(fds, n);
        }
    }

    tn_ipc_close(&client->fd, 1);

    return rc == TN_AGAIN ? TN_AGAIN : TN_OK;
}


int
tn_client_local_core(void)
{
    return tn_local_core();
}


void
tn_client_local_tick(void)
{
    tn_local_tick();
}


void
tn_client_local_end(void)
{
    tn_local_end();
}


/* *fd is the descriptor that came, or -1 */
static tn_rc_t
tn_client_call(tn_client_t *client, tn_ipc_msg_t *msg, int log_fd,
    tn_ms_t deadline, tn_ipc_reply_t *reply, int *fd, char *text)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  answer;

    *fd = -1;
    text[0] = '\0';

    if (client->fd == -1 && client->hold != -1) {
        snprintf(text, TN_IPC_TEXT, "%s", TN_IPC_COMMITTED);
        return TN_REFUSED;
    }

    msg->head.seq = ++client->seq;

    rc = tn_client_exchange(client, msg, log_fd, deadline, &answer, fds, &n);

    switch (rc) {

    case TN_OK:
        break;

    case TN_AGAIN:
        snprintf(text, TN_IPC_TEXT, "the supervisor (process %d) does not "
                 "answer", (int) client->pid);
        return TN_ERROR;

    case TN_CLOSED:
        snprintf(text, TN_IPC_TEXT, "the supervisor ended");
        return TN_CLOSED;

    case TN_MALFORMED:
        snprintf(text, TN_IPC_TEXT, "the running supervisor is of another "
                 "version; restart nginx");
        return TN_REFUSED;

    default:
        snprintf(text, TN_IPC_TEXT, "talking to the supervisor failed (%d: "
                 "%s)", errno, strerror(errno));
        return TN_ERROR;
    }

    *reply = answer.reply;

    if (reply->rc == TN_OK && n == 1) {
        *fd = fds[0];

    } else {
        tn_ipc_close(fds, n);
    }

    if (reply->rc != TN_OK) {
        memcpy(text, reply->text, TN_IPC_TEXT);
        errno = reply->err;
    }

    return reply->rc;
}


static tn_rc_t
tn_client_exchange(tn_client_t *client, tn_ipc_msg_t *msg, int log_fd,
    tn_ms_t deadline, tn_ipc_msg_t *answer, int *fds, size_t *n)
{
    int       fd;
    tn_rc_t   rc;
    uint32_t  seq;

    *n = 0;

    if (client->lifeline) {
        fd = log_fd == -1 ? -1 : fcntl(log_fd, F_DUPFD_CLOEXEC, 3);

        if (!tn_local_request(client->lifeline, msg, &fd, fd != -1,
                              &answer->reply, &fds[0]))
        {
            return TN_ERROR;
        }

        if (fds[0] != -1) {
            fds[0] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);

            if (fds[0] == -1) {
                return TN_ERROR;
            }

            *n = 1;
        }

        return TN_OK;
    }

    seq = msg->head.seq;

    rc = tn_ipc_send(client->fd, msg, &log_fd, log_fd != -1);

    while (rc == TN_OK) {
        rc = tn_ipc_recv_until(client->fd, answer, fds, n, deadline);

        if (rc != TN_OK) {
            break;
        }

        if (answer->head.type == TN_IPC_REPLY && answer->head.seq == seq) {
            return TN_OK;
        }

        /* the late answer to a request that was given up */

        tn_ipc_close(fds, *n);
        *n = 0;
    }

    return rc;
}


static void
tn_client_pause(void)
{
    (void) poll(NULL, 0, TN_CLIENT_PAUSE_MS);
}


/* a connection of its own for one message to the core */
static tn_rc_t
tn_client_ask(const char *dir, const void *msg, int *fd, char *text)
{
    tn_rc_t  rc;

    *fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

    if (*fd == -1) {
        rc = errno == EAGAIN ? TN_AGAIN : TN_CLOSED;
        snprintf(text, TN_IPC_TEXT, "%s: connect() to \"%.256s/%s\" failed "
                 "(%d: %s)", TN_CLIENT_NO_CORE, dir, TN_IPC_DIAL_SOCK, errno,
                 strerror(errno));
        return rc;
    }

    rc = tn_ipc_send(*fd, msg, NULL, 0);

    if (rc != TN_OK) {
        snprintf(text, TN_IPC_TEXT, "%s", TN_CLIENT_NO_CORE);
        tn_ipc_close(fd, 1);
        return rc == TN_AGAIN ? TN_AGAIN : TN_CLOSED;
    }

    return TN_OK;
}


tn_rc_t
tn_client_dial(const char *dir, const tn_ipc_dial_t *dial, int *fd,
    char *text)
{
    tn_ipc_dial_t  msg;

    tn_ipc_init(&msg, TN_IPC_DIAL);
    memcpy(msg.node, dial->node, sizeof(msg.node));
    memcpy(msg.host, dial->host, sizeof(msg.host));
    msg.port = dial->port;
    msg.proto = dial->proto;
    msg.timeout_ms = dial->timeout_ms;

    return tn_client_ask(dir, &msg, fd, text);
}


tn_rc_t
tn_client_report(const char *dir, const char *format, int *fd, char *text)
{
    tn_ipc_tool_t  msg;

    tn_ipc_init(&msg, TN_IPC_TOOL);
    msg.command = TN_IPC_TOOL_REPORT;
    snprintf(msg.argument, sizeof(msg.argument), "%s", format);

    return tn_client_ask(dir, &msg, fd, text);
}


tn_rc_t
tn_client_report_reply(int fd, tn_ipc_tool_reply_t *reply)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return TN_AGAIN;
    }

    if (rc == TN_OK) {
        tn_ipc_close(fds, n);
        rc = msg.head.type == TN_IPC_TOOL_REPLY ? msg.tool_reply.rc
                                                : TN_MALFORMED;
    }

    if (rc == TN_OK) {
        *reply = msg.tool_reply;
        return TN_OK;
    }

    if (rc != TN_CLOSED && rc != TN_MALFORMED
        && msg.head.type == TN_IPC_TOOL_REPLY)
    {
        *reply = msg.tool_reply;
        reply->text[tn_min(reply->len, TN_IPC_CHUNK - 1u)] = '\0';
        return TN_REFUSED;
    }

    snprintf(reply->text, sizeof(reply->text), "%s",
             rc == TN_CLOSED ? "the core ended" : TN_CLIENT_NO_CORE);

    return rc;
}


tn_rc_t
tn_client_dial_reply(int fd, tn_ipc_dial_reply_t *reply, int *socket)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    *socket = -1;

    rc = tn_ipc_recv(fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return TN_AGAIN;
    }

    if (rc == TN_OK && msg.head.type == TN_IPC_DIAL_REPLY) {
        *reply = msg.dial_reply;

        if (reply->rc == TN_OK && n == 1) {
            *socket = fds[0];
            return TN_OK;
        }

        tn_ipc_close(fds, n);

        if (reply->rc != TN_OK && reply->rc != TN_AGAIN) {
            return reply->rc;
        }
    }

    tn_ipc_init(reply, TN_IPC_DIAL_REPLY);
    reply->rc = rc == TN_CLOSED ? TN_CLOSED : TN_ERROR;
    reply->err = ECONNABORTED;
    snprintf(reply->text, sizeof(reply->text), "%s",
             rc == TN_CLOSED ? "the core ended" : TN_CLIENT_NO_CORE);

    return reply->rc;
}


tn_rc_t
tn_client_watch(const char *dir, const tn_ipc_watch_t *request, int *fd)
{
    *fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

    if (*fd == -1) {
        return TN_CLOSED;
    }

    if (tn_ipc_send(*fd, request, NULL, 0) != TN_OK) {
        tn_ipc_close(fd, 1);
        return TN_CLOSED;
    }

    return TN_OK;
}


tn_rc_t
tn_client_members(int fd, tn_ipc_members_t *members)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(fd, &msg, fds, &n);

    if (rc != TN_OK) {
        return rc;
    }

    tn_ipc_close(fds, n);

    if (msg.head.type != TN_IPC_MEMBERS) {
        return TN_MALFORMED;
    }

    *members = msg.members;

    return TN_OK;
}


tn_rc_t
tn_client_take(const char *dir, const tn_ipc_take_t *request, int *fd)
{
    bool  fresh;

    fresh = (*fd == -1);

    if (fresh) {
        *fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

        if (*fd == -1) {
            return TN_CLOSED;
        }
    }

    if (tn_ipc_send(*fd, request, NULL, 0) == TN_OK) {
        return TN_OK;
    }

    if (fresh) {
        tn_ipc_close(fd, 1);
    }

    return TN_CLOSED;
}


tn_rc_t
tn_client_taken(int fd, int *sockets, size_t *count)
{
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(fd, &msg, sockets, count);

    if (rc == TN_OK
        && (msg.head.type != TN_IPC_REPLY || msg.reply.rc != TN_OK))
    {
        tn_ipc_close(sockets, *count);
        return TN_MALFORMED;
    }

    return rc;
}

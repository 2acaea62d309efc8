
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Dialling with a holder that the test plays: requests of a worker through
 * name, store of sockets and connect, and every way they fail.
 */

#include "proc/tn_client.h"
#include "run/tn_dial.h"
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


typedef struct {
    tn_loop_t    loop;
    tn_dial_t   *dial;
    tn_pool_t   *pool;
    int          holder;            /* our end of the pool's channel */
    char         dir[64];

    int          listener;          /* 127.0.0.1:port */
    uint16_t     port;

    bool         known;             /* the name "late" */
    unsigned     lookups;

    int            tool_fd;         /* handed over, or -1 */
    tn_ipc_tool_t  tool;
} fixture_t;


static tn_pool_t *
resolve(void *data, const tn_ipc_dial_t *request, tn_ip_t *ips, size_t *n,
    bool *wait, int *err, char *text)
{
    fixture_t  *f;

    f = data;
    f->lookups++;

    if (*n != TN_DIAL_IPS) {
        abort();
    }

    (void) tn_ip_parse(&ips[0], "127.0.0.1", 9);
    *n = 1;

    if (strcmp(request->host, "two") == 0) {
        /* nobody may connect to a multicast address */
        ips[1] = ips[0];
        (void) tn_ip_parse(&ips[0], "224.0.0.1", 9);
        *n = 2;

    } else if (strcmp(request->host, "bad") == 0) {
        (void) tn_ip_parse(&ips[0], "224.0.0.1", 9);

    } else if (strcmp(request->host, "late") == 0 && !f->known) {
        snprintf(text, TN_IPC_TEXT, "the node is starting");
        *wait = true;
        return NULL;

    } else if (strcmp(request->host, "none") == 0) {
        snprintf(text, TN_IPC_TEXT, "no peer of that name");
        *err = EHOSTUNREACH;
        return NULL;
    }

    return f->pool;
}


static void
turns(fixture_t *f, int n)
{
    while (n--) {
        (void) tn_loop_turn(&f->loop, 5);
    }
}


static int
start(fixture_t *f, const char *host, unsigned timeout_ms)
{
    int            fd;
    char           text[TN_IPC_TEXT];
    tn_ipc_dial_t  dial;

    memset(&dial, 0, sizeof(dial));
    snprintf(dial.node, sizeof(dial.node), "home");
    snprintf(dial.host, sizeof(dial.host), "%s", host);
    dial.port = f->port;
    dial.proto = TN_IPC_TCP;
    dial.timeout_ms = timeout_ms;

    if (tn_client_dial(f->dir, &dial, &fd, text) != TN_OK) {
        printf("# %s\n", text);
        abort();
    }

    turns(f, 3);

    return fd;
}


/* TN_OK when the answer is a socket that connects to our listener */
static tn_rc_t
answer(fixture_t *f, int fd, tn_ipc_dial_reply_t *reply)
{
    int      sock, peer;
    tn_rc_t  rc;

    rc = tn_client_dial_reply(fd, reply, &sock);

    if (rc != TN_OK) {
        return rc;
    }

    peer = accept(f->listener, NULL, NULL);

    if (peer == -1) {
        rc = TN_MALFORMED;
    }

    close(peer);
    close(sock);

    return rc;
}


/* reads one request at the holder's end; its sequence number, or 0 */
static uint32_t
asked(fixture_t *f, tn_ipc_type_e type, tn_ipc_msg_t *msg)
{
    int     fds[TN_IPC_FDS];
    size_t  n;

    if (tn_ipc_recv(f->holder, msg, fds, &n) != TN_OK
        || msg->head.type != type || n != 0)
    {
        return 0;
    }

    return msg->head.seq;
}


static void
give(fixture_t *f, uint32_t seq, size_t count)
{
    int             fds[TN_IPC_FDS];
    size_t          i;
    tn_ipc_reply_t  reply;

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = seq;
    reply.rc = count ? TN_OK : TN_ERROR;
    reply.fds = count;

    if (count == 0) {
        snprintf(reply.text, sizeof(reply.text), "too many open files");
    }

    for (i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    }

    if (tn_ipc_send(f->holder, &reply, fds, count) != TN_OK) {
        abort();
    }

    tn_ipc_close(fds, count);
    turns(f, 3);
}


static void
channel(fixture_t *f)
{
    int  pair[2];

    if (tn_ipc_pair(pair) != TN_OK) {
        abort();
    }

    tn_ipc_close(&f->holder, 1);
    f->holder = pair[0];
    tn_pool_channel(f->pool, pair[1]);
}


static void
set_up(fixture_t *f)
{
    int                 fd;
    socklen_t           len;
    struct sockaddr_in  sin;

    memset(f, 0, sizeof(*f));
    f->holder = -1;

    snprintf(f->dir, sizeof(f->dir), "/tmp/tn-proc-dial-XXXXXX");

    if (mkdtemp(f->dir) == NULL || tn_loop_init(&f->loop) != TN_OK) {
        abort();
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);

    f->listener = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (bind(f->listener, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(f->listener, 64) == -1
        || getsockname(f->listener, (struct sockaddr *) &sin, &len) == -1)
    {
        abort();
    }

    f->port = ntohs(sin.sin_port);

    f->pool = tn_pool_create(&f->loop, NULL);
    f->dial = tn_dial_create(&f->loop, resolve, f, NULL);

    fd = tn_ipc_bind(f->dir, TN_IPC_DIAL_SOCK, 0600, geteuid(), getegid(),
                     64);
    tn_dial_listen(f->dial, fd);
}


static void
tear_down(fixture_t *f)
{
    char  path[128];

    tn_dial_destroy(f->dial);
    tn_pool_destroy(f->pool);
    tn_loop_done(&f->loop);
    close(f->listener);
    tn_ipc_close(&f->holder, 1);

    snprintf(path, sizeof(path), "%s/" TN_IPC_DIAL_SOCK, f->dir);
    unlink(path);
    rmdir(f->dir);
}


static void
test_store(fixture_t *f)
{
    int                  fd, i, good;
    uint32_t             seq;
    tn_ipc_msg_t         msg;
    tn_ipc_dial_reply_t  reply;

    fd = start(f, "one", 0);
    is_int(answer(f, fd, &reply), TN_AGAIN, "without a holder a dial waits");

    channel(f);
    turns(f, 2);
    seq = asked(f, TN_IPC_HOLDER_SOCKETS, &msg);
    ok(seq != 0, "the holder is asked for sockets");
    is_int(msg.sockets.family, 4, "of IPv4");
    is_int(msg.sockets.proto, TN_IPC_TCP, "for TCP");
    is_int(msg.sockets.count, TN_IPC_FDS, "as many as a message holds");

    channel(f);
    turns(f, 2);
    ok(asked(f, TN_IPC_HOLDER_SOCKETS, &msg) != 0,
       "a holder that replaces it is asked again");
    is_int(answer(f, fd, &reply), TN_AGAIN, "still waits");

    give(f, msg.head.seq, 20);
    is_int(answer(f, fd, &reply), TN_OK, "now it is connected");
    is_int(reply.addr.port, f->port, "and we are told where to");
    close(fd);

    good = 0;

    for (i = 0; i < 3; i++) {
        fd = start(f, "one", 0);
        good += answer(f, fd, &reply) == TN_OK;
        close(fd);
    }

    is_int(good, 3, "the next ones need no holder");
    is_int(asked(f, TN_IPC_HOLDER_SOCKETS, &msg), 0, "who is not asked");

    for (i = 0; i < 16; i++) {
        fd = start(f, "one", 0);
        good += answer(f, fd, &reply) == TN_OK;
        close(fd);
    }

    is_int(good, 19, "until the store is empty");
    seq = asked(f, TN_IPC_HOLDER_SOCKETS, &msg);
    ok(seq != 0, "who is asked before");

    fd = start(f, "one", 0);
    give(f, seq, 0);
    is_int(answer(f, fd, &reply), TN_AGAIN, "one that gives none");
    is_str(tn_pool_error(f->pool), "too many open files", "says why");
    is_int(asked(f, TN_IPC_HOLDER_SOCKETS, &msg), 0, "is left alone");

    turns(f, 60);
    seq = asked(f, TN_IPC_HOLDER_SOCKETS, &msg);
    ok(seq != 0, "for a moment");
    give(f, seq, TN_IPC_FDS);
    is_int(answer(f, fd, &reply), TN_OK, "then it works");
    close(fd);
}


static void
test_names(fixture_t *f)
{
    int                  fd;
    unsigned             lookups;
    tn_ipc_dial_reply_t  reply;

    fd = start(f, "none", 0);
    is_int(answer(f, fd, &reply), TN_NOTFOUND, "an unknown name");
    is_int(reply.err, EHOSTUNREACH, "with an error for nginx");
    is_str(reply.text, "no peer of that name", "and one for its log");
    close(fd);

    fd = start(f, "late", 0);
    lookups = f->lookups;
    is_int(answer(f, fd, &reply), TN_AGAIN, "a node that starts");
    tn_dial_retry(f->dial);
    turns(f, 2);
    is_int(answer(f, fd, &reply), TN_AGAIN, "and is not there yet");
    is_int(f->lookups, lookups + 1, "looked up again");
    f->known = true;
    tn_dial_retry(f->dial);
    turns(f, 2);
    is_int(answer(f, fd, &reply), TN_OK, "is reached at last");
    close(fd);
    f->known = false;

    fd = start(f, "late", 100);
    turns(f, 40);
    is_int(answer(f, fd, &reply), TN_ERROR, "or not in time");
    is_int(reply.err, ETIMEDOUT, "with an error for nginx");
    is_str(reply.text, "the node is starting", "and one for its log");
    close(fd);

    fd = start(f, "two", 0);
    is_int(answer(f, fd, &reply), TN_OK, "the second address, when the first "
           "fails at once");
    close(fd);

    fd = start(f, "bad", 0);
    is_int(answer(f, fd, &reply), TN_ERROR, "no address that can be tried");
    is_int(reply.err, ENETUNREACH, "gives the error of connect()");
    ok(strstr(reply.text, "connect() to 224.0.0.1") != NULL, "in words too");
    close(fd);

    fd = start(f, "late", 0);
    close(fd);
    turns(f, 2);
    lookups = f->lookups;
    tn_dial_retry(f->dial);
    is_int(f->lookups, lookups, "who closes is forgotten");
}


static void
test_hostile(fixture_t *f)
{
    int                  fd, got;
    char                 byte;
    tn_ipc_dial_t        dial;
    tn_ipc_name_t        other;
    tn_ipc_dial_reply_t  reply;

    fd = tn_ipc_connect(f->dir, TN_IPC_DIAL_SOCK);
    (void) !write(fd, "rubbish", 7);
    turns(f, 3);
    is_int(read(fd, &byte, 1), 0, "rubbish is closed");
    close(fd);

    fd = tn_ipc_connect(f->dir, TN_IPC_DIAL_SOCK);
    tn_ipc_init(&other, TN_IPC_COMMIT);
    got = STDIN_FILENO;
    (void) tn_ipc_send(fd, &other, &got, 1);
    turns(f, 3);
    is_int(read(fd, &byte, 1), 0, "a message that is not for the core too");
    close(fd);

    fd = tn_ipc_connect(f->dir, TN_IPC_DIAL_SOCK);
    tn_ipc_init(&dial, TN_IPC_DIAL);
    dial.proto = TN_IPC_TCP;
    (void) tn_ipc_send(fd, &dial, NULL, 0);
    turns(f, 3);
    is_int(answer(f, fd, &reply), TN_MALFORMED, "port 0 is refused");
    close(fd);

    fd = start(f, "late", 0);
    dial.port = 1;
    (void) tn_ipc_send(fd, &dial, NULL, 0);
    turns(f, 3);
    is_int(answer(f, fd, &reply), TN_CLOSED, "a second request is closed");
    close(fd);
}


static void
take(void *data, int fd, const tn_ipc_tool_t *request)
{
    fixture_t  *f;

    f = data;
    f->tool_fd = fd;
    f->tool = *request;
}


static void
test_tools(fixture_t *f)
{
    int            fd;
    char           byte;
    tn_ipc_tool_t  tool;

    tn_ipc_init(&tool, TN_IPC_TOOL);
    tool.head.seq = 9;
    tool.command = TN_IPC_TOOL_WHOIS;
    snprintf(tool.argument, sizeof(tool.argument), "100.64.0.1");

    fd = tn_ipc_connect(f->dir, TN_IPC_DIAL_SOCK);
    (void) tn_ipc_send(fd, &tool, NULL, 0);
    turns(f, 3);
    is_int(read(fd, &byte, 1), 0, "a tool that nobody answers is closed");
    close(fd);

    f->tool_fd = -1;
    tn_dial_tools(f->dial, take, f);

    fd = tn_ipc_connect(f->dir, TN_IPC_DIAL_SOCK);
    (void) tn_ipc_send(fd, &tool, NULL, 0);
    turns(f, 3);
    ok(f->tool_fd != -1, "a tool's connection is handed over");
    is_int(f->tool.head.seq, 9, "with its request");
    is_str(f->tool.argument, "100.64.0.1", "whole");
    is_int(read(fd, &byte, 1), -1, "and stays open");

    close(f->tool_fd);
    is_int(read(fd, &byte, 1), 0, "until the one who took it closes it");
    close(fd);
    turns(f, 2);
}


static void
test_addresses(fixture_t *f)
{
    tn_ip_t         ips[2];
    uint32_t        seq;
    tn_ipc_msg_t    msg;

    (void) tn_ip_parse(&ips[0], "100.64.0.1", 10);
    (void) tn_ip_parse(&ips[1], "fd7a:115c:a1e0::1", 17);

    tn_pool_addresses(f->pool, ips, 2, 0);
    seq = asked(f, TN_IPC_HOLDER_ADDRS, &msg);
    ok(seq != 0, "addresses are for the holder");
    is_int(msg.addrs.count, 2, "all");
    is_mem(&msg.addrs.ip[1], &ips[1], sizeof(tn_ip_t), "as they are");

    channel(f);
    ok(asked(f, TN_IPC_HOLDER_ADDRS, &msg) != 0, "a new holder gets them too");
}


static void
test_forget(fixture_t *f)
{
    int                  fd, i;
    uint32_t             seq;
    tn_ipc_msg_t         msg;
    tn_ipc_dial_reply_t  reply;

    /* the node is restarted while a dial waits for a socket */

    tn_dial_forget(f->dial, f->pool);
    tn_pool_destroy(f->pool);
    f->pool = tn_pool_create(&f->loop, NULL);

    fd = start(f, "one", 0);
    is_int(answer(f, fd, &reply), TN_AGAIN, "a dial waits for a socket");

    tn_dial_forget(f->dial, f->pool);
    tn_pool_destroy(f->pool);
    f->pool = tn_pool_create(&f->loop, NULL);
    channel(f);
    turns(f, 2);
    is_int(asked(f, TN_IPC_HOLDER_SOCKETS, &msg), 0, "forgets its store");

    tn_dial_retry(f->dial);
    turns(f, 2);
    seq = asked(f, TN_IPC_HOLDER_SOCKETS, &msg);
    give(f, seq, 3);
    is_int(answer(f, fd, &reply), TN_OK, "and is served by the next");
    close(fd);

    /* many at once, one of which goes away */

    for (i = 0; i < 2; i++) {
        close(start(f, "one", 0));
    }

    fd = start(f, "one", 0);
    ok(fd != -1, "dials whose worker closed take nothing from others");
    seq = asked(f, TN_IPC_HOLDER_SOCKETS, &msg);

    if (seq) {
        give(f, seq, 1);
    }

    is_int(answer(f, fd, &reply), TN_OK, "so that they are served");
    close(fd);
}


int
main(void)
{
    int                  fd;
    char                 byte;
    fixture_t            f;

    set_up(&f);

    test_store(&f);
    test_names(&f);
    test_hostile(&f);
    test_tools(&f);
    test_addresses(&f);
    test_forget(&f);

    fd = start(&f, "late", 0);
    tear_down(&f);
    is_int(read(fd, &byte, 1), 0, "a core that ends closes what waits");
    close(fd);

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Messages between the processes: what is taken, what is refused, and that no
 * descriptor is lost on the way.
 */

#include "proc/tn_client.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>


static size_t
open_files(void)
{
    DIR     *dir;
    size_t   n;

    n = 0;
    dir = opendir("/proc/self/fd");

    while (readdir(dir)) {
        n++;
    }

    closedir(dir);

    return n;
}


static void
test_exchange(int *pair)
{
    int            i, got[TN_IPC_FDS], sent[TN_IPC_FDS];
    size_t         n, before;
    tn_ipc_msg_t   msg;
    tn_ipc_name_t  name;

    before = open_files();

    tn_ipc_init(&name, TN_IPC_CORE_STOP);
    snprintf(name.name, sizeof(name.name), "home");
    name.head.seq = 7;

    for (i = 0; i < TN_IPC_FDS; i++) {
        sent[i] = STDIN_FILENO;
    }

    is_int(tn_ipc_recv(pair[1], &msg, got, &n), TN_AGAIN, "nothing yet");
    is_int(tn_ipc_send(pair[0], &name, sent, TN_IPC_FDS), TN_OK,
           "as many descriptors as there can be");
    is_int(tn_ipc_recv(pair[1], &msg, got, &n), TN_OK, "come");
    is_int(n, TN_IPC_FDS, "all");
    is_int(msg.head.seq, 7, "with the number of the message");
    is_str(msg.name.name, "home", "and its text");
    ok(fcntl(got[3], F_GETFD) & FD_CLOEXEC, "close-on-exec");

    tn_ipc_close(got, n);
    is_int(got[0], -1, "closed and forgotten");

    is_int(tn_ipc_send(pair[0], &name, sent, TN_IPC_FDS + 1), TN_ERROR,
           "one more is refused");
    is_int(tn_ipc_recv_until(pair[1], &msg, got, &n, tn_ipc_now() + 30),
           TN_AGAIN, "waits until the deadline");
    is_int(open_files(), before, "no descriptor is left");
}


static void
test_refused(int *pair)
{
    int             got[TN_IPC_FDS], fd;
    size_t          n, before;
    ssize_t         sent;
    tn_ipc_msg_t    msg, good;

    before = open_files();

    tn_ipc_init(&good, TN_IPC_NODE);
    snprintf(good.node.node.name, TN_IPC_NAME, "home");
    is_int(tn_ipc_check(&good, sizeof(tn_ipc_node_msg_t)), TN_OK,
           "a good one");

    is_int(tn_ipc_check(&good, sizeof(tn_ipc_node_msg_t) - 1), TN_MALFORMED,
           "short");
    is_int(tn_ipc_check(&good, 3), TN_MALFORMED, "not even a head");

    msg = good;
    msg.head.magic++;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "not ours");

    msg = good;
    msg.head.version++;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "of another version");

    msg = good;
    msg.head.type = TN_IPC_HELLO;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "a length that is another type's");

    msg.head.type = TN_IPC_TYPES;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "an unknown type");
    msg.head.type = 0;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "no type");

    msg = good;
    memset(msg.node.node.tls_ca, 'x', sizeof(msg.node.node.tls_ca));
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_node_msg_t)), TN_MALFORMED,
           "a text without its end");

    tn_ipc_init(&msg, TN_IPC_HOLDER_ADDRS);
    msg.addrs.count = TN_IPC_ADDRS + 1;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_addrs_t)), TN_MALFORMED,
           "more addresses than there are");

    tn_ipc_init(&msg, TN_IPC_HOLDER_SOCKETS);
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_sockets_t)), TN_MALFORMED,
           "no sockets");
    msg.sockets.count = TN_IPC_FDS + 1;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_sockets_t)), TN_MALFORMED,
           "too many sockets");

    tn_ipc_init(&msg, TN_IPC_TOOL);
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_tool_t)), TN_OK,
           "a tool's request");
    memset(msg.tool.argument, 'x', sizeof(msg.tool.argument));
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_tool_t)), TN_MALFORMED,
           "its argument without an end");
    msg.tool.argument[0] = '\0';
    memset(msg.tool.node, 'x', sizeof(msg.tool.node));
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_tool_t)), TN_MALFORMED,
           "its node without an end");

    tn_ipc_init(&msg, TN_IPC_TOOL_REPLY);
    msg.tool_reply.len = TN_IPC_CHUNK;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_tool_reply_t)), TN_OK,
           "a full piece of an answer");
    msg.tool_reply.len = TN_IPC_CHUNK + 1;
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_tool_reply_t)), TN_MALFORMED,
           "one that says it is longer");

    /* a bad message with a descriptor */

    tn_ipc_init(&msg, TN_IPC_COMMIT);
    msg.head.version++;
    fd = STDIN_FILENO;
    is_int(tn_ipc_send(pair[0], &msg, &fd, 1), TN_OK, "sent");
    is_int(tn_ipc_recv(pair[1], &msg, got, &n), TN_MALFORMED, "refused");
    is_int(n, 0, "without the descriptor");

    sent = send(pair[0], &good, sizeof(good), 0);
    is_int(sent, sizeof(good), "a message with something behind it");
    is_int(tn_ipc_recv(pair[1], &msg, got, &n), TN_MALFORMED, "is refused");

    is_int(open_files(), before, "no descriptor is left");
}


/* a supervisor that runs, and whose answers have another version */
static void
test_version(void)
{
    int               fd, conn, fds[TN_IPC_FDS];
    char              dir[] = "/tmp/tn-ipc-XXXXXX", text[TN_IPC_TEXT];
    char              path[64];
    size_t            n;
    pid_t             pid;
    tn_client_t       client;
    tn_ipc_msg_t      msg;
    tn_client_conf_t  conf;

    if (mkdtemp(dir) == NULL) {
        abort();
    }

    snprintf(path, sizeof(path), "%s/" TN_IPC_SUPER_SOCK, dir);
    fd = tn_ipc_bind(dir, TN_IPC_SUPER_SOCK, 0600, geteuid(), getegid(), 1);
    pid = fork();

    if (fd == -1 || pid == -1) {
        abort();
    }

    if (pid == 0) {
        alarm(10);
        (void) fcntl(fd, F_SETFL, 0);
        conn = accept(fd, NULL, NULL);
        (void) tn_ipc_recv_until(conn, &msg, fds, &n, tn_ipc_now() + 5000);

        tn_ipc_init(&msg, TN_IPC_REPLY);
        msg.head.version++;
        (void) tn_ipc_send(conn, &msg, NULL, 0);
        _exit(0);
    }

    close(fd);

    memset(&conf, 0, sizeof(conf));
    conf.dir = dir;
    conf.program = "/nonexistent";
    conf.token = "m";
    conf.uid = geteuid();
    conf.gid = getegid();
    conf.log_fd = -1;

    is_int(tn_client_open(&client, &conf, text), TN_REFUSED,
           "a supervisor of another version");
    is_str(text, "the running supervisor is of another version; restart nginx",
           "which is said");

    (void) waitpid(pid, NULL, 0);
    (void) unlink(path);
    (void) rmdir(dir);
}


static void
test_services(void)
{
    size_t        i;
    tn_ipc_msg_t  msg;

    /* what control hears of, so a worker must not choose its bytes */

    static const char *const  bad[] = {
        "", "web", "svc:", "svc:\xff", "svc:a\xff", "svc:-a", "svc:a-",
        "svc:A", "svc:a.b", "svc:a\"b"
    };

    tn_ipc_init(&msg, TN_IPC_SERVE);
    msg.serve.count = 1;
    msg.serve.service[0].port = 443;
    msg.serve.service[0].family = 4;
    msg.serve.service[0].proto = TN_IPC_TCP;

    snprintf(msg.serve.service[0].name, TN_IPC_SERVICE, "svc:web-1");
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_serve_t)), TN_OK, "a service");

    for (i = 0; i < tn_nelems(bad); i++) {
        snprintf(msg.serve.service[0].name, TN_IPC_SERVICE, "%s", bad[i]);
        ok(tn_ipc_check(&msg, sizeof(tn_ipc_serve_t)) == TN_MALFORMED,
           "no name of one: %zu", i);
    }

    snprintf(msg.serve.service[0].name, TN_IPC_SERVICE, "svc:%064d", 0);
    is_int(tn_ipc_check(&msg, sizeof(tn_ipc_serve_t)), TN_MALFORMED,
           "a longer name than there is");
}


static void
test_ends(void)
{
    int            pair[2], got[TN_IPC_FDS];
    size_t         n, i;
    tn_rc_t        rc;
    tn_ipc_msg_t   msg;
    tn_ipc_name_t  name;

    tn_ipc_init(&name, TN_IPC_CORE_START);

    is_int(tn_ipc_pair(pair), TN_OK, "a pair");

    rc = TN_OK;

    for (i = 0; i < 100000 && rc == TN_OK; i++) {
        rc = tn_ipc_send(pair[0], &name, NULL, 0);
    }

    is_int(rc, TN_AGAIN, "who is not read is told");

    close(pair[1]);
    is_int(tn_ipc_send(pair[0], &name, NULL, 0), TN_CLOSED,
           "who is not there any more too");
    (void) tn_ipc_recv(pair[0], &msg, got, &n);
    is_int(tn_ipc_recv(pair[0], &msg, got, &n), TN_CLOSED,
           "and nothing comes from there");
    close(pair[0]);
}


static void
test_fd(void)
{
    int  fds[3];

    fds[0] = 10;
    fds[1] = 11;
    fds[2] = 12;

    is_int(tn_ipc_fd(fds, 3, TN_IPC_FD_TUN|TN_IPC_FD_UDP4|TN_IPC_FD_UDP6,
                     TN_IPC_FD_TUN), 10, "the first");
    is_int(tn_ipc_fd(fds, 3, TN_IPC_FD_TUN|TN_IPC_FD_UDP4|TN_IPC_FD_UDP6,
                     TN_IPC_FD_UDP6), 12, "the third");
    is_int(tn_ipc_fd(fds, 3, TN_IPC_FD_TUN|TN_IPC_FD_UDP4, TN_IPC_FD_HOLDER),
           -1, "not announced");
    is_int(tn_ipc_fd(fds, 1, TN_IPC_FD_TUN|TN_IPC_FD_UDP4, TN_IPC_FD_UDP4),
           -1, "announced but not there");
}


static void
test_paths(void)
{
    int          listener, again, fd, peer;
    char         dir[512], path[600];
    size_t       i;
    struct stat  st;

    snprintf(dir, sizeof(dir), "/tmp/tn-proc-ipc-XXXXXX");

    if (mkdtemp(dir) == NULL) {
        ok(false, "mkdtemp()");
        return;
    }

    /* once with a path that fits a socket address, once with a long one */

    for (i = 0; i < 2; i++) {
        is_int(tn_ipc_connect(dir, "x.sock"), -1, "nobody there");
        is_int(errno, ENOENT, "says the error");

        listener = tn_ipc_bind(dir, "x.sock", 0600, geteuid(), getegid(), 8);
        ok(listener != -1, "bound");

        snprintf(path, sizeof(path), "%s/x.sock", dir);
        is_int(stat(path, &st), 0, "there is a file");
        is_int(st.st_mode & 07777, 0600, "for one user");

        again = tn_ipc_bind(dir, "x.sock", 0600, geteuid(), getegid(), 8);
        ok(again != -1, "bound again, over the first");
        close(listener);

        fd = tn_ipc_connect(dir, "x.sock");
        ok(fd != -1, "connected");
        peer = accept(again, NULL, NULL);
        ok(peer != -1, "to the second");

        close(peer);
        close(fd);
        close(again);

        is_int(tn_ipc_connect(dir, "x.sock"), -1, "gone");
        is_int(errno, ECONNREFUSED, "says the error");

        unlink(path);

        if (i == 0) {
            rmdir(dir);
            memset(dir + strlen(dir), 'x', 150);
            dir[170] = '\0';
            is_int(mkdir(dir, 0700), 0, "a long name");
        }
    }

    rmdir(dir);

    is_int(tn_ipc_bind("/nonexistent", "x", 0600, 0, 0, 1), -1,
           "no directory");
}


int
main(void)
{
    int  pair[2];

    is_int(tn_ipc_pair(pair), TN_OK, "a pair of sockets");

    test_exchange(pair);
    test_refused(pair);
    test_version();
    test_services();
    test_ends();
    test_fd();
    test_paths();

    return tap_done();
}

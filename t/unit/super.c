
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the supervisor takes of lifelines and tells the core, with the test in
 * the places of nginx, the guard and the core.  There is no namespace: a node
 * is in force without a stack, and sockets are those of a guard.
 */

#include "proc/tn_super_int.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"


static char  dir[] = "/tmp/tn-super-XXXXXX";


static tn_super_t *
create(bool local)
{
    tn_super_t       *super;
    tn_super_conf_t   conf;

    conf.dir = dir;
    conf.program_fd = -1;
    conf.local = local;

    super = tn_super_create(&conf);

    if (super == NULL) {
        abort();
    }

    return super;
}


static void
configure(tn_ipc_node_t *node, const char *state)
{
    memset(node, 0, sizeof(*node));
    snprintf(node->name, sizeof(node->name), "home");
    snprintf(node->state_dir, sizeof(node->state_dir), "%s/%s", dir, state);
    node->stack = TN_IPC_STACK_KERNEL;
}


/* one request of a lifeline: the reply's rc */
static tn_rc_t
request(tn_super_t *super, tn_super_lifeline_t *lifeline, tn_ipc_type_e type,
    const char *state)
{
    int              fd;
    tn_ipc_msg_t     msg;
    tn_ipc_reply_t   reply;

    tn_ipc_init(&msg, type);

    if (type == TN_IPC_HELLO) {
        snprintf(msg.hello.token, sizeof(msg.hello.token), "m");
        msg.hello.uid = geteuid();
        msg.hello.gid = getegid();
        msg.hello.log_level = TN_LOG_ERR;
    }

    if (type == TN_IPC_NODE) {
        configure(&msg.node.node, state);
    }

    if (!tn_super_request(super, lifeline, &msg, NULL, 0, &reply, &fd)) {
        return TN_CLOSED;
    }

    return (tn_rc_t) reply.rc;
}


/* how many messages of this type the core has got; the others are dropped */
static int
told(int core, tn_ipc_type_e type, tn_ipc_msg_t *last)
{
    int            n, fds[TN_IPC_FDS];
    size_t         count;
    tn_ipc_msg_t   msg;

    n = 0;

    while (tn_ipc_recv(core, &msg, fds, &count) == TN_OK) {
        tn_ipc_close(fds, count);

        if (msg.head.type == type) {
            n++;

            if (last != NULL) {
                *last = msg;
            }
        }
    }

    return n;
}


static bool
exists(const char *name)
{
    char  path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);

    return access(path, F_OK) == 0;
}


/* workers inherit the lifeline, and the supervisor may be root */
static void
test_committed(void)
{
    int                   pair[2];
    tn_super_t           *super;
    tn_ipc_msg_t          msg;
    tn_super_lifeline_t  *lifeline;

    if (tn_ipc_pair(pair) != TN_OK) {
        abort();
    }

    super = create(true);
    lifeline = tn_super_open(super, -1);

    is_int(request(super, lifeline, TN_IPC_HELLO, NULL), TN_OK, "hello");
    (void) request(super, lifeline, TN_IPC_NODE, "state");
    is_int(request(super, lifeline, TN_IPC_COMMIT, NULL), TN_OK, "a commit");
    is_int(tn_super_core_attach(super, pair[0]), TN_OK, "a core");
    is_int(told(pair[1], TN_IPC_CORE_NODE, &msg), 1, "is told of the node");
    ok(exists("state"), "its directory was made");

    is_int(request(super, lifeline, TN_IPC_NODE, "taken"), TN_REFUSED,
           "another configuration after the commit");
    is_int(request(super, lifeline, TN_IPC_COMMIT, NULL), TN_REFUSED,
           "a second commit");
    is_int(request(super, lifeline, TN_IPC_LISTEN, NULL), TN_REFUSED,
           "a socket");

    tn_super_settle(super);

    ok(!exists("taken"), "no directory is made for it");
    is_int(told(pair[1], TN_IPC_CORE_NODE, NULL), 0, "no core hears of it");
    is_int((int) super->n_lifelines, 1, "the cycle lives");

    tn_super_core_detach(super);
    tn_super_destroy(super);
    tn_ipc_close(pair, 2);
}


/* whether nobody has the other end of what a cycle lives by */
static bool
is_let_go(tn_super_lifeline_t *lifeline)
{
    struct pollfd  pfd;

    pfd.fd = tn_super_held(lifeline);
    pfd.events = POLLIN;

    return poll(&pfd, 1, 0) == 1;
}


/* from its commit on a cycle lives by a pipe, which no worker can end */
static void
test_held(void)
{
    int                   fd, own, guard[2], line[2];
    tn_super_t           *super, *next;
    tn_ipc_msg_t          msg;
    tn_ipc_reply_t        reply;
    tn_super_kept_t       kept;
    tn_super_lifeline_t  *lifeline;

    if (tn_ipc_pair(guard) != TN_OK || tn_ipc_pair(line) != TN_OK) {
        abort();
    }

    super = create(false);
    lifeline = tn_super_open(super, line[0]);

    tn_ipc_init(&msg, TN_IPC_HELLO);
    msg.hello.uid = geteuid();
    msg.hello.gid = getegid();
    msg.hello.log_level = TN_LOG_ERR;

    ok(tn_super_request(super, lifeline, &msg, NULL, 0, &reply, &fd)
       && fd != -1, "a cycle gets a pipe's end");
    own = dup(fd);
    is_int(tn_super_held(lifeline), -1, "its connection counts");

    is_int(request(super, lifeline, TN_IPC_COMMIT, NULL), TN_OK, "a commit");
    ok(tn_super_held(lifeline) != -1, "now the pipe counts");
    ok(!is_let_go(lifeline), "it is held");
    ok(write(own, "x", 1) == -1 && shutdown(own, SHUT_RDWR) == -1
       && !is_let_go(lifeline), "whatever a worker tries");

    memset(&kept, 0xff, sizeof(kept));
    is_int(tn_super_save(super, guard[0], &kept), TN_OK, "saved");
    tn_super_close(super, lifeline);
    tn_super_destroy(super);
    close(line[0]);

    next = create(false);
    is_int(tn_super_restore(next, guard[1], tn_ipc_now() + 1000, &kept),
           TN_OK, "and restored");
    lifeline = tn_super_each(next, NULL, &fd);
    ok(lifeline != NULL && fd == -1 && tn_super_held(lifeline) != -1,
       "without its connection");
    ok(!is_let_go(lifeline), "it is still held");
    close(own);
    ok(is_let_go(lifeline), "until the last worker closes it");

    tn_super_destroy(next);
    close(line[1]);
    tn_ipc_close(guard, 2);
}


static void
put(int fd, const void *msg, int passed)
{
    if (tn_ipc_send(fd, msg, &passed, passed != -1) != TN_OK) {
        abort();
    }
}


static void
put_mark(int fd, tn_ipc_type_e type)
{
    tn_ipc_name_t  msg;

    tn_ipc_init(&msg, type);
    put(fd, &msg, -1);
}


static void
put_listen(tn_ipc_listen_t *listen, tn_ipc_type_e type, uint16_t worker)
{
    tn_ipc_init(listen, type);
    snprintf(listen->node, sizeof(listen->node), "home");
    listen->family = 4;
    listen->proto = TN_IPC_UDP;
    listen->port = 443;
    listen->worker = worker;
    listen->flags = TN_IPC_CAPTURE;
}


/* a supervisor and a node of it that runs */
static void
put_node(int fd)
{
    tn_ipc_keep_node_t    node;
    tn_ipc_keep_super_t   self;

    put_mark(fd, TN_IPC_KEEP_BEGIN);

    tn_ipc_init(&self, TN_IPC_KEEP_SUPER);
    self.uid = geteuid();
    self.gid = getegid();
    put(fd, &self, -1);

    tn_ipc_init(&node, TN_IPC_KEEP_NODE);
    snprintf(node.name, sizeof(node.name), "home");
    configure(&node.node, "state");
    node.running = 1;
    put(fd, &node, -1);
}


/* a cycle with so many workers, each of which has a socket */
static void
put_cycle(int fd, uint64_t opened, uint64_t committed, uint16_t workers,
    bool lwip)
{
    int                      s;
    uint16_t                 i;
    tn_ipc_keep_want_t       want;
    tn_ipc_keep_socket_t     sock;
    tn_ipc_keep_lifeline_t   line;

    s = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    tn_ipc_init(&line, TN_IPC_KEEP_LIFELINE);
    line.opened = opened;
    line.committed = committed;
    line.mask = TN_IPC_FD_SUPER;
    line.hello = 1;
    snprintf(line.conf.token, sizeof(line.conf.token), "m");
    line.conf.uid = geteuid();
    line.conf.gid = getegid();
    put(fd, &line, s);
    close(s);

    tn_ipc_init(&want, TN_IPC_KEEP_WANT);
    want.opened = opened;
    want.lwip = lwip;
    configure(&want.node, "state");
    put(fd, &want, -1);

    for (i = 0; i < workers; i++) {
        tn_ipc_init(&sock, TN_IPC_KEEP_SOCKET);
        sock.opened = opened;
        sock.lwip = lwip;
        put_listen(&sock.listen, TN_IPC_LISTEN, i);
        put(fd, &sock, -1);
    }
}


/* what was put into a guard's channel, by a supervisor that follows */
static tn_super_t *
restore(int guard[2])
{
    tn_super_t       *super;
    tn_super_kept_t   kept;

    put_mark(guard[0], TN_IPC_KEEP_END);

    super = create(true);

    is_int(tn_super_restore(super, guard[1], tn_ipc_now() + 1000, &kept),
           TN_OK, "what a guard had");
    tn_ipc_close(guard, 2);

    return super;
}


/* no descriptor is to be had, until *was is set again */
static void
no_descriptors(struct rlimit *was)
{
    int            fd;
    struct rlimit  none;

    fd = dup(STDIN_FILENO);
    close(fd);

    (void) getrlimit(RLIMIT_NOFILE, was);
    none = *was;
    none.rlim_cur = (rlim_t) fd;
    (void) setrlimit(RLIMIT_NOFILE, &none);
}


/* "listen 443 quic reuseport capture", and then with fewer workers */
static void
test_clones(void)
{
    int                   fd, s, guard[2], core[2];
    uint16_t              i;
    tn_super_t           *super;
    tn_ipc_msg_t          msg;
    tn_ipc_listen_t       listen;
    tn_super_lifeline_t  *first, *second;

    if (tn_ipc_pair(guard) != TN_OK || tn_ipc_pair(core) != TN_OK) {
        abort();
    }

    put_node(guard[0]);

    for (i = 0; i < 2; i++) {
        put_listen(&listen, TN_IPC_KEEP_LISTENER, i);
        s = socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0);
        put(guard[0], &listen, s);
        close(s);
    }

    put_cycle(guard[0], 1, 2, 2, false);
    put_cycle(guard[0], 3, 0, 1, false);
    super = restore(guard);

    first = tn_super_each(super, NULL, &fd);
    close(fd);
    second = tn_super_each(super, first, &fd);
    close(fd);

    is_int(tn_super_core_attach(super, core[0]), TN_OK, "a core");
    is_int(told(core[1], TN_IPC_CORE_LISTEN, NULL), 2, "hears of two clones");

    is_int(request(super, second, TN_IPC_COMMIT, NULL), TN_OK,
           "a cycle with one of them is committed");
    is_int(told(core[1], TN_IPC_CORE_UNLISTEN, NULL), 0,
           "the port is listened on");

    tn_super_close(super, first);
    is_int(told(core[1], TN_IPC_CORE_UNLISTEN, NULL), 0, "still");

    first = tn_super_open(super, -1);
    tn_super_close(super, second);
    is_int(told(core[1], TN_IPC_CORE_UNLISTEN, &msg), 1, "no more");
    is_int(msg.listen.port, 443, "that port");

    tn_super_close(super, first);
    tn_super_core_detach(super);
    tn_super_destroy(super);
    tn_ipc_close(core, 2);
}


/* the flags that the core knows of a socket now, when it is told */
static void
flags(int core, uint32_t *now)
{
    tn_ipc_msg_t  msg;

    if (told(core, TN_IPC_CORE_LISTEN, &msg) != 0) {
        *now = msg.listen.flags;
    }
}


static tn_rc_t
probe(tn_super_t *super, tn_super_lifeline_t *lifeline)
{
    int              fd;
    tn_ipc_msg_t     msg;
    tn_ipc_reply_t   reply;

    put_listen(&msg.listen, TN_IPC_LISTEN, 0);
    msg.listen.flags = TN_IPC_CAPTURE|TN_IPC_PROBE;

    return tn_super_request(super, lifeline, &msg, NULL, 0, &reply, &fd)
           ? (tn_rc_t) reply.rc : TN_CLOSED;
}


/* "capture" becomes "capture=probe", in a reload that fails and in one more */
static void
test_flags(void)
{
    int                   i, s, guard[2], core[2], fds[3];
    uint32_t              now;
    tn_super_t           *super;
    tn_ipc_listen_t       listen;
    tn_super_lifeline_t  *cycle[3];

    if (tn_ipc_pair(guard) != TN_OK || tn_ipc_pair(core) != TN_OK) {
        abort();
    }

    put_node(guard[0]);
    put_listen(&listen, TN_IPC_KEEP_LISTENER, 0);
    s = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0);
    put(guard[0], &listen, s);
    close(s);
    put_cycle(guard[0], 1, 2, 1, true);
    put_cycle(guard[0], 3, 0, 0, true);
    put_cycle(guard[0], 4, 0, 0, true);
    super = restore(guard);

    for (i = 0; i < 3; i++) {
        cycle[i] = tn_super_each(super, i ? cycle[i - 1] : NULL, &fds[i]);
    }

    now = 0;
    is_int(tn_super_core_attach(super, core[0]), TN_OK, "a core");
    flags(core[1], &now);
    is_int(now, TN_IPC_CAPTURE, "a socket that captures");

    is_int(probe(super, cycle[1]), TN_OK, "a cycle would have probes");
    flags(core[1], &now);
    is_int(now, TN_IPC_CAPTURE, "no probes before its commit");

    tn_super_close(super, cycle[1]);
    flags(core[1], &now);
    is_int(now, TN_IPC_CAPTURE, "nor when it gives up");

    tn_super_core_detach(super);
    (void) tn_super_core_attach(super, core[0]);
    flags(core[1], &now);
    is_int(now, TN_IPC_CAPTURE, "nor for the next core");

    is_int(probe(super, cycle[2]), TN_OK, "one more cycle");
    is_int(request(super, cycle[2], TN_IPC_COMMIT, NULL), TN_OK,
           "is committed");
    flags(core[1], &now);
    is_int(now, TN_IPC_CAPTURE|TN_IPC_PROBE, "probes");

    tn_super_core_detach(super);
    tn_super_destroy(super);
    tn_ipc_close(fds, 3);
    tn_ipc_close(core, 2);
}


static void
test_no_descriptors(void)
{
    tn_ms_t         now;
    tn_snode_t     *node;
    struct rlimit   limit;

    node = tn_snode_create("home");
    no_descriptors(&limit);

    is_int(tn_snode_holder(node, -1, -1, false), TN_ERROR, "no descriptor");
    ok(node->retry <= tn_ipc_now(), "once more at once");
    is_int(tn_snode_holder(node, -1, -1, false), TN_ERROR, "in vain");
    now = tn_ipc_now();

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    ok(node->retry >= now + TN_SNODE_RETRY_MS, "then after a pause");

    tn_snode_destroy(node);
}


/* a holder's answer whose socket finds no descriptor is not its end */
static void
test_cut(void)
{
    int                   s, holder[2];
    char                  text[TN_IPC_TEXT];
    tn_snode_t           *node;
    tn_ipc_reply_t        reply;
    tn_ipc_listen_t       listen;
    tn_snode_listener_t  *listener;
    struct rlimit         limit;

    if (tn_ipc_pair(holder) != TN_OK) {
        abort();
    }

    node = tn_snode_create("home");
    node->holder_fd = holder[0];

    s = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);
    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = node->seq + 1;
    put(holder[1], &reply, s);
    reply.head.seq++;
    put(holder[1], &reply, s);
    close(s);

    no_descriptors(&limit);

    put_listen(&listen, TN_IPC_LISTEN, 0);
    text[0] = '\0';
    listener = tn_snode_listen(node, &listen, false, text);

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    ok(listener == NULL, "no socket without a descriptor for it");
    ok(strstr(text, "no descriptors are left") != NULL, "that is said: %s",
       text);
    is_int(node->holder_fd, holder[0], "the holder is not lost");
    ok(tn_snode_listen(node, &listen, false, text) != NULL, "it goes on");

    tn_snode_destroy(node);
    close(holder[1]);
}


/* how many channels to a holder the core has got, by whatever message */
static int
channels(int core)
{
    int            n, fds[TN_IPC_FDS];
    size_t         count;
    tn_ipc_msg_t   msg;

    n = 0;

    while (tn_ipc_recv(core, &msg, fds, &count) == TN_OK) {
        tn_ipc_close(fds, count);

        if (msg.head.type == TN_IPC_CORE_HOLDER) {
            n += (int) count;
        }

        if (msg.head.type == TN_IPC_CORE_NODE
            && (msg.core_node.mask & TN_IPC_FD_HOLDER))
        {
            n++;
        }
    }

    return n;
}


/* a supervisor without descriptors has none for the core's channel */
static void
test_attach(void)
{
    int               fd, guard[2], core[2], holder[2];
    tn_ms_t           next;
    tn_snode_t       *node;
    tn_super_t       *super;
    tn_ipc_reply_t    reply;
    struct rlimit     limit;

    if (tn_ipc_pair(guard) != TN_OK || tn_ipc_pair(core) != TN_OK
        || tn_ipc_pair(holder) != TN_OK)
    {
        abort();
    }

    put_node(guard[0]);
    put_cycle(guard[0], 1, 2, 0, false);
    super = restore(guard);

    (void) tn_super_each(super, NULL, &fd);
    node = tn_super_find(super, "home");
    node->holder_fd = holder[0];

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = node->seq + 1;
    put(holder[1], &reply, -1);

    no_descriptors(&limit);

    is_int(tn_super_core_attach(super, core[0]), TN_OK, "a core");
    next = tn_super_tick(super, tn_ipc_now());

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    is_int(channels(core[1]), 0, "there is no channel for it");
    ok(next <= tn_ipc_now() + TN_SNODE_RETRY_MS, "that is tried again");

    (void) tn_super_tick(super, next);
    is_int(channels(core[1]), 1, "it gets one");
    is_int(node->holder_fd, holder[0], "of the same holder");

    (void) tn_super_tick(super, next + TN_SNODE_RETRY_MS);
    is_int(channels(core[1]), 0, "and no other");

    tn_super_core_detach(super);
    tn_super_destroy(super);
    close(fd);
    close(holder[1]);
    tn_ipc_close(core, 2);
}


/* a single-process nginx: the core's thread is slow, or not started yet */
static void
test_full(void)
{
    int                   i, fd, guard[2], core[2], fds[TN_IPC_FDS];
    size_t                count;
    tn_super_t           *super;
    tn_ipc_msg_t          msg;

    if (tn_ipc_pair(guard) != TN_OK || tn_ipc_pair(core) != TN_OK) {
        abort();
    }

    put_node(guard[0]);
    put_cycle(guard[0], 1, 2, 0, false);
    super = restore(guard);

    (void) tn_super_each(super, NULL, &fd);

    tn_ipc_init(&msg, TN_IPC_CORE_START);
    while (tn_ipc_send(core[0], &msg, NULL, 0) == TN_OK) { /* void */ }

    is_int(tn_super_core_attach(super, core[0]), TN_ERROR,
           "a channel that is full");
    (void) tn_super_tick(super, tn_ipc_now());
    (void) told(core[1], TN_IPC_CORE_NODE, NULL);
    (void) tn_super_tick(super, tn_ipc_now());

    i = 0;

    while (tn_ipc_recv(core[1], &msg, fds, &count) == TN_OK) {
        tn_ipc_close(fds, count);
        i = i * 10 + (msg.head.type == TN_IPC_CORE_SETUP ? 1
                      : msg.head.type == TN_IPC_CORE_RESUME ? 2
                      : msg.head.type == TN_IPC_CORE_NODE ? 3
                      : msg.head.type == TN_IPC_CORE_START ? 4 : 5);
    }

    is_int(i, 12341, "read, it brings all of it");

    (void) tn_super_tick(super, tn_ipc_now());
    is_int(told(core[1], TN_IPC_CORE_NODE, NULL), 0, "once");

    tn_super_core_detach(super);
    tn_super_destroy(super);
    close(fd);
    tn_ipc_close(core, 2);
}


/* workers of as many configurations live; who is one too many hears why */
static void
test_many(void)
{
    int                   i, good;
    tn_super_t           *super;
    tn_super_lifeline_t  *first, *last;

    super = create(true);
    first = NULL;
    good = 0;

    for (i = 0; i < TN_SUPER_LIFELINES; i++) {
        last = tn_super_open(super, -1);
        first = first != NULL ? first : last;
        good += last != NULL
                && request(super, last, TN_IPC_HELLO, NULL) == TN_OK;
    }

    is_int(good, TN_SUPER_LIFELINES, "so many cycles");

    last = tn_super_open(super, -1);

    ok(last != NULL, "one more comes in");
    is_int(last ? request(super, last, TN_IPC_HELLO, NULL) : TN_CLOSED,
           TN_REFUSED, "and is refused");
    ok(tn_super_open(super, -1) == NULL, "no other");

    tn_super_close(super, first);
    is_int(last ? request(super, last, TN_IPC_HELLO, NULL) : TN_CLOSED, TN_OK,
           "when one goes there is room");

    tn_super_destroy(super);
}


int
main(void)
{
    char  command[128];

    if (mkdtemp(dir) == NULL) {
        abort();
    }

    test_committed();
    test_held();
    test_clones();
    test_flags();
    test_no_descriptors();
    test_cut();
    test_attach();
    test_full();
    test_many();

    snprintf(command, sizeof(command), "rm -r %s", dir);

    return system(command) == 0 ? tap_done() : 1;
}

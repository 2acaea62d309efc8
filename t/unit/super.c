
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the supervisor takes of lifelines and tells the core, with the test in
 * the places of nginx and the core.  There is no namespace: a node is in force
 * without a stack.
 */

#include "proc/tn_super_int.h"

#include <stdlib.h>
#include <unistd.h>

#include "tap.h"


static char  dir[] = "/tmp/tn-super-XXXXXX";


static tn_super_t *
create(void)
{
    tn_super_t       *super;
    tn_super_conf_t   conf;

    conf.dir = dir;
    conf.program_fd = -1;
    conf.local = true;

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

    super = create();
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


int
main(void)
{
    char  command[128];

    if (mkdtemp(dir) == NULL) {
        abort();
    }

    test_committed();

    snprintf(command, sizeof(command), "rm -r %s", dir);

    return system(command) == 0 ? tap_done() : 1;
}

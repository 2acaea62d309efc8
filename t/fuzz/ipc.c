
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes the check of messages between the processes: of what it lets
 * through every text can be read to its end and every count is in its limits.
 */

#include <stdlib.h>

#include "proc/tn_ipc.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


#define ends(text)  (strnlen(text, sizeof(text)) < sizeof(text))


static bool
node_is_sound(const tn_ipc_node_t *node)
{
    return ends(node->name) && ends(node->state_dir)
           && ends(node->control_url) && ends(node->auth_key)
           && ends(node->hostname) && ends(node->tags) && ends(node->tls_ca)
           && ends(node->proxy) && ends(node->acme) && ends(node->exit_node)
           && node->nstatic <= TN_IPC_STATIC
           && node->nroutes <= TN_IPC_ROUTES;
}


static bool
members_are_sound(const tn_ipc_members_t *msg)
{
    size_t  i;

    for (i = 0; i < TN_IPC_MEMBERS_MAX; i++) {
        if (!ends(msg->members[i].host)) {
            return false;
        }
    }

    return msg->count <= TN_IPC_MEMBERS_MAX;
}


static bool
service_is_sound(const tn_ipc_service_t *service)
{
    return ends(service->name) && service->port != 0
           && (service->family == 4 || service->family == 6)
           && (service->proto == TN_IPC_TCP
               || service->proto == TN_IPC_UDP);
}


static bool
is_sound(const tn_ipc_msg_t *msg)
{
    size_t  i;

    switch (msg->head.type) {

    case TN_IPC_REPLY:
        return ends(msg->reply.text);

    case TN_IPC_HELLO:
        return ends(msg->hello.token) && ends(msg->hello.log_path);

    case TN_IPC_NODE:
        return node_is_sound(&msg->node.node);

    case TN_IPC_LISTEN:
    case TN_IPC_HOLDER_LISTEN:
    case TN_IPC_CORE_LISTEN:
    case TN_IPC_CORE_UNLISTEN:
        return ends(msg->listen.node);

    case TN_IPC_DIAL:
        return ends(msg->dial.node) && ends(msg->dial.host);

    case TN_IPC_DIAL_REPLY:
        return ends(msg->dial_reply.text);

    case TN_IPC_HOLDER_READY:
        return ends(msg->ready.text);

    case TN_IPC_HOLDER_SOCKETS:
        return msg->sockets.count >= 1 && msg->sockets.count <= TN_IPC_FDS;

    case TN_IPC_HOLDER_ADDRS:
        return msg->addrs.count <= TN_IPC_ADDRS;

    case TN_IPC_CORE_SETUP:
    case TN_IPC_HOLDER_NEAR:
        return true;

    case TN_IPC_CORE_NODE:
        return node_is_sound(&msg->core_node.node)
               && ends(msg->core_node.text);

    case TN_IPC_COMMIT:
    case TN_IPC_HOLDER_ATTACH:
    case TN_IPC_CORE_HOLDER:
    case TN_IPC_CORE_STOP:
    case TN_IPC_CORE_START:
    case TN_IPC_CORE_RESUME:
    case TN_IPC_LEAVE:
        return ends(msg->name.name);

    case TN_IPC_KEEP_BEGIN:
    case TN_IPC_KEEP_END:
    case TN_IPC_KEEP_BYE:
        return ends(msg->name.name);

    case TN_IPC_KEEP_SUPER:
        return true;

    case TN_IPC_KEEP_NODE:
        return ends(msg->keep_node.name)
               && node_is_sound(&msg->keep_node.node);

    case TN_IPC_KEEP_LISTENER:
        return ends(msg->listen.node);

    case TN_IPC_KEEP_LIFELINE:
        return ends(msg->keep_lifeline.conf.token)
               && ends(msg->keep_lifeline.conf.log_path);

    case TN_IPC_KEEP_WANT:
        return node_is_sound(&msg->keep_want.node);

    case TN_IPC_KEEP_SOCKET:
        return ends(msg->keep_socket.listen.node);

    case TN_IPC_WATCH:
        return ends(msg->watch.node) && ends(msg->watch.host);

    case TN_IPC_MEMBERS:
        return members_are_sound(&msg->members);

    case TN_IPC_TAKE:
        return ends(msg->take.node) && msg->take.count >= 1
               && msg->take.count <= TN_IPC_FDS;

    case TN_IPC_CERT:
        return ends(msg->cert.node) && ends(msg->cert.domains);

    case TN_IPC_SERVE:

        if (!ends(msg->serve.node) || msg->serve.count > TN_IPC_SERVES) {
            return false;
        }

        for (i = 0; i < msg->serve.count; i++) {
            if (!service_is_sound(&msg->serve.service[i])) {
                return false;
            }
        }

        return true;

    case TN_IPC_SERVE_SET:
        return service_is_sound(&msg->serve_set.service);

    case TN_IPC_CERT_SET:
    case TN_IPC_FUNNEL:
        return true;

    case TN_IPC_TOOL:
        return ends(msg->tool.node) && ends(msg->tool.argument);

    case TN_IPC_TOOL_REPLY:
        return msg->tool_reply.len <= sizeof(msg->tool_reply.text);

    default:
        return false;
    }
}


/*
 * The first two bytes choose a type and how the rest, repeated, fills it:
 * whole messages are too long to be found by chance.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t        i, len;
    uint8_t      *bytes;
    tn_ipc_msg_t  msg, *copy;

    if (size < 3) {
        return 0;
    }

    memset(&msg, 0, sizeof(msg));

    if (data[0] & 0x80) {
        len = tn_min(size - 1, sizeof(msg));
        memcpy(&msg, data + 1, len);

    } else {
        tn_ipc_init(&msg, 1 + data[0] % (TN_IPC_TYPES - 1));
        len = msg.head.len;
        bytes = (uint8_t *) &msg;

        for (i = sizeof(tn_ipc_head_t) + data[1] % 16; i < len; i++) {
            bytes[i] = data[2 + i % (size - 2)];
        }
    }

    /* exactly as long, so that a look behind its end is seen */

    copy = malloc(len);
    if (copy == NULL) {
        return 0;
    }

    memcpy(copy, &msg, len);

    if (tn_ipc_check(copy, len) == TN_OK && !is_sound(copy)) {
        abort();
    }

    free(copy);

    return 0;
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The DERP servers of path_world.h, which includes this.
 */

#ifndef PATH_WORLD_DERP_H_INCLUDED_
#define PATH_WORLD_DERP_H_INCLUDED_



static inline void
world_derp_reply(derp_conn_t *conn, const void *head, size_t head_len,
    const void *body, size_t body_len)
{
    tn_ms_t    at;
    world_t   *world;

    world = conn->node->world;
    at = world->now + conn->node->latency
         + world->regions[conn->region].latency;
    at = tn_max(at, conn->last_out + 1);
    conn->last_out = at;

    world_post(world, EVENT_DERP_OUT, at, NULL, NULL, conn, head, head_len,
               body, body_len);
}


static inline void
world_derp_frame(derp_conn_t *conn, uint8_t type, const uint8_t *payload,
    size_t len)
{
    uint8_t        head[TN_DERP_HEAD + TN_KEY_LEN], info[256];
    node_t        *node;
    region_t      *region;
    unsigned       i;
    derp_conn_t   *other;
    tn_key_t       key;
    tn_box_key_t   box;

    static const char  json[] = "{\"version\":2}";

    node = conn->node;
    region = &node->world->regions[conn->region];

    switch (type) {

    case TN_DERP_CLIENT_INFO:
        memcpy(key.b, payload, TN_KEY_LEN);

        if (tn_box_key(&box, &key, &region->key.priv) != TN_OK
            || tn_box_open(&box, payload + TN_KEY_LEN, len - TN_KEY_LEN, info)
               != TN_OK)
        {
            abort();
        }

        conn->login = true;
        (void) tn_box_seal(&box, (const uint8_t *) json, sizeof(json) - 1,
                           info);
        tn_derp_head_write(head, TN_DERP_SERVER_INFO,
                           TN_BOX_NONCE + TN_BOX_TAG + sizeof(json) - 1);
        world_derp_reply(conn, head, TN_DERP_HEAD, info,
                         TN_BOX_NONCE + TN_BOX_TAG + sizeof(json) - 1);
        world_post(node->world, EVENT_DERP_KEEP_ALIVE,
                   node->world->now + 60000, NULL, NULL, conn, NULL, 0, NULL,
                   0);
        break;

    case TN_DERP_SEND_PACKET:
        memcpy(key.b, payload, TN_KEY_LEN);

        if (region->longest != 0 && len - TN_KEY_LEN > region->longest) {
            break;
        }

        for (i = 0; i < node->world->nnodes; i++) {
            other = &node->world->nodes[i]->conns[conn->region];

            if (other->login
                && tn_key_equal(&other->node->node.pub, &key))
            {
                tn_derp_head_write(head, TN_DERP_RECV_PACKET, (uint32_t) len);
                memcpy(head + TN_DERP_HEAD, node->node.pub.b, TN_KEY_LEN);
                world_derp_reply(other, head, sizeof(head),
                                 payload + TN_KEY_LEN, len - TN_KEY_LEN);
                return;
            }
        }

        tn_derp_head_write(head, TN_DERP_PEER_GONE, TN_KEY_LEN + 1);
        memcpy(head + TN_DERP_HEAD, key.b, TN_KEY_LEN);
        world_derp_reply(conn, head, sizeof(head), "\1", 1);
        break;

    case TN_DERP_PING_FRAME:
        tn_derp_head_write(head, TN_DERP_PONG_FRAME, TN_DERP_PING);
        world_derp_reply(conn, head, TN_DERP_HEAD, payload, len);
        break;

    default:
        break;
    }
}


static inline void
world_derp_input(derp_conn_t *conn)
{
    static const char  response[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";

    uint8_t    type, greeting[TN_DERP_HEAD + 40], *end;
    size_t     n;
    uint32_t   len;
    region_t  *region;

    region = &conn->node->world->regions[conn->region];

    if (region->frozen) {
        conn->len = 0;
        return;
    }

    if (!conn->upgraded) {
        end = memmem(conn->buf, conn->len, "\r\n\r\n", 4);

        if (end == NULL) {
            return;
        }

        n = (size_t) (end + 4 - conn->buf);
        conn->upgraded = true;
        tn_derp_head_write(greeting, TN_DERP_SERVER_KEY, 40);
        memcpy(greeting + TN_DERP_HEAD, "DERP\xf0\x9f\x94\x91", 8);
        memcpy(greeting + TN_DERP_HEAD + 8, region->key.pub.b, TN_KEY_LEN);

        if (memmem(conn->buf, n, "Fast-Start", 10) == NULL) {
            world_derp_reply(conn, response, sizeof(response) - 1, greeting,
                             sizeof(greeting));
        } else {
            world_derp_reply(conn, greeting, sizeof(greeting), NULL, 0);
        }

        memmove(conn->buf, conn->buf + n, conn->len - n);
        conn->len -= n;
    }

    while (conn->len >= TN_DERP_HEAD) {

        if (tn_derp_head_read(conn->buf, &type, &len) != TN_OK) {
            abort();
        }

        n = TN_DERP_HEAD + len;

        if (conn->len < n) {
            return;
        }

        world_derp_frame(conn, type, conn->buf + TN_DERP_HEAD, len);
        memmove(conn->buf, conn->buf + n, conn->len - n);
        conn->len -= n;
    }
}


static void
world_derp_open(void *data, uint32_t id, const tn_derpmap_node_t *relay)
{
    bool          dead;
    node_t       *node = data;
    tn_ms_t       rtt;
    world_t      *world;
    region_t     *region;
    derp_conn_t  *conn;

    world = node->world;
    region = &world->regions[id];
    conn = &node->conns[id];

    if (conn->open) {
        abort();
    }

    snprintf(node->relay, sizeof(node->relay), "%s", relay->name);

    conn->node = node;
    conn->region = id;
    conn->open = true;
    conn->upgraded = false;
    conn->login = false;
    conn->len = 0;
    conn->generation++;
    conn->last_in = 0;
    conn->last_out = 0;

    dead = region->dead || strcmp(region->dead_node, relay->name) == 0;
    rtt = 2 * (node->latency + region->latency);

    world_post(world, dead ? EVENT_DERP_CLOSED : EVENT_DERP_OPENED,
               world->now + rtt, NULL, NULL, conn, NULL, 0, NULL, 0);
}


static tn_rc_t
world_derp_write(void *data, uint32_t id, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    node_t       *node = data;
    tn_ms_t       at;
    derp_conn_t  *conn;

    conn = &node->conns[id];

    if (!conn->open) {
        abort();
    }

    at = node->world->now + node->latency + node->world->regions[id].latency;
    at = tn_max(at, conn->last_in + 1);
    conn->last_in = at;
    world_post(node->world, EVENT_DERP_IN, at, NULL, NULL, conn, head,
               head_len, body, body_len);

    return TN_OK;
}


static void
world_derp_close(void *data, uint32_t id)
{
    node_t  *node = data;

    node->conns[id].open = false;
    node->conns[id].login = false;
    node->conns[id].generation++;
}


/* the server ends a connection */
static inline void
world_derp_kill(node_t *node, uint32_t id)
{
    derp_conn_t  *conn;

    conn = &node->conns[id];

    if (conn->open) {
        conn->open = false;
        conn->login = false;
        conn->generation++;
        tn_path_derp_closed(node->path, node->world->now, id,
                            "connection reset");
    }
}


#endif /* PATH_WORLD_DERP_H_INCLUDED_ */

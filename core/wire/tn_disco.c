
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_disco.h"


static void tn_disco_read_addr(tn_cursor_t *c, tn_addr_t *addr);
static void tn_disco_write_addr(tn_writer_t *w, const tn_addr_t *addr);
static void tn_disco_read_addrs(tn_cursor_t *c, tn_disco_addrs_t *addrs);
static void tn_disco_write_addrs(tn_writer_t *w,
    const tn_disco_addrs_t *addrs);
static tn_rc_t tn_disco_read_relay(tn_cursor_t *c, tn_disco_msg_t *msg);
static void tn_disco_write_relay(tn_writer_t *w, const tn_disco_msg_t *msg);


#define TN_DISCO_VERSION   0
#define TN_DISCO_ADDR_LEN  18

/* behind a pong, where upstream has nothing and ignores all: what it takes */
#define TN_DISCO_TAKES     0x746e6c67


static const uint8_t  tn_disco_magic[TN_DISCO_MAGIC] =
    { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac };


const tn_key_t *
tn_disco_sender(const uint8_t *bytes, size_t len)
{
    if (len < TN_DISCO_HEADER + TN_BOX_NONCE
        || memcmp(bytes, tn_disco_magic, TN_DISCO_MAGIC) != 0)
    {
        return NULL;
    }

    return (const tn_key_t *) (bytes + TN_DISCO_MAGIC);
}


tn_rc_t
tn_disco_parse(tn_disco_msg_t *msg, const uint8_t *bytes, size_t len)
{
    uint8_t      version;
    tn_cursor_t  c;

    memset(msg, 0, sizeof(tn_disco_msg_t));

    c = tn_cursor(bytes, len);

    msg->type = tn_read_u8(&c);
    version = tn_read_u8(&c);

    if (c.bad) {
        return TN_MALFORMED;
    }

    switch (msg->type) {

    case TN_DISCO_PING:
        tn_read_copy(&c, msg->txid, TN_DISCO_TXID);

        /* the node key came with 1.16; what follows it is padding */

        if (tn_cursor_left(&c) >= TN_KEY_LEN) {
            tn_read_copy(&c, msg->key.b, TN_KEY_LEN);
        }

        msg->padding = tn_cursor_left(&c);
        break;

    case TN_DISCO_PONG:
        tn_read_copy(&c, msg->txid, TN_DISCO_TXID);
        tn_disco_read_addr(&c, &msg->src);

        if (tn_cursor_left(&c) >= 6 && tn_read_u32(&c) == TN_DISCO_TAKES) {
            msg->takes = tn_read_u16(&c);
        }

        break;

    case TN_DISCO_CALL_ME_MAYBE:

        /* upstream takes another version or a broken list as an empty one */

        if (version == TN_DISCO_VERSION
            && tn_cursor_left(&c) % TN_DISCO_ADDR_LEN == 0)
        {
            tn_disco_read_addrs(&c, &msg->addrs);
        }

        break;

    case TN_DISCO_BIND:
    case TN_DISCO_BIND_CHALLENGE:
    case TN_DISCO_BIND_ANSWER:
        msg->vni = tn_read_u32(&c);
        msg->generation = tn_read_u32(&c);
        tn_read_copy(&c, msg->key.b, TN_KEY_LEN);
        tn_read_copy(&c, msg->challenge, TN_DISCO_CHALLENGE);
        break;

    case TN_DISCO_CALL_ME_MAYBE_VIA:
        if (version != TN_DISCO_VERSION) {
            return TN_MALFORMED;
        }

        return tn_disco_read_relay(&c, msg);

    case TN_DISCO_ALLOCATE_REQUEST:
        if (version != TN_DISCO_VERSION) {
            return TN_MALFORMED;
        }

        tn_read_copy(&c, msg->client[0].b, TN_KEY_LEN);
        tn_read_copy(&c, msg->client[1].b, TN_KEY_LEN);
        msg->generation = tn_read_u32(&c);
        break;

    case TN_DISCO_ALLOCATE_RESPONSE:
        if (version != TN_DISCO_VERSION) {
            return TN_MALFORMED;
        }

        msg->generation = tn_read_u32(&c);

        return tn_disco_read_relay(&c, msg);

    default:
        return TN_MALFORMED;
    }

    return c.bad ? TN_MALFORMED : TN_OK;
}


void
tn_disco_write(tn_writer_t *w, const tn_disco_msg_t *msg)
{
    tn_write_u8(w, (uint8_t) msg->type);
    tn_write_u8(w, TN_DISCO_VERSION);

    switch (msg->type) {

    case TN_DISCO_PING:
        tn_write_bytes(w, msg->txid, TN_DISCO_TXID);

        if (!tn_key_is_zero(&msg->key)) {
            tn_write_bytes(w, msg->key.b, TN_KEY_LEN);
        }

        tn_write_zeros(w, msg->padding);
        break;

    case TN_DISCO_PONG:
        tn_write_bytes(w, msg->txid, TN_DISCO_TXID);
        tn_disco_write_addr(w, &msg->src);

        if (msg->takes != 0) {
            tn_write_u32(w, TN_DISCO_TAKES);
            tn_write_u16(w, msg->takes);
        }

        break;

    case TN_DISCO_CALL_ME_MAYBE:
        tn_disco_write_addrs(w, &msg->addrs);
        break;

    case TN_DISCO_BIND:
    case TN_DISCO_BIND_CHALLENGE:
    case TN_DISCO_BIND_ANSWER:
        tn_write_u32(w, msg->vni);
        tn_write_u32(w, msg->generation);
        tn_write_bytes(w, msg->key.b, TN_KEY_LEN);
        tn_write_bytes(w, msg->challenge, TN_DISCO_CHALLENGE);
        break;

    case TN_DISCO_CALL_ME_MAYBE_VIA:
        tn_disco_write_relay(w, msg);
        break;

    case TN_DISCO_ALLOCATE_REQUEST:
        tn_write_bytes(w, msg->client[0].b, TN_KEY_LEN);
        tn_write_bytes(w, msg->client[1].b, TN_KEY_LEN);
        tn_write_u32(w, msg->generation);
        break;

    case TN_DISCO_ALLOCATE_RESPONSE:
        tn_write_u32(w, msg->generation);
        tn_disco_write_relay(w, msg);
        break;
    }
}


tn_rc_t
tn_disco_open(const tn_box_key_t *key, const uint8_t *bytes, size_t len,
    uint8_t *scratch, size_t size, tn_disco_msg_t *msg)
{
    size_t   inside;
    tn_rc_t  rc;

    if (len < TN_DISCO_OVERHEAD || tn_disco_sender(bytes, len) == NULL) {
        return TN_MALFORMED;
    }

    inside = len - TN_DISCO_OVERHEAD;

    if (inside > size) {
        return TN_MALFORMED;
    }

    rc = tn_box_open(key, bytes + TN_DISCO_HEADER, len - TN_DISCO_HEADER,
                     scratch);

    if (rc != TN_OK) {
        return rc;
    }

    return tn_disco_parse(msg, scratch, inside);
}


tn_rc_t
tn_disco_seal(const tn_box_key_t *key, const tn_key_t *sender,
    const tn_disco_msg_t *msg, uint8_t *scratch, uint8_t *out, size_t size,
    size_t *len)
{
    tn_writer_t  w;

    if (size < TN_DISCO_OVERHEAD) {
        return TN_NOMEM;
    }

    w = tn_writer(scratch, size - TN_DISCO_OVERHEAD);
    tn_disco_write(&w, msg);

    if (w.bad) {
        return TN_NOMEM;
    }

    memcpy(out, tn_disco_magic, TN_DISCO_MAGIC);
    memcpy(out + TN_DISCO_MAGIC, sender->b, TN_KEY_LEN);

    *len = TN_DISCO_OVERHEAD + tn_writer_len(&w);

    return tn_box_seal(key, scratch, tn_writer_len(&w),
                       out + TN_DISCO_HEADER);
}


static void
tn_disco_read_addr(tn_cursor_t *c, tn_addr_t *addr)
{
    tn_read_copy(c, addr->ip.b, 16);
    addr->port = tn_read_u16(c);
}


static void
tn_disco_write_addr(tn_writer_t *w, const tn_addr_t *addr)
{
    tn_write_bytes(w, addr->ip.b, 16);
    tn_write_u16(w, addr->port);
}


static void
tn_disco_read_addrs(tn_cursor_t *c, tn_disco_addrs_t *addrs)
{
    while (tn_cursor_left(c) != 0 && addrs->n < TN_DISCO_ADDRS_MAX) {
        tn_disco_read_addr(c, &addrs->addr[addrs->n]);
        addrs->n++;
    }
}


static void
tn_disco_write_addrs(tn_writer_t *w, const tn_disco_addrs_t *addrs)
{
    uint32_t  i;

    for (i = 0; i < addrs->n; i++) {
        tn_disco_write_addr(w, &addrs->addr[i]);
    }
}


static tn_rc_t
tn_disco_read_relay(tn_cursor_t *c, tn_disco_msg_t *msg)
{
    tn_disco_relay_t  *relay;

    relay = &msg->relay;

    tn_read_copy(c, relay->server.b, TN_KEY_LEN);
    tn_read_copy(c, relay->client[0].b, TN_KEY_LEN);
    tn_read_copy(c, relay->client[1].b, TN_KEY_LEN);
    relay->lamport = tn_read_u64(c);
    relay->vni = tn_read_u32(c);
    relay->bind_lifetime_ns = tn_read_u64(c);
    relay->steady_lifetime_ns = tn_read_u64(c);

    /* a relay without an address is of no use: upstream refuses it */

    if (tn_cursor_left(c) == 0 || tn_cursor_left(c) % TN_DISCO_ADDR_LEN != 0) {
        return TN_MALFORMED;
    }

    tn_disco_read_addrs(c, &msg->addrs);

    return c->bad ? TN_MALFORMED : TN_OK;
}


static void
tn_disco_write_relay(tn_writer_t *w, const tn_disco_msg_t *msg)
{
    const tn_disco_relay_t  *relay;

    relay = &msg->relay;

    tn_write_bytes(w, relay->server.b, TN_KEY_LEN);
    tn_write_bytes(w, relay->client[0].b, TN_KEY_LEN);
    tn_write_bytes(w, relay->client[1].b, TN_KEY_LEN);
    tn_write_u64(w, relay->lamport);
    tn_write_u32(w, relay->vni);
    tn_write_u64(w, relay->bind_lifetime_ns);
    tn_write_u64(w, relay->steady_lifetime_ns);
    tn_disco_write_addrs(w, &msg->addrs);
}

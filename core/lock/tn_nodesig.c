
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_nodesig.h"

#include "crypto/tn_blake2s.h"
#include "tn_cbor.h"
#include "tn_ed25519.h"


/* fields, upstream's NodeKeySignature */
#define TN_NODESIG_KIND       1
#define TN_NODESIG_NODE       2
#define TN_NODESIG_KEY_ID     3
#define TN_NODESIG_SIGNATURE  4
#define TN_NODESIG_NESTED     5
#define TN_NODESIG_WRAPPING   6

/* a node's key in binary begins so (upstream key.NodePublic) */
#define TN_NODESIG_PREFIX      "np"
#define TN_NODESIG_PREFIX_LEN  2

#define TN_NODESIG_MAP_HEAD  0xa0


static const uint8_t *
tn_nodesig_read_node(tn_cursor_t *c)
{
    const uint8_t  *p;

    p = tn_cbor_fixed(c, TN_NODESIG_PREFIX_LEN + TN_KEY_LEN);

    if (p == NULL || memcmp(p, TN_NODESIG_PREFIX, TN_NODESIG_PREFIX_LEN) != 0)
    {
        c->bad = true;
        return NULL;
    }

    return p + TN_NODESIG_PREFIX_LEN;
}


/* recurses at most TN_NODESIG_DEPTH_MAX deep */
static void
tn_nodesig_read_link(tn_nodesig_t *sig, tn_cursor_t *c)
{
    size_t              n;
    uint64_t            kind;
    unsigned            last, key;
    const uint8_t      *whole, *start, *at;
    tn_nodesig_link_t  *link;

    if (sig->n == TN_NODESIG_DEPTH_MAX) {
        c->bad = true;
        return;
    }

    link = &sig->links[sig->n++];
    whole = c->pos;
    link->pairs = (uint8_t) tn_cbor_map(c, TN_NODESIG_WRAPPING);

    start = c->pos;
    last = 0;

    /* the kind is always written */

    c->bad |= link->pairs == 0;

    for (n = link->pairs; n > 0 && !c->bad; n--) {
        at = c->pos;
        c->bad |= last == 0 && tn_cursor_left(c) > 0
                  && *at != TN_NODESIG_KIND;
        key = tn_cbor_key(c, &last);

        switch (key) {

        case TN_NODESIG_KIND:
            kind = tn_cbor_uint(c);
            c->bad |= kind > UINT8_MAX;
            link->kind = (uint8_t) kind;
            break;

        case TN_NODESIG_NODE:
            link->node = tn_nodesig_read_node(c);
            break;

        case TN_NODESIG_KEY_ID:
            link->key_id = tn_cbor_fixed(c, TN_ED25519_PUBLIC_LEN);
            break;

        case TN_NODESIG_SIGNATURE:
            link->signature = tn_cbor_fixed(c, TN_ED25519_SIGNATURE_LEN);
            link->before.data = start;
            link->before.len = (size_t) (at - start);
            start = c->pos;
            break;

        case TN_NODESIG_NESTED:
            tn_nodesig_read_link(sig, c);
            break;

        case TN_NODESIG_WRAPPING:
            link->wrapping = tn_cbor_fixed(c, TN_ED25519_PUBLIC_LEN);
            break;

        default:
            c->bad = true;
        }
    }

    link->after.data = start;
    link->after.len = (size_t) (c->pos - start);
    link->whole.data = whole;
    link->whole.len = (size_t) (c->pos - whole);
}


tn_rc_t
tn_nodesig_parse(tn_nodesig_t *sig, const uint8_t *data, size_t len)
{
    tn_cursor_t  c;

    memset(sig, 0, sizeof(tn_nodesig_t));

    if (len > TN_NODESIG_LEN_MAX) {
        return TN_MALFORMED;
    }

    c = tn_cursor(data, len);
    tn_nodesig_read_link(sig, &c);

    return c.bad || tn_cursor_left(&c) != 0 ? TN_MALFORMED : TN_OK;
}


const uint8_t *
tn_nodesig_key_id(const tn_nodesig_t *sig)
{
    const tn_nodesig_link_t  *inner;

    inner = &sig->links[sig->n - 1];

    return inner->kind == TN_NODESIG_DIRECT
           || inner->kind == TN_NODESIG_CREDENTIAL ? inner->key_id : NULL;
}


/* what was signed: the hash of the map without its signature */
static tn_rc_t
tn_nodesig_hash(const tn_nodesig_link_t *link, uint8_t hash[TN_BLAKE2S_LEN])
{
    uint8_t      buf[1 + TN_NODESIG_LEN_MAX];
    tn_writer_t  w;

    w = tn_writer(buf, sizeof(buf));
    tn_write_u8(&w, (uint8_t) (TN_NODESIG_MAP_HEAD | (link->pairs - 1)));
    tn_write_bytes(&w, link->before.data, link->before.len);
    tn_write_bytes(&w, link->after.data, link->after.len);

    return w.bad ? TN_ERROR
                 : tn_blake2s(hash, buf, tn_writer_len(&w), NULL, 0);
}


/* the key that must have signed what link i is nested in, or NULL */
static const uint8_t *
tn_nodesig_wrapping(const tn_nodesig_t *sig, unsigned i)
{
    for ( /* void */ ; i < sig->n; i++) {

        if (sig->links[i].wrapping != NULL) {
            return sig->links[i].wrapping;
        }

        if (sig->links[i].kind != TN_NODESIG_ROTATION) {
            break;
        }
    }

    return NULL;
}


tn_rc_t
tn_nodesig_verify(const tn_nodesig_t *sig, const tn_key_t *node,
    const uint8_t *trusted)
{
    bool                      inner;
    uint8_t                   hash[TN_BLAKE2S_LEN];
    unsigned                  i;
    const uint8_t            *pub;
    const tn_nodesig_link_t  *link;

    /* a credential is of no node: something must be nested around it */

    if (sig->n == 0
        || sig->links[0].node == NULL
        || sig->links[0].kind == TN_NODESIG_CREDENTIAL
        || memcmp(sig->links[0].node, node->b, TN_KEY_LEN) != 0)
    {
        return TN_REFUSED;
    }

    for (i = 0; i < sig->n; i++) {
        link = &sig->links[i];
        inner = i == sig->n - 1;

        switch (link->kind) {

        case TN_NODESIG_DIRECT:
        case TN_NODESIG_CREDENTIAL:
            pub = inner ? trusted : NULL;
            break;

        case TN_NODESIG_ROTATION:
            pub = inner ? NULL : tn_nodesig_wrapping(sig, i + 1);
            break;

        default:
            pub = NULL;
        }

        if (pub == NULL
            || link->signature == NULL
            || (link->node == NULL && link->kind != TN_NODESIG_CREDENTIAL))
        {
            return TN_REFUSED;
        }

        if (tn_nodesig_hash(link, hash) != TN_OK) {
            return TN_ERROR;
        }

        /*
         * Upstream judges rotations by crypto/ed25519, where odd points may
         * pass that libsodium refuses; no honest key is one.
         */

        if (!(inner ? tn_ed25519_verify_zip215(link->signature, hash,
                                               sizeof(hash), pub)
                    : tn_ed25519_verify(link->signature, hash,
                                        sizeof(hash), pub)))
        {
            return TN_REFUSED;
        }
    }

    return TN_OK;
}


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_aum.h"

#include "tn_cbor.h"


/* fields of an update */
#define TN_AUM_F_KIND          1
#define TN_AUM_F_PARENT        2
#define TN_AUM_F_KEY           3
#define TN_AUM_F_KEY_ID        4
#define TN_AUM_F_STATE         5
#define TN_AUM_F_VOTES         6
#define TN_AUM_F_META          7
#define TN_AUM_F_SIGNATURES    23
#define TN_AUM_FIELDS          8

/* of a key */
#define TN_AUM_F_KEY_KIND      1
#define TN_AUM_F_KEY_VOTES     2
#define TN_AUM_F_KEY_PUBLIC    3
#define TN_AUM_F_KEY_META      12
#define TN_AUM_KEY_FIELDS      4

/* of a state */
#define TN_AUM_F_LAST          1
#define TN_AUM_F_DISABLING     2
#define TN_AUM_F_KEYS          3
#define TN_AUM_F_ID1           4
#define TN_AUM_F_ID2           5
#define TN_AUM_STATE_FIELDS    5

/* of a signature */
#define TN_AUM_F_SIG_KEY_ID    1
#define TN_AUM_F_SIG           2
#define TN_AUM_SIG_FIELDS      2

#define TN_AUM_KEY_25519       1

/* pairs of a map that TN_AUM_META_MAX may bound */
#define TN_AUM_META_PAIRS_MAX  1024

#define TN_AUM_MAP_HEAD        0xa0


/* bytes in the map; only a map that is not empty is ever written */
static size_t
tn_aum_read_meta(tn_cursor_t *c)
{
    int       order;
    size_t    n, total;
    tn_str_t  name, last, value;

    n = tn_cbor_map(c, TN_AUM_META_PAIRS_MAX);
    c->bad |= n == 0;

    total = 0;
    last.data = NULL;
    last.len = 0;

    for ( /* void */ ; n > 0 && !c->bad; n--) {
        name = tn_cbor_text(c);
        value = tn_cbor_text(c);

        if (c->bad) {
            break;
        }

        /* the shorter first, then by their bytes; none twice */

        if (last.data != NULL) {
            order = name.len != last.len
                    ? (name.len < last.len ? -1 : 1)
                    : memcmp(name.data, last.data, name.len);
            c->bad |= order <= 0;
        }

        last = name;
        total += name.len + value.len;
    }

    return total;
}


static void
tn_aum_read_key(tn_cursor_t *c, tn_aum_key_t *key)
{
    size_t          n, meta;
    unsigned        last;
    uint64_t        votes, kind;
    const uint8_t  *pub;

    n = tn_cbor_map(c, TN_AUM_KEY_FIELDS);
    last = 0;
    meta = 0;
    votes = 0;
    kind = 0;
    pub = NULL;

    for ( /* void */ ; n > 0 && !c->bad; n--) {

        switch (tn_cbor_key(c, &last)) {

        case TN_AUM_F_KEY_KIND:
            kind = tn_cbor_uint(c);
            break;

        case TN_AUM_F_KEY_VOTES:
            votes = tn_cbor_uint(c);
            break;

        case TN_AUM_F_KEY_PUBLIC:
            pub = tn_cbor_fixed(c, TN_ED25519_PUBLIC_LEN);
            break;

        case TN_AUM_F_KEY_META:
            meta = tn_aum_read_meta(c);
            break;

        default:
            c->bad = true;
        }
    }

    if (c->bad
        || pub == NULL
        || kind != TN_AUM_KEY_25519
        || votes == 0
        || votes > TN_AUM_VOTES_MAX
        || meta > TN_AUM_META_MAX)
    {
        c->bad = true;
        return;
    }

    memcpy(key->pub, pub, TN_ED25519_PUBLIC_LEN);
    key->votes = (uint32_t) votes;
}


static void
tn_aum_read_disabling(tn_cursor_t *c, tn_aum_state_t *state)
{
    size_t          i, j, n;
    const uint8_t  *value;

    n = tn_cbor_array(c, TN_AUM_DISABLING_MAX);
    c->bad |= n == 0;

    for (i = 0; i < n && !c->bad; i++) {
        value = tn_cbor_fixed(c, TN_AUM_DISABLING_LEN);

        for (j = 0; j < i && !c->bad; j++) {
            c->bad |= memcmp(value, state->disabling[j], TN_AUM_DISABLING_LEN)
                      == 0;
        }

        if (value != NULL) {
            memcpy(state->disabling[i], value, TN_AUM_DISABLING_LEN);
            state->n_disabling = (unsigned) (i + 1);
        }
    }
}


static void
tn_aum_read_keys(tn_cursor_t *c, tn_aum_state_t *state)
{
    size_t    n;
    unsigned  i;

    n = tn_cbor_array(c, TN_AUM_KEYS_MAX);
    c->bad |= n == 0;

    for ( /* void */ ; n > 0 && !c->bad; n--) {
        tn_aum_read_key(c, &state->keys[state->n]);

        for (i = 0; i < state->n && !c->bad; i++) {
            c->bad |= memcmp(state->keys[state->n].pub, state->keys[i].pub,
                             TN_ED25519_PUBLIC_LEN) == 0;
        }

        state->n++;
    }
}


static void
tn_aum_read_state(tn_cursor_t *c, tn_aum_state_t *state)
{
    size_t    n;
    unsigned  last, key, seen;

    n = tn_cbor_map(c, TN_AUM_STATE_FIELDS);
    last = 0;
    seen = 0;

    for ( /* void */ ; n > 0 && !c->bad; n--) {
        key = tn_cbor_key(c, &last);
        seen |= 1u << key % 32;

        switch (key) {

        case TN_AUM_F_LAST:
            c->bad |= !tn_cbor_null(c);
            break;

        case TN_AUM_F_DISABLING:
            tn_aum_read_disabling(c, state);
            break;

        case TN_AUM_F_KEYS:
            tn_aum_read_keys(c, state);
            break;

        case TN_AUM_F_ID1:
        case TN_AUM_F_ID2:
            state->id[key - TN_AUM_F_ID1] = tn_cbor_uint(c);
            c->bad |= state->id[key - TN_AUM_F_ID1] == 0;
            break;

        default:
            c->bad = true;
        }
    }

    /* what is written even when it is nothing, and what may not be nothing */

    c->bad |= (seen & 0x0e) != 0x0e;
}


static void
tn_aum_read_signatures(tn_cursor_t *c, tn_aum_t *aum)
{
    size_t               i, n;
    unsigned             last;
    tn_aum_signature_t  *sig;

    n = tn_cbor_array(c, TN_AUM_SIGNATURES_MAX);
    c->bad |= n == 0;

    for (i = 0; i < n && !c->bad; i++) {
        sig = &aum->signatures[aum->n++];
        last = 0;

        c->bad |= tn_cbor_map(c, TN_AUM_SIG_FIELDS) != TN_AUM_SIG_FIELDS;
        c->bad |= tn_cbor_key(c, &last) != TN_AUM_F_SIG_KEY_ID;
        sig->key_id = tn_cbor_fixed(c, TN_ED25519_PUBLIC_LEN);
        c->bad |= tn_cbor_key(c, &last) != TN_AUM_F_SIG;
        sig->signature = tn_cbor_fixed(c, TN_ED25519_SIGNATURE_LEN);
    }
}


/* one field; what precedes the signatures is what they sign */
static void
tn_aum_read_field(tn_cursor_t *c, tn_aum_t *aum, unsigned key)
{
    switch (key) {

    case TN_AUM_F_PARENT:
        if (!tn_cbor_null(c)) {
            aum->parent = tn_cbor_fixed(c, TN_BLAKE2S_LEN);
        }

        break;

    case TN_AUM_F_KEY:
        aum->has_key = true;
        tn_aum_read_key(c, &aum->key);
        break;

    case TN_AUM_F_KEY_ID:
        aum->key_id = tn_cbor_bytes(c);
        c->bad |= aum->key_id.len == 0;
        break;

    case TN_AUM_F_STATE:
        aum->has_state = true;
        tn_aum_read_state(c, &aum->state);
        break;

    case TN_AUM_F_VOTES:
        aum->has_votes = true;
        aum->votes = tn_cbor_uint(c);
        break;

    case TN_AUM_F_META:
        aum->has_meta = true;
        aum->meta_len = tn_aum_read_meta(c);
        break;

    case TN_AUM_F_SIGNATURES:
        tn_aum_read_signatures(c, aum);
        break;

    default:
        c->bad = true;
    }
}


/* upstream AUM.StaticValidate: each kind has its fields and no others */
static bool
tn_aum_has_right_fields(const tn_aum_t *aum)
{
    bool  has_id;

    has_id = aum->key_id.data != NULL;

    switch (aum->kind) {

    case TN_AUM_ADD_KEY:
        return aum->has_key && !has_id && !aum->has_state && !aum->has_votes
               && !aum->has_meta;

    case TN_AUM_REMOVE_KEY:
        return has_id && !aum->has_key && !aum->has_state && !aum->has_votes
               && !aum->has_meta;

    case TN_AUM_UPDATE_KEY:
        return has_id && (aum->has_votes || aum->has_meta) && !aum->has_key
               && !aum->has_state;

    case TN_AUM_CHECKPOINT:
        return aum->has_state && !has_id && !aum->has_key && !aum->has_votes
               && !aum->has_meta;

    default:
        return true;
    }
}


tn_rc_t
tn_aum_parse(tn_aum_t *aum, const uint8_t *data, size_t len)
{
    size_t          n, pairs;
    uint8_t         head;
    uint64_t        kind;
    unsigned        last, key;
    tn_cursor_t     c;
    const uint8_t  *start, *end;

    memset(aum, 0, sizeof(tn_aum_t));

    if (len > TN_AUM_LEN_MAX) {
        return TN_MALFORMED;
    }

    c = tn_cursor(data, len);
    pairs = tn_cbor_map(&c, TN_AUM_FIELDS);
    start = c.pos;
    last = 0;

    /* the kind and the parent are always written */

    c.bad |= pairs < 2 || tn_cbor_key(&c, &last) != TN_AUM_F_KIND;
    kind = tn_cbor_uint(&c);
    c.bad |= kind > UINT8_MAX;
    aum->kind = (uint8_t) kind;

    end = c.pos;

    for (n = 1; n < pairs && !c.bad; n++) {
        key = tn_cbor_key(&c, &last);
        c.bad |= n == 1 && key != TN_AUM_F_PARENT;

        tn_aum_read_field(&c, aum, key);

        if (key != TN_AUM_F_SIGNATURES) {
            end = c.pos;
        }
    }

    if (c.bad || tn_cursor_left(&c) != 0 || !tn_aum_has_right_fields(aum)) {
        return TN_MALFORMED;
    }

    head = (uint8_t) (TN_AUM_MAP_HEAD | (aum->n > 0 ? pairs - 1 : pairs));

    if (tn_blake2s(aum->hash, data, len, NULL, 0) != TN_OK
        || tn_blake2s(aum->signed_hash, &head, 1, start,
                      (size_t) (end - start)) != TN_OK)
    {
        return TN_ERROR;
    }

    return TN_OK;
}

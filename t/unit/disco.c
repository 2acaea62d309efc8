
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Disco messages against those of upstream's own package.
 */

#include "tap.h"

#include "wire/tn_disco.h"

#include "../vectors/path/vectors.h"


typedef struct {
    const char  *name;
    const char  *plain;
    const char  *sealed;
} disco_case_t;

#define disco_case(name)  { #name, disco_##name, disco_##name##_sealed }

static const disco_case_t  cases[] = {
    disco_case(ping),
    disco_case(ping_old),
    disco_case(ping_padded),
    disco_case(pong),
    disco_case(pong_v6),
    disco_case(call),
    disco_case(call_none),
    disco_case(bind),
    disco_case(challenge),
    disco_case(answer),
    disco_case(via),
    disco_case(allocate),
    disco_case(allocated)
};


static void
check_case(const disco_case_t *test, const tn_box_key_t *key)
{
    size_t          n, len, i;
    uint8_t         plain[512], sealed[1024], scratch[1024], out[1024];
    tn_writer_t     w;
    tn_disco_msg_t  msg, again;

    n = unhex(plain, test->plain);

    is_int(tn_disco_parse(&msg, plain, n), TN_OK, test->name);

    w = tn_writer(out, sizeof(out));
    tn_disco_write(&w, &msg);
    ok(!w.bad && tn_writer_len(&w) == n && memcmp(out, plain, n) == 0,
       "%s: written as it was read", test->name);

    len = unhex(sealed, test->sealed);

    ok(tn_disco_open(key, sealed, len, scratch, sizeof(scratch), &again)
       == TN_OK && memcmp(&again, &msg, sizeof(msg)) == 0,
       "%s: upstream's box opens", test->name);

    ok(tn_disco_open(key, sealed, len, scratch,
                     len - TN_DISCO_OVERHEAD - 1, &again)
       == TN_MALFORMED, "%s: not into too small a room", test->name);

    sealed[len - 1] ^= 1;
    ok(tn_disco_open(key, sealed, len, scratch, sizeof(scratch), &again)
       == TN_MALFORMED, "%s: a changed box does not", test->name);
    sealed[len - 1] ^= 1;

    for (i = 0; i < len; i++) {
        if (tn_disco_open(key, sealed, i, scratch, sizeof(scratch), &again)
            != TN_MALFORMED)
        {
            break;
        }
    }

    ok(i == len, "%s: no shorter one does", test->name);
}


int
main(void)
{
    size_t           i, n, len;
    uint8_t          bytes[4096], scratch[2048], out[2048];
    tn_box_key_t     ours, theirs;
    tn_keypair_t     a, b;
    tn_disco_msg_t   msg, got;

    (void) tn_crypto_init();

    /* the keys of the generator */

    memset(a.priv.b, 0x11, TN_KEY_LEN);
    memset(b.priv.b, 0x22, TN_KEY_LEN);
    a.priv.b[0] &= 248;
    b.priv.b[0] &= 248;
    a.priv.b[31] = (a.priv.b[31] & 127) | 64;
    b.priv.b[31] = (b.priv.b[31] & 127) | 64;
    tn_curve_public(&a.pub, &a.priv);
    tn_curve_public(&b.pub, &b.priv);

    (void) unhex(bytes, disco_a_public);
    is_mem(a.pub.b, bytes, TN_KEY_LEN, "public key of a");
    (void) unhex(bytes, disco_b_public);
    is_mem(b.pub.b, bytes, TN_KEY_LEN, "public key of b");

    is_int(tn_box_key(&ours, &a.pub, &b.priv), TN_OK, "box of b for a");
    is_int(tn_box_key(&theirs, &b.pub, &a.priv), TN_OK, "box of a for b");

    for (i = 0; i < tn_nelems(cases); i++) {
        check_case(&cases[i], &ours);
    }

    /* fields, once each */

    n = unhex(bytes, disco_ping_padded);
    (void) tn_disco_parse(&msg, bytes, n);
    is_int(msg.txid[11], 12, "ping: transaction");
    is_int(msg.key.b[31], 0x33, "ping: node key");
    is_int((long long) msg.padding, 100, "ping: padding");

    n = unhex(bytes, disco_ping_old);
    (void) tn_disco_parse(&msg, bytes, n);
    ok(tn_key_is_zero(&msg.key), "ping before 1.16 has no node key");

    n = unhex(bytes, disco_pong);
    (void) tn_disco_parse(&msg, bytes, n);
    is_str(tn_addr_text(&msg.src, (char *) scratch), "192.0.2.9:41641",
           "pong: source");

    is_int(msg.takes, 0, "pong: nothing behind it");

    msg.takes = 32699;
    ok(tn_disco_seal(&ours, &b.pub, &msg, scratch, out, sizeof(out), &len)
       == TN_OK
       && tn_disco_open(&theirs, out, len, scratch, sizeof(scratch), &got)
          == TN_OK
       && memcmp(&got, &msg, sizeof(msg)) == 0, "what a peer takes is kept");

    memcpy(bytes + n, "upstream", 8);
    ok(tn_disco_parse(&got, bytes, n + 8) == TN_OK && got.takes == 0,
       "anything else there is ignored");

    n = unhex(bytes, disco_call);
    (void) tn_disco_parse(&msg, bytes, n);
    is_int(msg.addrs.n, 3, "call: three addresses");
    is_str(tn_addr_text(&msg.addrs.addr[1], (char *) scratch),
           "[2001:db8::2]:2", "call: the second");

    bytes[1] = 1;
    is_int(tn_disco_parse(&msg, bytes, n), TN_OK, "call of a later version");
    is_int(msg.addrs.n, 0, "is an empty one");

    n = unhex(bytes, disco_allocated);
    (void) tn_disco_parse(&msg, bytes, n);
    is_int(msg.generation, 9, "allocated: generation");
    is_int(msg.relay.vni, 0x0a0b0c, "allocated: VNI");
    ok(msg.relay.lamport == 0x0102030405060708, "allocated: Lamport id");
    ok(msg.relay.steady_lifetime_ns == 300000000000, "allocated: lifetime");
    is_int(msg.addrs.addr[1].port, 65535, "allocated: last port");

    /* more addresses than are kept */

    memset(bytes, 1, sizeof(bytes));
    bytes[0] = TN_DISCO_CALL_ME_MAYBE;
    bytes[1] = 0;
    is_int(tn_disco_parse(&msg, bytes, 2 + 200 * 18), TN_OK,
           "a call with 200 addresses");
    is_int(msg.addrs.n, TN_DISCO_ADDRS_MAX, "keeps 64");

    bytes[0] = 77;
    is_int(tn_disco_parse(&msg, bytes, 100), TN_MALFORMED, "unknown type");
    is_int(tn_disco_parse(&msg, bytes, 1), TN_MALFORMED, "one byte");

    /* there and back */

    memset(&msg, 0, sizeof(msg));
    msg.type = TN_DISCO_PING;
    msg.key = a.pub;
    msg.padding = 1200;
    tn_random(msg.txid, TN_DISCO_TXID);

    is_int(tn_disco_seal(&theirs, &a.pub, &msg, scratch, out, sizeof(out),
                         &len),
           TN_OK, "sealed");
    ok(tn_disco_sender(out, len) != NULL
       && tn_key_equal(tn_disco_sender(out, len), &a.pub), "names its sender");
    is_int(tn_disco_open(&ours, out, len, scratch, sizeof(scratch), &got),
           TN_OK, "opened");
    ok(memcmp(&msg, &got, sizeof(msg)) == 0, "the same message");
    ok(tn_disco_sender(out, TN_DISCO_HEADER) == NULL, "a header is no message");

    msg.padding = sizeof(out);
    is_int(tn_disco_seal(&theirs, &a.pub, &msg, scratch, out, sizeof(out),
                         &len),
           TN_NOMEM, "too long for the room");

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The server of a peer relay: two clients bind and talk through it; what is
 * forged, repeated, cut or too long changes nothing; sessions expire and are
 * limited.
 */

#include "tap.h"

#include "crypto/tn_curve.h"
#include "path/tn_relay_server.h"
#include "wire/tn_geneve.h"


static tn_relay_server_t  *server;
static tn_keypair_t        self, ann, bob, eve;
static tn_disco_relay_t    place;
static tn_addr_t           ann_at, bob_at, eve_at;

static uint8_t             sent[512];
static size_t              sent_len;
static const uint8_t      *out;
static tn_addr_t           to;


static tn_addr_t
at(const char *text)
{
    tn_addr_t  addr;

    (void) tn_addr_parse(&addr, text, strlen(text));

    return addr;
}


static void
build(const tn_keypair_t *who, const tn_key_t *other, tn_disco_type_e type,
    uint32_t generation, const uint8_t *challenge)
{
    size_t          len;
    uint8_t         plain[512];
    tn_writer_t     w;
    tn_geneve_t     geneve;
    tn_box_key_t    box;
    tn_disco_msg_t  msg;

    memset(&msg, 0, sizeof(msg));
    msg.type = type;
    msg.vni = place.vni;
    msg.generation = generation;
    msg.key = *other;

    if (challenge != NULL) {
        memcpy(msg.challenge, challenge, sizeof(msg.challenge));
    }

    memset(&geneve, 0, sizeof(geneve));
    geneve.protocol = TN_GENEVE_DISCO;
    geneve.vni = place.vni;
    geneve.control = true;

    w = tn_writer(sent, sizeof(sent));
    tn_geneve_write(&w, &geneve);

    (void) tn_box_key(&box, &place.server, &who->priv);
    (void) tn_disco_seal(&box, &who->pub, &msg, plain,
                         sent + TN_GENEVE_HEADER,
                         sizeof(sent) - TN_GENEVE_HEADER, &len);
    sent_len = TN_GENEVE_HEADER + len;
}


static size_t
input(tn_ms_t now, const tn_addr_t *from)
{
    return tn_relay_server_input(server, now, from, sent, sent_len, &out,
                                 &to);
}


/* the challenge of the last answer, false when it is none of `generation` */
static bool
challenged(const tn_keypair_t *who, size_t len, uint32_t generation,
    uint8_t *challenge)
{
    uint8_t         plain[512];
    tn_geneve_t     geneve;
    tn_box_key_t    box;
    tn_disco_msg_t  msg;

    if (len == 0 || tn_geneve_parse(&geneve, out, len) != TN_OK
        || !geneve.control || geneve.vni != place.vni
        || tn_box_key(&box, &place.server, &who->priv) != TN_OK
        || tn_disco_open(&box, out + TN_GENEVE_HEADER,
                         len - TN_GENEVE_HEADER, plain, sizeof(plain), &msg)
           != TN_OK
        || msg.type != TN_DISCO_BIND_CHALLENGE
        || msg.generation != generation || msg.vni != place.vni)
    {
        return false;
    }

    memcpy(challenge, msg.challenge, sizeof(msg.challenge));

    return true;
}


static bool
bind_leg(tn_ms_t now, const tn_keypair_t *who, const tn_key_t *other,
    const tn_addr_t *from, uint32_t generation)
{
    uint8_t  challenge[TN_DISCO_CHALLENGE];

    build(who, other, TN_DISCO_BIND, generation, NULL);

    if (!challenged(who, input(now, from), generation, challenge)) {
        return false;
    }

    build(who, other, TN_DISCO_BIND_ANSWER, generation, challenge);

    return input(now, from) == 0;
}


/* where a payload from an address comes out, or port 0 */
static tn_addr_t
passes(tn_ms_t now, const tn_addr_t *from)
{
    size_t       len;
    tn_writer_t  w;
    tn_geneve_t  geneve;

    memset(&geneve, 0, sizeof(geneve));
    geneve.protocol = TN_GENEVE_WIREGUARD;
    geneve.vni = place.vni;

    w = tn_writer(sent, sizeof(sent));
    tn_geneve_write(&w, &geneve);
    tn_write_zeros(&w, 32);
    sent_len = tn_writer_len(&w);

    memset(&to, 0, sizeof(to));
    len = input(now, from);

    if (len != 0 && (len != sent_len || out != sent)) {
        memset(&to, 0, sizeof(to));
    }

    return to;
}


static bool
comes_out(tn_ms_t now, const tn_addr_t *from, const tn_addr_t *want)
{
    tn_addr_t  got;

    got = passes(now, from);

    return want ? tn_addr_equal(&got, want) : got.port == 0;
}


static tn_rc_t
allocate(tn_ms_t now, const tn_keypair_t *asker, const tn_key_t *a,
    const tn_key_t *b, tn_disco_relay_t *relay)
{
    tn_key_t  pair[2];

    pair[0] = *a;
    pair[1] = *b;

    return tn_relay_server_allocate(server, now, &asker->pub, pair, relay);
}


static void
test_binding(void)
{
    size_t            i, answers;
    uint8_t           challenge[TN_DISCO_CHALLENGE], answer[512], bind[512];
    size_t            answer_len, bind_len;
    tn_disco_relay_t  again;

    is_int(allocate(1000, &ann, &ann.pub, &bob.pub, &place), TN_OK,
           "a place for two");
    ok(place.vni != 0 && tn_key_equal(&place.server, &self.pub)
       && place.bind_lifetime_ns == 30000000000ull
       && place.steady_lifetime_ns == 300000000000ull,
       "with upstream's lifetimes");

    is_int(allocate(1001, &bob, &bob.pub, &ann.pub, &again), TN_OK,
           "the other one asks too");
    ok(again.vni == place.vni && again.lamport == place.lamport,
       "and is given the same");

    ok(comes_out(1002, &ann_at, NULL), "nothing passes before it is bound");

    /* hostile tries to bind */

    build(&eve, &bob.pub, TN_DISCO_BIND, 1, NULL);
    is_int(input(1003, &eve_at), 0, "a third key may not bind");

    build(&ann, &eve.pub, TN_DISCO_BIND, 1, NULL);
    is_int(input(1003, &ann_at), 0, "nor a client for somebody else");

    build(&ann, &bob.pub, TN_DISCO_BIND, 0, NULL);
    is_int(input(1003, &ann_at), 0, "nor without a generation");

    build(&ann, &bob.pub, TN_DISCO_BIND, 1, NULL);
    sent[sent_len - 1] ^= 1;
    is_int(input(1003, &ann_at), 0, "a forged box");

    build(&ann, &bob.pub, TN_DISCO_BIND, 1, NULL);

    for (i = 0, answers = 0, bind_len = sent_len; i < bind_len; i++) {
        sent_len = i;
        answers += input(1003, &ann_at) != 0;
    }

    is_int(answers, 0, "one that is cut anywhere");

    sent_len = sizeof(sent);
    is_int(input(1003, &ann_at), 0, "one that is too long");

    memset(challenge, 0, sizeof(challenge));
    build(&ann, &bob.pub, TN_DISCO_BIND_ANSWER, 1, challenge);
    (void) input(1003, &ann_at);
    ok(bind_leg(1004, &bob, &ann.pub, &bob_at, 7), "one side binds");
    ok(comes_out(1004, &ann_at, NULL) && comes_out(1004, &bob_at, NULL),
       "an answer that nobody asked for has bound nothing");

    /* a challenge counts for the address it was sent to */

    build(&ann, &bob.pub, TN_DISCO_BIND, 1, NULL);
    memcpy(bind, sent, sent_len);
    bind_len = sent_len;
    ok(challenged(&ann, input(1005, &ann_at), 1, challenge)
       && tn_addr_equal(&to, &ann_at), "the other is challenged");
    ok(input(1005, &ann_at) <= bind_len, "by no more than it sent");

    build(&ann, &bob.pub, TN_DISCO_BIND_ANSWER, 1, challenge);
    memcpy(answer, sent, sent_len);
    answer_len = sent_len;
    (void) input(1006, &eve_at);
    ok(comes_out(1006, &eve_at, NULL), "its answer from elsewhere is refused");

    memcpy(sent, answer, answer_len);
    sent_len = answer_len;
    (void) input(1007, &ann_at);

    ok(comes_out(1008, &ann_at, &bob_at), "payload passes");
    ok(comes_out(1008, &bob_at, &ann_at), "both ways");
    ok(comes_out(1008, &eve_at, NULL), "and from nowhere else");

    /* repeated later, from another address */

    memcpy(sent, bind, bind_len);
    sent_len = bind_len;
    is_int(input(1009, &eve_at), 0, "a repeated Bind has no answer");

    memcpy(sent, answer, answer_len);
    sent_len = answer_len;
    (void) input(1009, &eve_at);
    ok(comes_out(1009, &ann_at, &bob_at), "a repeated Answer moves nobody");

    ok(bind_leg(1010, &ann, &bob.pub, &eve_at, 2), "a client moves");
    ok(comes_out(1010, &bob_at, &eve_at) && comes_out(1010, &ann_at, NULL),
       "payload goes where it is now");
}


static void
test_lifetimes(void)
{
    tn_ms_t           now;
    uint8_t           challenge[TN_DISCO_CHALLENGE];
    tn_disco_relay_t  other;

    now = 1010 + TN_RELAY_STEADY_MS - 10;
    ok(comes_out(now, &bob_at, &eve_at) && comes_out(now, &eve_at, &bob_at),
       "a session lives as long as both sides talk");

    is_int(allocate(now, &eve, &eve.pub, &bob.pub, &other), TN_OK,
           "another place");
    ok(other.vni != place.vni && other.lamport > place.lamport,
       "is another");

    tn_relay_server_sweep(server, now + TN_RELAY_BIND_MS);
    is_int(tn_relay_server_sessions(server), 2, "is kept to be bound");
    is_int(tn_relay_server_bound(server), 1, "but not counted as bound");
    tn_relay_server_sweep(server, now + TN_RELAY_BIND_MS + 1);
    is_int(tn_relay_server_sessions(server), 1, "and for 30 s alone");

    now += TN_RELAY_STEADY_MS;
    ok(comes_out(now, &bob_at, &eve_at), "five minutes of silence");
    ok(comes_out(now + 1, &bob_at, NULL), "of one side end it");
    is_int(tn_relay_server_sessions(server), 0, "nothing is left");

    /* the former secret counts, the one before it does not */

    now += 2;
    (void) allocate(now, &ann, &ann.pub, &bob.pub, &place);
    ok(bind_leg(now, &ann, &bob.pub, &ann_at, 9)
       && bind_leg(now, &bob, &ann.pub, &bob_at, 9), "bound anew");

    build(&ann, &bob.pub, TN_DISCO_BIND, 10, NULL);
    (void) challenged(&ann, input(now, &eve_at), 10, challenge);
    build(&ann, &bob.pub, TN_DISCO_BIND_ANSWER, 10, challenge);
    (void) input(now + 2 * TN_RELAY_SECRET_MS, &eve_at);
    ok(comes_out(now + 2 * TN_RELAY_SECRET_MS, &bob_at, &ann_at),
       "an old challenge is worth nothing");
}


static void
test_limits(void)
{
    tn_ms_t           now;
    uint32_t          i, n;
    tn_keypair_t      asker, other;
    tn_disco_relay_t  relay;

    now = 10000000;
    tn_relay_server_sweep(server, now);

    is_int(allocate(now, &eve, &ann.pub, &bob.pub, &relay), TN_REFUSED,
           "no place for two others");
    is_int(allocate(now, &ann, &ann.pub, &ann.pub, &relay), TN_REFUSED,
           "nor for one");
    is_int(allocate(now, &ann, &ann.pub, &self.pub, &relay), TN_REFUSED,
           "nor with the relay");

    for (i = 0, n = 0; i < 2 * TN_RELAY_ASKER_MAX; i++) {
        tn_random(other.pub.b, TN_KEY_LEN);
        n += allocate(now, &ann, &ann.pub, &other.pub, &relay) == TN_OK;
    }

    is_int(n, TN_RELAY_ASKER_MAX, "a flood of one node is bounded");
    is_int(allocate(now, &bob, &bob.pub, &eve.pub, &relay), TN_OK,
           "others are served");

    for (i = 0; i < 1000; i++) {
        tn_random(asker.pub.b, TN_KEY_LEN);
        tn_random(other.pub.b, TN_KEY_LEN);
        (void) allocate(now, &asker, &asker.pub, &other.pub, &relay);
    }

    is_int(tn_relay_server_sessions(server), 512, "and one of many");
    is_int(allocate(now + TN_RELAY_BIND_MS + 1, &asker, &asker.pub, &ann.pub,
                    &relay),
           TN_OK, "what was not bound makes room");
    is_int(tn_relay_server_sessions(server), 1, "all of it");
}


int
main(void)
{
    (void) tn_crypto_init();

    tn_curve_keypair(&self);
    tn_curve_keypair(&ann);
    tn_curve_keypair(&bob);
    tn_curve_keypair(&eve);

    ann_at = at("192.0.2.1:1000");
    bob_at = at("[2001:db8::2]:2000");
    eve_at = at("192.0.2.3:1000");     /* the port of ann */

    server = tn_relay_server_create(&self, 512);

    test_binding();
    test_lifetimes();
    test_limits();

    tn_relay_server_destroy(server);

    return tap_done();
}

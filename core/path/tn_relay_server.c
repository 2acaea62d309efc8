
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory (upstream: net/udprelay).
 *
 * A session is a pair of disco keys and a VNI.  Each client binds its leg:
 *
 *   client -> Bind       the generation of its try, and the other's key
 *   server -> Challenge  a MAC of that and of the address it came from
 *   client -> Answer     the same MAC: the address is the client's indeed
 *
 * A challenge costs no state but the generation.  The secret of the MAC is
 * another every two minutes, the former still counts.  Once both legs are
 * bound, what comes from one address goes to the other as it is.
 *
 * A session ends 30 s after its allocation when a leg is not bound by then,
 * and when a leg was silent for five minutes.
 *
 * Beyond upstream: generations only grow, so that a repeated Bind or Answer
 * of a try that is over changes nothing; sessions are limited, also for each
 * node that asks; the shared secret of a client is computed when its first
 * message comes, not for every allocation.
 */

#include "tn_relay_server.h"

#include "base/tn_hash.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"
#include "wire/tn_geneve.h"

#include <stdlib.h>


#define TN_RELAY_MS_NS   1000000ull
#define TN_RELAY_SECRET  32

/* the longest message a client has for the relay: a bind's */
#define TN_RELAY_BODY    128


typedef struct {
    tn_box_key_t         box;
    bool                 have_box;
    uint32_t             generation;    /* in progress, 0: none */
    uint32_t             done;          /* of the last that was bound */
    tn_addr_t            addr;          /* port 0: not bound */
    tn_ms_t              seen;
} tn_relay_leg_t;

typedef struct {
    tn_hash_node_t       by_vni;
    tn_hash_node_t       by_pair;
    uint32_t             vni;
    tn_key_t             client[2];     /* sorted */
    uint32_t             asker;         /* which of them */
    uint64_t             lamport;
    tn_ms_t              allocated;
    tn_relay_leg_t       leg[2];
} tn_relay_session_t;

struct tn_relay_server_s {
    tn_keypair_t         disco;
    uint32_t             max;
    tn_hash_t            by_vni;
    tn_hash_t            by_pair;
    uint64_t             lamport;
    uint32_t             vni;           /* the last given out */

    uint8_t              secret[2][TN_RELAY_SECRET];    /* newest first */
    tn_ms_t              secret_at;
    bool                 have_secret;

    uint8_t              plain[TN_RELAY_BODY + TN_DISCO_OVERHEAD];
    uint8_t              out[TN_GENEVE_HEADER + TN_RELAY_BODY
                             + TN_DISCO_OVERHEAD];
};


static size_t relay_control(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, const tn_addr_t *from, const uint8_t *bytes,
    size_t len);
static size_t relay_challenge(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, uint32_t i, const tn_addr_t *from,
    const tn_disco_msg_t *bind);
static void relay_answer(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, uint32_t i, const tn_addr_t *from,
    const tn_disco_msg_t *answer);
static tn_rc_t relay_mac(const uint8_t secret[TN_RELAY_SECRET],
    const tn_addr_t *from, const tn_disco_msg_t *msg,
    uint8_t mac[TN_DISCO_CHALLENGE]);
static void relay_secrets(tn_relay_server_t *server, tn_ms_t now);
static bool relay_expired(const tn_relay_session_t *session, tn_ms_t now);
static uint32_t relay_asked(const tn_relay_server_t *server,
    const tn_key_t *asker);
static void relay_free(tn_relay_server_t *server,
    tn_relay_session_t *session);


tn_relay_server_t *
tn_relay_server_create(const tn_keypair_t *disco, uint32_t max)
{
    tn_relay_server_t  *server;

    server = calloc(1, sizeof(tn_relay_server_t));
    if (server == NULL) {
        return NULL;
    }

    server->disco = *disco;
    server->max = tn_min(max, (uint32_t) TN_RELAY_SESSIONS_MAX);
    tn_hash_init(&server->by_vni, sizeof(uint32_t));
    tn_hash_init(&server->by_pair, 2 * TN_KEY_LEN);

    return server;
}


void
tn_relay_server_destroy(tn_relay_server_t *server)
{
    tn_hash_node_t  *node;

    if (server == NULL) {
        return;
    }

    while ((node = tn_hash_next(&server->by_vni, NULL)) != NULL) {
        relay_free(server, tn_container(node, tn_relay_session_t, by_vni));
    }

    tn_hash_done(&server->by_vni);
    tn_hash_done(&server->by_pair);
    tn_wipe(server, sizeof(tn_relay_server_t));
    free(server);
}


tn_rc_t
tn_relay_server_allocate(tn_relay_server_t *server, tn_ms_t now,
    const tn_key_t *asker, const tn_key_t client[2], tn_disco_relay_t *relay)
{
    int                  order;
    tn_key_t             pair[2];
    tn_hash_node_t      *node;
    tn_relay_session_t  *session;

    order = memcmp(client[0].b, client[1].b, TN_KEY_LEN);
    pair[0] = client[order > 0];
    pair[1] = client[order <= 0];

    if (order == 0 || tn_key_is_zero(&pair[0])
        || tn_key_equal(&pair[0], &server->disco.pub)
        || tn_key_equal(&pair[1], &server->disco.pub)
        || (!tn_key_equal(&pair[0], asker) && !tn_key_equal(&pair[1], asker)))
    {
        return TN_REFUSED;
    }

    node = tn_hash_find(&server->by_pair, pair);
    session = node ? tn_container(node, tn_relay_session_t, by_pair) : NULL;

    if (session != NULL && relay_expired(session, now)) {
        relay_free(server, session);
        session = NULL;
    }

    if (session == NULL) {

        if (server->by_vni.count >= server->max
            || relay_asked(server, asker) >= TN_RELAY_ASKER_MAX)
        {
            tn_relay_server_sweep(server, now);

            if (server->by_vni.count >= server->max
                || relay_asked(server, asker) >= TN_RELAY_ASKER_MAX)
            {
                return TN_NOMEM;
            }
        }

        session = calloc(1, sizeof(tn_relay_session_t));
        if (session == NULL) {
            return TN_NOMEM;
        }

        do {
            server->vni = server->vni % TN_GENEVE_VNI_MAX + 1;
        } while (tn_hash_find(&server->by_vni, &server->vni) != NULL);

        session->vni = server->vni;
        session->client[0] = pair[0];
        session->client[1] = pair[1];
        session->asker = tn_key_equal(&pair[1], asker);
        session->allocated = now;
        session->by_vni.key = &session->vni;
        session->by_pair.key = session->client;

        if (tn_hash_insert(&server->by_vni, &session->by_vni) != TN_OK) {
            free(session);
            return TN_NOMEM;
        }

        if (tn_hash_insert(&server->by_pair, &session->by_pair) != TN_OK) {
            tn_hash_remove(&server->by_vni, &session->by_vni);
            free(session);
            return TN_NOMEM;
        }

        session->lamport = ++server->lamport;
    }

    relay->server = server->disco.pub;
    relay->client[0] = pair[0];
    relay->client[1] = pair[1];
    relay->lamport = session->lamport;
    relay->vni = session->vni;
    relay->bind_lifetime_ns = TN_RELAY_BIND_MS * TN_RELAY_MS_NS;
    relay->steady_lifetime_ns = TN_RELAY_STEADY_MS * TN_RELAY_MS_NS;

    return TN_OK;
}


size_t
tn_relay_server_input(tn_relay_server_t *server, tn_ms_t now,
    const tn_addr_t *from, const uint8_t *bytes, size_t len,
    const uint8_t **out, tn_addr_t *to)
{
    uint32_t             i;
    tn_geneve_t          geneve;
    tn_hash_node_t      *node;
    tn_relay_session_t  *session;

    if (tn_geneve_parse(&geneve, bytes, len) != TN_OK) {
        return 0;
    }

    node = tn_hash_find(&server->by_vni, &geneve.vni);
    if (node == NULL) {
        return 0;
    }

    session = tn_container(node, tn_relay_session_t, by_vni);

    if (tn_unlikely(relay_expired(session, now))) {
        relay_free(server, session);
        return 0;
    }

    if (tn_unlikely(geneve.control)) {
        *out = server->out;
        *to = *from;

        return relay_control(server, now, session, from,
                             bytes + TN_GENEVE_HEADER,
                             len - TN_GENEVE_HEADER);
    }

    if (session->leg[0].addr.port == 0 || session->leg[1].addr.port == 0) {
        return 0;
    }

    for (i = 0; i < 2; i++) {
        if (tn_addr_equal(&session->leg[i].addr, from)) {
            session->leg[i].seen = now;
            *out = bytes;
            *to = session->leg[1 - i].addr;

            return len;
        }
    }

    return 0;
}


void
tn_relay_server_sweep(tn_relay_server_t *server, tn_ms_t now)
{
    tn_hash_node_t      *node, *next;
    tn_relay_session_t  *session;

    for (node = tn_hash_next(&server->by_vni, NULL); node; node = next) {
        next = tn_hash_next(&server->by_vni, node);
        session = tn_container(node, tn_relay_session_t, by_vni);

        if (relay_expired(session, now)) {
            relay_free(server, session);
        }
    }
}


uint32_t
tn_relay_server_sessions(const tn_relay_server_t *server)
{
    return (uint32_t) server->by_vni.count;
}


uint32_t
tn_relay_server_bound(const tn_relay_server_t *server)
{
    uint32_t             n;
    tn_hash_node_t      *node;
    tn_relay_session_t  *session;

    n = 0;

    for (node = tn_hash_next(&server->by_vni, NULL); node;
         node = tn_hash_next(&server->by_vni, node))
    {
        session = tn_container(node, tn_relay_session_t, by_vni);
        n += session->leg[0].addr.port != 0 && session->leg[1].addr.port != 0;
    }

    return n;
}


static size_t
relay_control(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, const tn_addr_t *from, const uint8_t *bytes,
    size_t len)
{
    uint32_t         i;
    tn_disco_msg_t   msg;
    const tn_key_t  *sender;
    tn_relay_leg_t  *leg;

    sender = tn_disco_sender(bytes, len);

    if (sender == NULL || from->port == 0
        || len > TN_RELAY_BODY + TN_DISCO_OVERHEAD)
    {
        return 0;
    }

    i = tn_key_equal(sender, &session->client[1]);

    if (!tn_key_equal(sender, &session->client[i])) {
        return 0;
    }

    leg = &session->leg[i];

    if (!leg->have_box) {
        if (tn_box_key(&leg->box, &session->client[i], &server->disco.priv)
            != TN_OK)
        {
            return 0;
        }

        leg->have_box = true;
    }

    if (tn_disco_open(&leg->box, bytes, len, server->plain,
                      sizeof(server->plain), &msg)
        != TN_OK
        || (msg.type != TN_DISCO_BIND && msg.type != TN_DISCO_BIND_ANSWER))
    {
        return 0;
    }

    if (msg.vni != session->vni || msg.generation == 0
        || !tn_key_equal(&msg.key, &session->client[1 - i]))
    {
        return 0;
    }

    if (msg.type == TN_DISCO_BIND_ANSWER) {
        relay_answer(server, now, session, i, from, &msg);
        return 0;
    }

    return relay_challenge(server, now, session, i, from, &msg);
}


static size_t
relay_challenge(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, uint32_t i, const tn_addr_t *from,
    const tn_disco_msg_t *bind)
{
    size_t           len;
    tn_writer_t      w;
    tn_geneve_t      geneve;
    tn_disco_msg_t   msg;
    tn_relay_leg_t  *leg;

    leg = &session->leg[i];

    /* serial numbers: a try that is over, or older than the present one */

    if ((leg->done != 0 && (int32_t) (bind->generation - leg->done) <= 0)
        || (leg->generation != 0
            && (int32_t) (bind->generation - leg->generation) < 0))
    {
        return 0;
    }

    relay_secrets(server, now);

    msg = *bind;
    msg.type = TN_DISCO_BIND_CHALLENGE;

    if (relay_mac(server->secret[0], from, bind, msg.challenge) != TN_OK) {
        return 0;
    }

    memset(&geneve, 0, sizeof(tn_geneve_t));
    geneve.protocol = TN_GENEVE_DISCO;
    geneve.vni = session->vni;
    geneve.control = true;

    w = tn_writer(server->out, TN_GENEVE_HEADER);
    tn_geneve_write(&w, &geneve);

    if (tn_disco_seal(&leg->box, &server->disco.pub, &msg, server->plain,
                      server->out + TN_GENEVE_HEADER, sizeof(server->plain),
                      &len)
        != TN_OK)
    {
        return 0;
    }

    leg->generation = bind->generation;

    return TN_GENEVE_HEADER + len;
}


static void
relay_answer(tn_relay_server_t *server, tn_ms_t now,
    tn_relay_session_t *session, uint32_t i, const tn_addr_t *from,
    const tn_disco_msg_t *answer)
{
    size_t           k;
    uint8_t          mac[TN_DISCO_CHALLENGE];
    tn_relay_leg_t  *leg;

    leg = &session->leg[i];

    if (leg->generation == 0 || leg->generation != answer->generation) {
        return;
    }

    relay_secrets(server, now);

    for (k = 0; k < 2; k++) {
        if (relay_mac(server->secret[k], from, answer, mac) == TN_OK
            && tn_ct_equal(mac, answer->challenge, sizeof(mac)))
        {
            leg->addr = *from;
            leg->seen = now;
            leg->done = leg->generation;
            leg->generation = 0;
            break;
        }
    }

    tn_wipe(mac, sizeof(mac));
}


static tn_rc_t
relay_mac(const uint8_t secret[TN_RELAY_SECRET], const tn_addr_t *from,
    const tn_disco_msg_t *msg, uint8_t mac[TN_DISCO_CHALLENGE])
{
    uint8_t      bytes[4 + 4 + TN_KEY_LEN + 16 + 2];
    tn_writer_t  w;

    w = tn_writer(bytes, sizeof(bytes));
    tn_write_u32(&w, msg->vni);
    tn_write_u32(&w, msg->generation);
    tn_write_bytes(&w, msg->key.b, TN_KEY_LEN);
    tn_write_bytes(&w, from->ip.b, 16);
    tn_write_u16(&w, from->port);

    return tn_blake2s_hmac(mac, secret, TN_RELAY_SECRET, bytes,
                           sizeof(bytes), NULL, 0);
}


/* one that was made too long ago is no secret of this time's */
static void
relay_secrets(tn_relay_server_t *server, tn_ms_t now)
{
    tn_ms_t  age;

    age = now - server->secret_at;

    if (server->have_secret && age < TN_RELAY_SECRET_MS) {
        return;
    }

    if (server->have_secret && age < 2 * TN_RELAY_SECRET_MS) {
        memcpy(server->secret[1], server->secret[0], TN_RELAY_SECRET);

    } else {
        tn_random(server->secret[1], TN_RELAY_SECRET);
    }

    tn_random(server->secret[0], TN_RELAY_SECRET);
    server->secret_at = now;
    server->have_secret = true;
}


static bool
relay_expired(const tn_relay_session_t *session, tn_ms_t now)
{
    const tn_relay_leg_t  *leg;

    leg = session->leg;

    if (leg[0].addr.port == 0 || leg[1].addr.port == 0) {
        return now - session->allocated > TN_RELAY_BIND_MS;
    }

    return now - leg[0].seen > TN_RELAY_STEADY_MS
           || now - leg[1].seen > TN_RELAY_STEADY_MS;
}


static uint32_t
relay_asked(const tn_relay_server_t *server, const tn_key_t *asker)
{
    uint32_t             n;
    tn_hash_node_t      *node;
    tn_relay_session_t  *session;

    n = 0;

    for (node = tn_hash_next(&server->by_vni, NULL); node;
         node = tn_hash_next(&server->by_vni, node))
    {
        session = tn_container(node, tn_relay_session_t, by_vni);
        n += tn_key_equal(&session->client[session->asker], asker);
    }

    return n;
}


static void
relay_free(tn_relay_server_t *server, tn_relay_session_t *session)
{
    tn_hash_remove(&server->by_vni, &session->by_vni);
    tn_hash_remove(&server->by_pair, &session->by_pair);
    tn_wipe(session, sizeof(tn_relay_session_t));
    free(session);
}

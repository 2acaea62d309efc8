
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock with control (upstream: tkaSyncIfNeeded).
 *
 *     control says      we have       then
 *     a head            nothing       bootstrap: the first update, believed
 *                                     once and kept for ever; offer, send
 *     the same head     a chain       nothing
 *     another head      a chain       offer: what each of us lacks; send
 *     off               a chain       bootstrap: a secret that ends it, if it
 *                                     is one; else the lock stays on
 *
 * One request at a time, each after a map message that gives a reason, and
 * after a failure, or without an answer, a while later.  Until the first update
 * is here nobody is vouched for, so that a control server gains nothing by
 * keeping it back.  Later ones need signatures; withholding them only leaves
 * things as they are.
 */

#include "control/tn_control_int.h"

#include "crypto/tn_blake2s.h"
#include "lock/tn_resign.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_CONTROL_LOCK_RETRY_MS  30000
#define TN_CONTROL_LOCK_SEND_MAX  64        /* updates to control at once */


static void tn_control_lock_ask(tn_control_t *c, const char *path, json_t *o,
    tn_control_answer_pt answer);
static json_t *tn_control_lock_request(tn_control_t *c);
static json_t *tn_control_lock_answer(tn_control_t *c,
    tn_control_call_t *call, const char *error, const char *what);
static void tn_control_lock_offer(tn_control_t *c);
static void tn_control_lock_booted(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static void tn_control_lock_begin(tn_control_t *c, const json_t *o);
static void tn_control_lock_end(tn_control_t *c, const json_t *o);
static void tn_control_lock_offered(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static tn_rc_t tn_control_lock_lacked(tn_control_t *c, const json_t *o,
    json_t *send);
static tn_rc_t tn_control_lock_take(tn_control_t *c, const json_t *list);
static void tn_control_lock_sent(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static void tn_control_lock_changed(tn_control_t *c);
static tn_rc_t tn_control_lock_judge(tn_control_t *c, const tn_lock_t *lock);
static void tn_control_lock_failed(tn_control_t *c, const char *what);
static void tn_control_lock_head(const tn_control_t *c,
    char text[TN_AUMS_TEXT]);
static uint8_t *tn_control_lock_bytes(const json_t *value, size_t *len);
static json_t *tn_control_lock_base64(const uint8_t *bytes, size_t len);


tn_rc_t
tn_control_restore_lock(tn_control_t *c, const uint8_t *bytes, size_t len)
{
    tn_aums_t           *chain;
    tn_netmap_changes_t   changes;

    if (c->phase != TN_CONTROL_IDLE || c->chain != NULL) {
        return TN_REFUSED;
    }

    chain = tn_aums_unpack(bytes, len);
    if (chain == NULL) {
        return TN_MALFORMED;
    }

    c->chain = chain;

    (void) tn_netmap_set_lock(c->netmap, tn_aums_lock(chain), &changes);
    tn_netmap_changes_done(&changes);

    return TN_OK;
}


void
tn_control_lock_look(tn_control_t *c)
{
    bool         want;
    char         head[TN_AUMS_TEXT];
    json_t      *o;
    const char  *theirs;

    if (c->locking != NULL || c->failed || c->polling == NULL || !c->mapped
        || tn_timer_is_set(&c->lock_timer))
    {
        return;
    }

    theirs = c->netmap->lock_head;
    want = *theirs != '\0';

    if (want != (c->chain != NULL)) {
        o = tn_control_lock_request(c);
        tn_control_lock_ask(c, "/machine/tka/bootstrap", o,
                            tn_control_lock_booted);
        return;
    }

    if (!want) {
        return;
    }

    tn_control_lock_head(c, head);

    /* one that is too long to be a hash counts by its begin */

    if (c->lock_new
        || (strcmp(head, theirs) != 0
            && strncmp(c->lock_seen, theirs, sizeof(c->lock_seen) - 1) != 0))
    {
        tn_control_lock_offer(c);
    }
}


void
tn_control_lock_due(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);

    if (c->locking != NULL) {
        tn_control_call_cancel(&c->locking);
        tn_control_lock_failed(c, "control does not answer");

    } else {
        tn_control_lock_look(c);
    }

    tn_control_leave(c);
}


/* others talk to this node, or do not */
void
tn_control_lock_self(tn_control_t *c)
{
    bool               out;
    char               node[TN_KEY_TEXT], lock[TN_KEY_TEXT];
    tn_key_t           pub;
    tn_netmap_node_t  *self;

    self = c->netmap->self;
    out = self != NULL && !tn_netmap_is_vouched(c->netmap);

    if (out && !c->locked_out && tn_control_lock_key(c, &pub, NULL)) {
        tn_log(c->log, TN_LOG_ERR, "control: the tailnet is locked and this "
               "node's key is not signed, others do not talk to it: sign it "
               "on a trusted node by \"tailscale lock sign %s %s\"",
               tn_key_text(&self->key, TN_KEY_NODE, node),
               tn_key_text(&pub, TN_KEY_LOCK, lock));

    } else if (!out && c->locked_out) {
        tn_log(c->log, TN_LOG_NOTICE, "control: this node's key is signed");
    }

    c->locked_out = out;
}


void
tn_control_lock_put_head(tn_control_t *c, json_t *request)
{
    char  head[TN_AUMS_TEXT];

    if (c->chain != NULL) {
        tn_control_lock_head(c, head);
        json_object_set_new(request, "TKAHead", json_string(head));
    }
}


/*
 * Around what control, or the netmap, has of the former node key's; or else
 * by the credential of the auth key.
 */
void
tn_control_lock_sign(tn_control_t *c, json_t *request, const tn_key_t *node)
{
    size_t           len, sig_len, old_len;
    uint8_t         *sig, *out, secret[TN_RESIGN_SECRET_LEN];
    tn_key_t         pub;
    const uint8_t   *old;

    sig = NULL;
    old = c->old_signature;
    old_len = c->old_signature_len;

    if (old == NULL && c->netmap->self != NULL && tn_control_rotating(c)) {
        old = c->netmap->self->key_signature;
        old_len = c->netmap->self->key_signature_len;
    }

    if (old != NULL && !tn_control_lock_key(c, &pub, secret)) {
        return;
    }

    if (old == NULL && c->auth_key != NULL) {
        (void) tn_resign_auth_key(c->auth_key, &sig, &sig_len, secret);
        old = sig;
        old_len = sig ? sig_len : 0;
    }

    if (old != NULL
        && tn_resign(&out, &len, secret, node, old, old_len) == TN_OK)
    {
        json_object_set_new(request, "NodeKeySignature",
                            tn_control_lock_base64(out, len));
        free(out);
    }

    tn_wipe(secret, sizeof(secret));
    free(sig);
}


/* control has a signature of the former node key's; once */
bool
tn_control_lock_resign(tn_control_t *c, const json_t *signature)
{
    if (c->old_signature != NULL) {
        return false;
    }

    c->old_signature = tn_control_lock_bytes(signature,
                                             &c->old_signature_len);

    return c->old_signature != NULL;
}


/*
 * Every node tells its tailnet-lock key, an Ed25519 one, also where the lock
 * is off.  It must be the same after a restart, so it is derived from the
 * machine key, which is kept anyway.
 */
bool
tn_control_lock_key(tn_control_t *c, tn_key_t *pub,
    uint8_t secret[TN_RESIGN_SECRET_LEN])
{
    bool     good;
    uint8_t  seed[TN_BLAKE2S_LEN], own[crypto_sign_SECRETKEYBYTES];

    static const char  purpose[] = "ngx_tailnet tailnet lock key";

    good = tn_blake2s_hmac(seed, c->saved.machine.priv.b, TN_KEY_LEN, purpose,
                           sizeof(purpose) - 1, NULL, 0)
           == TN_OK
           && crypto_sign_seed_keypair(pub->b, own, seed) == 0;

    if (good && secret != NULL) {
        memcpy(secret, own, sizeof(own));
    }

    tn_wipe(seed, sizeof(seed));
    tn_wipe(own, sizeof(own));

    return good;
}


void
tn_control_lock_forget(tn_control_t *c)
{
    free(c->old_signature);
    c->old_signature = NULL;
    c->lock_seen[0] = '\0';
    c->lock_new = false;
    c->locked_out = false;

    if (c->chain == NULL) {
        return;
    }

    /* who comes or leaves by that does so for the owner, too */

    (void) tn_control_lock_judge(c, NULL);
    tn_aums_destroy(c->chain);
    c->chain = NULL;

    if (c->ops->keep_lock != NULL) {
        (void) c->ops->keep_lock(c->data, NULL, 0);
    }
}


/* takes o over */
static void
tn_control_lock_ask(tn_control_t *c, const char *path, json_t *o,
    tn_control_answer_pt answer)
{
    char  *text;

    text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);

    c->locking = tn_control_request(c, "GET", path, "application/json", text,
                                    answer);

    tn_control_timer(c, &c->lock_timer, TN_CONTROL_LOCK_RETRY_MS);
}


static json_t *
tn_control_lock_request(tn_control_t *c)
{
    char  head[TN_AUMS_TEXT], key[TN_KEY_TEXT];

    head[0] = '\0';

    if (c->chain != NULL) {
        tn_control_lock_head(c, head);
    }

    return json_pack("{s:i, s:s, s:s}",
                     "Version", TN_CONTROL_CAPABILITY_VERSION,
                     "NodeKey", tn_key_text(&c->saved.node.pub, TN_KEY_NODE,
                                            key),
                     "Head", head);
}


/* NULL: it is none, and that was said */
static json_t *
tn_control_lock_answer(tn_control_t *c, tn_control_call_t *call,
    const char *error, const char *what)
{
    json_t          *o;
    tn_json_span_t   span;

    c->locking = NULL;
    tn_timer_cancel(c->timers, &c->lock_timer);

    if (c->failed) {
        return NULL;
    }

    o = NULL;
    span.data = call->text ? call->text : "";
    span.len = call->text_len;

    if (error == NULL && call->h2.status == 200
        && tn_json_load(span, &o) == TN_OK && json_is_object(o))
    {
        return o;
    }

    json_decref(o);
    tn_control_lock_failed(c, what);

    return NULL;
}


static void
tn_control_lock_offer(tn_control_t *c)
{
    char      text[TN_AUMS_TEXT];
    size_t    i, n;
    json_t   *o, *list;
    uint8_t   ancestors[TN_AUMS_OFFER_MAX][TN_BLAKE2S_LEN];

    o = tn_control_lock_request(c);
    list = json_array();
    n = tn_aums_offer(c->chain, ancestors, TN_AUMS_OFFER_MAX);

    for (i = 0; i < n; i++) {
        tn_aums_hash_text(text, ancestors[i]);
        json_array_append_new(list, json_string(text));
    }

    /* one that control has when this is done is another matter */

    snprintf(c->lock_asked, sizeof(c->lock_asked), "%s", c->netmap->lock_head);

    json_object_set_new(o, "Ancestors", list);
    tn_control_lock_ask(c, "/machine/tka/sync/offer", o,
                        tn_control_lock_offered);
}


static void
tn_control_lock_booted(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    json_t  *o;

    o = tn_control_lock_answer(c, call, error, "its first update cannot be "
                               "had");
    if (o == NULL) {
        return;
    }

    /* it may be another story by now */

    if (c->chain == NULL && c->netmap->lock_head[0] != '\0') {
        tn_control_lock_begin(c, o);

    } else if (c->chain != NULL && c->netmap->lock_head[0] == '\0') {
        tn_control_lock_end(c, o);
    }

    json_decref(o);
    tn_control_lock_look(c);
}


static void
tn_control_lock_begin(tn_control_t *c, const json_t *o)
{
    char      head[TN_AUMS_TEXT];
    size_t    len;
    uint8_t  *bytes;

    bytes = tn_control_lock_bytes(json_object_get(o, "GenesisAUM"), &len);
    c->chain = bytes ? tn_aums_create(bytes, len) : NULL;
    free(bytes);

    if (c->chain == NULL) {
        tn_control_lock_failed(c, "its first update is not one");
        return;
    }

    c->lock_new = true;
    tn_control_lock_head(c, head);

    tn_log(c->log, TN_LOG_NOTICE, "control: tailnet lock is on, with %u "
           "trusted keys; it began with %s",
           tn_aums_lock(c->chain)->state.n, head);

    tn_control_lock_changed(c);
}


static void
tn_control_lock_end(tn_control_t *c, const json_t *o)
{
    bool      good;
    size_t    len;
    uint8_t  *secret;

    secret = tn_control_lock_bytes(json_object_get(o, "DisablementSecret"),
                                   &len);
    good = secret != NULL
           && tn_lock_disables(tn_aums_lock(c->chain), secret, len);

    if (secret != NULL) {
        tn_wipe(secret, len);
        free(secret);
    }

    if (!good) {
        tn_control_lock_failed(c, "control says that it is off, and has no "
                               "secret that ends it: it stays on");
        return;
    }

    tn_log(c->log, TN_LOG_NOTICE, "control: tailnet lock was ended by its "
           "secret");

    tn_control_lock_forget(c);
    tn_control_lock_changed(c);
}


static void
tn_control_lock_offered(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    char      head[TN_AUMS_TEXT];
    json_t   *o, *send;
    tn_rc_t   rc;

    o = tn_control_lock_answer(c, call, error, "its updates cannot be had");
    if (o == NULL || c->chain == NULL) {
        json_decref(o);
        return;
    }

    /* before ours change: what lies on a branch that loses is news, too */

    send = json_array();
    rc = tn_control_lock_lacked(c, o, send);

    if (rc == TN_OK) {
        rc = tn_control_lock_take(c, json_object_get(o, "MissingAUMs"));
    }

    json_decref(o);

    if (rc != TN_OK) {
        json_decref(send);
        tn_control_lock_failed(c, rc == TN_NOTFOUND
                               ? "control's updates have nothing to do with "
                                 "ours"
                               : rc == TN_NOMEM ? "out of memory, or there "
                                                  "are too many updates"
                               : "an update of control's is not good");
        return;
    }

    tn_control_lock_head(c, head);

    o = tn_control_lock_request(c);
    json_object_set_new(o, "MissingAUMs", send);
    json_object_set_new(o, "Interactive", json_false());

    tn_control_lock_ask(c, "/machine/tka/sync/send", o, tn_control_lock_sent);
}


static tn_rc_t
tn_control_lock_lacked(tn_control_t *c, const json_t *o, json_t *send)
{
    size_t         i, n, lacked;
    tn_rc_t        rc;
    uint8_t        head[TN_BLAKE2S_LEN];
    uint8_t        ancestors[TN_AUMS_OFFER_MAX][TN_BLAKE2S_LEN];
    tn_str_t       updates[TN_CONTROL_LOCK_SEND_MAX];
    const json_t  *list, *value;

    if (tn_aums_hash_parse(head, tn_json_text(o, "Head")) != TN_OK) {
        return TN_MALFORMED;
    }

    list = json_object_get(o, "Ancestors");
    n = 0;

    json_array_foreach(list, i, value) {
        if (n < TN_AUMS_OFFER_MAX && json_is_string(value)
            && tn_aums_hash_parse(ancestors[n], json_string_value(value))
               == TN_OK)
        {
            n++;
        }
    }

    rc = tn_aums_missing(c->chain, head,
                          (const uint8_t (*)[TN_BLAKE2S_LEN]) ancestors, n,
                          updates, TN_CONTROL_LOCK_SEND_MAX, &lacked);

    for (i = 0; rc == TN_OK && i < lacked; i++) {
        json_array_append_new(send, tn_control_lock_base64(updates[i].data,
                                                           updates[i].len));
    }

    return rc;
}


static tn_rc_t
tn_control_lock_take(tn_control_t *c, const json_t *list)
{
    char         head[TN_AUMS_TEXT];
    size_t       i, n;
    tn_rc_t      rc;
    uint8_t    **bytes;
    tn_str_t    *updates;

    n = json_array_size(list);

    if (n == 0) {
        return TN_OK;
    }

    if (n > TN_AUMS_MAX) {
        return TN_NOMEM;
    }

    rc = TN_NOMEM;
    bytes = calloc(n, sizeof(uint8_t *));
    updates = calloc(n, sizeof(tn_str_t));

    if (bytes == NULL || updates == NULL) {
        goto done;
    }

    for (i = 0; i < n; i++) {
        bytes[i] = tn_control_lock_bytes(json_array_get(list, i),
                                         &updates[i].len);
        updates[i].data = bytes[i];

        if (bytes[i] == NULL) {
            rc = TN_MALFORMED;
            goto done;
        }
    }

    rc = tn_aums_inform(c->chain, updates, n);

    if (rc == TN_OK) {
        tn_control_lock_head(c, head);

        tn_log(c->log, TN_LOG_NOTICE, "control: %zu updates of tailnet lock, "
               "%u trusted keys, head %s", n,
               tn_aums_lock(c->chain)->state.n, head);

        tn_control_lock_changed(c);
    }

done:

    for (i = 0; bytes != NULL && i < n; i++) {
        free(bytes[i]);
    }

    free(bytes);
    free(updates);

    return rc;
}


static void
tn_control_lock_sent(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    char     head[TN_AUMS_TEXT];
    json_t  *o;

    o = tn_control_lock_answer(c, call, error, "our state cannot be told");
    if (o == NULL || c->chain == NULL) {
        json_decref(o);
        return;
    }

    c->lock_new = false;
    c->lock_trouble = NULL;
    memcpy(c->lock_seen, c->lock_asked, sizeof(c->lock_seen));
    tn_control_lock_head(c, head);

    if (strcmp(head, tn_json_text(o, "Head")) != 0) {
        tn_log(c->log, TN_LOG_WARN, "control: after telling each other all "
               "of tailnet lock, control's head is another than ours");
    }

    json_decref(o);
    tn_control_lock_look(c);
}


/* keeps the chain, and judges everybody anew */
static void
tn_control_lock_changed(tn_control_t *c)
{
    size_t            len;
    tn_rc_t           rc;
    uint8_t          *bytes;
    const tn_lock_t  *lock;

    lock = NULL;

    if (c->chain != NULL) {
        lock = tn_aums_lock(c->chain);
        rc = tn_aums_pack(c->chain, &bytes, &len);

        if (rc == TN_OK && c->ops->keep_lock != NULL) {
            rc = c->ops->keep_lock(c->data, bytes, len);
        }

        if (rc != TN_OK) {
            tn_log(c->log, TN_LOG_ERR, "control: tailnet lock's updates "
                   "cannot be kept: the next start will have to believe "
                   "control");
        }

        free(bytes);
    }

    if (tn_control_lock_judge(c, lock) != TN_OK) {
        tn_control_fail(c, "out of memory");
        return;
    }

    tn_control_lock_self(c);
}


static tn_rc_t
tn_control_lock_judge(tn_control_t *c, const tn_lock_t *lock)
{
    tn_rc_t               rc;
    tn_netmap_changes_t   changes;

    rc = tn_netmap_set_lock(c->netmap, lock, &changes);

    if (rc == TN_OK && changes.what != 0) {
        c->ops->netmap_changed(c->data, c->netmap, &changes);
        tn_control_keep_changed(c, &changes);
    }

    tn_netmap_changes_done(&changes);

    return rc;
}


/* each reason is told once in a row */
static void
tn_control_lock_failed(tn_control_t *c, const char *what)
{
    tn_log(c->log, what == c->lock_trouble ? TN_LOG_INFO : TN_LOG_ERR,
           "control: tailnet lock: %s", what);

    c->lock_trouble = what;
    tn_control_timer(c, &c->lock_timer, TN_CONTROL_LOCK_RETRY_MS);
}


static void
tn_control_lock_head(const tn_control_t *c, char text[TN_AUMS_TEXT])
{
    tn_aums_hash_text(text, tn_aums_lock(c->chain)->head);
}


/* base64 as Go writes []byte; NULL also for what is none */
static uint8_t *
tn_control_lock_bytes(const json_t *value, size_t *len)
{
    size_t       n;
    uint8_t     *bytes;
    const char  *text;

    text = json_string_value(value);

    if (text == NULL || *text == '\0') {
        return NULL;
    }

    n = strlen(text) / 4 * 3 + 3;
    bytes = malloc(n);

    if (bytes != NULL
        && sodium_base642bin(bytes, n, text, strlen(text), NULL, len, NULL,
                             sodium_base64_VARIANT_ORIGINAL) != 0)
    {
        free(bytes);
        bytes = NULL;
    }

    return bytes;
}


static json_t *
tn_control_lock_base64(const uint8_t *bytes, size_t len)
{
    char    *text;
    size_t   size;
    json_t  *value;

    size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
    text = malloc(size);

    if (text == NULL) {
        return NULL;
    }

    value = json_string(sodium_bin2base64(text, size, bytes, len,
                                          sodium_base64_VARIANT_ORIGINAL));
    free(text);

    return value;
}

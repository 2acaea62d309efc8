
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The node key is replaced while it serves, and the client is killed at every
 * single thing it does meanwhile: it comes back by itself, as the same node.
 */

#include "control_world.h"
#include "tap.h"


#define NODE  "{\"ID\":1,\"Name\":\"web.tail.test.\",\"Key\":\"nodekey:"      \
    "2222222222222222222222222222222222222222222222222222222222222222\","     \
    "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true"

#define MAP      "{\"Node\":" NODE "}}"
#define ENDS     "{\"Node\":" NODE ",\"KeyExpiry\":\"2027-01-15T08:21:40Z\"}}"
#define EXPIRED  "{\"Node\":" NODE ",\"Expired\":true}}"


static void
begin(void)
{
    static uint64_t  seed = 1000;

    world_begin(++seed, MAP);
    w.strict = true;

    saved_state();
    w.saved = conf.saved;
    (void) tn_key_text(&conf.saved.node.pub, TN_KEY_NODE, w.known);
}


static void
start(void)
{
    create();
    tn_control_start(w.control);
}


/* the key on disk is the one that control has */
static bool
agreed(void)
{
    char  key[TN_KEY_TEXT];

    return strcmp(tn_key_text(&w.saved.node.pub, TN_KEY_NODE, key), w.known)
           == 0
           && tn_key_is_zero(&w.saved.next.priv) && w.saved.registered;
}


static void
renews(void)
{
    char         old[TN_KEY_TEXT];
    tn_key_t     first;
    const char  *code;

    begin();
    start();
    run(1000);
    first = w.saved.node.pub;
    memcpy(old, w.known, sizeof(old));

    ok(tn_control_renew(w.control), "a new node key is asked for");
    ok(!tn_control_renew(w.control), "once");
    ok(running(), "meanwhile it runs");
    run(1000);
    ok(running() && agreed(), "and afterwards");
    ok(!tn_key_equal(&first, &w.saved.node.pub), "by another key");
    is_int(w.key_changes, 1, "which the owner was given");
    ok(strstr(w.last_register, old) != NULL, "in place of the first");
    is_int((long long) w.nconns, 2, "on the same connection");
    world_end();

    /* somebody has to log in, who takes a day */

    begin();
    conf.auth_key = NULL;
    start();
    run(1000);
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/9\"}";
    ok(tn_control_renew(w.control), "renewed without an auth key");
    w.register_answer = NULL;
    run(0);
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/9\"}";
    run(0);
    ok(running(), "a login is waited for, it runs");
    ok(tn_control_health(w.control, &code) == NULL, "and is in good health");
    world_end();

    /* who comes when control has made another URL of it */

    begin();
    conf.auth_key = NULL;
    start();
    run(1000);
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/9\"}";
    ok(tn_control_renew(w.control), "renewed, one URL after the other");
    run(1000);
    is_int(w.registers, 2, "not without a pause");
    w.register_answer = "{\"MachineAuthorized\":true}";
    run(61000);
    ok(running() && agreed(), "the second was visited: that is found out");
    world_end();

    /* an auth key that is no good any more */

    begin();
    start();
    run(1000);
    w.register_answer = "{\"Error\":\"auth key is spent\"}";
    ok(tn_control_renew(w.control), "renewed with a bad auth key");
    run(60000);
    ok(running() && agreed(), "the present key stays");
    is_int((long long) w.nconns, 2, "the connection, too");
    is_int(w.key_changes, 0, "nobody was given another");
    ok(strstr(w.log, "auth key is spent; the present one stays") != NULL,
       "it is said");
    world_end();

    /* a bad auth key in the configuration of a node that is registered */

    begin();
    conf.auth_key = "tskey-expired";
    w.register_answer = "{\"Error\":\"auth key has expired\"}";
    start();
    run(60000);
    ok(running(), "an expired auth key does not lock a node out");
    is_int(w.registers, 0, "since it is not used");
    world_end();

    /* the answer was lost with the connection */

    begin();
    start();
    run(1000);
    w.hold_answers = true;
    (void) tn_control_renew(w.control);
    run(10);
    server_close("reset");
    w.hold_answers = false;
    run(5000);
    ok(running() && agreed(), "a lost answer is found out about");
    is_int(w.registers, 1, "without another registration");
    is_int(w.key_changes, 1, "the owner has the new key");
    world_end();
}


/* the oldest registration that has no answer yet gets one */
static void
server_first(const char *body)
{
    size_t   i;
    conn_t  *conn;

    conn = server_conn();

    for (i = 0; conn != NULL && i < conn->nstreams; i++) {
        if (strcmp(conn->streams[i].path, "/machine/register") == 0
            && !conn->streams[i].end)
        {
            server_respond(conn, &conn->streams[i], 200, body, true);
            server_flush(conn);
            return;
        }
    }
}


/* so many minutes of a map stream on which nothing is said */
static void
minutes(int n)
{
    while (n-- > 0) {
        server_map("{\"KeepAlive\":true}");
        run(60000);
    }
}


/* what an admin does about a key that has expired, not we */
static void
extended(void)
{
    int  logs;

    /* a login is waited for */

    begin();
    conf.auth_key = NULL;
    w.map = EXPIRED;
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/9\"}";
    start();

    while (w.registers == 0) {
        (void) world_deliver();
    }

    w.register_answer = NULL;
    minutes(30);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "expired: somebody has to log in");
    is_str(w.text, "https://c.test/a/9", "here");
    is_int(w.registers, 2, "control was asked and followed");
    server_map(MAP);
    run(10);
    ok(running(), "the key is extended: it runs");
    server_map(EXPIRED);
    run(10);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "for a while");

    w.register_answer = "{\"MachineAuthorized\":true}";
    server_learn(w.last_register);
    w.map = MAP;
    server_answer(server_conn(), "/machine/register", w.register_answer);
    run(1000);
    ok(running() && agreed(), "then somebody has logged in");
    is_int((long long) w.nconns, 2, "all on one connection");
    world_end();

    /* an auth key that is no good, and is tried again and again */

    begin();
    w.map = EXPIRED;
    w.register_answer = "{\"Error\":\"auth key is spent\"}";
    start();
    run(60000);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "expired, and no good auth key");
    logs = w.logs;
    run(300000);
    is_int(w.logs, logs, "which is said once");
    w.map = MAP;
    run(31000);
    ok(running() && agreed(), "the key is extended: it runs by it");
    world_end();
}


/* a renewal waits for somebody when the key expires */
static void
expires(void)
{
    size_t  before;

    begin();
    conf.auth_key = NULL;
    w.map = ENDS;
    start();
    run(1000);
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/9\"}";
    (void) tn_control_renew(w.control);
    w.register_answer = NULL;
    minutes(4);
    ok(running(), "a key that is to be renewed, by somebody");
    minutes(2);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "expires before");
    is_str(w.text, "https://c.test/a/9", "it is said where");
    is_int(w.registers, 2, "the login is still waited for");

    before = w.nconns;
    w.hang = true;
    run(180000);
    ok(w.nconns > before, "on a connection that is watched");
    world_end();
}


/* a renewal whose key cannot be saved costs no map stream */
static void
unsaved(void)
{
    size_t  before;

    begin();
    start();
    run(1000);
    before = w.nconns;
    w.save_fails = true;
    (void) tn_control_renew(w.control);
    run(60000);
    ok(running() && agreed(), "no room for a new key: it runs by the old one");
    is_int((long long) w.nconns, (long long) before,
           "by the map stream it had");
    is_int(w.registers, 0, "control hears nothing of it");
    w.save_fails = false;
    ok(tn_control_renew(w.control), "renewed when there is room");
    run(1000);
    ok(running() && agreed(), "and by that key it runs");
    is_int(w.registers, 1, "which control has");
    world_end();
}


/* control is busy, for so many seconds, when a running node is renewed */
static void
put_off(int status, const char *seconds)
{
    begin();
    start();
    run(1000);
    w.register_status = status;
    w.register_answer = "busy";
    w.retry_after = seconds;
    ok(tn_control_renew(w.control), "renewed, control says %d", status);
    run(1000);
}


/*
 * What a proxy before control says need not be true, so control is asked
 * whether it has the key.  Where it never has, the map stream is worth more.
 */
static void
unheard(void)
{
    int  registers;

    put_off(502, NULL);
    run(10000);
    registers = w.registers;
    ok(registers >= 2, "what may be lost is tried once more at once");
    ok(running(), "then the present key serves");
    is_int(w.key_changes, 0, "and stays");

    run(19000);
    is_int(w.registers, registers, "for 30 s nothing else is asked");

    run(600000);
    ok(running(), "in ten minutes more it runs");
    ok(w.registers > registers && w.registers < registers + 6,
       "as the renewal waits longer each time");
    ok(w.nconns < 20, "so do the connections that it costs");

    w.register_status = 200;
    w.register_answer = "{\"MachineAuthorized\":true}";
    run(3600000);
    ok(running() && agreed(), "when control answers the new key is taken");
    is_int(w.key_changes, 1, "once");
    world_end();

    /* nor does it wait when the present key does not serve any more */

    put_off(502, NULL);
    run(10000);
    registers = w.registers;
    server_map(EXPIRED);
    run(1000);
    ok(w.registers > registers, "the present key expires: it waits no more");
    world_end();

    /* a new auth key need not wait here either */

    put_off(502, NULL);
    run(10000);
    registers = w.registers;
    w.register_status = 200;
    w.register_answer = "{\"MachineAuthorized\":true}";
    tn_control_set_auth_key(w.control, "tskey-another");
    run(1000);
    is_int(w.registers, registers + 1, "another auth key is tried at once");
    ok(running() && agreed(), "and taken");
    world_end();
}


/* nor does one that has to wait */
static void
waits(int status)
{
    put_off(status, "60");
    ok(running(), "it runs");
    is_int((long long) w.nconns, 2, "by the map stream it had");
    server_map(MAP);
    tn_control_wake(w.control);
    run(57000);
    is_int(w.registers, 1, "control is left alone for as long as it wants");
    w.register_status = 200;
    w.register_answer = "{\"MachineAuthorized\":true}";
    w.retry_after = NULL;
    run(3000);
    ok(running() && agreed(), "and is asked again then");
    is_int(w.key_changes, 1, "the owner has the new key");
    is_int((long long) w.nconns, 2, "all on one connection");
    world_end();

    /* what was given meanwhile need not wait */

    put_off(status, "3600");
    w.register_status = 200;
    w.register_answer = "{\"MachineAuthorized\":true}";
    w.retry_after = NULL;
    tn_control_set_auth_key(w.control, "tskey-another");
    run(1000);
    is_int(w.registers, 2, "another auth key is tried at once");
    ok(strstr(w.last_register, "tskey-another") != NULL, "that one");
    ok(running() && agreed(), "and taken");
    world_end();

    /* the same of a key that has expired, which an admin may extend */

    begin();
    w.map = EXPIRED;
    w.register_status = status;
    w.register_answer = "busy";
    w.retry_after = "600";
    start();
    run(1000);
    is_int((long long) w.nconns, 2, "expired, and control is busy");
    server_map(MAP);
    run(10);
    ok(running(), "the key is extended: it runs at once");
    world_end();
}


/* a node that runs, and whose auth keys are made for it */
static void
begin_minting(void)
{
    static const char  *tags[] = { "tag:web" };

    begin();
    conf.auth_key = "tskey-client-kId-s?baseURL=http://127.0.0.1:8081";
    conf.tags = tags;
    conf.ntags = 1;
    start();
    run(1000);
}


/* nor does one whose auth key nobody makes */
static void
mints(void)
{
    begin_minting();
    w.down = true;
    ok(tn_control_renew(w.control), "renewed by an OAuth client");
    run(1000);
    is_int((long long) w.nconns, 3, "the API was dialled, it is away");
    ok(running(), "it runs");
    run(31000);
    is_int((long long) w.nconns, 4, "later it is dialled again");
    ok(running(), "and runs");
    world_end();
}


/* a key that was made for a renewal that control refuses, in either way, is
 * not used for another */
static void
mints_anew(int status, const char *answer)
{
    begin_minting();
    w.api_key = "tskey-one";
    w.register_status = status;
    w.register_answer = answer;
    ok(tn_control_renew(w.control), "renewed by an OAuth client");
    run(1000);
    ok(w.registers == 1 && strstr(w.last_register, "tskey-one") != NULL,
       "with a key that was made");
    ok(running(), "refused with status %d: it runs", status);
    w.api_key = "tskey-two";
    w.register_status = 200;
    w.register_answer = "{\"MachineAuthorized\":true}";
    ok(tn_control_renew(w.control), "renewed again");
    run(1000);
    ok(strstr(w.last_register, "tskey-two") != NULL, "with another key");
    ok(running() && agreed(), "which is taken");
    world_end();
}


/* a registration is answered while the node logs out */
static void
leaves(void)
{
    char         key[TN_KEY_TEXT];
    uint32_t     mark;
    tn_key_t     next;
    const char  *answer;

    answer = "{\"MachineAuthorized\":true}";

    begin();
    start();
    run(1000);
    w.hold_answers = true;
    (void) tn_control_renew(w.control);
    next = w.saved.next.pub;
    mark = tn_control_netmap(w.control)->mark;
    ok(tn_control_logout(w.control), "logged out while the key is renewed");
    is_int(w.registers, 2, "control hears of both");
    server_first(answer);
    run(10);
    is_int(w.registers, 3, "the new key is in: its logout, too");
    ok(strstr(w.last_register, tn_key_text(&next, TN_KEY_NODE, key)) != NULL
       && strstr(w.last_register, "1970-") != NULL, "names it");
    server_first(answer);
    run(10);
    is_int(w.state, TN_CONTROL_RUNNING, "the first one's answer ends nothing");
    server_first(answer);
    run(10);
    is_int(w.state, TN_CONTROL_STOPPED, "that of the second does");
    is_str(w.text, "", "control has heard it");
    ok(tn_key_is_zero(&w.saved.node.priv), "the key is forgotten");
    ok(tn_control_netmap(w.control)->mark > mark,
       "no later netmap has this one's number");
    world_end();

    /* a login is asked for, and not waited for any more */

    begin();
    start();
    run(1000);
    w.hold_answers = true;
    (void) tn_control_renew(w.control);
    ok(tn_control_logout(w.control), "once more");
    server_first("{\"AuthURL\":\"https://c.test/a/9\"}");
    run(10);
    is_int(w.registers, 2, "nothing else is asked");
    server_first(answer);
    run(10);
    is_int(w.state, TN_CONTROL_STOPPED, "the logout is answered");
    ok(tn_key_is_zero(&w.saved.node.priv), "and counts");
    world_end();

    /* the same key is registered, of which control knew nothing */

    begin();
    w.known[12] ^= 1;
    w.hold_answers = true;
    start();
    run(1000);
    is_int(w.registers, 1, "a node that control does not know");
    ok(tn_control_logout(w.control), "logs out");
    server_first(answer);
    run(10);
    is_int(w.polls, 1, "it is let in, and asks for no map");
    server_first(answer);
    run(10);
    is_int(w.state, TN_CONTROL_STOPPED, "the logout is answered");
    is_str(w.text, "", "control has heard it");
    ok(tn_key_is_zero(&w.saved.node.priv), "the key is forgotten");
    world_end();
}


/* control says of a new key, too, that it has expired */
static void
stale(void)
{
    char      key[TN_KEY_TEXT];
    tn_key_t  next;

    /* one that was kept, from long ago */

    begin();
    tn_curve_keypair(&conf.saved.next);
    next = conf.saved.next.pub;
    w.saved = conf.saved;
    w.map = EXPIRED;
    w.register_answer = "{\"NodeKeyExpired\":true}";
    start();

    while (w.registers == 0) {
        (void) world_deliver();
    }

    ok(strstr(w.last_register, tn_key_text(&next, TN_KEY_NODE, key)) != NULL,
       "the new key of a former run is tried");
    w.map = MAP;
    w.register_answer = "{\"MachineAuthorized\":true}";
    run(1000);
    ok(running() && agreed(), "it has expired: another is");
    ok(!tn_key_equal(&next, &w.saved.node.pub), "and taken");
    is_int((long long) w.nconns, 2, "on the same connection");
    world_end();

    /* one that is new, again and again */

    begin();
    w.map = EXPIRED;
    w.register_answer = "{\"NodeKeyExpired\":true}";
    start();
    run(1);
    next = w.saved.next.pub;
    run(120000);
    ok(w.registers > 2 && w.registers < 20, "tried %d times, with pauses",
       w.registers);
    (void) tn_key_text(&w.saved.node.pub, TN_KEY_NODE, key);
    is_str(w.known, key, "by the same node");
    w.register_answer = "{\"MachineAuthorized\":true}";
    w.map = MAP;
    run(31000);
    ok(running() && agreed(), "in the end one is taken");
    ok(!tn_key_equal(&next, &w.saved.node.pub), "which is not the first");
    world_end();

    /* one that is taken, and in the map has expired */

    begin();
    w.map = EXPIRED;
    start();
    run(180000);
    ok(w.registers > 2 && w.registers < 25, "registered %d times, with pauses",
       w.registers);
    w.map = MAP;
    run(31000);
    ok(running() && agreed(), "until the map is content");
    world_end();

    /* while the present one is good */

    begin();
    start();
    run(1000);
    w.register_answer = "{\"NodeKeyExpired\":true}";
    (void) tn_control_renew(w.control);
    run(60000);
    ok(running() && agreed(), "the present key is good: it stays");
    is_int((long long) w.nconns, 2, "and so does the connection");
    world_end();
}


/*
 * `expired`: the key has, and the client begins by itself; else it is told
 * to.  Dies as it does the nth thing; false: it did not get that far.
 */
static bool
crashes_at(int n, bool expired, int *bad)
{
    bool                dead;
    tn_control_saved_t  saved;

    begin();
    w.map = expired ? EXPIRED : MAP;
    w.ops_left = expired ? n : 0;
    start();
    run(0);
    w.map = MAP;

    if (!expired) {
        w.ops_left = n;
        (void) tn_control_renew(w.control);
    }

    run(2000);
    dead = w.dead;

    /* another process with what is on disk */

    saved = w.saved;
    w.dead = true;
    tn_control_destroy(w.control);
    server_gone();
    w.ops_left = 0;
    w.dead = false;

    conf.saved = saved;
    start();
    run(60000);

    if (!running() || !agreed()) {
        printf("# %s, killed at %d: state %d \"%s\"\n", expired ? "expired"
             : "renewed", n, w.state, w.text);
        (*bad)++;
    }

    if (w.registers > 3 || memcmp(&w.saved.machine, &conf.saved.machine,
                                  sizeof(w.saved.machine)) != 0)
    {
        printf("# killed at %d: %d registrations\n", n, w.registers);
        (*bad)++;
    }

    world_end();

    return dead;
}


int
main(void)
{
    int  n, bad;

    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    renews();
    extended();
    expires();
    unsaved();
    waits(503);
    waits(429);
    unheard();
    mints();
    mints_anew(403, "this key is no good");
    mints_anew(200, "{\"NodeKeyExpired\":true}");
    leaves();
    stale();

    bad = 0;

    for (n = 1; crashes_at(n, false, &bad); n++) { /* void */ }

    ok(n > 4, "a renewal is %d things", n - 1);
    is_int(bad, 0, "killed at any, the node comes back as it was");

    bad = 0;

    for (n = 1; crashes_at(n, true, &bad); n++) { /* void */ }

    ok(n > 8, "a start with an expired key is %d things", n - 1);
    is_int(bad, 0, "killed at any, the node comes back as it was");

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Client streams against a server in a thread: plain and TLS, certificates
 * good and bad, every way to fail, back-pressure both ways.
 */

#include "host/tn_conn.h"

#include "host/tn_race.h"

#include "tap.h"
#include "turns.h"
#include "tls_server.h"

#include <signal.h>
#include <sys/syscall.h>


#define LIMIT  (256 * 1024)


typedef struct {
    tn_conn_t      *conn;
    int             connected;
    int             writable;
    int             closed;
    tn_conn_why_e   why;
    char            text[512];
    uint64_t        received;
    char            first[64];      /* of what was received */
    bool            garbled;        /* not what SERVER_BIG_SEND sends */

    /* what to do in callbacks */
    const char     *say;            /* when connected */
    bool            end;            /* then shut down */
    bool            pause_once;
    char            close_in;       /* 'c'onnected, 'r'eceived, closed 'x' */
} client_t;


static tn_loop_t       loop;
static tn_resolver_t  *resolver;
static server_t        server;

/* a full socket that takes some records more, and sends them with room */

static struct {
    int                take;
    size_t             len;
    size_t             sent;
    uint8_t            bytes[65536];
    pthread_t          thread;
} brim;


ssize_t
send(int fd, const void *bytes, size_t len, int flags)
{
    ssize_t  n;

    if (pthread_equal(pthread_self(), brim.thread)) {

        if (brim.take > 0 && len <= sizeof(brim.bytes) - brim.len) {
            memcpy(brim.bytes + brim.len, bytes, len);
            brim.len += len;
            brim.take--;
            return (ssize_t) len;
        }

        while (brim.sent < brim.len) {
            n = syscall(SYS_sendto, fd, brim.bytes + brim.sent,
                        brim.len - brim.sent, flags, NULL, 0);
            if (n == -1) {
                return -1;
            }

            brim.sent += (size_t) n;
        }
    }

    return syscall(SYS_sendto, fd, bytes, len, flags, NULL, 0);
}


static void
on_connected(void *data, tn_conn_t *conn)
{
    client_t  *client;

    client = data;
    client->connected++;

    if (client->close_in == 'c') {
        tn_conn_close(conn);
        client->conn = NULL;
        return;
    }

    if (client->say != NULL) {
        (void) tn_conn_send(conn, client->say, strlen(client->say));
    }

    if (client->end) {
        tn_conn_shutdown(conn);
    }
}


static void
on_received(void *data, tn_conn_t *conn, uint8_t *bytes, size_t len)
{
    size_t     i;
    client_t  *client;

    client = data;

    for (i = 0; i < len; i++) {
        if (client->received + i < sizeof(client->first) - 1) {
            client->first[client->received + i] = (char) bytes[i];
        }

        client->garbled |= bytes[i]
                           != (uint8_t) ((client->received + i) / 16384);
    }

    client->received += len;
    memset(bytes, 0xff, len);       /* ours to change */

    if (client->close_in == 'r') {
        tn_conn_close(conn);
        client->conn = NULL;
        return;
    }

    if (client->pause_once) {
        client->pause_once = false;
        tn_conn_pause(conn, true);
    }
}


static void
on_writable(void *data, tn_conn_t *conn)
{
    client_t  *client;

    (void) conn;

    client = data;
    client->writable++;
}


static void
on_closed(void *data, tn_conn_t *conn, tn_conn_why_e why, const char *text)
{
    client_t  *client;

    client = data;
    client->closed++;
    client->why = why;
    (void) snprintf(client->text, sizeof(client->text), "%s", text);

    if (client->close_in == 'x') {
        tn_conn_close(conn);
        client->conn = NULL;
    }
}


static const tn_conn_ops_t  ops = {
    on_connected, on_received, on_writable, on_closed
};


static bool
closed(client_t *client)
{
    return client->closed > 0;
}


static bool
connected(client_t *client)
{
    return client->connected > 0 || client->closed > 0;
}


static bool
received(client_t *client)
{
    return client->received > 0 || client->closed > 0;
}


static bool
gone(client_t *client)
{
    return client->conn == NULL || client->closed > 0;
}


static bool
all_sent(client_t *client)
{
    return tn_conn_queued(client->conn) == 0 || client->closed > 0;
}


static bool
received_both(client_t *client)
{
    return client->received >= 6 || client->closed > 0;
}


static bool
was_writable(client_t *client)
{
    return client->writable > 0 || client->closed > 0;
}


/* turns the loop until the client got there, 10 s at most */

static bool
until(client_t *client, bool (*there)(client_t *client))
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + 10000;

    while (!there(client)) {
        if (tn_loop_clock_ms() >= end) {
            return false;
        }

        (void) tn_loop_turn(&loop, 100);
    }

    return true;
}


/* how often the loop had something to do, or waited for 10 ms in vain */

static void
start(client_t *client, tn_conn_params_t *params)
{
    client->conn = tn_conn_open(&loop, resolver, params, &ops, client);

    if (client->conn == NULL) {
        server_die("tn_conn_open");
    }
}


static void
finish(client_t *client, bool served)
{
    tn_conn_close(client->conn);
    client->conn = NULL;

    if (served) {
        (void) sem_wait(&server.done);
    }
}


static bool
has(const client_t *client, const char *text)
{
    bool  found;

    found = strstr(client->text, text) != NULL;

    if (!found) {
        printf("# \"%s\" is not in \"%s\"\n", text, client->text);
    }

    return found;
}


static void
to_server(tn_conn_params_t *params, const char *host, tn_tls_t *tls)
{
    memset(params, 0, sizeof(*params));
    params->host = host;
    params->port = server.port;
    params->tls = tls;
}


static void
test_stream(tn_tls_t *tls)
{
    const char       *kind = tls ? "TLS" : "plain";
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "localhost", tls);
    params.cert_name = SERVER_NAME;

    server.tls = tls != NULL;
    server.mode = SERVER_ECHO;

    memset(&client, 0, sizeof(client));
    client.say = "one two three";
    start(&client, &params);

    is_int(client.connected + client.closed, 0, "nothing is told at once");
    ok(tn_conn_send(client.conn, "x", 1) == TN_CLOSED,
       "%s: no send before it is connected", kind);

    ok(until(&client, received), "%s: an echo comes", kind);
    is_int(client.connected, 1, "connected once");
    is_str(client.first, "one two three", "and it is ours");
    is_int(tn_conn_remote(client.conn)->port, server.port, "remote port");

    tn_conn_shutdown(client.conn);
    ok(tn_conn_send(client.conn, "x", 1) == TN_CLOSED,
       "%s: no send after a shutdown", kind);
    ok(until(&client, closed), "%s: the end comes", kind);
    is_str(client.first, "one two threebye",
           "what the other side says after our end is received");
    is_int(client.why, TN_CONN_ENDED, "it ended in order");
    is_int(client.closed, 1, "told once");
    ok(tn_conn_send(client.conn, "x", 1) == TN_CLOSED,
       "%s: no send after the end", kind);
    finish(&client, true);

    /* all in one turn, with a send that the shutdown must not overtake */

    memset(&client, 0, sizeof(client));
    client.say = "quick ";
    client.end = true;
    start(&client, &params);
    ok(until(&client, closed), "%s: send and shut down", kind);
    is_str(client.first, "quick bye", "what was queued is sent first");
    finish(&client, true);

    server.mode = SERVER_RESET;
    memset(&client, 0, sizeof(client));
    client.say = "x";
    start(&client, &params);
    ok(until(&client, closed), "%s: a reset", kind);
    is_int(client.why, TN_CONN_LOST, "is a lost connection");
    ok(has(&client, "Connection reset by peer"), "and named");
    finish(&client, true);

    server.mode = SERVER_RUDE;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    ok(until(&client, closed), "%s: an end without close_notify", kind);
    is_str(client.first, "hello", "what came before is received");
    is_int(client.why, tls ? TN_CONN_LOST : TN_CONN_ENDED,
           "is an error only with TLS");
    finish(&client, true);
}


static void
test_big(tn_tls_t *tls)
{
    uint8_t           chunk[10000];
    const char       *kind = tls ? "TLS" : "plain";
    tn_rc_t           rc;
    client_t          client;
    uint64_t          queued;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);
    params.out_limit = LIMIT;

    memset(chunk, 'c', sizeof(chunk));

    server.tls = tls != NULL;
    server.mode = SERVER_HOLD;
    server.count = 0;

    memset(&client, 0, sizeof(client));
    start(&client, &params);
    ok(until(&client, connected), "%s: connected", kind);

    ok(tn_conn_send(client.conn, chunk, 0) == TN_OK, "nothing can be sent");

    /* until the kernel's buffers and ours are full */

    queued = 0;
    rc = TN_OK;

    while (rc == TN_OK && queued < 512u * 1024 * 1024) {
        rc = tn_conn_send2(client.conn, chunk, 1000, chunk, 9000);

        if (rc == TN_OK) {
            queued += sizeof(chunk);

        } else {
            (void) tn_loop_turn(&loop, 20);
            (void) tn_loop_turn(&loop, 20);

            if (tn_conn_queued(client.conn) + sizeof(chunk) <= LIMIT) {
                rc = TN_OK;
            }
        }
    }

    is_int(rc, TN_AGAIN, "a full queue says so");
    ok(tn_conn_queued(client.conn) <= LIMIT, "%s: within its limit", kind);

    client.writable = 0;
    (void) sem_post(&server.go);
    ok(until(&client, was_writable), "%s: writable again", kind);
    is_int((long long) tn_conn_queued(client.conn), 0, "the queue is empty");
    ok(tn_conn_send(client.conn, chunk, sizeof(chunk)) == TN_OK, "sends");
    queued += sizeof(chunk);

    tn_conn_shutdown(client.conn);
    ok(until(&client, closed), "%s: ended", kind);
    is_int(client.why, TN_CONN_ENDED, "in order");
    finish(&client, true);
    is_int((long long) server.count, (long long) queued,
           "every byte arrived");

    /* too large for the queue for ever */

    server.mode = SERVER_ECHO;
    memset(&client, 0, sizeof(client));
    params.out_limit = 100;
    start(&client, &params);
    (void) until(&client, connected);
    ok(tn_conn_send(client.conn, chunk, 101) == TN_NOMEM,
       "more than the limit is refused for good");

    /* less than is gathered */

    tn_conn_gather(client.conn, 16 * 1024);
    ok(tn_conn_send(client.conn, chunk, 10) == TN_OK, "%s: 10 bytes", kind);
    (void) turn_for(&loop, 100);
    is_int((long long) client.received, 0, "less than wanted is not told of");

    tn_conn_gather(client.conn, 1);
    ok(until(&client, received), "%s: told when any is wanted", kind);
    is_int((long long) client.received, 10, "all of it");
    finish(&client, true);

    /* receive, with a pause */

    server.mode = SERVER_BIG_SEND;
    memset(&client, 0, sizeof(client));
    client.pause_once = true;
    start(&client, &params);
    ok(until(&client, received), "%s: the first bytes", kind);

    queued = client.received;
    (void) turn_for(&loop, 100);
    is_int((long long) client.received, (long long) queued,
           "nothing is received while paused");

    tn_conn_pause(client.conn, false);
    ok(until(&client, closed), "%s: then all", kind);
    is_int((long long) client.received, SERVER_BIG, "every byte received");
    ok(!client.garbled, "%s: each in its place", kind);
    finish(&client, true);
}


static void
test_certificate(const char *name, tn_tls_t *tls, const char *host,
    const char *cert_name, const char *error)
{
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, host, tls);
    params.cert_name = cert_name;

    server.tls = true;
    server.mode = SERVER_GREET;

    memset(&client, 0, sizeof(client));
    start(&client, &params);
    ok(until(&client, closed), "%s", name);

    if (error == NULL) {
        if (!is_int(client.connected, 1, "is accepted")) {
            printf("# %s\n", client.text);
        }

        is_str(client.first, "hello", "and bytes come");

    } else {
        is_int(client.connected, 0, "is not accepted");
        is_int(client.why, TN_CONN_TLS, "TLS is to blame");
        ok(has(&client, error), "the cause is named");
    }

    finish(&client, true);
}


static void
test_certificates(tn_tls_t *ca, tn_tls_t *system, tn_tls_t *off)
{
    test_certificate("expected name", ca, "localhost", SERVER_NAME, NULL);
    test_certificate("IP literal", ca, "127.0.0.1", NULL, NULL);
    test_certificate("wrong name", ca, "localhost", NULL,
                     "certificate verify failed: hostname mismatch");
    test_certificate("wrong expected name", ca, "127.0.0.1", "other.test",
                     "certificate verify failed: hostname mismatch");
    test_certificate("wrong IP", ca, "localhost", "127.0.0.2",
                     "certificate verify failed: IP address mismatch");
    test_certificate("unknown CA", system, "localhost", SERVER_NAME,
                     "certificate verify failed: unable to get local issuer "
                     "certificate");
    test_certificate("verification off", off, "localhost", NULL, NULL);
    test_certificate("pin", system, "127.0.0.1", server.pin, NULL);
    test_certificate("pin, verification off", off, "127.0.0.1", server.pin,
                     NULL);
    test_certificate("wrong pin", ca, "127.0.0.1", server.bad_pin,
                     "certificate verify failed: it is not the one pinned");
    test_certificate("wrong pin, verification off", off, "127.0.0.1",
                     server.bad_pin,
                     "certificate verify failed: it is not the one pinned");
    test_certificate("pin, name that the leaf does not carry", ca,
                     "localhost", server.pin,
                     "certificate verify failed: hostname mismatch");
    test_certificate("malformed pin", ca, "127.0.0.1", "sha256-raw:00ff",
                     "bad certificate pin");
}


static void
test_derp_key(tn_tls_t *tls)
{
    char              text[TN_KEY_TEXT];
    tn_key_t          key;
    uint32_t          version;
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);

    server.tls = true;
    server.mode = SERVER_ECHO;

    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, connected);
    ok(tn_conn_derp_key(client.conn, &key, &version),
       "the DERP certificate is found");
    is_str(tn_key_text(&key, "", text), SERVER_DERP_KEY, "its key");
    is_int(version, 2, "and version");
    finish(&client, true);

    server.tls = false;
    params.tls = NULL;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, connected);
    ok(!tn_conn_derp_key(client.conn, &key, &version),
       "a plain connection has none");
    finish(&client, true);
}


/* a listening socket whose queue is full: the kernel drops the SYN */

static int
deaf_socket(const char *ip, uint16_t port, int *fillers, int n)
{
    int                 i, fd, one;
    socklen_t           len;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(port);
    (void) inet_pton(AF_INET, ip, &sin.sin_addr);
    len = sizeof(sin);
    one = 1;

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    if (bind(fd, (struct sockaddr *) &sin, len) == -1
        || listen(fd, 0) == -1)
    {
        server_die("deaf socket");
    }

    for (i = 0; i < n; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK
                            | SOCK_CLOEXEC, 0);
        (void) connect(fillers[i], (struct sockaddr *) &sin, len);
        (void) usleep(1000);
    }

    return fd;
}


static void
test_race(void)
{
    int               i, deaf, fillers[4];
    tn_ip_t           ips[3];
    tn_ms_t           begin, took;
    client_t          client;
    tn_conn_params_t  params;

    server.tls = false;
    server.mode = SERVER_GREET;

    to_server(&params, "some.name.test", NULL);
    params.ips = ips;

    /* the first refuses: the second is tried at once */

    (void) tn_ip_parse(&ips[0], "127.0.0.9", 9);
    (void) tn_ip_parse(&ips[1], "127.0.0.1", 9);
    params.n_ips = 2;

    took = 0;

    for (i = 0; i < 10; i++) {      /* on a busy machine it may take long */
        memset(&client, 0, sizeof(client));
        begin = tn_loop_clock_ms();
        start(&client, &params);
        (void) until(&client, closed);
        took = tn_loop_clock_ms() - begin;
        finish(&client, client.connected == 1);

        if (client.connected == 1 && took < TN_RACE_STAGGER_MS) {
            break;
        }
    }

    is_int(client.connected, 1, "given addresses are used, not the name");
    ok(took < TN_RACE_STAGGER_MS, "a refusal does not wait");

    /* the first does not answer: the second is tried soon */

    deaf = deaf_socket("127.0.0.9", server.port, fillers, 4);

    memset(&client, 0, sizeof(client));
    begin = tn_loop_clock_ms();
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.connected, 1, "a deaf address is overtaken");
    ok(tn_loop_clock_ms() - begin >= TN_RACE_STAGGER_MS - 1,
       "after the stagger");
    ok(tn_ip_equal(&tn_conn_remote(client.conn)->ip, &ips[1]),
       "the remote address is the winner's");
    finish(&client, true);

    /* only deaf ones: a timeout */

    params.n_ips = 1;
    params.timeout_ms = 300;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_TIMEOUT, "a timeout");
    ok(has(&client, "connect timed out after 300 ms"), "named");
    finish(&client, false);

    params.timeout_ms = 5000;
    params.tcp_ms = 200;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_TIMEOUT, "TCP has a limit of its own");
    ok(has(&client, "connect timed out after 200 ms"), "named");
    finish(&client, false);
    params.tcp_ms = 0;

    for (i = 0; i < 4; i++) {
        (void) close(fillers[i]);
    }

    (void) close(deaf);

    params.timeout_ms = 0;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_CONNECT, "refused");
    ok(has(&client, "Connection refused") && has(&client, "127.0.0.9"),
       "address and cause are named");
    finish(&client, false);

    params.n_ips = 2;
    params.no_v4 = true;
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_RESOLVE, "no address of an allowed family");
    finish(&client, false);

    params.n_ips = 0;
    params.no_v4 = false;
    params.host = "";
    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_RESOLVE, "a bad name");
    ok(has(&client, "not a host name"), "is named");
    finish(&client, false);
}


static void
test_silence(tn_tls_t *tls)
{
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);
    params.timeout_ms = 300;

    server.tls = true;
    server.mode = SERVER_SILENT;

    memset(&client, 0, sizeof(client));
    start(&client, &params);
    (void) until(&client, closed);
    is_int(client.why, TN_CONN_TIMEOUT, "a server that does not shake hands");
    ok(has(&client, "TLS handshake timed out after 300 ms"), "named");
    (void) sem_post(&server.go);
    finish(&client, true);
}


/* what OpenSSL reads before it writes on */

static void
test_half(tn_tls_t *tls)
{
    int               paused, turns;
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);

    server.tls = true;
    server.mode = SERVER_HALF;

    for (paused = 0; paused < 2; paused++) {
        memset(&client, 0, sizeof(client));
        start(&client, &params);
        ok(until(&client, connected), "half a handshake message");
        (void) turn_for(&loop, 100);
        tn_conn_pause(client.conn, paused);

        (void) tn_conn_send(client.conn, "ping", 4);
        turns = turn_for(&loop, 200);
        ok(turns < 100, "what is to be sent waits for the rest (%d turns)",
           turns);
        is_int((long long) tn_conn_queued(client.conn), 4, "all of it");

        (void) sem_post(&server.go);
        ok(until(&client, all_sent), "%sthen it is sent",
           paused ? "paused, " : "");
        tn_conn_pause(client.conn, false);
        ok(until(&client, received), "there is an answer");
        is_str(client.first, "ping", "to it");
        finish(&client, true);
    }
}


/* also before the socket is ready, which it is not for a little room */

static void
write_now(client_t *client)
{
    tn_conn_pause(client->conn, true);
    tn_conn_pause(client->conn, false);
}


/* and what it writes before it reads on */

static void
test_update(tn_tls_t *tls)
{
    int               turns;
    uint8_t           chunk[10000];
    uint64_t          queued, sent;
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);
    params.out_limit = LIMIT;

    server.tls = true;
    server.mode = SERVER_UPDATE;
    server.count = 0;

    memset(&client, 0, sizeof(client));
    memset(chunk, 'x', sizeof(chunk));
    start(&client, &params);
    (void) until(&client, connected);

    queued = 0;

    do {
        sent = queued - tn_conn_queued(client.conn);

        while (tn_conn_send(client.conn, chunk, sizeof(chunk)) == TN_OK) {
            queued += sizeof(chunk);
        }

        write_now(&client);
        (void) turn_for(&loop, 50);
    } while (queued - tn_conn_queued(client.conn) != sent);

    (void) sem_post(&server.go);
    ok(until(&client, received), "new keys, and the socket is full");
    is_str(client.first, "one", "what came with them is received");

    brim.thread = pthread_self();
    brim.take = 2;
    write_now(&client);
    (void) turn_for(&loop, 50);
    ok(brim.take == 0 && brim.sent == 0, "our own wait for room");

    (void) sem_post(&server.go);
    turns = turn_for(&loop, 200);
    ok(turns < 100, "what comes waits until there is room (%d turns)", turns);

    (void) sem_post(&server.go);
    ok(until(&client, received_both), "then it is received");
    is_str(client.first, "onetwo", "in order");

    tn_conn_shutdown(client.conn);
    ok(until(&client, closed), "the end");
    finish(&client, true);
    is_int((long long) server.count, (long long) queued,
           "all that was queued was sent");

    memset(&brim, 0, sizeof(brim));
}


static void
test_close(tn_tls_t *tls)
{
    const char       *p;
    client_t          client;
    tn_conn_params_t  params;

    to_server(&params, "127.0.0.1", tls);

    server.tls = tls != NULL;
    server.mode = SERVER_GREET;

    for (p = "crx"; *p != '\0'; p++) {
        memset(&client, 0, sizeof(client));
        client.close_in = *p;
        start(&client, &params);
        ok(until(&client, gone), "closed inside a callback (%c)", *p);
        (void) turn_for(&loop, 20);
        is_int(client.closed, *p == 'x', "and nothing more is told");
        (void) sem_wait(&server.done);
    }

    /* before anything happened, in the race, in the handshake */

    memset(&client, 0, sizeof(client));
    params.host = "localhost";
    start(&client, &params);
    ok(!tn_conn_is_rerouted(client.conn, false),
       "one that is being made goes on when a link of others changes");
    ok(tn_conn_is_rerouted(client.conn, true), "and not on another network");
    tn_conn_close(client.conn);
    (void) turn_for(&loop, 20);
    is_int(client.connected + client.closed, 0, "closed at once");

    start(&client, &params);
    (void) tn_loop_turn(&loop, 0);
    tn_conn_close(client.conn);
    (void) turn_for(&loop, 20);
    is_int(client.connected + client.closed, 0, "closed in the beginning");

    /* the server may or may not have seen those */
    (void) turn_for(&loop, 50);

    while (sem_trywait(&server.done) == 0) {
        /* next */
    }
}


static void
test_profiles(void)
{
    char  text[TN_TLS_TEXT];

    ok(tn_tls_create("/nonexistent/ca.pem", true, text) == NULL,
       "no profile with a CA file that is not there");
    ok(strstr(text, "No such file") != NULL, "it says why: %s", text);

    ok(tn_tls_create("/dev/null", true, text) == NULL,
       "none with a file that has no certificate");
    ok(text[0] != '\0', "it says why: %s", text);
}


/* a profile for the CA as the system's: in its file, or in its directory */

static void
test_system(bool directory)
{
    char       text[TN_TLS_TEXT], dir[] = "/tmp/tn_host_conn_dir.XXXXXX";
    char       name[sizeof(dir) + 16];
    FILE      *file;
    X509      *root;
    tn_tls_t  *tls;

    if (mkdtemp(dir) == NULL) {
        server_die("mkdtemp");
    }

    file = fopen(server.ca_file, "r");
    root = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;

    if (root == NULL) {
        server_die("the CA's certificate");
    }

    (void) fclose(file);
    (void) snprintf(name, sizeof(name), "%s/%08lx.0", dir,
                    X509_NAME_hash_ex(X509_get_subject_name(root), NULL, NULL,
                                      NULL));
    X509_free(root);

    if (directory) {
        (void) setenv("SSL_CERT_FILE", "/nonexistent", 1);
        (void) !symlink(server.ca_file, name);

    } else {
        (void) setenv("SSL_CERT_FILE", server.ca_file, 1);
    }

    (void) setenv("SSL_CERT_DIR", dir, 1);

    tls = tn_tls_create(NULL, true, text);

    test_certificate(directory ? "root in the directory" : "in the file",
                     tls, "localhost", SERVER_NAME, NULL);
    test_certificate("once more", tls, "localhost", SERVER_NAME, NULL);
    test_certificate("wrong name", tls, "localhost", NULL,
                     "certificate verify failed: hostname mismatch");
    test_certificate("after that", tls, "localhost", SERVER_NAME, NULL);

    tn_tls_free(tls);
    (void) unsetenv("SSL_CERT_FILE");
    (void) unsetenv("SSL_CERT_DIR");
    (void) unlink(name);
    (void) rmdir(dir);
}


int
main(void)
{
    char       text[TN_TLS_TEXT];
    tn_tls_t  *ca, *system, *off;

    /* the server's; the client must never raise it, see tn_tls.c */
    (void) signal(SIGPIPE, SIG_IGN);

    server_start(&server);

    if (tn_loop_init(&loop) != TN_OK) {
        server_die("loop");
    }

    resolver = tn_resolve_create(&loop);
    ca = tn_tls_create(server.ca_file, true, text);
    system = tn_tls_create(NULL, true, text);
    off = tn_tls_create(NULL, false, text);

    if (resolver == NULL || ca == NULL || system == NULL || off == NULL) {
        server_die(text);
    }

    test_profiles();
    test_stream(NULL);
    test_stream(ca);
    test_big(NULL);
    test_big(ca);
    test_certificates(ca, system, off);
    test_system(true);
    test_system(false);
    test_derp_key(ca);
    test_race();
    test_silence(ca);
    test_half(ca);
    test_update(ca);
    test_close(NULL);
    test_close(ca);

    tn_resolve_destroy(resolver);
    tn_tls_free(ca);
    tn_tls_free(system);
    tn_tls_free(off);
    tn_loop_done(&loop);
    server_stop(&server);

    return tap_done();
}

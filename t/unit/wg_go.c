
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Against the real thing: a device of ours and Tailscale's wireguard-go
 * (t/peers/wireguard), over the loopback of a network of our own.  The
 * program's path is in WIREGUARD_GO; without it all is skipped.  Time is the
 * real one, but ours can be put ahead.
 */

#include "own_network.h"
#include "wg_sim.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define NUMBERS  4096

static struct {
    int                  fd;
    pid_t                pid;
    FILE                *in;            /* of the Go program */
    int                  out;
    char                 line[4096];
    size_t               len;
    uint16_t             port;          /* its own */
    uint32_t             ahead_ms;
    tn_timers_t          timers;
    tn_wg_t             *wg;
    tn_wg_peer_t        *peer;
    tn_keypair_t         keys;
    tn_keypair_t         go_keys;
    uint32_t             initiations;
    uint16_t             responses;
    uint32_t             cookies;       /* we sent */
    uint32_t             keepalives;    /* it sent */
    uint32_t             sessions;
    uint16_t             there[NUMBERS];    /* length of a packet it got */
    uint16_t             here[NUMBERS];     /* and we */
} go;


static tn_ms_t
now_ms(void)
{
    struct timespec  t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);

    return (tn_ms_t) t.tv_sec * 1000 + (tn_ms_t) t.tv_nsec / 1000000
           + go.ahead_ms;
}


static void
transmit(const uint8_t *msg, size_t len)
{
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(go.port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    (void) sendto(go.fd, msg, len, 0, (struct sockaddr *) &sin, sizeof(sin));
}


static void
op_send(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind, const uint8_t *msg,
    size_t len, tn_ms_t now)
{
    (void) data;
    (void) peer;
    (void) now;

    if (kind == TN_WG_HANDSHAKE) {
        go.initiations += msg[0] == TN_WGMSG_INITIATION;
        go.responses += msg[0] == TN_WGMSG_RESPONSE;
    }

    transmit(msg, len);
}


static void
op_reply(void *data, const tn_wg_from_t *from, const uint8_t *msg, size_t len)
{
    (void) data;

    go.cookies++;

    if (from->path == NULL) {
        transmit(msg, len);
    }
}


static void
op_session(void *data, tn_wg_peer_t *peer, tn_ms_t now)
{
    (void) data;
    (void) peer;
    (void) now;

    go.sessions++;
}


static uint64_t
op_wall(void *data)
{
    struct timespec  t;

    (void) data;
    (void) clock_gettime(CLOCK_REALTIME, &t);

    return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec
           + (uint64_t) go.ahead_ms * 1000000;
}


static const tn_wg_ops_t  ops = {
    op_send, op_reply, op_session, op_wall, NULL, NULL
};


static void
received(uint8_t *buf, size_t len)
{
    uint32_t         number;
    tn_wg_from_t     from;
    tn_wg_peer_t    *peer;
    tn_wg_packet_t   packet;

    if (!tn_wgmsg_is_data(buf, len)) {
        from = sim_from(0);
        (void) tn_wg_input(go.wg, now_ms(), &from, buf, len, &peer);
        return;
    }

    if (tn_wg_open(go.wg, now_ms(), buf, len, &packet) != TN_OK) {
        return;
    }

    if (packet.len == 0) {
        go.keepalives++;
        return;
    }

    memcpy(&number, packet.data + 20, 4);

    if (number < NUMBERS) {
        go.here[number] = (uint16_t) packet.len;
    }
}


static void
told(const char *line)
{
    unsigned  number, len;

    if (sscanf(line, "port %u", &number) == 1) {
        go.port = (uint16_t) number;

    } else if (sscanf(line, "got %u %u", &number, &len) == 2
               && number < NUMBERS)
    {
        go.there[number] = (uint16_t) len;
    }
}


/* lets both work for some time of the real clock, or until *flag is set */

static void
work(int ms, const uint16_t *flag)
{
    char           *end;
    ssize_t         n;
    uint8_t         buf[2048];
    tn_ms_t         until;
    struct pollfd   fds[2];

    until = now_ms() + (tn_ms_t) ms;

    while (now_ms() < until && (flag == NULL || *flag == 0)) {
        fds[0].fd = go.fd;
        fds[1].fd = go.out;
        fds[0].events = fds[1].events = POLLIN;
        (void) poll(fds, 2, 10);

        while ((n = recv(go.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
            received(buf, (size_t) n);
        }

        if (fds[1].revents & POLLIN) {
            n = read(go.out, go.line + go.len, sizeof(go.line) - go.len - 1);
            go.len += n > 0 ? (size_t) n : 0;
            go.line[go.len] = '\0';

            while ((end = strchr(go.line, '\n')) != NULL) {
                *end = '\0';
                told(go.line);
                go.len -= (size_t) (end + 1 - go.line);
                memmove(go.line, end + 1, go.len + 1);
            }
        }

        tn_timers_run(&go.timers, now_ms());
    }
}


static bool
start(const char *program)
{
    int                  in[2], out[2];
    char                 priv[TN_KEY_TEXT], pub[TN_KEY_TEXT], port[8];
    socklen_t            len;
    tn_prefix_t          prefix;
    tn_wg_conf_t         conf;
    struct sockaddr_in   sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);

    go.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (bind(go.fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || getsockname(go.fd, (struct sockaddr *) &sin, &len) != 0
        || pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
    {
        return false;
    }

    tn_timers_init(&go.timers);
    tn_curve_keypair(&go.keys);
    tn_curve_keypair(&go.go_keys);

    memset(&conf, 0, sizeof(conf));
    conf.ops = &ops;
    conf.timers = &go.timers;
    conf.identity = go.keys;
    go.wg = tn_wg_create(&conf);
    (void) tn_wg_peer_add(go.wg, &go.go_keys.pub, &go, &go.peer);
    prefix = sim_prefix("100.64.0.2/32");
    (void) tn_wg_allow(go.wg, &go, &prefix, 1);

    (void) tn_key_text(&go.go_keys.priv, "", priv);
    (void) tn_key_text(&go.keys.pub, "", pub);
    (void) snprintf(port, sizeof(port), "%u", ntohs(sin.sin_port));

    go.pid = fork();

    if (go.pid == 0) {
        (void) dup2(in[0], 0);
        (void) dup2(out[1], 1);
        (void) execl(program, program, priv, pub, port, (char *) NULL);
        _exit(127);
    }

    (void) close(in[0]);
    (void) close(out[1]);
    go.in = fdopen(in[1], "w");
    go.out = out[0];

    work(10000, &go.port);

    return go.port != 0;
}


static void
we_send(uint32_t number, size_t len)
{
    uint8_t  inner[2048], msg[2048];

    (void) sim_packet(inner, 0, number, len);

    if (tn_wg_seal(go.peer, now_ms(), inner, len, msg) == TN_OK) {
        transmit(msg, tn_wg_sealed_len(len));
    }
}


static void
it_sends(uint32_t number, size_t len)
{
    (void) fprintf(go.in, "send %u %zu\n", number, len);
    (void) fflush(go.in);
}


/* initiations of nobody known, with a right mac1 */

static void
stranger(uint8_t *msg, const tn_key_t *whom)
{
    uint8_t                shared[32], timestamp[12];
    tn_keypair_t           pair;
    tn_wg_noise_t          noise;
    tn_wg_stamper_t        stamper;
    tn_wgmsg_initiation_t  m;

    tn_curve_keypair(&pair);
    (void) tn_curve_dh(shared, &pair.priv, whom);
    tn_wg_noise_timestamp(timestamp, op_wall(NULL));
    (void) tn_wg_noise_initiate(&noise, &m, &pair, whom, shared, timestamp);
    m.sender = 7;
    tn_wgmsg_write_initiation(msg, &m);
    (void) tn_wg_stamper_init(&stamper, whom);
    (void) tn_wg_stamper_stamp(&stamper, now_ms(), msg, 148);
}


static void
test_we_begin(void)
{
    uint32_t  i, wrong;

    we_send(1, 100);
    work(3000, &go.there[1]);
    is_int(go.there[1], 100, "a packet that began the session arrives");
    is_int(go.initiations, 1, "one initiation was enough");

    it_sends(1, 200);
    work(3000, &go.here[1]);
    is_int(go.here[1], 200, "its answer comes");

    for (i = 24; i <= 1280; i += 3) {
        we_send(1000 + i, i);
        it_sends(1000 + i, i);
        work(1, NULL);
    }

    work(3000, &go.there[1000 + 1278]);
    work(3000, &go.here[1000 + 1278]);
    work(200, NULL);

    for (i = 24, wrong = 0; i <= 1280; i += 3) {
        wrong += go.there[1000 + i] != i;
    }

    is_int(wrong, 0, "packets of all lengths arrive as sent");

    for (i = 24, wrong = 0; i <= 1280; i += 3) {
        wrong += go.here[1000 + i] != i;
    }

    is_int(wrong, 0, "and so they come");
    is_int(tn_wg_stats(go.wg)->forged + tn_wg_stats(go.wg)->replayed
           + tn_wg_stats(go.wg)->bad_source, 0, "none was refused");
}


static void
test_renewal(void)
{
    uint32_t  i, missing;

    /* for us two minutes pass; the peer does not mind */

    go.ahead_ms += 121000;
    go.initiations = 0;
    go.sessions = 0;

    for (i = 100; i < 400; i++) {
        we_send(i, 300);
        it_sends(i, 300);
        work(2, NULL);
    }

    work(3000, &go.here[399]);
    work(200, NULL);

    is_int(go.initiations, 1, "a session of 120 s is renewed");
    is_int(go.sessions, 1, "successfully");

    for (i = 100, missing = 0; i < 400; i++) {
        missing += go.there[i] == 0;
        missing += go.here[i] == 0;
    }

    is_int(missing, 0, "without the loss of a packet");
}


/* both sides have forgotten each other */

static void
forget(void)
{
    (void) fprintf(go.in, "forget\n");
    (void) fflush(go.in);
    work(200, NULL);
    tn_wg_peer_reset(go.peer, now_ms());
    go.initiations = 0;
    go.responses = 0;
    go.sessions = 0;
    go.keepalives = 0;
}


static void
test_it_begins(void)
{
    forget();
    it_sends(3, 100);
    work(3000, &go.here[3]);
    is_int(go.here[3], 100, "a packet with which it began comes");
    is_int(go.responses, 1, "we answered once");

    we_send(4, 100);
    work(3000, &go.there[4]);
    is_int(go.there[4], 100, "ours arrives");
    is_int(go.initiations, 0, "and we did not begin");
}


static void
test_both_begin(void)
{
    struct pollfd  fd;

    forget();
    it_sends(9, 100);

    /* its initiation has come, but we do not look before ours is out */

    fd.fd = go.fd;
    fd.events = POLLIN;
    is_int(poll(&fd, 1, 3000), 1, "it has begun");
    we_send(10, 100);
    is_int(go.initiations, 1, "and so have we");

    work(4000, &go.here[9]);
    work(4000, &go.there[10]);
    is_int(go.here[9], 100, "its packet comes");
    is_int(go.there[10], 100, "ours arrives");
    is_int(go.initiations, 1, "without another try");
}


static void
test_keepalive(void)
{
    forget();
    we_send(5, 100);
    work(3000, &go.there[5]);
    work(9500, NULL);
    is_int(go.keepalives, 0, "no keepalive before 10 s");
    work(4000, NULL);
    is_int(go.keepalives, 1, "one when 10 s have passed");
}


static void
test_its_cookie(void)
{
    int       i, n;
    uint8_t   msg[148];

    /* its queue must hold 128 handshakes for it to be under load */

    forget();
    stranger(msg, &go.go_keys.pub);

    for (i = 0; i < 50 && go.peer->stamper.cookie_at == 0; i++) {
        for (n = 0; n < 600; n++) {
            transmit(msg, sizeof(msg));
        }

        go.peer->shaken_at = 0;
        tn_wg_peer_shake(go.peer, now_ms());
        work(20, NULL);
    }

    ok(go.peer->stamper.cookie_at != 0, "under load it sends us a cookie");

    /* keep it under load until our retry, which carries mac2 */

    for (i = 0; i < 700 && go.sessions == 0; i++) {
        for (n = 0; n < 300; n++) {
            transmit(msg, sizeof(msg));
        }

        work(10, NULL);
    }

    ok(go.sessions != 0, "and accepts what we make of it");
    we_send(6, 100);
    work(3000, &go.there[6]);
    is_int(go.there[6], 100, "packets pass");
}


static void
test_our_cookie(void)
{
    int            i, n;
    uint8_t        msg[148];
    uint32_t       cookies;
    tn_wg_from_t   from;
    tn_wg_peer_t  *peer;

    forget();
    stranger(msg, &go.keys.pub);
    from = sim_from(5);
    from.path = &from;
    cookies = 0;

    for (i = 0; i < 80 && go.responses == 0; i++) {
        for (n = 0; n < 250; n++) {
            (void) tn_wg_input(go.wg, now_ms(), &from, msg, 148, &peer);
        }

        if (i == 10) {
            ok(go.cookies > 0, "we are under load");
            cookies = go.cookies;
            it_sends(7, 100);
        }

        work(100, NULL);
    }

    ok(cookies > 0 && go.responses == 1, "it came through with our cookie");
    work(3000, &go.here[7]);
    is_int(go.here[7], 100, "its packet comes");
}


int
main(void)
{
    int          status;
    const char  *program;

    program = getenv("WIREGUARD_GO");

    if (program == NULL) {
        printf("1..0 # SKIP WIREGUARD_GO is not set\n");
        return 0;
    }

    if (!own_network(0)) {
        printf("1..0 # SKIP no network namespace is to be had\n");
        return 0;
    }

    if (tn_crypto_init() != TN_OK || !ok(start(program), "it runs")) {
        return 1;
    }

    test_we_begin();
    test_renewal();
    test_it_begins();
    test_both_begin();
    test_keepalive();
    test_its_cookie();
    test_our_cookie();

    (void) fclose(go.in);
    ok(waitpid(go.pid, &status, 0) == go.pid && status == 0, "it ends");

    tn_wg_destroy(go.wg);
    tn_timers_done(&go.timers);

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h, talking to itself over a line with delay, loss and
 * reordering, on a virtual clock; packets come in one by one, or joined.
 */

#include <errno.h>

#include "stack/tn_coalesce.h"
#include "stack/tn_lwip.h"
#include "entropy.h"
#include "tap.h"


#define PORT      80
#define LINE_MAX  16384
#define TOTAL     (3 * 1024 * 1024)
#define IDLE      10000
#define BUSY      1000
#define LIMIT_MS  600000    /* for one transfer, virtual */
#define RATE      12500     /* bytes in a ms of a narrow line, 100 Mbit/s */
#define QUEUE_MS  20        /* of it */


typedef struct {
    tn_ms_t   at;
    size_t    len;
    uint8_t   bytes[TN_LWIP_MTU];
} packet_t;

typedef struct {
    tn_lwip_conn_t  *conn;
    size_t           sent;
    size_t           want;      /* to send */
    size_t           got;
    size_t           pace;      /* read this much at most when asked */
    bool             bad;
    bool             ends;      /* shut down when all is sent */
    bool             ended;
    bool             echo;
} side_t;


static packet_t    line[LINE_MAX];
static size_t      line_n;
static unsigned    loss_permille;
static unsigned    reorder_permille;
static tn_ms_t     delay_ms;
static unsigned    lost;
static bool        narrow;          /* the way there has a rate */
static tn_ms_t     narrow_at;       /* until when what waits for it takes */
static size_t      narrow_bytes;    /* of the last of these ms */
static tn_coalesce_t  *joining;     /* what is due in a ms, or NULL */
static unsigned    joined;          /* frames of several packets */
static uint32_t    seed;

static tn_ms_t     now;
static tn_lwip_t  *lwip;
static side_t      server;
static side_t      sides[IDLE + BUSY];
static side_t      others[IDLE + BUSY];
static size_t      n_accepted;
static bool        many;
static bool        captures;        /* accepts for others' addresses */
static uint16_t    accepted_port;


/* core/stack/lwip/lwipopts.h */
void *tn_lwip_malloc(size_t size);
void tn_lwip_free(void *p);

static void on_packet(void *data, uint8_t *packet, size_t len);
static void on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port);
static void on_ready(void *data, tn_lwip_conn_t *conn);
static void feed(side_t *side);
static void drain(side_t *side);
static bool step(void);
static void on_frame(void *data, const struct iovec *iov, int n);
static unsigned draw(void);
static uint8_t byte_at(size_t i);
static void run_for(tn_ms_t ms);
static void set_up(tn_ms_t delay, unsigned loss, unsigned reorder);
static void transfer(const char *to, const char *what);
static void test_line(void);
static void test_joined(void);
static void test_rate(unsigned loss, const char *what);
static void test_backpressure(void);
static void test_ends(void);
static void test_delivered(void);
static void test_short(void);
static void test_captured(void);
static void test_many(void);


static const tn_lwip_ops_t  ops = { on_packet, on_accepted, on_ready, NULL };


int
main(void)
{
    test_line();
    test_joined();
    test_rate(0, "a narrow line is filled");
    test_rate(1, "with 0.1% loss");
    test_rate(5, "with 0.5% loss");
    test_rate(20, "with 2% loss");
    test_backpressure();
    test_ends();
    test_delivered();
    test_short();
    test_captured();
    test_many();

    return tap_done();
}


static unsigned
draw(void)
{
    seed = seed * 1664525 + 1013904223;

    return (seed >> 8) % 1000;
}


static uint8_t
byte_at(size_t i)
{
    return (uint8_t) (i * 31 + (i >> 8) * 7 + (i >> 16));
}


static void
on_packet(void *data, uint8_t *packet, size_t len)
{
    (void) data;

    if (draw() < loss_permille) {
        lost++;
        return;
    }

    if (line_n == LINE_MAX || len > TN_LWIP_MTU) {
        return;
    }

    line[line_n].at = now + delay_ms;

    if (narrow && len > 200) {

        if (narrow_at < now) {
            narrow_at = now;
            narrow_bytes = 0;
        }

        if (narrow_at - now >= QUEUE_MS) {
            return;
        }

        narrow_bytes += len;

        if (narrow_bytes >= RATE) {
            narrow_bytes -= RATE;
            narrow_at++;
        }

        line[line_n].at = narrow_at + delay_ms;
    }

    if (draw() < reorder_permille) {
        line[line_n].at += 3;
    }

    line[line_n].len = len;
    memcpy(line[line_n++].bytes, packet, len);
}


static void
on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    side_t  *side;

    (void) data;

    accepted_port = port;
    side = &server;

    if (many) {
        side = &others[n_accepted];
        side->pace = SIZE_MAX;
        side->echo = true;
    }

    side->conn = conn;
    tn_lwip_conn_set_data(conn, side);
    n_accepted++;
    feed(side);
}


static void
on_ready(void *data, tn_lwip_conn_t *conn)
{
    side_t  *side;

    (void) data;

    side = tn_lwip_conn_data(conn);

    if (side == NULL) {
        return;
    }

    drain(side);
    feed(side);
}


static void
feed(side_t *side)
{
    size_t   n, i, done;
    uint8_t  buf[8192];

    while (side->sent < side->want) {
        n = tn_min(sizeof(buf), side->want - side->sent);

        for (i = 0; i < n; i++) {
            buf[i] = byte_at(side->sent + i);
        }

        done = tn_lwip_write(side->conn, buf, n);
        side->sent += done;

        if (done == 0) {
            break;
        }
    }

    tn_lwip_push(side->conn);

    if (side->ends && !side->ended && side->sent == side->want
        && (tn_lwip_conn_state(side->conn) & TN_LWIP_CONNECTED))
    {
        side->ended = true;
        tn_lwip_shutdown(side->conn);
    }
}


static void
drain(side_t *side)
{
    int           i, n;
    size_t        k, len, taken;
    struct iovec  iov[8];

    while ((n = tn_lwip_peek(side->conn, iov, 8)) > 0) {
        taken = 0;

        for (i = 0; i < n; i++) {
            len = tn_min(iov[i].iov_len, side->pace - taken);

            for (k = 0; k < len; k++) {
                if (((uint8_t *) iov[i].iov_base)[k]
                    != byte_at(side->got + taken + k))
                {
                    side->bad = true;
                }
            }

            if (side->echo) {
                (void) tn_lwip_write(side->conn, iov[i].iov_base, len);
            }

            taken += len;
        }

        if (taken == 0) {
            return;
        }

        tn_lwip_take(side->conn, taken);
        side->got += taken;

        if (side->pace != SIZE_MAX) {
            side->pace -= taken;
        }
    }
}


/* delivers what is due; false when the line is empty */
static bool
step(void)
{
    size_t           i, k, n;
    tn_packet_t      p;
    static packet_t  due[LINE_MAX];

    n = 0;
    k = 0;

    for (i = 0; i < line_n; i++) {
        if (line[i].at <= now) {
            due[n++] = line[i];

        } else if (k++ != i) {
            line[k - 1] = line[i];
        }
    }

    line_n = k;

    for (i = 0; i < n; i++) {
        if (tn_packet_parse(&p, due[i].bytes, due[i].len) != TN_OK) {
            continue;
        }

        if (joining != NULL) {
            tn_coalesce_add(joining, due[i].bytes, &p);

        } else if (tn_ip_is_tailscale(&p.dst)) {
            tn_lwip_in(lwip, now, due[i].bytes, &p);

        } else {
            tn_lwip_in_captured(lwip, now, due[i].bytes, &p, captures);
        }
    }

    if (joining != NULL) {
        tn_coalesce_flush(joining);
    }

    if (tn_lwip_deadline(lwip) <= now) {
        tn_lwip_tick(lwip, now);
    }

    return line_n != 0;
}


static void
on_frame(void *data, const struct iovec *iov, int n)
{
    int             i;
    size_t          len;
    tn_vnet_t       vnet;
    tn_packet_t     p;
    static uint8_t  frame[TN_COALESCE_BYTES];

    (void) data;

    len = 0;

    for (i = 1; i < n; i++) {
        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }

    memcpy(&vnet, iov[0].iov_base, sizeof(vnet));

    if (tn_packet_parse(&p, frame, len) == TN_OK) {
        joined += vnet.flags & TN_VNET_F_NEEDS_CSUM;
        tn_lwip_joined(lwip, vnet.flags & TN_VNET_F_NEEDS_CSUM);
        tn_lwip_in(lwip, now, frame, &p);
    }
}


static void
run_for(tn_ms_t ms)
{
    tn_ms_t  end;

    for (end = now + ms; now < end; now++) {
        (void) step();
    }
}


static void
set_up(tn_ms_t delay, unsigned loss, unsigned reorder)
{
    tn_ip_t  ips[2];

    tn_lwip_destroy(lwip);

    seed = 7;
    entropy = 7;
    lost = 0;
    line_n = 0;
    n_accepted = 0;
    delay_ms = delay;
    loss_permille = loss;
    reorder_permille = reorder;
    memset(&server, 0, sizeof(server));
    memset(sides, 0, sizeof(sides));
    server.pace = SIZE_MAX;
    sides[0].pace = SIZE_MAX;

    (void) tn_ip_parse(&ips[0], "100.64.0.1", 10);
    (void) tn_ip_parse(&ips[1], "fd7a:115c:a1e0::1", 17);

    lwip = tn_lwip_create(&ops, NULL, now);
    tn_lwip_addresses(lwip, ips, 2);
    (void) tn_lwip_listen(lwip, PORT);
}


static void
transfer(const char *to, const char *what)
{
    tn_ms_t    start;
    tn_addr_t  addr;

    (void) tn_addr_parse(&addr, to, strlen(to));

    sides[0].want = TOTAL;
    sides[0].ends = true;
    server.want = TOTAL;
    server.ends = true;

    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);

    if (!ok(sides[0].conn != NULL, "%s: dialled", what)) {
        return;
    }

    start = now;

    while (now - start < LIMIT_MS
           && !((tn_lwip_conn_state(sides[0].conn)
                 & (TN_LWIP_EOF | TN_LWIP_DRAINED))
                == (TN_LWIP_EOF | TN_LWIP_DRAINED)
                && server.conn != NULL
                && (tn_lwip_conn_state(server.conn) & TN_LWIP_EOF)))
    {
        (void) step();
        now++;
    }

    printf("# %s: %u ms, %u packets lost\n", what, (unsigned) (now - start),
           lost);

    is_int((long long) server.got, TOTAL, "all came to the server");
    is_int((long long) sides[0].got, TOTAL, "all came to the client");
    ok(!server.bad && !sides[0].bad, "%s: byte-exact", what);
    ok((tn_lwip_conn_state(server.conn) & (TN_LWIP_EOF | TN_LWIP_DEAD))
       == TN_LWIP_EOF, "%s: ended in order", what);

    tn_lwip_close(sides[0].conn, false);
    tn_lwip_close(server.conn, false);
}


static void
test_line(void)
{
    now = 1000;

    set_up(1, 0, 0);
    transfer("100.64.0.1:80", "a clean line");

    run_for(30000);
    is_int((long long) tn_lwip_count(lwip), 0, "nothing is left of it");

    set_up(1, 0, 0);
    transfer("[fd7a:115c:a1e0::1]:80", "IPv6");

    set_up(20, 5, 0);
    transfer("100.64.0.1:80", "0.5% loss");

    set_up(20, 0, 100);
    transfer("100.64.0.1:80", "reordered");

    set_up(20, 50, 50);
    transfer("[fd7a:115c:a1e0::1]:80", "5% loss, reordered");
}


static void
test_joined(void)
{
    joining = tn_coalesce_create(on_frame, NULL);

    set_up(1, 0, 0);
    transfer("100.64.0.1:80", "joined");
    ok(joined > 50, "packets were joined: %u frames", joined);

    set_up(1, 0, 0);
    transfer("[fd7a:115c:a1e0::1]:80", "joined, IPv6");

    set_up(20, 20, 20);
    transfer("[fd7a:115c:a1e0::1]:80", "joined, 2% loss, reordered");

    test_rate(0, "a narrow line, packets joined");
    test_rate(5, "with 0.5% loss, packets joined");

    tn_coalesce_destroy(joining);
    joining = NULL;
}


/* long enough for gaps whose mending takes a round trip, in each of them */
static void
test_rate(unsigned loss, const char *what)
{
    size_t     before, most, came;
    tn_addr_t  addr;

    set_up(20, loss, 0);
    narrow = true;
    sides[0].want = SIZE_MAX;

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);

    run_for(1000);
    before = server.got;
    run_for(3000);
    came = server.got - before;
    most = (size_t) 3000 * RATE / TN_LWIP_MTU * (TN_LWIP_MTU - 40);

    ok(!server.bad && came > most / 100 * 96, "%s: %zu%%", what,
       came * 100 / most);

    narrow = false;
}


static void
test_backpressure(void)
{
    size_t     held;
    tn_addr_t  addr;

    set_up(1, 0, 0);
    server.pace = 0;
    sides[0].want = 4 * TOTAL;

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);

    run_for(20000);
    held = sides[0].sent;
    ok(held > 1024 * 1024 && held < 5 * 1024 * 1024,
       "a reader that stands still: %zu bytes are taken", held);

    run_for(20000);
    is_int((long long) sides[0].sent, (long long) held, "and no more");

    server.pace = SIZE_MAX;
    drain(&server);
    run_for(60000);

    is_int((long long) server.got, 4 * TOTAL, "then the rest follows");
    ok(!server.bad, "byte-exact");
}


static void
test_ends(void)
{
    tn_addr_t  addr;

    set_up(1, 0, 0);

    (void) tn_addr_parse(&addr, "100.64.0.1:81", 13);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(50);

    ok(tn_lwip_conn_state(sides[0].conn) & TN_LWIP_DEAD, "a closed port");
    is_int(tn_lwip_conn_error(sides[0].conn), ECONNREFUSED, "refuses");
    tn_lwip_close(sides[0].conn, false);

    addr.port = PORT;
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(50);
    tn_lwip_close(server.conn, true);
    run_for(50);

    is_int(tn_lwip_conn_error(sides[0].conn), ECONNRESET, "an abort resets");
    tn_lwip_close(sides[0].conn, false);

    ok(tn_lwip_listen(lwip, PORT) == TN_REFUSED, "a port is listened once");
    tn_lwip_unlisten(lwip, PORT);

    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(50);
    is_int(tn_lwip_conn_error(sides[0].conn), ECONNREFUSED, "unlistened");
    tn_lwip_close(sides[0].conn, false);

    loss_permille = 1000;
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(300000);
    is_int(tn_lwip_conn_error(sides[0].conn), ETIMEDOUT, "nobody there");
    tn_lwip_close(sides[0].conn, false);

    run_for(5000);
    ok(tn_lwip_deadline(lwip) == TN_NEVER_MS,
       "then no spare memory is left, and nothing to wait for");
}


/* closed behind the peer's end, with more to deliver than the peer reads */
static void
test_delivered(void)
{
    tn_addr_t  addr;

    set_up(1, 0, 0);
    sides[0].pace = 0;
    sides[0].ends = true;
    server.want = 4 * 1024 * 1024 + 300000;

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(5000);

    ok(server.sent == server.want
       && !(tn_lwip_conn_state(server.conn) & TN_LWIP_DRAINED)
       && (tn_lwip_conn_state(server.conn) & TN_LWIP_EOF),
       "the peer has ended and does not read");

    tn_lwip_close(server.conn, false);
    run_for(30000);

    sides[0].pace = SIZE_MAX;
    drain(&sides[0]);
    run_for(60000);

    is_int((long long) sides[0].got, (long long) server.want,
           "what was written before the close is delivered");
    ok(!sides[0].bad && (tn_lwip_conn_state(sides[0].conn) & TN_LWIP_EOF),
       "byte-exact, and its end");

    tn_lwip_close(sides[0].conn, false);
}


static void
test_short(void)
{
    void           *hold;
    size_t          limit;
    tn_addr_t       addr;
    static uint8_t  bytes[32 * 1024];

    set_up(1, 0, 0);
    limit = TN_LWIP_MEMORY / 4 * 3;

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(5000);

    hold = tn_lwip_malloc(limit + 4096);
    server.want = 1000;
    feed(&server);
    run_for(1000);
    ok(hold != NULL && tn_lwip_room(server.conn) == 0 && server.sent == 0,
       "no room for want of memory");

    tn_lwip_free(hold);
    run_for(200);
    is_int((long long) sides[0].got, 1000, "who waited for it is told");

    hold = tn_lwip_malloc(limit - tn_lwip_used() - 12 * 1024);
    ok(hold != NULL && tn_lwip_room(server.conn) >= sizeof(bytes),
       "a little less, and there is room");
    is_int((long long) tn_lwip_write(server.conn, bytes, sizeof(bytes)),
           sizeof(bytes), "all of which is taken");
    is_int((long long) tn_lwip_room(server.conn), 0, "then there is none");

    tn_lwip_free(hold);
    tn_lwip_close(server.conn, true);
    tn_lwip_close(sides[0].conn, true);
}


/* connections to addresses and ports that are nobody's */
static void
test_captured(void)
{
    size_t     i;
    tn_addr_t  addr, local, remote;

    static const char *const  to[] = {
        "192.0.2.7:4321", "192.0.2.8:4321", "192.0.2.7:80",
        "[2001:db8::7]:65535"
    };

    set_up(1, 0, 0);

    for (i = 0; i < tn_nelems(to); i++) {
        (void) tn_addr_parse(&addr, to[i], strlen(to[i]));
        memset(&server, 0, sizeof(server));
        memset(&sides[0], 0, sizeof(sides[0]));
        server.pace = SIZE_MAX;
        sides[0].pace = SIZE_MAX;
        sides[0].want = 100000;
        server.want = 100000;
        accepted_port = 1;
        captures = true;

        sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
        run_for(10);
        captures = false;
        feed(&sides[0]);
        run_for(300);

        ok(server.conn != NULL && accepted_port == 0, "%s", to[i]);

        if (server.conn == NULL) {
            continue;
        }

        tn_lwip_conn_addresses(server.conn, &local, &remote);
        ok(tn_addr_equal(&local, &addr), "keeps its address");
        ok(server.got == 100000 && sides[0].got == 100000
           && !server.bad && !sides[0].bad, "and carries");

        tn_lwip_close(server.conn, false);
        tn_lwip_close(sides[0].conn, false);
        run_for(50);
    }

    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(50);
    is_int(tn_lwip_conn_error(sides[0].conn), ECONNREFUSED,
           "what is not captured is refused");
    tn_lwip_close(sides[0].conn, false);

    /* one whose handshake is under way when the stack ends */

    captures = true;
    delay_ms = 1000;
    i = tn_lwip_count(lwip);
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(1500);
    captures = false;
    is_int((long long) tn_lwip_count(lwip), (long long) i + 2,
           "one is half open");

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);
    set_up(1, 0, 0);
    memset(&server, 0, sizeof(server));
    sides[0].conn = tn_lwip_connect(lwip, &addr, &sides[0]);
    run_for(50);
    ok(server.conn != NULL && accepted_port == PORT,
       "the own addresses have their own listeners");
}


static void
test_many(void)
{
    size_t     i, j, bad;
    tn_addr_t  addr;

    set_up(1, 0, 0);
    many = true;

    (void) tn_addr_parse(&addr, "100.64.0.1:80", 13);

    for (i = 0; i < IDLE + BUSY; i += 100) {
        for (j = i; j < i + 100; j++) {
            sides[j].pace = SIZE_MAX;
            sides[j].conn = tn_lwip_connect(lwip, &addr, &sides[j]);
        }

        run_for(10);
    }

    is_int((long long) n_accepted, IDLE + BUSY, "11,000 are connected");
    is_int((long long) tn_lwip_count(lwip), 2 * (IDLE + BUSY),
           "and counted at both ends");

    for (i = 0; i < 10; i++) {
        for (j = 0; j < BUSY; j++) {
            sides[j].want += 1000;
            feed(&sides[j]);
        }

        run_for(50);
    }

    run_for(1000);

    for (bad = 0, j = 0; j < BUSY; j++) {
        bad += sides[j].got != 10000 || sides[j].bad;
    }

    is_int((long long) bad, 0, "1,000 of them exchange bytes");

    tn_lwip_destroy(lwip);
    lwip = NULL;
}

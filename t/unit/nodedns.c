
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Names that only nameservers of the tailnet know: which of them are asked,
 * by UDP and TCP, what is made of their answers, and for how long. The
 * nameservers stand here, on loopback, and answer by the first label.
 */

#include "host/tn_dnsmsg.h"
#include "proc/tn_ipc.h"
#include "run/tn_nodedns.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netmaps.h"
#include "tap.h"


#define SERVERS  2
#define HEAD     12

#define SERVFAIL  2
#define NXDOMAIN  3
#define NOTIMP    4


typedef struct {
    int        udp;
    int        tcp;
    int        conn;
    uint16_t   port;
    unsigned   asked;           /* questions that came */
} server_t;


static tn_loop_t      loop;
static tn_netmap_t   *map;
static tn_nodedns_t  *dns;
static server_t       servers[SERVERS];
static unsigned       known;
static char           text[TN_IPC_TEXT];


static void
on_dial(void *data, int fd)
{
    (void) data;
    (void) close(fd);
}


static void
on_known(void *data)
{
    (void) data;

    known++;
}


static const tn_nodedns_ops_t  ops = { on_dial, on_known };


static int
bound(int type, uint16_t *port)
{
    int                 fd;
    socklen_t           len;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(*port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);

    fd = socket(AF_INET, type|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1 || bind(fd, (struct sockaddr *) &sin, len) == -1
        || (type == SOCK_STREAM && listen(fd, 4) == -1)
        || getsockname(fd, (struct sockaddr *) &sin, &len) == -1)
    {
        abort();
    }

    *port = ntohs(sin.sin_port);

    return fd;
}


static bool
begins(const uint8_t *query, const char *label)
{
    return query[HEAD] == strlen(label)
           && memcmp(query + HEAD + 1, label, strlen(label)) == 0;
}


/* one record of 192.168.7.`last`, or of fd00::`last`, behind the question */
static size_t
record(uint8_t *answer, const uint8_t *query, size_t len, uint8_t last,
    uint32_t ttl)
{
    bool  v4;

    v4 = query[len - 3] == 1;
    memcpy(answer, query, len);
    answer[2] = 0x84;
    answer[3] = 0;
    answer[7] = 1;
    answer += len;

    memcpy(answer, "\xc0\x0c\0\0\0\1", 6);
    answer[3] = query[len - 3];
    answer[6] = (uint8_t) (ttl >> 24);
    answer[7] = (uint8_t) (ttl >> 16);
    answer[8] = (uint8_t) (ttl >> 8);
    answer[9] = (uint8_t) ttl;
    answer[10] = 0;
    answer[11] = v4 ? 4 : 16;
    memset(answer + 12, 0, 16);

    if (v4) {
        memcpy(answer + 12, "\xc0\xa8\7", 3);
        answer[15] = last;

    } else {
        answer[12] = 0xfd;
        answer[27] = last;
    }

    return len + 12 + answer[11];
}


static size_t
error(uint8_t *answer, const uint8_t *query, size_t len, uint8_t rcode)
{
    memcpy(answer, query, len);
    answer[2] = 0x84;
    answer[3] = rcode;

    return len;
}


/* 0: nothing is said */
static size_t
answer_to(uint8_t *answer, const uint8_t *query, size_t len, size_t i,
    bool tcp)
{
    bool           v4;
    static size_t  lost;

    v4 = query[len - 3] == 1;

    if (begins(query, "lost") && lost++ < 2) {
        return 0;
    }

    if (begins(query, "silent") && i == 0) {
        return 0;
    }

    if (begins(query, "none")) {
        return error(answer, query, len, NXDOMAIN);
    }

    if ((begins(query, "fail") && i == 0) || begins(query, "broken")) {
        return error(answer, query, len, SERVFAIL);
    }

    if (begins(query, "old") && !v4) {
        return error(answer, query, len, NOTIMP);
    }

    if (begins(query, "cut") && !tcp) {
        (void) error(answer, query, len, 0);
        answer[2] |= 0x02;
        return len;
    }

    if (begins(query, "far") && v4) {
        len = record(answer, query, len, 8, 30);
        answer[len - 4] = 203;
        return len;
    }

    /* AAAA of one name only; without, there is no error and no record */

    if (!v4 && !begins(query, "both")) {
        return error(answer, query, len, 0);
    }

    return record(answer, query, len, begins(query, "short") ? 2 : 1,
                  begins(query, "short") ? 0 : 30);
}


static void
serve(void)
{
    size_t                   i, at, n, size;
    ssize_t                  len;
    uint8_t                  query[1024], answer[1024];
    socklen_t                from_len;
    struct sockaddr_storage  from;

    for (i = 0; i < SERVERS; i++) {

        for ( ;; ) {
            from_len = sizeof(from);
            len = recvfrom(servers[i].udp, query, sizeof(query), 0,
                           (struct sockaddr *) &from, &from_len);
            if (len < HEAD + 5) {
                break;
            }

            servers[i].asked++;

            if (begins(query, "liar")) {    /* before the truth */
                n = record(answer, query, (size_t) len, 66, 30);
                answer[0] ^= 1;
                (void) sendto(servers[i].udp, answer, n, 0,
                              (struct sockaddr *) &from, from_len);
                answer[0] ^= 1;
                answer[HEAD + 2] ^= 1;
                (void) sendto(servers[i].udp, answer, n, 0,
                              (struct sockaddr *) &from, from_len);
                (void) sendto(servers[i].udp, query, (size_t) len, 0,
                              (struct sockaddr *) &from, from_len);
                (void) sendto(servers[i].udp, answer, 3, 0,
                              (struct sockaddr *) &from, from_len);
            }

            n = answer_to(answer, query, (size_t) len, i, false);

            if (n != 0) {
                (void) sendto(servers[i].udp, answer, n, 0,
                              (struct sockaddr *) &from, from_len);
            }
        }

        if (servers[i].conn == -1) {
            servers[i].conn = accept4(servers[i].tcp, NULL, NULL,
                                      SOCK_NONBLOCK|SOCK_CLOEXEC);
        }

        if (servers[i].conn == -1) {
            continue;
        }

        len = recv(servers[i].conn, query, sizeof(query), 0);

        if (len == 0) {
            (void) close(servers[i].conn);
            servers[i].conn = -1;
        }

        for (at = 0; len > 0 && at + 2 < (size_t) len; at += 2 + size) {
            size = (size_t) query[at] << 8 | query[at + 1];
            n = answer_to(answer + 2, query + at + 2, size, i, true);
            answer[0] = (uint8_t) (n >> 8);
            answer[1] = (uint8_t) n;

            /* in pieces, as TCP may have them */

            (void) send(servers[i].conn, answer, 3, MSG_NOSIGNAL);
            (void) send(servers[i].conn, answer + 3, n - 1, MSG_NOSIGNAL);
        }
    }
}


/* addresses with spaces between, or why there are none */
static const char *
resolved_within(const char *host, tn_ms_t ms)
{
    bool         wait;
    char         ip_text[TN_ADDR_TEXT];
    size_t       i, n, len;
    tn_ip_t      ips[8];
    tn_ms_t      end;
    static char  all[1024];

    end = tn_loop_clock_ms() + ms;

    for ( ;; ) {
        text[0] = '\0';
        n = tn_nodedns_resolve(dns, map, host, ips, 8, &wait, text);

        if (!wait || tn_loop_clock_ms() >= end) {
            break;
        }

        serve();
        (void) tn_loop_turn(&loop, 5);
    }

    if (wait) {
        return "waits";
    }

    (void) snprintf(all, sizeof(all), "%s", n == 0 ? text : "");

    for (i = 0; i < n; i++) {
        len = strlen(all);
        (void) snprintf(all + len, sizeof(all) - len, "%s%s", i ? " " : "",
                        tn_ip_text(&ips[i], ip_text));
    }

    return all;
}


static const char *
resolved(const char *host)
{
    return resolved_within(host, 15000);
}


static void
test_names(void)
{
    unsigned  asked;

    is_str(resolved("a.corp.test"), "192.168.7.1", "a name is asked for");
    is_int(servers[0].asked, 2, "by two questions to the first server");
    is_int(servers[1].asked, 0, "and none to the second");
    ok(known > 0, "who waits is told");

    asked = servers[0].asked;
    is_str(resolved("A.Corp.Test."), "192.168.7.1", "it is known in any case");
    is_int(servers[0].asked, asked, "and not asked for again");

    is_str(resolved("both.corp.test"), "192.168.7.1 fd00::1", "both families");
    is_str(resolved("b"), "192.168.7.1", "a domain of the search list");

    asked = servers[1].asked;
    is_str(resolved("x.deep.corp.test"), "192.168.7.1", "a longer suffix");
    ok(servers[1].asked > asked, "has another server");

    is_str(resolved("x.own.corp.test"), "", "a suffix of control's own");
    is_str(resolved("x.corp.test.org"), "", "no suffix");
    is_str(resolved("xdoh.test"), "192.168.7.1", "nor a part of a label");
    is_str(resolved("nobody.lab.test"), "", "the tailnet's own domain");
    is_str(resolved("ab.xlab.test"), "192.168.7.1", "and what only looks so");
    is_str(resolved("192.168.7.5"), "", "an address");
    is_str(resolved("tag:web"), "", "a tag");
    is_str(resolved(""), "", "no name");
    is_str(resolved("a..corp.test"), "no room to ask a nameserver for "
       "\"a..corp.test\"", "what DNS cannot ask for");
}


static void
test_answers(void)
{
    unsigned  asked;

    is_str(resolved("none.corp.test"),
           "the tailnet's nameserver has no address "
       "of \"none.corp.test\"", "there is none");
    is_str(resolved("far.corp.test"),
           "\"far.corp.test\" is 203.168.7.8, which no "
       "peer routes", "an address that nobody routes");
    is_str(resolved("old.corp.test"), "192.168.7.1",
       "a server that does not know AAAA");
    is_str(resolved("liar.corp.test"), "192.168.7.1",
       "answers to other questions do not count");
    is_str(resolved("cut.corp.test"),
           "192.168.7.1", "what is cut comes by TCP");

    asked = servers[1].asked;
    is_str(resolved("fail.corp.test"),
           "192.168.7.1", "a server that cannot tell");
    is_int(servers[1].asked, asked + 2, "and another that can");
    ok(strstr(resolved("broken.corp.test"), "cannot tell") != NULL,
       "none can: %s", text);

    is_str(resolved("lost.corp.test"),
           "192.168.7.1", "lost ones are sent again");
    is_str(resolved("silent.corp.test"), "192.168.7.1",
       "who is silent is not the last");
    is_str(resolved("x.doh.test"), "no nameserver of \"doh.test\" is an IP "
       "address", "by HTTPS only");

    ok(strstr(resolved("x.inside.test"), "192.168.7.53:53") != NULL
       && strstr(text, "cannot be dialled") != NULL,
       "one that a peer routes is dialled: %s", text);
}


static void
test_time(void)
{
    unsigned  asked;

    asked = servers[0].asked;
    is_str(resolved("short.corp.test"), "192.168.7.2", "known for 0 seconds");
    is_str(resolved("short.corp.test"), "192.168.7.2", "is known for a while");
    is_int(servers[0].asked, asked + 2, "asked for once");

    loop.now += 5000;
    is_str(resolved("short.corp.test"), "192.168.7.2", "asked for again");
    is_int(servers[0].asked, asked + 4, "after five seconds");
}


static void
test_many(void)
{
    int       i, wrong;
    char      name[64];
    unsigned  asked;

    wrong = 0;

    for (i = 0; i < 200; i++) {
        (void) snprintf(name, sizeof(name), "n%d.corp.test", i);
        wrong += strcmp(resolved(name), "192.168.7.1") != 0;
    }

    is_int(wrong, 0, "many names, one after the other");

    asked = servers[0].asked;
    (void) resolved("n199.corp.test");
    is_int(servers[0].asked, asked, "the last is known");
    (void) resolved("n0.corp.test");
    is_int(servers[0].asked, asked + 2, "the first no more");

    /* none of those that are being asked for makes room */

    tn_nodedns_destroy(dns);
    dns = tn_nodedns_create(&loop, &ops, NULL, "home");

    for (i = 0; i < 64; i++) {
        (void) snprintf(name, sizeof(name), "m%d.corp.test", i);
        wrong += strcmp(resolved_within(name, 0), "waits") != 0;
    }

    is_int(wrong, 0, "64 at once");
    is_str(resolved_within("more.corp.test", 0),
           "no room to ask a nameserver for "
       "\"more.corp.test\"", "not more");
    is_str(resolved("m63.corp.test"), "192.168.7.1", "these are answered");
    is_str(resolved("more.corp.test"), "192.168.7.1", "then there is room");

    (void) resolved_within("open.corp.test", 0);
}


int
main(void)
{
    char    json[2048];
    size_t  i;

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    for (i = 0; i < SERVERS; i++) {
        servers[i].udp = bound(SOCK_DGRAM, &servers[i].port);
        servers[i].tcp = bound(SOCK_STREAM, &servers[i].port);
        servers[i].conn = -1;
    }

    map = tn_netmap_create(NULL);
    dns = tn_nodedns_create(&loop, &ops, NULL, "home");

    if (map == NULL || dns == NULL) {
        return 1;
    }

    (void) snprintf(json, sizeof(json),
        "{\"Node\":{\"ID\":2,\"Key\":\"nodekey:%064x\",\"Name\":"
        "\"web.lab.test.\",\"Addresses\":[\"100.64.0.2/32\"]},"
        "\"PeersChanged\":[{\"ID\":1,\"Key\":\"nodekey:%064x\",\"Name\":"
        "\"router.lab.test.\",\"Addresses\":[\"100.64.0.1/32\"],"
        "\"AllowedIPs\":[\"100.64.0.1/32\",\"192.168.7.0/24\","
        "\"fd00::/64\"]}],"
        "\"DNSConfig\":{\"Domains\":[\"lab.test\",\"corp.test\"],\"Routes\":{"
        "\"corp.test.\":[{\"Addr\":\"127.0.0.1:%u\"},"
        "{\"Addr\":\"127.0.0.1:%u\"}],"
        "\"deep.corp.test\":[{\"Addr\":\"127.0.0.1:%u\"}],"
        "\"own.corp.test\":[],\"test\":[{\"Addr\":\"127.0.0.1:%u\"}],"
        "\"inside.test\":[{\"Addr\":\"192.168.7.53\"}],"
        "\"doh.test\":[{\"Addr\":\"https://dns.example.com/dns-query\"}]}}}",
        2, 1, servers[0].port, servers[1].port, servers[1].port,
        servers[0].port);
    netmap_told(map, json);

    test_names();
    test_answers();
    test_time();
    test_many();

    tn_nodedns_destroy(dns);
    tn_netmap_destroy(map);

    for (i = 0; i < SERVERS; i++) {
        tn_ipc_close(&servers[i].udp, 1);
        tn_ipc_close(&servers[i].tcp, 1);
        tn_ipc_close(&servers[i].conn, 1);
    }

    tn_loop_done(&loop);

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * DNS messages of others.  The input is a byte of flags, the length of a
 * query in two bytes, the query, and what the server on loopback answers.  A
 * query is passed on when RFC 1035 calls it one, and only then; what comes
 * back has its ID.
 */

#include "host/tn_resolve_int.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>


#define HEADER      12
#define REPLY_MAX   4096
#define TURNS       4

#define ECHO        0x01        /* the answer follows a copy of the query */
#define SILENT      0x02
#define CANCEL      0x04
#define TWICE       0x08


typedef struct {
    const uint8_t  *query;
    size_t          len;
    const uint8_t  *reply;
    size_t          reply_len;
    uint8_t         flags;
    unsigned        called;
} asked_t;


static tn_loop_t  loop;
static int        server;
static char       name[32];


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(bool good)
{
    if (!good) {
        abort();
    }
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    socklen_t           len;
    struct sockaddr_in  sin;

    (void) argc;
    (void) argv;

    memset(&sin, 0, sizeof(struct sockaddr_in));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);

    server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    check(server != -1
          && bind(server, (struct sockaddr *) &sin, sizeof(sin)) == 0
          && getsockname(server, (struct sockaddr *) &sin, &len) == 0);

    (void) snprintf(name, sizeof(name), "127.0.0.1:%u",
                    (unsigned) ntohs(sin.sin_port));

    check(tn_loop_init(&loop) == TN_OK);

    return 0;
}


static void
on_answer(void *data, const uint8_t *answer, size_t len)
{
    asked_t  *asked;

    asked = data;
    asked->called++;

    check(answer == NULL
          || (len >= HEADER && memcmp(answer, asked->query, 2) == 0));
}


/* by the bits, as RFC 1035 draws them */
static bool
is_query(const uint8_t *q, size_t len)
{
    return len >= HEADER + 5 && len <= TN_RESOLVE_RAW_MAX
           && !(q[2] & 0x80)                    /* QR */
           && !(q[2] >> 3 & 0x0f)               /* OPCODE */
           && q[4] == 0 && q[5] == 1            /* QDCOUNT */
           && q[6] == 0 && q[7] == 0;           /* ANCOUNT */
}


/* one query that has come in, if any has: long ones go over TCP */
static void
serve(const asked_t *asked)
{
    size_t              at;
    ssize_t             n;
    uint8_t             q[TN_RESOLVE_RAW_MAX + 1];
    uint8_t             a[TN_RESOLVE_RAW_MAX + REPLY_MAX];
    socklen_t           len;
    struct sockaddr_in  from;

    len = sizeof(from);
    n = recvfrom(server, q, sizeof(q), 0, (struct sockaddr *) &from, &len);

    if (n == -1) {
        return;
    }

    check(is_query(q, (size_t) n));

    at = 0;

    if (asked->flags & ECHO) {
        memcpy(a, q, (size_t) n);
        a[2] |= 0x80;
        at = (size_t) n;
    }

    n = (ssize_t) tn_min(asked->reply_len, (size_t) REPLY_MAX);
    memcpy(a + at, asked->reply, (size_t) n);
    at += (size_t) n;

    if (at >= 2) {
        memcpy(a, q, 2);
    }

    if (!(asked->flags & SILENT)) {
        (void) sendto(server, a, at, 0, (struct sockaddr *) &from, len);
    }
}


static void
ask(asked_t *asked)
{
    int                turn;
    tn_resolver_t     *resolver;
    tn_resolve_raw_t  *raw;

    resolver = tn_resolve_create(&loop);

    /* nothing leaves the machine */

    check(resolver != NULL
          && ares_set_servers_ports_csv(resolver->channel, name)
             == ARES_SUCCESS);

    raw = tn_resolve_send(resolver, asked->query, asked->len, 1000,
                          on_answer, asked);

    check((raw != NULL) == is_query(asked->query, asked->len)
          && asked->called == 0);

    if (asked->flags & TWICE) {
        (void) tn_resolve_send(resolver, asked->query, asked->len, 1000,
                               on_answer, asked);
    }

    if (raw != NULL && asked->flags & CANCEL) {
        tn_resolve_send_cancel(raw);
    }

    for (turn = 0; turn < TURNS; turn++) {
        serve(asked);
        check(tn_loop_turn(&loop, 0) == TN_OK);
    }

    check(asked->called + !!(asked->flags & CANCEL)
          <= 1u + !!(asked->flags & TWICE));

    tn_resolve_destroy(resolver);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    len;
    asked_t   asked;
    uint8_t  *query, *reply;

    if (size < 3) {
        return 0;
    }

    memset(&asked, 0, sizeof(asked_t));
    asked.flags = data[0];
    len = tn_min((size_t) (data[1] << 8 | data[2]), size - 3);

    /* by themselves, so that a byte too far is seen */

    query = malloc(len ? len : 1);
    reply = malloc(size - 2 - len);
    check(query != NULL && reply != NULL);

    memcpy(query, data + 3, len);
    memcpy(reply, data + 3 + len, size - 3 - len);

    asked.query = query;
    asked.len = len;
    asked.reply = reply;
    asked.reply_len = size - 3 - len;

    ask(&asked);

    free(query);
    free(reply);

    return 0;
}

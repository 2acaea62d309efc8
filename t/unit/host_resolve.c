
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Names to addresses, with a DNS server in a thread of the test and our own
 * /etc/resolv.conf and /etc/hosts, in namespaces of our own.
 */

#include "host/tn_resolve.h"

#include "own_network.h"
#include "tap.h"
#include "turns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mount.h>


#define CONF   0        /* files that stand in for the system's */
#define HOSTS  1


typedef struct {
    int              called;
    tn_rc_t          rc;
    size_t           n;
    tn_ip_t          ips[TN_RESOLVE_MAX];
    char             text[512];
    tn_resolver_t   *destroy;       /* in the callback */
} answer_t;


static tn_loop_t  loop;
static char       files[2][64];


static void
on_answer(void *data, tn_rc_t rc, const tn_ip_t *ips, size_t n,
    const char *text)
{
    answer_t  *answer;

    answer = data;
    answer->called++;
    answer->rc = rc;
    answer->n = n;

    if (rc == TN_OK) {
        memcpy(answer->ips, ips, n * sizeof(tn_ip_t));

    } else {
        (void) snprintf(answer->text, sizeof(answer->text), "%s", text);
    }

    if (answer->destroy != NULL) {
        tn_resolve_destroy(answer->destroy);
    }
}


static bool
holds(const answer_t *answer, const char *text)
{
    size_t   i;
    tn_ip_t  ip;

    (void) tn_ip_parse(&ip, text, strlen(text));

    for (i = 0; i < answer->n; i++) {
        if (tn_ip_equal(&ip, &answer->ips[i])) {
            return true;
        }
    }

    return false;
}


static void
wait_for(answer_t *answer)
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + 20000;

    while (!answer->called && tn_loop_clock_ms() < end) {
        (void) tn_loop_turn(&loop, 100);
    }
}


static void
ask(tn_resolver_t *resolver, answer_t *answer, const char *host)
{
    memset(answer, 0, sizeof(answer_t));

    /* the clock of the loop stands while we do other things */
    (void) tn_loop_turn(&loop, 0);

    if (tn_resolve_start(resolver, host, 5000, on_answer, answer) == NULL) {
        printf("Bail out! tn_resolve_start\n");
        exit(1);
    }

    is_int(answer->called, 0, "no answer inside the question");
    wait_for(answer);
}


/* --- a DNS server that knows a few names */

static size_t
dns_record(uint8_t *p, uint16_t type, const char *text)
{
    size_t  len;

    len = type == 1 ? 4 : 16;

    memcpy(p, "\xc0\x0c\0\0\0\1\0\0\0\0\0\0", 12);
    p[3] = (uint8_t) type;
    p[11] = (uint8_t) len;

    if (inet_pton(type == 1 ? AF_INET : AF_INET6, text, p + 12) != 1) {
        abort();
    }

    return 12 + len;
}


/* makes an answer of the question in place; 0: say nothing */

static size_t
dns_answer(uint8_t *m, size_t len, int server, bool tcp)
{
    char      name[64];
    size_t    i, k, n, pos;
    uint16_t  type;

    pos = 12;
    k = 0;

    while (pos < len && m[pos] != 0 && k + m[pos] + 1u < sizeof(name)) {
        n = m[pos];
        memcpy(name + k, m + pos + 1, n);
        k += n;
        name[k++] = '.';
        pos += n + 1;
    }

    if (pos + 5 > len || k == 0) {
        return 0;
    }

    name[k - 1] = '\0';
    type = m[pos + 2];
    pos += 5;

    for (i = 0; i < k; i++) {
        name[i] |= name[i] >= 'A' && name[i] <= 'Z' ? 0x20 : 0;
    }

    m[2] = 0x85;
    m[3] = 0x80;
    memset(m + 6, 0, 6);

    if (strcmp(name, "slow.test") == 0) {
        return 0;
    }

    if (strcmp(name, "web.test") == 0) {

        if (type == 1) {
            m[7] = 2;
            pos += dns_record(m + pos, 1, "192.0.2.1");
            pos += dns_record(m + pos, 1, "192.0.2.2");

        } else {
            m[7] = 1;
            pos += dns_record(m + pos, 28, "2001:db8::1");
        }

    } else if (strcmp(name, "who.test") == 0) {

        if (type == 1) {
            m[7] = 1;
            pos += dns_record(m + pos, 1,
                              server ? "192.0.2.102" : "192.0.2.101");
        }

    } else if (strcmp(name, "large.test") == 0) {

        if (type == 1 && tcp) {
            m[7] = 1;
            pos += dns_record(m + pos, 1, "192.0.2.9");

        } else if (!tcp) {
            m[2] |= 0x02;       /* truncated */
        }

    } else {
        m[3] |= 3;              /* there is no such name */
    }

    return pos;
}


static void *
dns_run(void *data)
{
    int                      i, fd, stop;
    size_t                   len;
    ssize_t                  n;
    uint8_t                  m[600];
    socklen_t                from_len;
    struct pollfd            fds[4];
    struct sockaddr_in       sin;
    struct sockaddr_storage  from;

    stop = *(int *) data;

    for (i = 0; i < 3; i++) {
        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        sin.sin_port = htons(53);
        sin.sin_addr.s_addr = htonl(i == 1 ? 0x7f000002 : 0x7f000001);

        fds[i].fd = socket(AF_INET, i == 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
        fds[i].events = POLLIN;

        if (bind(fds[i].fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
            || (i == 2 && listen(fds[i].fd, 4) == -1))
        {
            abort();
        }
    }

    fds[3].fd = stop;
    fds[3].events = POLLIN;
    (void) !write(stop, "r", 1);

    while (poll(fds, 4, -1) > 0 && fds[3].revents == 0) {

        for (i = 0; i < 2; i++) {
            if (fds[i].revents == 0) {
                continue;
            }

            from_len = sizeof(from);
            n = recvfrom(fds[i].fd, m, 512, 0, (struct sockaddr *) &from,
                         &from_len);
            len = n > 12 ? dns_answer(m, (size_t) n, i, false) : 0;

            if (len > 0) {
                (void) sendto(fds[i].fd, m, len, 0,
                              (struct sockaddr *) &from, from_len);
            }
        }

        if (fds[2].revents != 0) {
            fd = accept(fds[2].fd, NULL, NULL);

            /* c-ares may send both questions on one connection */
            while (fd != -1 && recv(fd, m, 2, MSG_WAITALL) == 2) {
                n = recv(fd, m + 2, (size_t) m[0] << 8 | m[1], MSG_WAITALL);
                len = n > 12 ? dns_answer(m + 2, (size_t) n, 0, true) : 0;
                m[0] = (uint8_t) (len >> 8);
                m[1] = (uint8_t) len;
                (void) send(fd, m, len + 2, MSG_NOSIGNAL);
            }

            (void) close(fd);
        }
    }

    for (i = 0; i < 3; i++) {
        (void) close(fds[i].fd);
    }

    return NULL;
}


static void
put_file(int which, const char *text)
{
    FILE  *file;

    file = fopen(files[which], "w");

    if (file != NULL) {
        (void) fputs(text, file);
        (void) fclose(file);
    }
}


static bool
own_files(void)
{
    int                i;
    static const char  *real[] = { "/etc/resolv.conf", "/etc/hosts" };

    if (!own_network(CLONE_NEWNS)
        || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
    {
        return false;
    }

    for (i = 0; i < 2; i++) {
        strcpy(files[i], "/tmp/tn_host_resolve.XXXXXX");
        (void) close(mkstemp(files[i]));

        if (mount(files[i], real[i], NULL, MS_BIND, NULL) == -1) {
            return false;
        }
    }

    put_file(CONF, "nameserver 127.0.0.1\n");
    put_file(HOSTS, "127.0.0.1 localhost\n::1 localhost\n"
                    "192.0.2.77 file.test\n");

    return true;
}


static void
test_literals(tn_resolver_t *resolver)
{
    answer_t  answer;

    ask(resolver, &answer, "192.0.2.5");
    ok(answer.rc == TN_OK && answer.n == 1 && holds(&answer, "192.0.2.5"),
       "an IPv4 literal");

    ask(resolver, &answer, "2001:db8::5");
    ok(answer.rc == TN_OK && answer.n == 1 && holds(&answer, "2001:db8::5"),
       "an IPv6 literal");

    ask(resolver, &answer, "localhost");
    ok(answer.rc == TN_OK && holds(&answer, "127.0.0.1"), "localhost");

    ask(resolver, &answer, "");
    is_int(answer.rc, TN_NOTFOUND, "an empty name");
}


static void
test_dns(tn_resolver_t *resolver)
{
    tn_ms_t        begin;
    answer_t       answer, other;
    tn_resolve_t  *question;

    ask(resolver, &answer, "file.test");
    ok(answer.rc == TN_OK && answer.n == 1 && holds(&answer, "192.0.2.77"),
       "a name of the hosts file");

    ask(resolver, &answer, "web.test");
    is_int((long long) answer.n, 3, "a name with three addresses");
    ok(holds(&answer, "192.0.2.1") && holds(&answer, "192.0.2.2")
       && holds(&answer, "2001:db8::1"), "of both families");

    ask(resolver, &answer, "large.test");
    ok(answer.rc == TN_OK && holds(&answer, "192.0.2.9"),
       "an answer by TCP");

    ask(resolver, &answer, "none.test");
    is_int(answer.rc, TN_NOTFOUND, "a name that does not exist");
    is_str(answer.text,
           "could not resolve \"none.test\": Domain name not found",
           "and why");

    /* silence */

    memset(&answer, 0, sizeof(answer_t));
    (void) tn_loop_turn(&loop, 0);
    begin = tn_loop_clock_ms();
    (void) tn_resolve_start(resolver, "slow.test", 300, on_answer, &answer);
    wait_for(&answer);
    is_int(answer.rc, TN_ERROR, "no answer");
    ok(tn_loop_clock_ms() - begin >= 299 && tn_loop_clock_ms() - begin < 1500,
       "is found out in time");
    is_str(answer.text, "could not resolve \"slow.test\": no answer in time",
           "and told");

    /* one question does not hold another */

    memset(&other, 0, sizeof(answer_t));
    (void) tn_resolve_start(resolver, "slow.test", 4000, on_answer, &other);
    ask(resolver, &answer, "web.test");
    is_int((long long) answer.n, 3, "a silent server of one name is enough");
    is_int(other.called, 0, "the other still waits");

    /* cancelled: with c-ares, and with the answer on its way */

    memset(&answer, 0, sizeof(answer_t));
    question = tn_resolve_start(resolver, "web.test", 5000, on_answer,
                                &answer);
    tn_resolve_cancel(question);
    question = tn_resolve_start(resolver, "192.0.2.5", 5000, on_answer,
                                &answer);
    tn_resolve_cancel(question);
    (void) turn_for(&loop, 100);
    is_int(answer.called, 0, "a cancelled question is not answered");
}


static void
test_destroy(void)
{
    answer_t        answer, silent;
    tn_resolver_t  *resolver;

    /* inside a callback, with questions open of all kinds */

    resolver = tn_resolve_create(&loop);
    memset(&answer, 0, sizeof(answer_t));
    memset(&silent, 0, sizeof(answer_t));

    (void) tn_loop_turn(&loop, 0);
    answer.destroy = resolver;
    (void) tn_resolve_start(resolver, "slow.test", 5000, on_answer, &silent);
    (void) tn_resolve_start(resolver, "web.test", 5000, on_answer, &answer);
    wait_for(&answer);
    (void) turn_for(&loop, 50);
    is_int(silent.called, 0, "destroyed by an answer, others are not told");

    resolver = tn_resolve_create(&loop);
    memset(&answer, 0, sizeof(answer_t));
    (void) tn_loop_turn(&loop, 0);
    answer.destroy = resolver;
    (void) tn_resolve_start(resolver, "slow.test", 50, on_answer, &answer);
    (void) tn_resolve_start(resolver, "192.0.2.1", 50, on_answer, &silent);
    wait_for(&silent);
    silent.called = 0;
    wait_for(&answer);
    (void) turn_for(&loop, 50);
    is_int(answer.called, 1, "destroyed by a timeout");

    resolver = tn_resolve_create(&loop);
    (void) tn_resolve_start(resolver, "192.0.2.1", 50, on_answer, &silent);
    tn_resolve_destroy(resolver);
    (void) turn_for(&loop, 20);
    is_int(silent.called, 0, "destroyed before a literal was told");
}


static void
test_change(tn_resolver_t *resolver)
{
    answer_t  answer;

    ask(resolver, &answer, "who.test");
    ok(holds(&answer, "192.0.2.101"), "the first server");

    (void) usleep(20000);       /* for another time stamp */
    put_file(CONF, "nameserver 127.0.0.2\n");

    ask(resolver, &answer, "who.test");
    ok(holds(&answer, "192.0.2.102"), "a changed resolv.conf is obeyed");
}


int
main(void)
{
    int             stop[2];
    char            ready;
    pthread_t       thread;
    tn_resolver_t  *resolver;

    if (!own_files()) {

        if (tn_loop_init(&loop) != TN_OK) {
            return 1;
        }

        resolver = tn_resolve_create(&loop);
        test_literals(resolver);
        ok(true, "DNS # SKIP no namespaces of our own");
        tn_resolve_destroy(resolver);
        tn_loop_done(&loop);

        return tap_done();
    }

    (void) socketpair(AF_UNIX, SOCK_STREAM, 0, stop);
    (void) pthread_create(&thread, NULL, dns_run, &stop[0]);
    (void) !read(stop[1], &ready, 1);

    (void) tn_loop_init(&loop);
    resolver = tn_resolve_create(&loop);

    test_literals(resolver);
    test_dns(resolver);
    test_destroy();

    tn_resolve_destroy(resolver);
    resolver = tn_resolve_create(&loop);
    test_change(resolver);
    tn_resolve_destroy(resolver);
    tn_loop_done(&loop);

    (void) !write(stop[1], "x", 1);
    (void) pthread_join(thread, NULL);

    (void) unlink(files[CONF]);
    (void) unlink(files[HOSTS]);

    return tap_done();
}

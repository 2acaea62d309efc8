
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The host's addresses and word of their change, in a network namespace of
 * our own; where there is none, only that the list can be had.
 */

#include "host/tn_netmon.h"

#include "own_network.h"
#include "tap.h"
#include "turns.h"

#include <stdlib.h>


typedef struct {
    int   told;
    int   major;        /* of these */
    int   moved;        /* of these */
    int   woke;
    int   slept;        /* s, the last time */
} word_t;


static tn_loop_t  loop;


static void
on_change(void *data, tn_netmon_change_e change)
{
    word_t  *word;

    word = data;
    word->told++;
    word->major += change != TN_NETMON_TOUCHED;
    word->moved += change == TN_NETMON_MOVED;
}


static void
on_wake(void *data, tn_ms_t slept)
{
    word_t  *word;

    word = data;
    word->woke++;
    word->slept = (int) (slept / 1000);
}


/* until something is told, or much too long */

static void
turn_told(const word_t *word)
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + 10000;

    while (word->told == 0 && tn_loop_clock_ms() < end) {
        (void) tn_loop_turn(&loop, 10);
    }
}


static bool
run(const char *command)
{
    return system(command) == 0;
}


/* the list as text, "a b c" */

static const char *
list(void)
{
    char         text[TN_ADDR_TEXT];
    size_t       i, n;
    tn_ip_t      ips[TN_NETMON_MAX];
    static char  all[1024];

    all[0] = '\0';
    n = tn_netmon_addrs(ips, TN_NETMON_MAX);

    for (i = 0; i < n && strlen(all) + TN_ADDR_TEXT < sizeof(all); i++) {
        strcat(all, i ? " " : "");
        strcat(all, tn_ip_text(&ips[i], text));
    }

    return all;
}


static void
test_addresses(void)
{
    tn_ip_t  ips[2];

    is_str(list(), "::1 127.0.0.1", "loopback when there is nothing else");

    if (!run("ip link add tnA type veth peer name tnB"
             " && ip addr add 10.9.9.2/24 dev tnA"
             " && ip addr add 10.9.9.1/24 dev tnA"
             " && ip addr add 100.64.0.1/32 dev tnA"
             " && ip addr add 169.254.3.3/16 dev tnA"
             " && ip addr add 2001:db8::1/64 dev tnA nodad"
             " && ip addr add fd7a:115c:a1e0::1/128 dev tnA nodad"))
    {
        ok(true, "addresses # SKIP no interface of our own");
        return;
    }

    is_str(list(), "::1 127.0.0.1", "an interface that is down counts not");

    ok(run("ip link set tnA up && ip link set tnB up"), "up");
    is_str(list(), "10.9.9.1 10.9.9.2 2001:db8::1",
           "usable ones, sorted; no loopback, link-local or tailnet");

    ok(run("ip addr add 10.9.9.1/24 dev tnB"), "one address twice");
    is_str(list(), "10.9.9.1 10.9.9.2 2001:db8::1", "is listed once");

    is_int((long long) tn_netmon_addrs(ips, 2), 2, "no more than asked for");
    is_int((long long) tn_netmon_addrs(ips, 0), 0, "not one");
}


/* what a change of the routes is told as */

static void
say(word_t *word, const char *command, int major, const char *name)
{
    word->told = 0;
    word->major = 0;
    word->moved = 0;
    ok(run(command), "%s", name);
    turn_told(word);
    (void) turn_for(&loop, 400);
    is_int(word->major, major, "is told as what it is");
}


static void
test_default(word_t *word)
{
    say(word, "ip route add default via 10.9.8.9", 1, "a default route");
    say(word, "ip route replace default via 10.9.8.9 mtu 1400", 0,
        "the same again");
    say(word, "ip route add default via 10.9.8.8 metric 9", 0,
        "another, as a reserve");
    say(word, "ip route replace default via 10.9.8.8", 1, "another router");
    say(word, "ip -6 route add default via 2001:db8::9", 0,
        "one of IPv6 beside it");
    say(word, "ip route del default && ip route del default", 1,
        "those of IPv4 go, that of IPv6 stays");
    say(word, "ip -6 route del default", 0, "there is none any more");
    say(word, "ip -6 route add default via 2001:db8::9", 1, "it is back");
    say(word, "ip -6 route replace default via 2001:db8::8", 0,
        "the kernel may take turns with these");
    word->major = 0;
}


/* addresses that nothing which goes outside begins at, and those that do */
static void
test_unused(word_t *word)
{
    say(word, "ip route add default via 10.9.8.9", 1, "a default route again");
    is_int(word->moved, 1, "the machine has moved");

    say(word, "ip link add tnE type veth peer name tnF && ip link set tnE up"
              " && ip addr add 172.31.0.1/16 dev tnE", 1,
        "a network of containers");
    is_int(word->moved, 0, "moves nothing");
    say(word, "ip link del tnE", 1, "and goes");
    is_int(word->moved, 0, "which moves nothing");

    say(word, "ip addr add 2001:db8::77/64 dev tnA nodad valid_lft 3600"
              " preferred_lft 0", 1, "a deprecated address of IPv6");
    is_int(word->moved, 0, "moves nothing");
    say(word, "ip addr del 2001:db8::77/64 dev tnA", 1, "and goes");
    is_int(word->moved, 0, "which moves nothing");

    say(word, "ip addr add 10.9.4.1/24 dev tnA", 1, "another beside its own");
    is_int(word->moved, 0, "moves nothing");
    say(word, "printf 'addr del 10.9.8.1/24 dev tnA\n"
              "addr add 10.9.8.50/24 dev tnA\n"
              "route replace default via 10.9.8.9\n' | ip -batch -", 1,
        "its own is another");
    is_int(word->moved, 1, "the machine has moved");

    say(word, "ip -6 route del default && ip route del default", 0,
        "the default routes go");
    say(word, "ip addr del 10.9.4.1/24 dev tnA", 1, "and an address");
    is_int(word->moved, 1, "which may be what something began at");
    word->major = 0;
}


/* one that has told what there was at its start */
static tn_netmon_t *
monitor(word_t *word)
{
    tn_netmon_t  *netmon;

    memset(word, 0, sizeof(word_t));
    netmon = tn_netmon_create(&loop, on_change, on_wake, word, NULL);
    ok(netmon != NULL, "a monitor");

    (void) turn_for(&loop, 400);
    word->told = 0;
    word->major = 0;

    return netmon;
}


static void
test_word(void)
{
    word_t        word;
    tn_ms_t       begin;
    tn_netmon_t  *netmon;

    netmon = monitor(&word);

    (void) tn_loop_turn(&loop, 0);
    begin = tn_loop_clock_ms();

    /* one program for all: so that they come close together */
    if (!run("printf 'addr add 10.9.8.%s/24 dev tnA\\n' 1 2 3 | ip -batch -"))
    {
        ok(true, "changes # SKIP no interface of our own");
        tn_netmon_destroy(netmon);
        return;
    }

    turn_told(&word);
    ok(tn_loop_clock_ms() - begin >= TN_NETMON_QUIET_MS,
       "word comes when it is quiet");
    (void) turn_for(&loop, 400);
    is_int(word.told, 1, "once for many changes");
    is_int(word.major, 1, "the addresses differ");

    /* what each router advertisement does, and each renewal of a lease */

    ok(run("ip addr add 10.9.5.1/24 dev tnA valid_lft 3600 preferred_lft 3600"
           " && ip addr add 2001:db8:5::1/64 dev tnA nodad valid_lft 3600"
           " preferred_lft 3600"), "addresses for an hour");
    (void) turn_for(&loop, 3000);
    word.told = 0;
    ok(run("ip addr change 10.9.5.1/24 dev tnA valid_lft 7200"
           " preferred_lft 7200 && ip addr change 2001:db8:5::1/64 dev tnA"
           " nodad valid_lft 7200 preferred_lft 7200"), "and for another");
    (void) turn_for(&loop, 700);
    is_int(word.told, 0, "is not told");

    ok(run("ip addr change 2001:db8:5::1/64 dev tnA nodad valid_lft 7200"
           " preferred_lft 0"), "but not to be used any more");
    turn_told(&word);
    ok(word.told >= 1, "is told");
    (void) turn_for(&loop, 400);
    word.major = 0;

    /* the kernel may have more to say of its own (IPv6): at least */

    word.told = 0;
    ok(run("ip route add 192.0.2.0/24 via 10.9.8.9"), "a route");
    turn_told(&word);
    ok(word.told >= 1, "is told");
    is_int(word.major, 0, "as what may matter to nobody");

    /* a container comes and goes */

    word.told = 0;
    ok(run("ip link add tnC type veth peer name tnD"
           " && ip link set tnC up && ip link set tnD up"
           " && ip addr add 169.254.9.9/16 dev tnC"), "a link of others");
    turn_told(&word);
    (void) turn_for(&loop, 3000);
    ok(word.told >= 1, "is told");
    word.told = 0;
    ok(run("ip link del tnC"), "and is gone");
    turn_told(&word);
    (void) turn_for(&loop, 400);
    ok(word.told >= 1, "which is told");
    is_int(word.major, 0, "as what may matter to nobody");

    /* the default route */

    test_default(&word);
    test_unused(&word);

    word.told = 0;
    ok(run("printf 'addr %s 10.9.7.1/24 dev tnA\\n' add del | ip -batch -"),
       "there and back");
    turn_told(&word);
    ok(word.told >= 1, "is told");
    is_int(word.major, 0, "the addresses are the same");

    (void) turn_for(&loop, 400);
    word.told = 0;
    ok(run("ip link set tnA down"), "an interface goes");
    turn_told(&word);
    ok(word.major >= 1, "and its addresses with it");

    /* a change that does not end is told all the same */

    word.told = 0;
    begin = tn_loop_clock_ms();

    while (word.told == 0 && tn_loop_clock_ms() < begin + 6000) {
        (void) run("ip addr add 10.9.7.1/24 dev tnB;"
                   "ip addr del 10.9.7.1/24 dev tnB");
        (void) turn_for(&loop, 100);
    }

    ok(word.told == 1
       && tn_loop_clock_ms() - begin < TN_NETMON_LONGEST_MS + 3000,
       "a change without an end is told in %d ms",
       (int) (tn_loop_clock_ms() - begin));

    (void) run("ip addr add 10.9.7.2/24 dev tnB");
    (void) tn_loop_turn(&loop, 100);
    word.told = 0;
    tn_netmon_destroy(netmon);
    (void) turn_for(&loop, 400);
    is_int(word.told, 0, "nothing is told after its end");
}


/* clocks of our own; those of the machine are left alone */

static void
test_sleep(void)
{
    word_t        word;
    tn_ms_t       mono;
    uint64_t      wall;
    tn_netmon_t  *netmon;

    netmon = monitor(&word);

    mono = tn_loop_clock_ms();
    wall = tn_loop_wall_ns() / 1000000;

    tn_netmon_clocks(netmon, wall, mono);
    tn_netmon_clocks(netmon, wall + 5000, mono);
    is_int(word.woke, 0, "a step of 5 s is no sleep");

    tn_netmon_clocks(netmon, wall - 3600000, mono);
    is_int(word.woke, 0, "nor is one back");

    tn_netmon_clocks(netmon, wall - 3600000 + 7200000, mono + 7200000);
    is_int(word.woke, 0, "nor is time that both clocks know of");
    (void) turn_for(&loop, 400);
    is_int(word.told, 0, "nothing is told");

    tn_netmon_clocks(netmon, wall + 7200000, mono + 7200000);
    is_int(word.woke, 1, "an hour that one knows of alone is");
    is_int(word.slept, 3600, "an hour");
    turn_told(&word);
    ok(word.told >= 1 && word.major >= 1,
       "and told as a change of the network");

    tn_netmon_clocks(netmon, wall + 7201000, mono + 7201000);
    is_int(word.woke, 1, "once");

    tn_netmon_destroy(netmon);
}


int
main(void)
{
    tn_ip_t       ips[TN_NETMON_MAX];
    word_t        word;
    tn_netmon_t  *netmon;

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    ok(tn_netmon_addrs(ips, TN_NETMON_MAX) > 0, "this host has an address");

    memset(&word, 0, sizeof(word_t));
    netmon = tn_netmon_create(&loop, on_change, on_wake, &word, NULL);
    ok(netmon != NULL, "and can be watched");
    tn_netmon_destroy(netmon);

    if (own_network(0)) {
        test_addresses();
        test_word();
        test_sleep();

    } else {
        ok(true, "changes # SKIP no network namespace of our own");
    }

    tn_loop_done(&loop);

    return tap_done();
}

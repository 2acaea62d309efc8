
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The fast checksum against the definition of RFC 1071, at every length and
 * alignment, and against published examples.
 */

#include "tap.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wire/tn_checksum.h"


/* 16-bit words in network order, one after the other; host byte order */
static uint16_t
naive(const uint8_t *p, size_t len)
{
    size_t    i;
    uint32_t  sum;

    sum = 0;

    for (i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t) p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }

    return (uint16_t) sum;
}


/* ones' complement has two zeros; sums that are equal may differ in that */
static bool
same(uint16_t a, uint16_t b)
{
    return a == b || (a % 0xffff == 0 && b % 0xffff == 0);
}


static void
test_naive(void)
{
    int       bad;
    size_t    i, len, at, width, last;
    uint8_t   buf[4096], ones[4096], *page;
    uint64_t  sum;

    memset(ones, 0xff, sizeof(ones));

    /* one page that may be read, and one behind it that must not */

    last = (size_t) sysconf(_SC_PAGESIZE);
    page = mmap(NULL, 2 * last, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || mprotect(page + last, last, PROT_NONE) != 0) {
        perror("mmap");
        exit(1);
    }

    for (i = 0; i < last; i++) {
        page[i] = (uint8_t) (rand() >> 7);
    }

    for (i = 0; i < sizeof(buf); i++) {
        buf[i] = (uint8_t) (rand() >> 7);
    }

    for (width = 16; width <= 64; width *= 2) {
        printf("# by registers of %zu bytes\n", width);
        bad = 0;

        for (len = 0; len < 600; len++) {
            for (at = 0; at < 65; at++) {
                sum = tn_checksum_add_by(width, 0, buf + at, len);
                bad += ntohs(tn_checksum_fold(sum)) != naive(buf + at, len);
            }
        }

        is_int(bad, 0, "equals the definition at every length and alignment");

        bad = 0;

        for (len = 0; len < 2000; len += 2) {
            sum = tn_checksum_add_by(width, 0, buf, len);
            sum = tn_checksum_add_by(width, sum, buf + len,
                                     sizeof(buf) - 1 - len);
            bad += ntohs(tn_checksum_fold(sum))
                   != naive(buf, sizeof(buf) - 1);
        }

        is_int(bad, 0, "a sum can be continued at any even offset");

        bad = 0;

        for (len = 0; len < sizeof(ones); len++) {
            sum = tn_checksum_add_by(width, UINT64_MAX, ones, len);
            bad += !same(ntohs(tn_checksum_fold(sum)), naive(ones, len));
        }

        is_int(bad, 0, "no carry is lost when all bits are set");

        bad = 0;

        for (len = 0; len <= last; len++) {
            sum = tn_checksum_add_by(width, 0, page + last - len, len);
            bad += ntohs(tn_checksum_fold(sum))
                   != naive(page + last - len, len);
        }

        is_int(bad, 0, "nothing is read behind the end");
    }

    (void) munmap(page, 2 * last);

    bad = 0;

    for (len = 0; len < 600; len++) {
        bad += tn_checksum_fold(tn_checksum_add(0, buf, len))
               != tn_checksum_fold(tn_checksum_add_by(16, 0, buf, len));
    }

    is_int(bad, 0, "this machine's choice agrees with them");

    is_int(tn_checksum_fold(0), 0, "nothing sums up to 0");
    is_int(tn_checksum_finish(0), 0xffff, "and is written inverted");
    is_int(tn_checksum_fold(tn_checksum_add_u16(0, 0x1234)), htons(0x1234),
           "a number goes in host order");
}


static void
test_published(void)
{
    uint64_t  sum;
    uint8_t   words[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    uint8_t   ip[] = { 0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40,
                       0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
                       0x00, 0xc7 };
    uint8_t   ping6[] = { 0x60, 0, 0, 0, 0, 8, 58, 64,
                          0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                          0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
                          128, 0, 0, 0, 0, 1, 0, 2 };

    sum = tn_checksum_add(0, words, sizeof(words));
    is_int(ntohs(tn_checksum_fold(sum)), 0xddf2, "the example of RFC 1071, 3");

    tn_checksum_ip4(ip, sizeof(ip));
    is_int(ip[10] << 8 | ip[11], 0xb861, "a well-known IPv4 header");

    sum = tn_checksum_add(0, ip, sizeof(ip));
    is_int(tn_checksum_finish(sum), 0, "a good header sums up to nothing");

    sum = tn_checksum_pseudo(ip, 17, 95);
    is_int(ntohs(tn_checksum_fold(sum)), 0x8289, "IPv4 pseudo-header");

    sum = tn_checksum_pseudo(ping6, 58, 8);
    is_int(ntohs(tn_checksum_fold(sum)), 0xfa46, "IPv6 pseudo-header");
}


int
main(void)
{
    srand(1);

    test_naive();
    test_published();

    return tap_done();
}

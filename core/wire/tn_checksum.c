
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_checksum.h"


#define TN_CHECKSUM_VECTOR  16

/* two 64-bit lanes, which every compiler turns into SIMD or plain words */
typedef uint64_t tn_checksum_lanes_t
    __attribute__((vector_size(TN_CHECKSUM_VECTOR)));


#ifdef __x86_64__

#define TN_CHECKSUM_WIDE  32

typedef uint64_t tn_checksum_wide_t
    __attribute__((vector_size(TN_CHECKSUM_WIDE)));


/* whole blocks of 64 bytes, at least one, for a CPU with AVX2 */
__attribute__((target("avx2")))
static uint64_t
tn_checksum_avx2(uint64_t sum, const uint8_t *p, size_t len)
{
    int                 i;
    tn_checksum_wide_t  a, b, x, y;

    a = (tn_checksum_wide_t) { 0, 0, 0, 0 };
    b = a;

    do {
        memcpy(&x, p, TN_CHECKSUM_WIDE);
        memcpy(&y, p + TN_CHECKSUM_WIDE, TN_CHECKSUM_WIDE);

        a += (x & 0xffffffff) + (y & 0xffffffff);
        b += (x >> 32) + (y >> 32);

        p += 2 * TN_CHECKSUM_WIDE;
        len -= 2 * TN_CHECKSUM_WIDE;

    } while (len >= 2 * TN_CHECKSUM_WIDE);

    a += b;

    for (i = 0; i < 4; i++) {
        sum = tn_checksum_join(sum, a[i]);
    }

    return sum;
}

#endif


/*
 * Ones' complement addition does not care how the 16-bit words are grouped
 * (RFC 1071, 2), so 32-bit words are added into 64-bit lanes, which cannot
 * overflow before 16 GB.
 */

uint64_t
tn_checksum_add(uint64_t sum, const void *data, size_t len)
{
    uint16_t             w2;
    uint32_t             w4;
    uint64_t             w8;
    const uint8_t       *p;
    tn_checksum_lanes_t  a, b, x, y;

    p = data;

#ifdef __x86_64__

    if (len >= 4 * TN_CHECKSUM_WIDE && __builtin_cpu_supports("avx2")) {
        sum = tn_checksum_avx2(sum, p, len);
        p += len & ~(size_t) (2 * TN_CHECKSUM_WIDE - 1);
        len &= 2 * TN_CHECKSUM_WIDE - 1;
    }

#endif

    if (len >= 2 * TN_CHECKSUM_VECTOR) {
        a = (tn_checksum_lanes_t) { 0, 0 };
        b = a;

        do {
            memcpy(&x, p, TN_CHECKSUM_VECTOR);
            memcpy(&y, p + TN_CHECKSUM_VECTOR, TN_CHECKSUM_VECTOR);

            a += (x & 0xffffffff) + (y & 0xffffffff);
            b += (x >> 32) + (y >> 32);

            p += 2 * TN_CHECKSUM_VECTOR;
            len -= 2 * TN_CHECKSUM_VECTOR;

        } while (len >= 2 * TN_CHECKSUM_VECTOR);

        a += b;
        sum = tn_checksum_join(sum, a[0]);
        sum = tn_checksum_join(sum, a[1]);
    }

    while (len >= 8) {
        memcpy(&w8, p, 8);
        sum = tn_checksum_join(sum, w8);
        p += 8;
        len -= 8;
    }

    if (len & 4) {
        memcpy(&w4, p, 4);
        sum = tn_checksum_join(sum, w4);
        p += 4;
    }

    if (len & 2) {
        memcpy(&w2, p, 2);
        sum = tn_checksum_join(sum, w2);
        p += 2;
    }

    if (len & 1) {
        w2 = 0;
        memcpy(&w2, p, 1);
        sum = tn_checksum_join(sum, w2);
    }

    return sum;
}


uint64_t
tn_checksum_pseudo(const uint8_t *ip, uint8_t proto, uint32_t len)
{
    uint64_t  sum;

    /* RFC 9293 3.1, RFC 8200 8.1: addresses, zero, protocol, length */

    if (ip[0] >> 4 == 4) {
        sum = tn_checksum_add(0, ip + 12, 8);

    } else {
        sum = tn_checksum_add(0, ip + 8, 32);
    }

    sum = tn_checksum_join(sum, htonl(len));

    return tn_checksum_join(sum, htons(proto));
}


void
tn_checksum_ip4(uint8_t *ip, size_t len)
{
    uint16_t  sum;

    memset(ip + 10, 0, 2);
    sum = tn_checksum_finish(tn_checksum_add(0, ip, len));
    memcpy(ip + 10, &sum, 2);
}

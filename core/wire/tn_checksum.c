
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_checksum.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif


#define TN_CHECKSUM_BLOCK  64
#define TN_CHECKSUM_SHORT  24       /* as fast without vectors */

/* four 64-bit lanes, which every compiler turns into what the target has */
typedef uint64_t tn_checksum_lanes_t __attribute__((vector_size(32)));


/*
 * Ones' complement addition does not care how the 16-bit words are grouped
 * (RFC 1071, 2), so 32-bit words are added into 64-bit lanes, which cannot
 * overflow before 16 GB.  Whole blocks, at least one.
 */

static inline __attribute__((always_inline)) uint64_t
tn_checksum_blocks(uint64_t sum, const uint8_t *p, size_t len)
{
    int                  i;
    tn_checksum_lanes_t  a, b, x, y;

    a = (tn_checksum_lanes_t) { 0, 0, 0, 0 };
    b = a;

    do {
        memcpy(&x, p, sizeof(x));
        memcpy(&y, p + sizeof(x), sizeof(y));

        a += (x & 0xffffffff) + (y & 0xffffffff);
        b += (x >> 32) + (y >> 32);

        p += TN_CHECKSUM_BLOCK;
        len -= TN_CHECKSUM_BLOCK;

    } while (len >= TN_CHECKSUM_BLOCK);

    a += b;

    for (i = 0; i < 4; i++) {
        sum = tn_checksum_join(sum, a[i]);
    }

    return sum;
}


#ifdef __x86_64__

__attribute__((target("avx2")))
static uint64_t
tn_checksum_avx2(uint64_t sum, const uint8_t *p, size_t len)
{
    return tn_checksum_blocks(sum, p, len);
}


#define ADD(a, x)                                                             \
    a[0] = _mm512_add_epi64(a[0], _mm512_and_si512(x, low));                  \
    a[1] = _mm512_add_epi64(a[1], _mm512_srli_epi64(x, 32))


/* any length, also that which is no whole block */
__attribute__((target("avx512f,avx512bw")))
static uint64_t
tn_checksum_avx512(uint64_t sum, const uint8_t *p, size_t len)
{
    __m512i  a[2], b[2], x, y, low;

    low = _mm512_set1_epi64(0xffffffff);
    a[0] = a[1] = b[0] = b[1] = _mm512_setzero_si512();

    while (len >= 2 * TN_CHECKSUM_BLOCK) {
        x = _mm512_loadu_si512(p);
        y = _mm512_loadu_si512(p + TN_CHECKSUM_BLOCK);
        ADD(a, x);
        ADD(b, y);

        p += 2 * TN_CHECKSUM_BLOCK;
        len -= 2 * TN_CHECKSUM_BLOCK;
    }

    if (len >= TN_CHECKSUM_BLOCK) {
        x = _mm512_loadu_si512(p);
        ADD(a, x);

        p += TN_CHECKSUM_BLOCK;
        len -= TN_CHECKSUM_BLOCK;
    }

    y = _mm512_maskz_loadu_epi8(((uint64_t) 1 << len) - 1, p);
    ADD(b, y);

    a[0] = _mm512_add_epi64(_mm512_add_epi64(a[0], b[0]),
                            _mm512_add_epi64(a[1], b[1]));

    return tn_checksum_join(sum, (uint64_t) _mm512_reduce_add_epi64(a[0]));
}

#endif


static inline __attribute__((always_inline)) uint64_t
tn_checksum_any(size_t width, uint64_t sum, const void *data, size_t len)
{
    uint16_t        w2;
    uint32_t        w4;
    uint64_t        w8;
    const uint8_t  *p;

    p = data;

#ifdef __x86_64__

    if (len >= TN_CHECKSUM_SHORT && width >= 64
        && __builtin_cpu_supports("avx512bw"))
    {
        return tn_checksum_avx512(sum, p, len);
    }

#else
    (void) width;
#endif

    if (len >= TN_CHECKSUM_BLOCK) {

#ifdef __x86_64__

        if (width >= 32 && __builtin_cpu_supports("avx2")) {
            sum = tn_checksum_avx2(sum, p, len);

        } else

#endif

        {
            sum = tn_checksum_blocks(sum, p, len);
        }

        p += len & ~(size_t) (TN_CHECKSUM_BLOCK - 1);
        len &= TN_CHECKSUM_BLOCK - 1;
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
tn_checksum_add(uint64_t sum, const void *data, size_t len)
{
    return tn_checksum_any(SIZE_MAX, sum, data, len);
}


uint64_t
tn_checksum_add_by(size_t width, uint64_t sum, const void *data, size_t len)
{
    return tn_checksum_any(width, sum, data, len);
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

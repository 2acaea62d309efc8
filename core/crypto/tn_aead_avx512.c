
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ChaCha20-Poly1305 of many messages side by side, by AVX-512.
 *
 * A library takes one message at a time: of its 16 lanes those behind the
 * message's end are idle, and Poly1305, where each block waits for the one
 * before, needs powers of r and a reduction for each message.  Under one key
 * with many messages neither is so.
 *
 * ChaCha20: a pass makes 16 blocks, each in a lane of its own, and the lanes
 * are filled from one message after the other, so that only the last pass of
 * all has idle ones.  One pass has four chains of operations that wait for each
 * other, which is half of what a CPU with two cycles for each can do: two
 * passes run at once, in all 32 registers.  The blocks that are Poly1305's
 * keys come first.
 *
 * Poly1305: eight messages, each in a 64-bit lane with its own r.  The number
 * is kept in limbs of 44, 44 and 42 bits, so that VPMADD52 multiplies them
 * and 2^130 = 5 folds the upper half back: what is over 2^132, the weight of a
 * fourth limb, counts 20 times.  Four blocks at a time, by r^4 to r, share the
 * carrying; and two groups of eight run at once.
 *
 * Messages are taken in tiles of up to 16, whose bytes stay in the nearest
 * cache between the two.  Neither branches nor addresses depend on anything
 * but lengths.
 */

#include "tn_aead_int.h"

#ifdef TN_HAVE_AVX512

#include <immintrin.h>


#define TN_AVX512                                                             \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512ifma")))
#define TN_AVX512_INLINE                                                      \
    static inline __attribute__((always_inline)) TN_AVX512

#define TN_AEAD_TILE   16
#define TN_AEAD_LANES  32           /* of two passes */
#define TN_AEAD_BLOCK  64
#define TN_AEAD_GROUP  8            /* messages of one Poly1305 */
#define TN_AEAD_PAIR   800          /* bytes of two, see docs/performance.md */

#define M44  0xfffffffffff
#define M42  0x3ffffffffff

typedef struct {
    size_t           n;             /* messages */
    const uint32_t  *key;
    const uint8_t   *src[TN_AEAD_TILE];
    uint8_t         *dst[TN_AEAD_TILE];
    size_t           len[TN_AEAD_TILE];         /* of the text */
    uint32_t         nonce[3][TN_AEAD_TILE] __attribute__((aligned(64)));

    /* the next block: of which message, and which of it */
    size_t           at;
    size_t           block;

    /* of the lanes of two passes */
    uint32_t         message[TN_AEAD_LANES] __attribute__((aligned(64)));
    uint32_t         counter[TN_AEAD_LANES] __attribute__((aligned(64)));
    const uint8_t   *from[TN_AEAD_LANES];
    uint8_t         *to[TN_AEAD_LANES];
    uint64_t         mask[TN_AEAD_LANES];       /* of its bytes */
    bool             partial;

    /* what the rounds leave of the second pass */
    __m512i          state[16];

    /* of the first passes: a key of each message, then for blocks of text;
     * and of those with idle lanes or cut blocks */
    uint8_t          first[TN_AEAD_LANES][TN_AEAD_BLOCK]
                         __attribute__((aligned(64)));
    uint8_t          stream[TN_AEAD_LANES][TN_AEAD_BLOCK]
                         __attribute__((aligned(64)));
    uint8_t          tag[TN_AEAD_TILE][TN_AEAD_TAG]
                         __attribute__((aligned(64)));
} tn_aead_tile_t;

/* of one group */
typedef struct {
    __m512i          r[3];
    __m512i          s1, s2;        /* 20 times r[1] and r[2] */
} tn_aead_power_t;

typedef struct {
    __m512i          h0, h1, h2;
    tn_aead_power_t  power[4];      /* r to r^4 */
    __m512i          end[2];        /* the other half of the key */
} tn_aead_poly_t;


static bool tn_aead_avx512_usable(void);
static bool tn_aead_avx512_takes(const tn_aead_job_t *jobs, size_t n);
static void tn_aead_avx512_seal(const tn_key_t *key, tn_aead_job_t *jobs,
    size_t n);
static void tn_aead_avx512_open(const tn_key_t *key, tn_aead_job_t *jobs,
    size_t n);


const tn_aead_many_t  tn_aead_avx512 = {
    "AVX-512",
    tn_aead_avx512_usable,
    tn_aead_avx512_takes,
    tn_aead_avx512_seal,
    tn_aead_avx512_open
};


/* the compiler's runtime asks the operating system too, by XGETBV */
static bool
tn_aead_avx512_usable(void)
{
    __builtin_cpu_init();

    return __builtin_cpu_supports("avx512f")
           && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512vl")
           && __builtin_cpu_supports("avx512ifma");
}


/* three are enough; of two what counts is what has to be done for any */
static bool
tn_aead_avx512_takes(const tn_aead_job_t *jobs, size_t n)
{
    return n > 2 || (n == 2 && jobs[0].len + jobs[1].len <= TN_AEAD_PAIR);
}


/* --- ChaCha20 */

/* a third of a quarter round.  So written that no compiler wants a register
 * beyond those of its operands, for there is none */
#define STEP(a, b, d, n)                                                      \
    __asm__("vpaddd %2, %0, %0\n\t"                                           \
            "vpxord %0, %1, %1\n\t"                                           \
            "vprold $" #n ", %1, %1" : "+v" (a), "+v" (d) : "v" (b))

#define STEPS1(v, n, a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3)          \
    STEP(v[a0], v[b0], v[d0], n); STEP(v[a1], v[b1], v[d1], n);               \
    STEP(v[a2], v[b2], v[d2], n); STEP(v[a3], v[b3], v[d3], n)

#define STEPS2(v, w, n, a0, b0, d0, a1, b1, d1, a2, b2, d2, a3, b3, d3)       \
    STEP(v[a0], v[b0], v[d0], n); STEP(w[a0], w[b0], w[d0], n);               \
    STEP(v[a1], v[b1], v[d1], n); STEP(w[a1], w[b1], w[d1], n);               \
    STEP(v[a2], v[b2], v[d2], n); STEP(w[a2], w[b2], w[d2], n);               \
    STEP(v[a3], v[b3], v[d3], n); STEP(w[a3], w[b3], w[d3], n)

/* columns, then diagonals */
#define ROUNDS(STEPS, ...)                                                    \
    STEPS(__VA_ARGS__, 16, 0, 4, 12, 1, 5, 13, 2, 6, 14, 3, 7, 15);           \
    STEPS(__VA_ARGS__, 12, 8, 12, 4, 9, 13, 5, 10, 14, 6, 11, 15, 7);         \
    STEPS(__VA_ARGS__, 8, 0, 4, 12, 1, 5, 13, 2, 6, 14, 3, 7, 15);            \
    STEPS(__VA_ARGS__, 7, 8, 12, 4, 9, 13, 5, 10, 14, 6, 11, 15, 7);          \
    STEPS(__VA_ARGS__, 16, 0, 5, 15, 1, 6, 12, 2, 7, 13, 3, 4, 14);           \
    STEPS(__VA_ARGS__, 12, 10, 15, 5, 11, 12, 6, 8, 13, 7, 9, 14, 4);         \
    STEPS(__VA_ARGS__, 8, 0, 5, 15, 1, 6, 12, 2, 7, 13, 3, 4, 14);            \
    STEPS(__VA_ARGS__, 7, 10, 15, 5, 11, 12, 6, 8, 13, 7, 9, 14, 4)

/* four rows of 128-bit quarters become columns */
#define QUADS(o0, o1, o2, o3, i0, i1, i2, i3)                                 \
    do {                                                                      \
        __m512i  a_, b_, c_, d_;                                              \
                                                                              \
        a_ = _mm512_shuffle_i32x4(i0, i1, 0x44);                              \
        b_ = _mm512_shuffle_i32x4(i2, i3, 0x44);                              \
        c_ = _mm512_shuffle_i32x4(i0, i1, 0xee);                              \
        d_ = _mm512_shuffle_i32x4(i2, i3, 0xee);                              \
        o0 = _mm512_shuffle_i32x4(a_, b_, 0x88);                              \
        o1 = _mm512_shuffle_i32x4(a_, b_, 0xdd);                              \
        o2 = _mm512_shuffle_i32x4(c_, d_, 0x88);                              \
        o3 = _mm512_shuffle_i32x4(c_, d_, 0xdd);                              \
    } while (0)

/* words i to i + 3 of 16 blocks: those of block 4q + k into quarter q of k */
#define WORDS(i)                                                              \
    do {                                                                      \
        __m512i  a_, b_, c_, d_;                                              \
                                                                              \
        a_ = _mm512_unpacklo_epi32(x[i], x[i + 1]);                           \
        b_ = _mm512_unpackhi_epi32(x[i], x[i + 1]);                           \
        c_ = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);                       \
        d_ = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);                       \
        x[i] = _mm512_unpacklo_epi64(a_, c_);                                 \
        x[i + 1] = _mm512_unpackhi_epi64(a_, c_);                             \
        x[i + 2] = _mm512_unpacklo_epi64(b_, d_);                             \
        x[i + 3] = _mm512_unpackhi_epi64(b_, d_);                             \
    } while (0)

#define KEYED(i)   _mm512_set1_epi32((int) t->key[i - 4])
#define CONST(i)   _mm512_set1_epi32((int) tn_aead_avx512_const[i])

/* "expand 32-byte k" */
static const uint32_t  tn_aead_avx512_const[4] = {
    0x61707865, 0x3320646e, 0x79622d32, 0x6b206574
};


/* a word of the nonces of lanes 16 * half and on */
TN_AVX512_INLINE __m512i
tn_aead_avx512_nonce(const tn_aead_tile_t *t, int half, int word)
{
    return _mm512_permutexvar_epi32(
               _mm512_load_si512(t->message + 16 * half),
               _mm512_load_si512(t->nonce[word]));
}


/* RFC 8439, 2.3 */
TN_AVX512_INLINE void
tn_aead_avx512_start(const tn_aead_tile_t *t, int half, __m512i x[16])
{
    x[0] = CONST(0);
    x[1] = CONST(1);
    x[2] = CONST(2);
    x[3] = CONST(3);
    x[4] = KEYED(4);
    x[5] = KEYED(5);
    x[6] = KEYED(6);
    x[7] = KEYED(7);
    x[8] = KEYED(8);
    x[9] = KEYED(9);
    x[10] = KEYED(10);
    x[11] = KEYED(11);
    x[12] = _mm512_load_si512(t->counter + 16 * half);
    x[13] = tn_aead_avx512_nonce(t, half, 0);
    x[14] = tn_aead_avx512_nonce(t, half, 1);
    x[15] = tn_aead_avx512_nonce(t, half, 2);
}


#define ADD(i, v)  x[i] = _mm512_add_epi32(x[i], v)


/* what the rounds leave becomes the blocks of 16 lanes, one in each register */
TN_AVX512_INLINE void
tn_aead_avx512_blocks(const tn_aead_tile_t *t, int half, __m512i x[16],
    __m512i o[16])
{
    ADD(0, CONST(0));
    ADD(1, CONST(1));
    ADD(2, CONST(2));
    ADD(3, CONST(3));
    ADD(4, KEYED(4));
    ADD(5, KEYED(5));
    ADD(6, KEYED(6));
    ADD(7, KEYED(7));
    ADD(8, KEYED(8));
    ADD(9, KEYED(9));
    ADD(10, KEYED(10));
    ADD(11, KEYED(11));
    ADD(12, _mm512_load_si512(t->counter + 16 * half));
    ADD(13, tn_aead_avx512_nonce(t, half, 0));
    ADD(14, tn_aead_avx512_nonce(t, half, 1));
    ADD(15, tn_aead_avx512_nonce(t, half, 2));

    WORDS(0);
    WORDS(4);
    WORDS(8);
    WORDS(12);

    QUADS(o[0], o[4], o[8], o[12], x[0], x[4], x[8], x[12]);
    QUADS(o[1], o[5], o[9], o[13], x[1], x[5], x[9], x[13]);
    QUADS(o[2], o[6], o[10], o[14], x[2], x[6], x[10], x[14]);
    QUADS(o[3], o[7], o[11], o[15], x[3], x[7], x[11], x[15]);
}


#define STREAM(i)  _mm512_store_si512(stream + 16 * half + i, o[i])

#define CRYPT(i)                                                              \
    _mm512_storeu_si512(t->to[16 * half + i],                                 \
        _mm512_xor_si512(_mm512_loadu_si512(t->from[16 * half + i]), o[i]))


/* puts them there, or when that is NULL right over whole blocks of text */
TN_AVX512_INLINE void
tn_aead_avx512_put(const tn_aead_tile_t *t, int half, const __m512i o[16],
    uint8_t (*stream)[TN_AEAD_BLOCK])
{
    if (stream != NULL) {
        STREAM(0); STREAM(1); STREAM(2); STREAM(3);
        STREAM(4); STREAM(5); STREAM(6); STREAM(7);
        STREAM(8); STREAM(9); STREAM(10); STREAM(11);
        STREAM(12); STREAM(13); STREAM(14); STREAM(15);

    } else {
        CRYPT(0); CRYPT(1); CRYPT(2); CRYPT(3);
        CRYPT(4); CRYPT(5); CRYPT(6); CRYPT(7);
        CRYPT(8); CRYPT(9); CRYPT(10); CRYPT(11);
        CRYPT(12); CRYPT(13); CRYPT(14); CRYPT(15);
    }
}


#define KEEP(i)   t->state[i] = y[i]
#define FETCH(i)  y[i] = t->state[i]

/* over this no compiler moves what is kept */
#define FENCE()   __asm__ volatile("" ::: "memory")


/* functions of their own, in whose rounds nothing else wants a register */

TN_AVX512 static __attribute__((noinline)) void
tn_aead_avx512_one(tn_aead_tile_t *t, uint8_t (*stream)[TN_AEAD_BLOCK])
{
    int      i;
    __m512i  x[16], o[16];

    tn_aead_avx512_start(t, 0, x);

    for (i = 0; i < 10; i++) {
        ROUNDS(STEPS1, x);
    }

    tn_aead_avx512_blocks(t, 0, x, o);
    tn_aead_avx512_put(t, 0, o, stream);
}


TN_AVX512 static __attribute__((noinline)) void
tn_aead_avx512_two(tn_aead_tile_t *t, uint8_t (*stream)[TN_AEAD_BLOCK])
{
    int      i;
    __m512i  x[16], y[16], o[16];

    tn_aead_avx512_start(t, 0, x);
    tn_aead_avx512_start(t, 1, y);

    for (i = 0; i < 10; i++) {
        ROUNDS(STEPS2, x, y);
    }

    /* the second makes room for the first, whole: left to choose, a compiler
     * keeps parts of both, and many of them more than once */

    KEEP(0); KEEP(1); KEEP(2); KEEP(3);
    KEEP(4); KEEP(5); KEEP(6); KEEP(7);
    KEEP(8); KEEP(9); KEEP(10); KEEP(11);
    KEEP(12); KEEP(13); KEEP(14); KEEP(15);
    FENCE();

    tn_aead_avx512_blocks(t, 0, x, o);
    tn_aead_avx512_put(t, 0, o, stream);

    FENCE();
    FETCH(0); FETCH(1); FETCH(2); FETCH(3);
    FETCH(4); FETCH(5); FETCH(6); FETCH(7);
    FETCH(8); FETCH(9); FETCH(10); FETCH(11);
    FETCH(12); FETCH(13); FETCH(14); FETCH(15);

    tn_aead_avx512_blocks(t, 1, y, o);
    tn_aead_avx512_put(t, 1, o, stream);
}


/* one pass or two, as the lanes up to `end` need */
static void
tn_aead_avx512_pass(tn_aead_tile_t *t, size_t end,
    uint8_t (*stream)[TN_AEAD_BLOCK])
{
    if (end <= 16) {
        tn_aead_avx512_one(t, stream);

    } else {
        tn_aead_avx512_two(t, stream);
    }
}


#define WHERE(i)                                                              \
    from[i] = _mm512_mask_add_epi64(from[i], (__mmask8) (mask >> 8 * i),      \
                  _mm512_set1_epi64((long long) (src + 512 * i)), offset);    \
    to[i] = _mm512_mask_add_epi64(to[i], (__mmask8) (mask >> 8 * i),          \
                _mm512_set1_epi64((long long) (dst + 512 * i)), offset)

#define WHICH(i)                                                              \
    message[i] = _mm512_mask_mov_epi32(message[i],                            \
                     (__mmask16) (mask >> 16 * i),                            \
                     _mm512_set1_epi32((int) t->at));                         \
    counter[i] = _mm512_mask_add_epi32(counter[i],                            \
                     (__mmask16) (mask >> 16 * i),                            \
                     _mm512_set1_epi32((int) (t->block + 1 - lane + 16 * i)), \
                     count)


/*
 * Gives blocks of text to the lanes from `lane` on, the others being of the
 * keys; returns the first idle.  What the lanes do is stored in whole vectors,
 * as parts would have to reach the cache before it could be loaded.
 */

TN_AVX512 static size_t
tn_aead_avx512_lanes(tn_aead_tile_t *t, size_t lane)
{
    size_t     i, len, left, run;
    __m512i    from[4], to[4], message[2], counter[2], count, offset;
    uint64_t   mask, src, dst;

    if (t->partial) {
        for (i = 0; i < TN_AEAD_LANES; i++) {
            t->mask[i] = UINT64_MAX;
        }

        t->partial = false;
    }

    count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                              14, 15);
    offset = _mm512_setr_epi64(0, 64, 128, 192, 256, 320, 384, 448);

    message[0] = count;
    message[1] = counter[0] = counter[1] = _mm512_setzero_si512();
    from[0] = from[1] = from[2] = from[3] = _mm512_setzero_si512();
    to[0] = to[1] = to[2] = to[3] = _mm512_setzero_si512();

    while (lane < TN_AEAD_LANES && t->at < t->n) {
        len = t->len[t->at];
        left = (len + TN_AEAD_BLOCK - 1) / TN_AEAD_BLOCK - t->block;

        if (left == 0) {
            t->at++;
            t->block = 0;
            continue;
        }

        run = tn_min(left, TN_AEAD_LANES - lane);
        mask = (((uint64_t) 1 << run) - 1) << lane;

        /* as if the run began in lane 0, which may be before the message:
         * so these are numbers */

        src = (uintptr_t) t->src[t->at] + (t->block - lane) * TN_AEAD_BLOCK;
        dst = (uintptr_t) t->dst[t->at] + (t->block - lane) * TN_AEAD_BLOCK;

        WHERE(0); WHERE(1); WHERE(2); WHERE(3);
        WHICH(0); WHICH(1);

        lane += run;
        t->block += run;

        if (run == left && len % TN_AEAD_BLOCK != 0) {
            t->mask[lane - 1] = ((uint64_t) 1 << len % TN_AEAD_BLOCK) - 1;
            t->partial = true;
        }
    }

    _mm512_store_si512(t->message, message[0]);
    _mm512_store_si512(t->message + 16, message[1]);
    _mm512_store_si512(t->counter, counter[0]);
    _mm512_store_si512(t->counter + 16, counter[1]);

    for (i = 0; i < 4; i++) {
        _mm512_storeu_si512(t->from + 8 * i, from[i]);
        _mm512_storeu_si512(t->to + 8 * i, to[i]);
    }

    return lane;
}


/* the text of lanes `first` to `end` - 1 */
TN_AVX512 static void
tn_aead_avx512_crypt(const tn_aead_tile_t *t,
    uint8_t (*stream)[TN_AEAD_BLOCK], size_t first, size_t end)
{
    size_t     i;
    __m512i    v;
    __mmask64  mask;

    for (i = first; i < end; i++) {
        mask = t->mask[i];
        v = _mm512_maskz_loadu_epi8(mask, t->from[i]);
        v = _mm512_xor_si512(v, _mm512_load_si512(stream[i]));
        _mm512_mask_storeu_epi8(t->to[i], mask, v);
    }
}


/* makes all keys, and the stream for the lanes that are left; their end */
TN_AVX512 static size_t
tn_aead_avx512_keys(tn_aead_tile_t *t)
{
    size_t  end;

    t->at = 0;
    t->block = 0;
    t->partial = true;

    end = tn_aead_avx512_lanes(t, t->n);
    tn_aead_avx512_pass(t, end, t->first);

    return end;
}


/* the text: of the first passes, and behind it */
TN_AVX512 static void
tn_aead_avx512_text(tn_aead_tile_t *t, size_t end)
{
    tn_aead_avx512_crypt(t, t->first, t->n, end);

    for ( ;; ) {
        end = tn_aead_avx512_lanes(t, 0);

        if (end == 0) {
            return;
        }

        if (tn_likely(end % 16 == 0 && !t->partial)) {
            tn_aead_avx512_pass(t, end, NULL);

        } else {
            tn_aead_avx512_pass(t, end, t->stream);
            tn_aead_avx512_crypt(t, t->stream, 0, end);
        }
    }
}


/* --- Poly1305 */

/* eight rows of 64 bits become columns */
#define COLUMNS(o, i)                                                         \
    do {                                                                      \
        __m512i  t0_, t1_, t2_, t3_, t4_, t5_, t6_, t7_;                      \
                                                                              \
        t0_ = _mm512_unpacklo_epi64(i[0], i[1]);                              \
        t1_ = _mm512_unpackhi_epi64(i[0], i[1]);                              \
        t2_ = _mm512_unpacklo_epi64(i[2], i[3]);                              \
        t3_ = _mm512_unpackhi_epi64(i[2], i[3]);                              \
        t4_ = _mm512_unpacklo_epi64(i[4], i[5]);                              \
        t5_ = _mm512_unpackhi_epi64(i[4], i[5]);                              \
        t6_ = _mm512_unpacklo_epi64(i[6], i[7]);                              \
        t7_ = _mm512_unpackhi_epi64(i[6], i[7]);                              \
        QUADS(o[0], o[2], o[4], o[6], t0_, t2_, t4_, t6_);                    \
        QUADS(o[1], o[3], o[5], o[7], t1_, t3_, t5_, t7_);                    \
    } while (0)

#define LO(a, b, c)  _mm512_madd52lo_epu64(a, b, c)
#define HI(a, b, c)  _mm512_madd52hi_epu64(a, b, c)
#define PLUS(a, b)   _mm512_add_epi64(a, b)
#define AND(a, b)    _mm512_and_si512(a, _mm512_set1_epi64(b))
#define RIGHT(a, n)  _mm512_srli_epi64(a, n)
#define LEFT(a, n)   _mm512_slli_epi64(a, n)


/* the limbs of a block and of 2^128 behind it */
TN_AVX512_INLINE void
tn_aead_avx512_limbs(__m512i b[3], __m512i lo, __m512i hi)
{
    b[0] = AND(lo, M44);
    b[1] = AND(_mm512_or_si512(RIGHT(lo, 44), LEFT(hi, 20)), M44);
    b[2] = _mm512_or_si512(RIGHT(hi, 24), _mm512_set1_epi64(1LL << 40));
}


/* adds b times a power of r to the lower and upper halves */
TN_AVX512_INLINE void
tn_aead_avx512_times(__m512i l[3], __m512i u[3], const __m512i b[3],
    const tn_aead_power_t *p)
{
    l[0] = LO(LO(LO(l[0], b[2], p->s1), b[1], p->s2), b[0], p->r[0]);
    u[0] = HI(HI(HI(u[0], b[2], p->s1), b[1], p->s2), b[0], p->r[0]);
    l[1] = LO(LO(LO(l[1], b[2], p->s2), b[1], p->r[0]), b[0], p->r[1]);
    u[1] = HI(HI(HI(u[1], b[2], p->s2), b[1], p->r[0]), b[0], p->r[1]);
    l[2] = LO(LO(LO(l[2], b[2], p->r[0]), b[1], p->r[1]), b[0], p->r[2]);
    u[2] = HI(HI(HI(u[2], b[2], p->r[0]), b[1], p->r[1]), b[0], p->r[2]);
}


/* an upper half weighs 2^52 of its limb, thus 2^8 of the next, or 2^10 */
TN_AVX512_INLINE void
tn_aead_avx512_carry(tn_aead_poly_t *p, __m512i l[3], const __m512i u[3])
{
    __m512i  c, h0;

    c = PLUS(RIGHT(l[0], 44), LEFT(u[0], 8));
    l[1] = PLUS(l[1], c);
    c = PLUS(RIGHT(l[1], 44), LEFT(u[1], 8));
    l[2] = PLUS(l[2], c);
    c = PLUS(RIGHT(l[2], 42), LEFT(u[2], 10));
    p->h2 = AND(l[2], M42);

    h0 = PLUS(AND(l[0], M44), PLUS(c, LEFT(c, 2)));
    p->h1 = PLUS(AND(l[1], M44), RIGHT(h0, 44));
    p->h0 = AND(h0, M44);
}


/* h becomes b times a power of r */
TN_AVX512_INLINE void
tn_aead_avx512_multiply(tn_aead_poly_t *p, const __m512i b[3],
    const tn_aead_power_t *power)
{
    __m512i  l[3], u[3];

    l[0] = l[1] = l[2] = _mm512_setzero_si512();
    u[0] = u[1] = u[2] = _mm512_setzero_si512();

    tn_aead_avx512_times(l, u, b, power);
    tn_aead_avx512_carry(p, l, u);
}


/* a block of each message: (h + block) * r */
TN_AVX512_INLINE void
tn_aead_avx512_step(tn_aead_poly_t *p, __m512i lo, __m512i hi)
{
    __m512i  b[3];

    tn_aead_avx512_limbs(b, lo, hi);
    b[0] = PLUS(b[0], p->h0);
    b[1] = PLUS(b[1], p->h1);
    b[2] = PLUS(b[2], p->h2);

    tn_aead_avx512_multiply(p, b, &p->power[0]);
}


/*
 * Four of them: (h + block) * r^4 + block * r^3 and so on.  Twelve products
 * meet in each limb, of 52 bits and less: far from 64.
 */

TN_AVX512_INLINE void
tn_aead_avx512_steps(tn_aead_poly_t *p, const __m512i o[8])
{
    __m512i  b[3], l[3], u[3];

    l[0] = l[1] = l[2] = _mm512_setzero_si512();
    u[0] = u[1] = u[2] = _mm512_setzero_si512();

    tn_aead_avx512_limbs(b, o[6], o[7]);
    tn_aead_avx512_times(l, u, b, &p->power[0]);

    tn_aead_avx512_limbs(b, o[4], o[5]);
    tn_aead_avx512_times(l, u, b, &p->power[1]);

    tn_aead_avx512_limbs(b, o[2], o[3]);
    tn_aead_avx512_times(l, u, b, &p->power[2]);

    tn_aead_avx512_limbs(b, o[0], o[1]);
    b[0] = PLUS(b[0], p->h0);
    b[1] = PLUS(b[1], p->h1);
    b[2] = PLUS(b[2], p->h2);

    tn_aead_avx512_times(l, u, b, &p->power[3]);
    tn_aead_avx512_carry(p, l, u);
}


/* the same where `active` says so */
TN_AVX512_INLINE void
tn_aead_avx512_step_of(tn_aead_poly_t *p, __mmask8 active, __m512i lo,
    __m512i hi)
{
    tn_aead_poly_t  q;

    q = *p;
    tn_aead_avx512_step(&q, lo, hi);

    p->h0 = _mm512_mask_mov_epi64(p->h0, active, q.h0);
    p->h1 = _mm512_mask_mov_epi64(p->h1, active, q.h1);
    p->h2 = _mm512_mask_mov_epi64(p->h2, active, q.h2);
}


#define TWENTY(a)  PLUS(LEFT(a, 4), LEFT(a, 2))


/* h as what will be multiplied by */
TN_AVX512_INLINE void
tn_aead_avx512_power(const tn_aead_poly_t *p, tn_aead_power_t *power)
{
    power->r[0] = p->h0;
    power->r[1] = p->h1;
    power->r[2] = p->h2;
    power->s1 = TWENTY(p->h1);
    power->s2 = TWENTY(p->h2);
}


/* RFC 8439, 2.5: r is clamped; the other half of the key comes last */
TN_AVX512_INLINE void
tn_aead_avx512_begin(tn_aead_poly_t *p, uint8_t (*key)[TN_AEAD_BLOCK])
{
    int      i;
    __m512i  in[8], k[8], lo, hi;

    for (i = 0; i < 8; i++) {
        in[i] = _mm512_load_si512(key[i]);
    }

    COLUMNS(k, in);

    lo = AND(k[0], 0x0ffffffc0fffffff);
    hi = AND(k[1], 0x0ffffffc0ffffffc);
    p->end[0] = k[2];
    p->end[1] = k[3];

    p->h0 = AND(lo, M44);
    p->h1 = AND(_mm512_or_si512(RIGHT(lo, 44), LEFT(hi, 20)), M44);
    p->h2 = RIGHT(hi, 24);
    tn_aead_avx512_power(p, &p->power[0]);

    tn_aead_avx512_multiply(p, p->power[0].r, &p->power[0]);
    tn_aead_avx512_power(p, &p->power[1]);

    tn_aead_avx512_multiply(p, p->power[1].r, &p->power[0]);
    tn_aead_avx512_power(p, &p->power[2]);

    tn_aead_avx512_multiply(p, p->power[1].r, &p->power[1]);
    tn_aead_avx512_power(p, &p->power[3]);

    p->h0 = _mm512_setzero_si512();
    p->h1 = p->h0;
    p->h2 = p->h0;
}


/* h modulo 2^130 - 5, plus the rest of the key, modulo 2^128 */
TN_AVX512_INLINE void
tn_aead_avx512_end(const tn_aead_poly_t *p, uint8_t (*tag)[TN_AEAD_TAG])
{
    int        i;
    __m512i    h0, h1, h2, g0, g1, g2, c, lo, hi, five;
    uint64_t   out[2][8] __attribute__((aligned(64)));
    __mmask8   over, carry;

    h0 = p->h0;
    h1 = p->h1;
    h2 = p->h2;

    for (i = 0; i < 2; i++) {
        c = RIGHT(h1, 44);
        h1 = AND(h1, M44);
        h2 = PLUS(h2, c);
        c = RIGHT(h2, 42);
        h2 = AND(h2, M42);
        h0 = PLUS(h0, PLUS(c, LEFT(c, 2)));
        c = RIGHT(h0, 44);
        h0 = AND(h0, M44);
        h1 = PLUS(h1, c);
    }

    /* not under p: without p, which is h + 5 - 2^130 */

    five = _mm512_set1_epi64(5);
    g0 = PLUS(h0, five);
    g1 = PLUS(h1, RIGHT(g0, 44));
    g0 = AND(g0, M44);
    g2 = PLUS(h2, RIGHT(g1, 44));
    g1 = AND(g1, M44);

    over = _mm512_cmpgt_epu64_mask(g2, _mm512_set1_epi64(M42));
    h0 = _mm512_mask_mov_epi64(h0, over, g0);
    h1 = _mm512_mask_mov_epi64(h1, over, g1);
    h2 = _mm512_mask_mov_epi64(h2, over, AND(g2, M42));

    lo = _mm512_or_si512(h0, LEFT(h1, 44));
    hi = _mm512_or_si512(RIGHT(h1, 20), LEFT(h2, 24));

    lo = PLUS(lo, p->end[0]);
    carry = _mm512_cmplt_epu64_mask(lo, p->end[0]);
    hi = PLUS(hi, p->end[1]);
    hi = _mm512_mask_add_epi64(hi, carry, hi, _mm512_set1_epi64(1));

    _mm512_store_si512(out[0], lo);
    _mm512_store_si512(out[1], hi);

    for (i = 0; i < 8; i++) {
        memcpy(tag[i], &out[0][i], 8);
        memcpy(tag[i] + 8, &out[1][i], 8);
    }
}


/* 64 bytes of each of eight messages */
TN_AVX512_INLINE void
tn_aead_avx512_load(const uint8_t *const *text, size_t off, __m512i o[8])
{
    __m512i  in[8];

    in[0] = _mm512_loadu_si512(text[0] + off);
    in[1] = _mm512_loadu_si512(text[1] + off);
    in[2] = _mm512_loadu_si512(text[2] + off);
    in[3] = _mm512_loadu_si512(text[3] + off);
    in[4] = _mm512_loadu_si512(text[4] + off);
    in[5] = _mm512_loadu_si512(text[5] + off);
    in[6] = _mm512_loadu_si512(text[6] + off);
    in[7] = _mm512_loadu_si512(text[7] + off);

    COLUMNS(o, in);
}


/* what of them is there, and zeros: RFC 8439, 2.8 */
TN_AVX512_INLINE void
tn_aead_avx512_rest(const uint8_t *const *text, const size_t *len, size_t off,
    tn_aead_poly_t *p)
{
    int        i;
    size_t     left;
    __m512i    in[8], o[8], lens;
    __mmask8   active;
    __mmask64  mask;

    for (i = 0; i < 8; i++) {
        left = len[i] > off ? len[i] - off : 0;
        mask = left >= TN_AEAD_BLOCK ? UINT64_MAX
                                     : ((uint64_t) 1 << left) - 1;
        in[i] = _mm512_maskz_loadu_epi8(mask, text[i] + (left ? off : 0));
    }

    COLUMNS(o, in);

    lens = _mm512_loadu_si512(len);

    for (i = 0; i < 4; i++) {
        active = _mm512_cmpgt_epu64_mask(lens,
                              _mm512_set1_epi64((long long) off + 16 * i));
        tn_aead_avx512_step_of(p, active, o[2 * i], o[2 * i + 1]);
    }
}


/* the tags of 8 messages, or of 16: those from t->n on are copies */
TN_AVX512_INLINE void
tn_aead_avx512_tags(tn_aead_tile_t *t, const uint8_t *const *text, bool two)
{
    size_t          i, off, least, most;
    __m512i         a[8], b[8], zero;
    tn_aead_poly_t  p, q;

    least = t->len[0];
    most = t->len[0];

    for (i = 1; i < t->n; i++) {
        least = tn_min(least, t->len[i]);
        most = tn_max(most, t->len[i]);
    }

    tn_aead_avx512_begin(&p, t->first);

    if (two) {
        tn_aead_avx512_begin(&q, t->first + 8);
    }

    for (off = 0; off + TN_AEAD_BLOCK <= least; off += TN_AEAD_BLOCK) {
        tn_aead_avx512_load(text, off, a);

        if (two) {
            tn_aead_avx512_load(text + 8, off, b);
        }

        tn_aead_avx512_steps(&p, a);

        if (two) {
            tn_aead_avx512_steps(&q, b);
        }
    }

    for ( /* void */ ; off < most; off += TN_AEAD_BLOCK) {
        tn_aead_avx512_rest(text, t->len, off, &p);

        if (two) {
            tn_aead_avx512_rest(text + 8, t->len + 8, off, &q);
        }
    }

    zero = _mm512_setzero_si512();

    tn_aead_avx512_step(&p, zero, _mm512_loadu_si512(t->len));
    tn_aead_avx512_end(&p, t->tag);

    if (two) {
        tn_aead_avx512_step(&q, zero, _mm512_loadu_si512(t->len + 8));
        tn_aead_avx512_end(&q, t->tag + 8);
    }
}


TN_AVX512 static void
tn_aead_avx512_authenticate(tn_aead_tile_t *t, bool sealed)
{
    size_t          i, n;
    const uint8_t  *text[TN_AEAD_TILE];

    for (i = 0; i < TN_AEAD_TILE; i++) {

        /* lanes without a message do as the first */

        n = i < t->n ? i : 0;
        text[i] = sealed ? t->dst[n] : t->src[n];
        t->len[i] = t->len[n];
    }

    if (t->n > TN_AEAD_GROUP) {
        tn_aead_avx512_tags(t, text, true);

    } else {
        tn_aead_avx512_tags(t, text, false);
    }
}


/* --- tiles */

/* the next of n messages, in tiles of about the same size */
static size_t
tn_aead_avx512_share(size_t n)
{
    size_t  tiles;

    tiles = (n + TN_AEAD_TILE - 1) / TN_AEAD_TILE;

    return (n + tiles - 1) / tiles;
}


static void
tn_aead_avx512_tile(tn_aead_tile_t *t, const tn_key_t *key,
    const tn_aead_job_t *jobs, size_t n, size_t tag)
{
    size_t  i, k;

    t->n = n;
    t->key = (const uint32_t *) (const void *) key->b;

    for (i = 0; i < n; i++) {
        t->src[i] = jobs[i].src;
        t->dst[i] = jobs[i].dst;
        t->len[i] = jobs[i].len < tag ? 0 : jobs[i].len - tag;

        for (k = 0; k < 3; k++) {
            memcpy(&t->nonce[k][i], jobs[i].nonce + 4 * k, 4);
        }
    }
}


/* what is derived from the key */
static void
tn_aead_avx512_wipe(tn_aead_tile_t *t)
{
    tn_wipe(t->state, sizeof(t->state));
    tn_wipe(t->first, sizeof(t->first));
    tn_wipe(t->stream, sizeof(t->stream));
}


TN_AVX512 static void
tn_aead_avx512_seal(const tn_key_t *key, tn_aead_job_t *jobs, size_t n)
{
    size_t          i, share, end;
    tn_aead_tile_t  t;

    for ( /* void */ ; n > 0; jobs += share, n -= share) {
        share = tn_aead_avx512_share(n);

        tn_aead_avx512_tile(&t, key, jobs, share, 0);

        end = tn_aead_avx512_keys(&t);
        tn_aead_avx512_text(&t, end);
        tn_aead_avx512_authenticate(&t, true);

        for (i = 0; i < share; i++) {
            memcpy(jobs[i].dst + jobs[i].len, t.tag[i], TN_AEAD_TAG);
            jobs[i].rc = TN_OK;
        }
    }

    tn_aead_avx512_wipe(&t);
}


TN_AVX512 static void
tn_aead_avx512_open(const tn_key_t *key, tn_aead_job_t *jobs, size_t n)
{
    size_t          i, share, end;
    __m128i         a, b;
    tn_aead_tile_t  t;

    for ( /* void */ ; n > 0; jobs += share, n -= share) {
        share = tn_aead_avx512_share(n);

        tn_aead_avx512_tile(&t, key, jobs, share, TN_AEAD_TAG);

        end = tn_aead_avx512_keys(&t);
        tn_aead_avx512_authenticate(&t, false);

        for (i = 0; i < share; i++) {
            jobs[i].rc = TN_MALFORMED;

            if (jobs[i].len < TN_AEAD_TAG) {
                continue;
            }

            a = _mm_loadu_si128((const __m128i *) (const void *)
                                (jobs[i].src + t.len[i]));
            b = _mm_load_si128((const __m128i *) (const void *) t.tag[i]);
            a = _mm_xor_si128(a, b);

            if (tn_likely(_mm_test_all_zeros(a, a))) {
                jobs[i].rc = TN_OK;
            }
        }

        tn_aead_avx512_text(&t, end);
    }

    tn_aead_avx512_wipe(&t);
}


#else

typedef int  tn_aead_avx512_none_t;     /* C wants something in a file */

#endif

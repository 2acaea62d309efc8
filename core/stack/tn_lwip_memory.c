
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * All memory of lwIP, of every stack in the process, comes from here and has
 * one limit.  Data is neither taken from nginx nor from peers when three
 * quarters are used (tn_lwip_room(), lwip_keep()), so that there is always
 * something left for what frees memory: acknowledgements, ends, resets.
 *
 * Each piece counts for the address that it was taken for, which gets no more
 * when it has more than is left of these three quarters.  So one alone has half
 * of them at most, n have 1 / (n + 1) each, and something is left for who comes
 * next.  A connection with nothing to be sent may send a little until its
 * address has twice what is left, 2 / (2 n + 1): that may be a proxy's, whose
 * new clients are not to wait for those that are slow.  And one of which all
 * was read gets what came next, which lwIP has already; but what comes for an
 * address beyond that twice, and LWIP_FLOOR, is dropped before lwIP has it.
 *
 * Each segment is a few pieces that live for a round trip, which malloc()
 * keeps neither in order nor in the cache.  So a size is rounded up to one of
 * LWIP_CLASSES, and what was freed of each is taken again, the last first:
 * LWIP_SPARE bytes of each are kept, the rest goes back.  So does, every
 * LWIP_REAP_MS, what nobody took since the last time.
 *
 * Called with lwIP held, so nothing here needs a lock of its own.
 */

#include "tn_lwip_int.h"

#include <malloc.h>
#include <stdlib.h>


#define LWIP_BULK     (TN_LWIP_MEMORY / 4 * 3)

#define LWIP_FLOOR    ((size_t) 256 * 1024)     /* of any address */

#define LWIP_STEP     64            /* between sizes, up to */
#define LWIP_SMALL    2048          /* this; then each is twice the other */
#define LWIP_LARGEST  (64 * 1024)
#define LWIP_CLASSES  (1 + LWIP_SMALL / LWIP_STEP + 5)

#define LWIP_REAP_MS  2000
#define LWIP_TRIM     ((size_t) 1024 * 1024)    /* malloc() is asked to */

/* checkers of memory are to see each piece come and go */
#if defined(__SANITIZE_ADDRESS__)
#define LWIP_SPARE    0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LWIP_SPARE    0
#endif
#endif

#ifndef LWIP_SPARE
#define LWIP_SPARE    ((size_t) 1024 * 1024)
#endif


/*
 * Before each piece that is in use, which stays aligned as by malloc(): what is
 * copied and summed up costs a fifth more at odd multiples of 8
 */
typedef struct {
    _Alignas(16)
    size_t         size;            /* with this */
    uint32_t       source;
} lwip_head_t;


typedef struct lwip_piece_s  lwip_piece_t;

struct lwip_piece_s {
    lwip_piece_t  *next;
};


static size_t    lwip_used;
static size_t    lwip_held[TN_LWIP_HOLDERS];    /* of it */
static uint32_t  lwip_source;       /* whose the next piece is */

static struct {
    lwip_piece_t  *first;
    size_t         bytes;
    size_t         least;           /* bytes there were since the last reap */
} lwip_spares[LWIP_CLASSES];

static size_t   lwip_spare;         /* bytes of all classes */
static tn_ms_t  lwip_reaped;


static unsigned lwip_class(size_t *size);
static size_t lwip_class_size(unsigned class);
static lwip_piece_t *lwip_take(unsigned class, size_t size);


void *
tn_lwip_malloc(size_t size)
{
    void         *p;
    unsigned      class;
    lwip_head_t  *head;

    if (size == 0 || size > TN_LWIP_MEMORY) {
        return NULL;
    }

    size += sizeof(lwip_head_t);
    class = lwip_class(&size);

    if (lwip_used + size > TN_LWIP_MEMORY) {
        return NULL;
    }

    p = lwip_take(class, size);

    if (p == NULL) {
        p = malloc(size);
    }

    if (p == NULL) {
        return NULL;
    }

    head = p;
    head->size = size;
    head->source = lwip_source;

    lwip_used += size;
    lwip_held[lwip_source] += size;

    return head + 1;
}


void *
tn_lwip_calloc(size_t n, size_t size)
{
    void  *p;

    if (size != 0 && n > TN_LWIP_MEMORY / size) {
        return NULL;
    }

    p = tn_lwip_malloc(n * size);

    if (p != NULL) {
        memset(p, 0, n * size);
    }

    return p;
}


/* the class whose pieces have at least `size` bytes, *size then; 0: none */
static unsigned
lwip_class(size_t *size)
{
    unsigned  class;

    if (*size > LWIP_LARGEST) {
        return 0;
    }

    if (*size <= LWIP_SMALL) {
        class = (unsigned) ((*size + LWIP_STEP - 1) / LWIP_STEP);

    } else {
        class = 1 + LWIP_SMALL / LWIP_STEP;

        while (lwip_class_size(class) < *size) {
            class++;
        }
    }

    *size = lwip_class_size(class);

    return class;
}


static size_t
lwip_class_size(unsigned class)
{
    return class <= LWIP_SMALL / LWIP_STEP
           ? (size_t) class * LWIP_STEP
           : (size_t) LWIP_SMALL << (class - LWIP_SMALL / LWIP_STEP);
}


void
tn_lwip_free(void *p)
{
    size_t         size;
    unsigned       class;
    lwip_head_t   *head;
    lwip_piece_t  *piece;

    if (p == NULL) {
        return;
    }

    head = (lwip_head_t *) p - 1;
    p = head;

    size = head->size;
    lwip_used -= size;
    lwip_held[head->source] -= size;

    class = lwip_class(&size);

    if (class == 0 || lwip_spares[class].bytes + size > LWIP_SPARE) {
        free(p);
        return;
    }

    piece = p;
    piece->next = lwip_spares[class].first;
    lwip_spares[class].first = piece;
    lwip_spares[class].bytes += size;
    lwip_spare += size;
}


/* one that is spare, or NULL; none are of class 0 */
static lwip_piece_t *
lwip_take(unsigned class, size_t size)
{
    lwip_piece_t  *piece;

    piece = lwip_spares[class].first;

    if (piece != NULL) {
        lwip_spares[class].first = piece->next;
        lwip_spares[class].bytes -= size;
        lwip_spares[class].least = tn_min(lwip_spares[class].least,
                                          lwip_spares[class].bytes);
        lwip_spare -= size;
    }

    return piece;
}


void
lwip_memory_reap(tn_ms_t now)
{
    size_t    size, before, extra;
    unsigned  class;

    if (now < lwip_memory_reaps()) {
        return;
    }

    before = lwip_spare;

    for (class = 1; class < LWIP_CLASSES; class++) {

        size = lwip_class_size(class);

        for (extra = lwip_spares[class].least; extra != 0; extra -= size) {
            free(lwip_take(class, size));
        }

        lwip_spares[class].least = lwip_spares[class].bytes;
    }

    lwip_reaped = now;

    if (before - lwip_spare >= LWIP_TRIM) {
        (void) malloc_trim(0);
    }
}


tn_ms_t
lwip_memory_reaps(void)
{
    return lwip_spare != 0 ? lwip_reaped + LWIP_REAP_MS : TN_NEVER_MS;
}


size_t
tn_lwip_used(void)
{
    return lwip_used;
}


uint32_t
lwip_memory_source(const tn_lwip_t *lwip, const tn_ip_t *ip)
{
    return 1 + lwip_hash(lwip, ip, 0) % (TN_LWIP_HOLDERS - 1);
}


uint32_t
lwip_memory_for(uint32_t source)
{
    uint32_t  former;

    former = lwip_source;
    lwip_source = source;

    return former;
}


bool
lwip_memory_is_short(uint32_t source, bool begins)
{
    size_t  left;

    if (lwip_used > LWIP_BULK) {
        return true;
    }

    left = LWIP_BULK - lwip_used;

    return lwip_held[source] > (begins ? 2 * left : left);
}


bool
lwip_memory_is_exceeded(uint32_t source)
{
    return lwip_held[source] > LWIP_FLOOR
           && lwip_memory_is_short(source, true);
}

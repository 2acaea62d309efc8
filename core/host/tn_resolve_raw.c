
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * DNS messages of others, passed on.  Their IDs are often zero (RFC 8484,
 * 4.1.): towards the servers each gets a random one, so that nobody can guess
 * an answer.
 */

#include "host/tn_resolve_int.h"

#include "base/tn_cursor.h"

#include <stdlib.h>
#include <sys/random.h>


#define TN_RESOLVE_HEADER  12


struct tn_resolve_raw_s {
    tn_link_t          link;
    tn_resolver_t     *resolver;
    tn_resolve_raw_pt  fn;              /* NULL: nobody waits any more */
    void              *data;
    tn_timer_t         timer;
    bool               asked;           /* c-ares holds it */
    uint8_t            id[2];
    uint8_t           *answer;          /* or NULL */
    size_t             len;
};


static bool tn_resolve_is_query(const uint8_t *query, size_t len);
static void tn_resolve_raw_answer(void *arg, int status, int timeouts,
    unsigned char *answer, int len);
static void tn_resolve_raw_deliver(void *data, tn_ms_t now);
static void tn_resolve_raw_free(tn_resolve_raw_t *raw);


tn_resolve_raw_t *
tn_resolve_send(tn_resolver_t *resolver, const uint8_t *query, size_t len,
    tn_ms_t timeout_ms, tn_resolve_raw_pt fn, void *data)
{
    uint8_t           copy[TN_RESOLVE_RAW_MAX];
    tn_resolve_raw_t  *raw;

    if (!tn_resolve_is_query(query, len)
        || tn_resolve_channel(resolver) != TN_OK)
    {
        return NULL;
    }

    raw = calloc(1, sizeof(tn_resolve_raw_t));
    if (raw == NULL) {
        return NULL;
    }

    raw->resolver = resolver;
    raw->fn = fn;
    raw->data = data;
    tn_timer_init(&raw->timer, tn_resolve_raw_deliver, raw);

    memcpy(copy, query, len);
    memcpy(raw->id, query, sizeof(raw->id));

    if (getrandom(copy, sizeof(raw->id), GRND_NONBLOCK)
        != (ssize_t) sizeof(raw->id)
        || tn_timer_set(&resolver->loop->timers, &raw->timer,
                        resolver->loop->now + timeout_ms)
           != TN_OK)
    {
        free(raw);
        return NULL;
    }

    tn_list_push(&resolver->raws, &raw->link);
    resolver->n_raws++;
    raw->asked = true;

    ares_send(resolver->channel, copy, (int) len, tn_resolve_raw_answer,
              raw);

    tn_resolve_arm(resolver);

    return raw;
}


/* QR and opcode 0, one question, no answer: RFC 1035, 4.1.1. */
static bool
tn_resolve_is_query(const uint8_t *query, size_t len)
{
    uint16_t     flags, questions, answers;
    tn_cursor_t  c;

    if (len > TN_RESOLVE_RAW_MAX || len < TN_RESOLVE_HEADER + 5) {
        return false;
    }

    c = tn_cursor(query, len);
    (void) tn_read_u16(&c);
    flags = tn_read_u16(&c);
    questions = tn_read_u16(&c);
    answers = tn_read_u16(&c);

    return (flags & 0xf800) == 0 && questions == 1 && answers == 0;
}


void
tn_resolve_send_cancel(tn_resolve_raw_t *raw)
{
    raw->fn = NULL;

    if (raw->asked) {
        tn_timer_cancel(&raw->resolver->loop->timers, &raw->timer);
        return;
    }

    tn_resolve_raw_free(raw);
}


size_t
tn_resolve_sent(const tn_resolver_t *resolver)
{
    return resolver->n_raws;
}


void
tn_resolve_raws_forget(tn_resolver_t *resolver)
{
    tn_link_t         *link, *tmp;
    tn_resolve_raw_t  *raw;

    tn_list_each_safe(link, tmp, &resolver->raws) {
        raw = tn_container(link, tn_resolve_raw_t, link);
        raw->fn = NULL;

        if (!raw->asked) {
            tn_resolve_raw_free(raw);
        }
    }
}


static void
tn_resolve_raw_answer(void *arg, int status, int timeouts,
    unsigned char *answer, int len)
{
    tn_loop_t         *loop;
    tn_resolve_raw_t  *raw;

    (void) timeouts;

    raw = arg;
    raw->asked = false;

    if (raw->fn == NULL) {
        tn_resolve_raw_free(raw);
        return;
    }

    /* what is no success may have an answer that says why */

    if (answer != NULL && len >= TN_RESOLVE_HEADER
        && status != ARES_EDESTRUCTION)
    {
        raw->answer = malloc((size_t) len);

        if (raw->answer != NULL) {
            raw->len = (size_t) len;
            memcpy(raw->answer, answer, raw->len);
            memcpy(raw->answer, raw->id, sizeof(raw->id));
        }
    }

    /* a timer that is set is only moved */

    loop = raw->resolver->loop;
    (void) tn_timer_set(&loop->timers, &raw->timer, loop->now);
}


static void
tn_resolve_raw_deliver(void *data, tn_ms_t now)
{
    void               *fn_data;
    tn_resolve_raw_t   *raw;
    tn_resolve_raw_pt   fn;

    (void) now;

    raw = data;
    fn = raw->fn;
    fn_data = raw->data;

    if (raw->asked) {
        raw->fn = NULL;
        fn(fn_data, NULL, 0);
        return;
    }

    tn_list_remove(&raw->link);
    raw->resolver->n_raws--;

    fn(fn_data, raw->answer, raw->len);

    free(raw->answer);
    free(raw);
}


static void
tn_resolve_raw_free(tn_resolve_raw_t *raw)
{
    tn_timer_cancel(&raw->resolver->loop->timers, &raw->timer);
    tn_list_remove(&raw->link);
    raw->resolver->n_raws--;
    free(raw->answer);
    free(raw);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The Noise connection to control against transcripts of upstream's
 * (t/vectors/controlbase), and what it makes of damaged ones.
 */

#include "control/tn_noise.h"
#include "crypto/tn_curve.h"

#include <stdlib.h>

#include "tap.h"


#define VECTORS  "t/vectors/controlbase/transcript.txt"

typedef struct {
    uint16_t       version;
    tn_keypair_t   machine;
    tn_keypair_t   ephemeral;
    tn_key_t       control;
    uint8_t        response[64];
    size_t         response_len;
    tn_noise_t     noise;
} transcript_t;


static bool
start(transcript_t *t, uint8_t initiation[TN_NOISE_INITIATION])
{
    return tn_noise_start(&t->noise, &t->machine, &t->control, t->version,
                          &t->ephemeral, initiation)
           == TN_OK;
}


/* gives `len` bytes in pieces and takes the frames; their text or NULL */
static uint8_t *
receive(tn_noise_t *noise, const uint8_t *wire, size_t len, size_t piece,
    size_t *text_len, tn_rc_t *rc)
{
    size_t          n, left;
    uint8_t        *text;
    const uint8_t  *plain, *pos;

    text = malloc(len + 1);
    *text_len = 0;
    *rc = TN_AGAIN;

    while (len != 0 && text != NULL) {
        left = tn_min(len, piece);
        pos = wire;
        wire += left;
        len -= left;

        for ( ;; ) {
            *rc = tn_noise_read(noise, &pos, &left, &plain, &n);

            if (*rc == TN_AGAIN) {
                break;
            }

            if (*rc != TN_OK) {
                free(text);
                return NULL;
            }

            if (plain != NULL) {
                memcpy(text + *text_len, plain, n);
                *text_len += n;
            }
        }
    }

    return text;
}


static void
complete(transcript_t *t)
{
    size_t    n;
    tn_rc_t   rc;
    uint8_t   initiation[TN_NOISE_INITIATION];

    (void) start(t, initiation);
    free(receive(&t->noise, t->response, t->response_len, 7, &n, &rc));
}


static bool
seal_all(tn_noise_t *noise, const uint8_t *text, size_t len,
    const uint8_t *wire, size_t wire_len)
{
    size_t   n, frame_len;
    uint8_t  frame[TN_NOISE_FRAME_MAX];

    while (len != 0) {
        n = tn_min(len, (size_t) TN_NOISE_PLAIN_MAX);

        if (tn_noise_seal(noise, text, n, frame, &frame_len) != TN_OK
            || frame_len > wire_len || memcmp(frame, wire, frame_len) != 0)
        {
            return false;
        }

        text += n;
        len -= n;
        wire += frame_len;
        wire_len -= frame_len;
    }

    return wire_len == 0;
}


static void
transcripts(FILE *f, transcript_t *t)
{
    char      name[32], *hex;
    size_t    len, n, plain_len;
    uint8_t  *bytes, plain[8192], initiation[TN_NOISE_INITIATION], *text;
    tn_rc_t   rc;
    uint8_t   frame[TN_NOISE_FRAME_MAX];

    hex = malloc(32768);
    bytes = malloc(16384);
    plain_len = 0;

    while (hex != NULL && bytes != NULL
           && fscanf(f, "%31s %32000s", name, hex) == 2)
    {
        if (strcmp(name, "plain") == 0) {
            plain_len = (size_t) atoi(hex);
            memset(plain, (int) plain_len, plain_len);
            continue;
        }

        len = unhex(bytes, hex);

        if (strcmp(name, "version") == 0) {
            tn_noise_done(&t->noise);
            t->version = (uint16_t) (bytes[0] << 8 | bytes[1]);
            printf("# version %u\n", t->version);

        } else if (strcmp(name, "machine") == 0) {
            memcpy(t->machine.priv.b, bytes, TN_KEY_LEN);
            tn_curve_public(&t->machine.pub, &t->machine.priv);

        } else if (strcmp(name, "control") == 0) {
            memcpy(t->control.b, bytes, TN_KEY_LEN);

        } else if (strcmp(name, "ephemeral") == 0) {
            memcpy(t->ephemeral.priv.b, bytes, TN_KEY_LEN);
            tn_curve_public(&t->ephemeral.pub, &t->ephemeral.priv);

        } else if (strcmp(name, "initiation") == 0) {
            ok(start(t, initiation), "started");
            is_int((long long) len, TN_NOISE_INITIATION, "its length");
            is_mem(initiation, bytes, len, "the initiation is upstream's");

        } else if (strcmp(name, "response") == 0) {
            is_int((long long) len, TN_NOISE_RESPONSE, "its length");
            memcpy(t->response, bytes, len);
            t->response_len = len;
            text = receive(&t->noise, bytes, len, 1, &n, &rc);
            ok(text != NULL && t->noise.established,
               "the response completes it");
            free(text);

        } else if (strcmp(name, "client-wire") == 0) {
            ok(seal_all(&t->noise, plain, plain_len, bytes, len),
               "%zu bytes sealed as upstream does", plain_len);

        } else if (strcmp(name, "server-wire") == 0) {
            text = receive(&t->noise, bytes, len, 1000, &n, &rc);
            ok(text != NULL && n == plain_len
               && memcmp(text, plain, n) == 0,
               "%zu bytes opened", plain_len);
            free(text);

        } else if (strcmp(name, "client-late") == 0) {
            for (n = 0; n < 300; n++) {
                (void) tn_noise_seal(&t->noise, (const uint8_t *) "x", 1,
                                     frame, &plain_len);
            }

            ok(seal_all(&t->noise, (const uint8_t *) "late", 4, bytes, len),
               "a counter over 255");
        }
    }

    free(hex);
    free(bytes);
}


static void
damage(transcript_t *t)
{
    size_t        i, n, bad;
    tn_rc_t       rc;
    uint8_t       initiation[TN_NOISE_INITIATION], wire[TN_NOISE_RESPONSE];
    uint8_t       again[TN_NOISE_INITIATION], frame[TN_NOISE_FRAME_MAX];
    tn_keypair_t  zero;

    tn_noise_done(&t->noise);

    /* every bit of the response counts */

    bad = 0;

    for (i = 0; i < TN_NOISE_RESPONSE * 8; i++) {
        (void) start(t, initiation);

        memcpy(wire, t->response, sizeof(wire));
        wire[i / 8] ^= (uint8_t) (1 << (i % 8));

        free(receive(&t->noise, wire, sizeof(wire), 64, &n, &rc));

        /* the top bit of a point is ignored by X25519, but hashed */

        if (t->noise.established) {
            bad++;
        }

        tn_noise_done(&t->noise);
    }

    is_int((long long) bad, 0, "no damaged response is taken");

    /* errors and what does not belong */

    (void) start(t, initiation);
    (void) receive(&t->noise, (const uint8_t *) "\x03\x00\x05nope\n", 8, 8,
                   &n, &rc);
    is_int(rc, TN_REFUSED, "an error message");
    is_str(t->noise.error,
           "the server refused the Noise handshake: nope\n", "its text");
    tn_noise_done(&t->noise);

    (void) start(t, initiation);
    (void) receive(&t->noise, (const uint8_t *) "\x04\x00\x10"
                   "0123456789abcdef", 19, 19, &n, &rc);
    is_int(rc, TN_MALFORMED, "data before the response");
    tn_noise_done(&t->noise);

    (void) start(t, initiation);
    (void) receive(&t->noise, (const uint8_t *) "\x02\xff\xff", 3, 3, &n,
                   &rc);
    is_int(rc, TN_MALFORMED, "a frame over the limit");
    ok(t->noise.error[0] != '\0', "says so");
    tn_noise_done(&t->noise);

    complete(t);
    (void) receive(&t->noise, t->response, t->response_len, 64, &n, &rc);
    is_int(rc, TN_MALFORMED, "a second response");
    tn_noise_done(&t->noise);

    complete(t);
    (void) receive(&t->noise, (const uint8_t *) "\x04\x00\x00", 3, 3, &n,
                   &rc);
    is_int(rc, TN_MALFORMED, "a frame shorter than its tag");
    tn_noise_done(&t->noise);

    complete(t);
    is_int(tn_noise_seal(&t->noise, frame, TN_NOISE_PLAIN_MAX + 1, frame, &n),
           TN_ERROR, "more than a frame holds");
    tn_noise_done(&t->noise);

    /* made anew each time */

    (void) tn_noise_start(&t->noise, &t->machine, &t->control, 130, NULL,
                          initiation);
    tn_noise_done(&t->noise);
    (void) tn_noise_start(&t->noise, &t->machine, &t->control, 130, NULL,
                          again);
    tn_noise_done(&t->noise);
    ok(memcmp(initiation, again, sizeof(again)) != 0,
       "ephemeral keys differ");

    memset(&zero, 0, sizeof(zero));
    is_int(tn_noise_start(&t->noise, &t->machine, &zero.pub, 130, NULL,
                          initiation),
           TN_MALFORMED, "a server key that is none");
}


int
main(void)
{
    FILE          *f;
    transcript_t   t;

    memset(&t, 0, sizeof(t));

    f = fopen(VECTORS, "r");

    if (!ok(f != NULL && tn_crypto_init() == TN_OK, "vectors are there")) {
        return tap_done();
    }

    transcripts(f, &t);
    fclose(f);

    damage(&t);

    return tap_done();
}

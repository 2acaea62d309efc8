
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The small readers of the control client: URLs, one HTTP/1.1 response,
 * times, the frames of a map stream.
 */

#include "control/tn_http1.h"
#include "control/tn_json.h"
#include "control/tn_mapstream.h"

#include <stdlib.h>
#include <zstd.h>

#include "tap.h"


static tn_http1_t  http;


/* reads `text` in pieces; the bytes that are left over in *rest */
static tn_rc_t
feed(const char *text, size_t piece, bool head_only, size_t *rest)
{
    size_t          left, total;
    tn_rc_t         rc;
    const uint8_t  *pos;

    tn_http1_init(&http, head_only);
    pos = (const uint8_t *) text;
    total = strlen(text);
    rc = TN_AGAIN;

    while (total != 0 && rc == TN_AGAIN) {
        left = tn_min(piece, total);
        total -= left;
        rc = tn_http1_read(&http, &pos, &left);
        total += left;
    }

    *rest = total;

    return rc;
}


static void
responses(void)
{
    char    big[20000];
    size_t  i, j, rest;

    static const struct {
        const char  *text;
        tn_rc_t      rc;
        int          status;
        const char  *body;
        size_t       rest;
    }  t[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello+", TN_OK, 200,
          "hello", 1 },
        { "HTTP/1.0 200 OK\r\ncontent-length:\t5 \r\n\r\nhello", TN_OK, 200,
          "hello", 0 },
        { "HTTP/1.1 204\r\n\r\n", TN_OK, 204, NULL, 0 },
        { "HTTP/1.1 101 X\r\nUpgrade: Y\r\n\r\nabc", TN_OK, 101, NULL, 3 },
        { "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
          "\r\n", TN_OK, 200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n+",
          TN_OK, 200, "abc0123456789", 1 },
        { "HTTP/1.1 200 OK\r\n\r\nto the end", TN_AGAIN, 200, "to the end",
          0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", TN_AGAIN, 200,
          "hello", 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", TN_MALFORMED,
          200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n"
          "\r\nx", TN_MALFORMED, 200, NULL, 1 },
        { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", TN_MALFORMED, 200,
          NULL, 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx", TN_MALFORMED, 200,
          NULL, 1 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", TN_MALFORMED,
          200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
          TN_MALFORMED, 200, NULL, 2 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
          TN_MALFORMED, 200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          "fffffffff\r\n", TN_MALFORMED, 200, NULL, 6 },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
          TN_MALFORMED, 200, "a", 0 },
        { "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", TN_MALFORMED, 200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\nName : x\r\n\r\n", TN_MALFORMED, 200, NULL, 0 },
        { "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", TN_MALFORMED, 200, NULL,
          0 },
        { "HTTP/1.1 2x0 OK\r\n\r\n", TN_MALFORMED, 0, NULL, 0 },
        { "HTTP/2 200\r\n\r\n", TN_MALFORMED, 0, NULL, 0 },
        { "SSH-2.0-x\r\n", TN_MALFORMED, 0, NULL, 10 },
        { "HTTP/1.1 200", TN_AGAIN, 0, NULL, 0 }
    };

    static const size_t  pieces[] = { 10000, 1, 7 };

    for (i = 0; i < tn_nelems(t); i++) {
        for (j = 0; j < tn_nelems(pieces); j++) {
            ok(feed(t[i].text, pieces[j], false, &rest) == t[i].rc
               && http.status == t[i].status && rest == t[i].rest
               && strcmp(http.body ? http.body : "",
                         t[i].body ? t[i].body : "") == 0,
               "response %zu in pieces of %zu", i, pieces[j]);
            tn_http1_done(&http);
        }
    }

    (void) feed("HTTP/1.1 200 OK\r\n\r\nto the end", 10, false, &rest);
    is_int(tn_http1_eof(&http), TN_OK, "closing ends a body without length");
    tn_http1_done(&http);

    (void) feed("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", 10,
                false, &rest);
    is_int(tn_http1_eof(&http), TN_MALFORMED, "but not one with a length");
    tn_http1_done(&http);

    is_int(feed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 10, true,
                &rest), TN_OK, "the answer to HEAD has no body");
    tn_http1_done(&http);

    (void) snprintf(big, sizeof(big), "HTTP/1.1 200 OK\r\nX: %17000d\r\n\r\n",
                    1);
    is_int(feed(big, 1000, false, &rest), TN_MALFORMED,
           "a head over the limit");
    tn_http1_done(&http);

    is_int((long long) tn_http1_retry_after_ms("7", 0), 7000, "seconds");
    is_int((long long) tn_http1_retry_after_ms("3601", 0), 0, "too many");
    is_int((long long) tn_http1_retry_after_ms("-1", 0), 0, "negative");
    is_int((long long) tn_http1_retry_after_ms("", 0), 0, "none");
    is_int((long long) tn_http1_retry_after_ms("7 s", 0), 0, "nonsense");
    is_int((long long)
           tn_http1_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT",
                                   784111767), 10000, "a date");
    is_int((long long)
           tn_http1_retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT",
                                   784111778), 0, "one that has passed");
}


static void
urls(void)
{
    char         text[TN_URL_HOST_MAX + 16];
    size_t       i;
    tn_url_t     url;
    const char  *err;

    static const struct {
        const char  *text;
        bool         good;
        bool         tls;
        const char  *authority;
        uint16_t     port;
        const char  *path;
    }  t[] = {
        { "https://a.test", true, true, "a.test", 443, "" },
        { "HTTP://a.test/", true, false, "a.test", 80, "/" },
        { "https://a.test:443/x?y#z", true, true, "a.test", 443, "/x?y" },
        { "http://a.test:8080?q", true, false, "a.test:8080", 8080, "/?q" },
        { "http://[fd00::1]:81/x", true, false, "[fd00::1]:81", 81, "/x" },
        { "http://[fd00::1]", true, false, "[fd00::1]", 80, "" },
        { "http://fd00::1", false, false, "", 0, "" },
        { "http://[1.2.3.4]", false, false, "", 0, "" },
        { "http://[fd00::1", false, false, "", 0, "" },
        { "http://user@a.test", false, false, "", 0, "" },
        { "http://a.test:", false, false, "", 0, "" },
        { "http://a.test:65536", false, false, "", 0, "" },
        { "http://a.test:1x", false, false, "", 0, "" },
        { "http://a.test/a b", false, false, "", 0, "" },
        { "http://a.test/a\r\nX: y", false, false, "", 0, "" },
        { "http:///x", false, false, "", 0, "" },
        { "a.test", false, false, "", 0, "" },
        { "", false, false, "", 0, "" }
    };

    for (i = 0; i < tn_nelems(t); i++) {
        err = NULL;

        if (!t[i].good) {
            ok(tn_url_parse(&url, t[i].text, &err) == TN_MALFORMED
               && err != NULL, "not a URL: %zu", i);
            continue;
        }

        ok(tn_url_parse(&url, t[i].text, &err) == TN_OK
           && url.tls == t[i].tls && url.port == t[i].port
           && strcmp(url.path, t[i].path) == 0
           && strcmp(tn_url_authority(&url, text), t[i].authority) == 0,
           "%s", t[i].text);
    }
}


static void
times(void)
{
    is_int(tn_json_time_text("1970-01-01T00:00:01Z"), 1, "after the epoch");
    is_int(tn_json_time_text("2000-02-29T12:00:00Z"), 951825600, "leap day");
    is_int(tn_json_time_text("2026-11-21T09:00:00.123456789+02:00"),
           1795244400, "fraction and zone");
    is_int(tn_json_time_text("2026-11-21T09:00:00-02:30"), 1795260600,
           "a zone behind");
    is_int(tn_json_time_text("9999-12-31T23:59:59Z"), 253402300799,
           "the last one");
    is_int(tn_json_time_text("0001-01-01T00:00:00Z"), 0, "Go's zero");
    is_int(tn_json_time_text("2026-13-01T00:00:00Z"), 0, "no such month");
    is_int(tn_json_time_text("2026-11-21 09:00:00Z"), 0, "another form");
    is_int(tn_json_time_text("2026-11-21T09:00:00"), 0, "no zone");
    is_int(tn_json_time_text(""), 0, "nothing");
}


static void
add(uint8_t *out, size_t *len, const void *frame, size_t n)
{
    out[*len] = (uint8_t) n;
    out[*len + 1] = (uint8_t) (n >> 8);
    out[*len + 2] = 0;
    out[*len + 3] = 0;
    memcpy(out + *len + 4, frame, n);
    *len += 4 + n;
}


static void
frames(void)
{
    size_t           n, len, left, j, count, size;
    tn_rc_t          rc;
    uint8_t          wire[8192], frame[4096];
    ZSTD_CCtx       *ctx;
    const char      *json, *want[3];
    const uint8_t   *pos;
    ZSTD_inBuffer    in;
    ZSTD_outBuffer   out;
    tn_mapstream_t   stream;

    static const size_t  pieces[] = { 8192, 1, 5 };

    want[0] = "{\"KeepAlive\":true}";
    want[1] = "{\"a\":\"of unknown size\"}";
    want[2] = "{}";
    len = 0;

    n = ZSTD_compress(frame, sizeof(frame), want[0], strlen(want[0]), 3);
    add(wire, &len, frame, n);

    /* as a streaming encoder writes it, without its size */

    ctx = ZSTD_createCCtx();
    in.src = want[1];
    in.size = strlen(want[1]);
    in.pos = 0;
    out.dst = frame;
    out.size = sizeof(frame);
    out.pos = 0;
    (void) ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, 0);
    (void) ZSTD_compressStream2(ctx, &out, &in, ZSTD_e_end);
    ZSTD_freeCCtx(ctx);
    ok(ZSTD_getFrameContentSize(frame, out.pos) == ZSTD_CONTENTSIZE_UNKNOWN,
       "a frame without its size");
    add(wire, &len, frame, out.pos);

    n = ZSTD_compress(frame, sizeof(frame), want[2], strlen(want[2]), 3);
    add(wire, &len, frame, n);

    for (j = 0; j < tn_nelems(pieces); j++) {
        tn_mapstream_init(&stream, true);
        pos = wire;
        n = len;
        count = 0;

        while (n != 0) {
            left = tn_min(n, pieces[j]);
            n -= left;

            while ((rc = tn_mapstream_read(&stream, &pos, &left, &json,
                                           &size)) == TN_OK)
            {
                ok(count < 3 && size == strlen(want[count])
                   && memcmp(json, want[count], size) == 0,
                   "message %zu in pieces of %zu", count, pieces[j]);
                count++;
            }

            if (rc != TN_AGAIN) {
                break;
            }
        }

        is_int((long long) count, 3, "all of them");
        ok(!tn_mapstream_partial(&stream), "nothing is left");
        tn_mapstream_done(&stream);
    }

    /* every bit of a frame */

    for (j = 0; j < 8 * len; j++) {
        wire[j / 8] ^= (uint8_t) (1 << (j % 8));
        tn_mapstream_init(&stream, true);
        pos = wire;
        left = len;

        while ((rc = tn_mapstream_read(&stream, &pos, &left, &json, &size))
               == TN_OK)
        {
            if (size > 4096) {
                break;
            }
        }

        if (rc != TN_AGAIN && (rc != TN_MALFORMED || stream.error == NULL)) {
            ok(false, "bit %zu", j);
        }

        tn_mapstream_done(&stream);
        wire[j / 8] ^= (uint8_t) (1 << (j % 8));
    }

    ok(true, "each bit flipped");
}


/* what one message of so many megabytes comes to; `told`: with its size */
static tn_rc_t
large(size_t mb, bool told)
{
    size_t           i, len, left;
    tn_rc_t          rc;
    ZSTD_CCtx       *ctx;
    const char      *json;
    const uint8_t   *pos;
    ZSTD_inBuffer    in;
    ZSTD_outBuffer   out;
    tn_mapstream_t   stream;

    static char      text[1000 * 1000];
    static uint8_t   wire[256 * 1024], frame[256 * 1024];

    memset(text, ' ', sizeof(text));
    ctx = ZSTD_createCCtx();
    out.dst = frame;
    out.size = sizeof(frame);
    out.pos = 0;

    (void) ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, 1);

    if (told) {
        (void) ZSTD_CCtx_setPledgedSrcSize(ctx, mb * sizeof(text));
    }

    for (i = 0; i < mb; i++) {
        in.src = text;
        in.size = sizeof(text);
        in.pos = 0;
        (void) ZSTD_compressStream2(ctx, &out, &in, i + 1 < mb
                                                    ? ZSTD_e_continue
                                                    : ZSTD_e_end);
    }

    ZSTD_freeCCtx(ctx);

    len = 0;
    add(wire, &len, frame, out.pos);

    tn_mapstream_init(&stream, true);
    pos = wire;
    left = len;
    rc = tn_mapstream_read(&stream, &pos, &left, &json, &i);

    if (rc == TN_OK && i != mb * sizeof(text)) {
        rc = TN_ERROR;
    }

    tn_mapstream_done(&stream);

    return rc;
}


int
main(void)
{
    responses();
    urls();
    times();
    frames();

    /* 1.2 KB each */

    is_int(large(120, true), TN_OK, "a map of 100,000 peers");
    is_int(large(120, false), TN_OK, "without its size");
    is_int(large(140, true), TN_MALFORMED, "one that is over the limit");
    is_int(large(140, false), TN_MALFORMED, "without its size");

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Cursor and writer at and beyond the ends of their buffers, constant-time
 * comparison, and lines of the log.
 */

#include "base/tn_cursor.h"
#include "base/tn_log.h"
#include "tap.h"


static void
test_reader(void)
{
    uint8_t      b[15], out[4];
    size_t       i;
    tn_cursor_t  c;

    for (i = 0; i < sizeof(b); i++) {
        b[i] = (uint8_t) (i + 1);
    }

    c = tn_cursor(b, sizeof(b));
    is_int((long long) tn_cursor_left(&c), 15, "all is left");
    is_int(tn_read_u8(&c), 1, "u8");
    is_int(tn_read_u16(&c), 0x0203, "u16 is big-endian");
    is_int(tn_read_u32(&c), 0x04050607, "u32");
    ok(tn_read_u64(&c) == 0x08090a0b0c0d0e0f, "u64");
    is_int((long long) tn_cursor_left(&c), 0, "nothing is left");
    ok(!c.bad, "and nothing was too much");
    ok(tn_read_bytes(&c, 0) != NULL && !c.bad, "no bytes are always there");
    is_int(tn_read_u8(&c), 0, "beyond the end is zero");
    ok(c.bad, "and bad");

    c = tn_cursor(b, 12);
    is_int(tn_read_u32le(&c), 0x04030201, "u32 little-endian");
    ok(tn_read_u64le(&c) == 0x0c0b0a0908070605 && !c.bad, "u64 as well");

    c = tn_cursor(b, 3);
    is_int(tn_read_u32(&c), 0, "a number that is cut");
    ok(c.bad, "is bad");
    is_int((long long) tn_cursor_left(&c), 0, "a bad cursor has nothing");
    is_int(tn_read_u8(&c), 0, "and gives nothing, though bytes are there");

    c = tn_cursor(b, 7);
    ok(tn_read_u64(&c) == 0 || c.bad, "a long number that is cut");
    ok(c.bad, "is bad");

    c = tn_cursor(b, 3);
    memset(out, 0xee, sizeof(out));
    tn_read_copy(&c, out, 4);
    is_mem(out, "\0\0\0\0", 4, "a copy that is cut is zeros");
    ok(c.bad, "and bad");

    c = tn_cursor(b, 4);
    tn_read_copy(&c, out, 4);
    is_mem(out, b, 4, "a copy");
    ok(!c.bad, "that fits");

    c = tn_cursor(b, 4);
    ok(tn_read_bytes(&c, SIZE_MAX) == NULL && c.bad, "a huge length");

    c = tn_cursor(NULL, 0);
    is_int(tn_read_u16(&c), 0, "an empty buffer");
    ok(c.bad, "is too short");
}


static void
test_writer(void)
{
    uint8_t      b[16], want[15];
    tn_writer_t  w;

    memset(b, 0xee, sizeof(b));
    w = tn_writer(b, 15);
    tn_write_u8(&w, 1);
    tn_write_u16(&w, 0x0203);
    tn_write_u32(&w, 0x04050607);
    tn_write_u64(&w, 0x08090a0b0c0d0e0f);
    (void) unhex(want, "0102030405060708090a0b0c0d0e0f");
    is_mem(b, want, 15, "numbers are big-endian");
    is_int((long long) tn_writer_len(&w), 15, "length");
    ok(!w.bad, "full but not bad");
    tn_write_bytes(&w, "", 0);
    ok(!w.bad, "nothing always fits");
    tn_write_u8(&w, 1);
    ok(w.bad && b[15] == 0xee, "one more does not, and is not written");

    w = tn_writer(b, 12);
    tn_write_u32le(&w, 0x04030201);
    tn_write_u64le(&w, 0x0c0b0a0908070605);
    is_mem(b, want, 12, "little-endian");

    memset(b, 0xee, sizeof(b));
    w = tn_writer(b, 5);
    tn_write_zeros(&w, 3);
    tn_write_bytes(&w, "abc", 3);
    ok(w.bad && b[3] == 0xee, "what does not fit is left out as a whole");
    tn_write_u8(&w, 7);
    ok(b[3] == 0xee, "and so is all that follows");
    is_int((long long) tn_writer_len(&w), 3, "length of what was written");
    ok(tn_write_room(&w, 1) == NULL, "no room in a bad writer");
}


static void
test_equal(void)
{
    size_t   i, j, wrong;
    uint8_t  a[40], b[40];

    memset(a, 5, sizeof(a));
    memset(b, 5, sizeof(b));
    ok(tn_ct_equal(a, b, 40), "equal");
    ok(tn_ct_equal(a, b, 0), "nothing is equal to nothing");

    for (i = 0, wrong = 0; i < 40; i++) {
        for (j = 0; j < 8; j++) {
            b[i] ^= (uint8_t) (1 << j);
            wrong += tn_ct_equal(a, b, 40) || !tn_ct_equal(a, b, i);
            b[i] ^= (uint8_t) (1 << j);
        }
    }

    is_int((long long) wrong, 0, "each bit counts");

    tn_wipe(a, sizeof(a));
    memset(b, 0, sizeof(b));
    is_mem(a, b, 40, "wiped");
}


static char    line[TN_LOG_LINE + 1];
static int     lines;


static void
sink(tn_log_t *log, tn_log_level_e level, const char *text, size_t len)
{
    (void) log;
    (void) level;

    memcpy(line, text, len);
    line[len] = '\0';
    lines++;
}


static void
test_log(void)
{
    int         calls;
    char        longest[3000];
    tn_log_t    log = { TN_LOG_NOTICE, sink, NULL };
    tn_log_t   *none;

    calls = 0;
    none = NULL;

    tn_log(&log, TN_LOG_WARN, "%d and %s", 7, "text");
    is_str(line, "7 and text", "a line");
    tn_log(&log, TN_LOG_INFO, "%d", calls++);
    is_int(lines, 1, "a level too low is dropped");
    is_int(calls, 0, "and costs nothing");
    tn_log(none, TN_LOG_EMERG, "%d", calls++);
    is_int(calls, 0, "no log, no line");

    tn_log(&log, TN_LOG_ERR, "%s", "a\nb\rc\x1b[1m\xff\x7f tab\t");
    is_str(line, "a?b?c?[1m?? tab?", "what could forge a line is masked");

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    tn_log(&log, TN_LOG_ERR, "%s", longest);
    is_int((long long) strlen(line), TN_LOG_LINE - 1, "a long line is cut");
}


int
main(void)
{
    test_reader();
    test_writer();
    test_equal();
    test_log();

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The little that a C unit test needs to speak TAP.  A test program calls
 * ok() and its kin and ends with `return tap_done();`.
 */

#ifndef TAP_H_INCLUDED_
#define TAP_H_INCLUDED_

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>


static int  tap_count;
static int  tap_failed;


__attribute__((format(printf, 2, 3)))
static inline bool
ok(bool pass, const char *fmt, ...)
{
    va_list  args;

    tap_count++;
    tap_failed += !pass;

    printf("%sok %d - ", pass ? "" : "not ", tap_count);

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);

    printf("\n");
    fflush(stdout);

    return pass;
}


static inline bool
is_int(long long got, long long want, const char *name)
{
    bool  pass;

    pass = ok(got == want, "%s", name);

    if (!pass) {
        printf("#      got: %lld\n# expected: %lld\n", got, want);
    }

    return pass;
}


static inline bool
is_str(const char *got, const char *want, const char *name)
{
    bool  pass;

    pass = ok(got != NULL && strcmp(got, want) == 0, "%s", name);

    if (!pass) {
        printf("#      got: %s\n# expected: %s\n", got ? got : "(null)", want);
    }

    return pass;
}


static inline bool
is_mem(const void *got, const void *want, size_t len, const char *name)
{
    bool    pass;
    size_t  i;

    pass = ok(memcmp(got, want, len) == 0, "%s", name);

    if (!pass) {
        printf("#      got: ");
        for (i = 0; i < len; i++) {
            printf("%02x", ((const unsigned char *) got)[i]);
        }

        printf("\n# expected: ");
        for (i = 0; i < len; i++) {
            printf("%02x", ((const unsigned char *) want)[i]);
        }

        printf("\n");
    }

    return pass;
}


/* hexadecimal digits, spaces ignored, to bytes; returns their number */
static inline size_t
unhex(unsigned char *out, const char *hex)
{
    size_t        n;
    unsigned int  byte;

    for (n = 0; *hex != '\0'; hex += 2) {

        while (*hex == ' ' || *hex == '\n') {
            hex++;
        }

        if (*hex == '\0' || sscanf(hex, "%2x", &byte) != 1) {
            break;
        }

        out[n++] = (unsigned char) byte;
    }

    return n;
}


static inline int
tap_done(void)
{
    printf("1..%d\n", tap_count);

    return tap_failed ? 1 : 0;
}


#endif /* TAP_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Q encoding: what mime.QEncoding of Go 1.26 makes of the same texts, and
 * nothing of what is not UTF-8, as `tailscale serve` has it.
 */

#include "wire/tn_qword.h"

#include "tap.h"


#define X62  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

#define E10  "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"                        \
    "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
#define Q10  "=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9=C3=A9"

static const struct {
    const char  *text;
    const char  *want;
} cases[] = {
    { "Alice", "Alice" },
    { "", "" },
    { "tab\tin", "tab\tin" },
    { "\xc2\xa1Hola, se\xc3\xb1or!", "=?utf-8?q?=C2=A1Hola,_se=C3=B1or!?=" },
    { "a=b?c_d \xc3\xa9", "=?utf-8?q?a=3Db=3Fc=5Fd_=C3=A9?=" },
    { "a\r\nb", "=?utf-8?q?a=0D=0Ab?=" },
    { "\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80",
      "=?utf-8?q?=E6=97=A5=E6=9C=AC_=F0=9F=98=80?=" },
    { X62 "\xc3\xa9", "=?utf-8?q?" X62 "?= =?utf-8?q?=C3=A9?=" },
    { E10 E10 E10, "=?utf-8?q?" Q10 "?= =?utf-8?q?" Q10 "?= =?utf-8?q?" Q10
      "?=" },
    { "\xff", "" },
    { "\xc3", "" },
    { "\xc0\x80", "" },
    { "\xed\xa0\x80", "" },
    { "\xf4\x90\x80\x80", "" },
    { "ok \xe2\x82", "" }
};


int
main(void)
{
    char    out[TN_QWORD_ROOM(256)];
    size_t  i, n, len, most;
    char    text[256];

    for (i = 0; i < tn_nelems(cases); i++) {
        n = tn_qword_encode(out, cases[i].text, strlen(cases[i].text));
        out[n] = '\0';
        is_str(out, cases[i].want, cases[i].want);
    }

    n = tn_qword_encode(out, "nul\0l", 5);
    out[n] = '\0';
    is_str(out, "=?utf-8?q?nul=00l?=", "a zero byte");

    most = 0;

    for (len = 1; len < sizeof(text); len++) {
        memset(text, '\x01', len);
        n = tn_qword_encode(out, text, len);
        most = n > TN_QWORD_ROOM(len) ? len : most;
    }

    is_int((long long) most, 0, "never longer than its room");

    return tap_done();
}

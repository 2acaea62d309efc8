
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Answers of nameservers.  The input is a byte of flags and an answer, whose
 * ID and question the flags may make right.  What is taken as an answer is
 * one to the question that was asked.
 */

#include "host/tn_dnsmsg.h"

#include <ares.h>
#include <stdlib.h>


#define HEAD  12
#define IPS   8

#define AAAA  0x01
#define ID    0x02          /* the question's own */
#define HEADS 0x04          /* the question before what follows the header */


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void) argc;
    (void) argv;

    return ares_library_init(ARES_LIB_INIT_ALL);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool      v4;
    size_t    len, n, used;
    tn_rc_t   rc;
    uint8_t   flags, query[TN_DNSMSG_QUERY], *answer;
    tn_ip_t   ips[IPS];
    uint32_t  ttl;

    if (size < 1) {
        return 0;
    }

    flags = *data++;
    size--;

    v4 = !(flags & AAAA);
    len = tn_dnsmsg_query(query, 0x1234, "app.corp.test", v4);

    if (len <= HEAD) {
        abort();
    }

    /* of just the size, so that a byte too much is seen */

    answer = malloc(size + len + 1);

    if (answer == NULL) {
        return 0;
    }

    memcpy(answer, data, size);
    used = size;

    if ((flags & HEADS) && size >= HEAD) {
        memcpy(answer + HEAD, query + HEAD, len - HEAD);
        memcpy(answer + len, data + HEAD, size - HEAD);
        memcpy(answer + 4, query + 4, 2);
        used = len + size - HEAD;
    }

    if ((flags & ID) && used >= 2) {
        memcpy(answer, query, 2);
    }

    answer = realloc(answer, used + !used);

    n = IPS;
    rc = tn_dnsmsg_answer(query, len, answer, used, v4, ips, &n, &ttl);

    if (rc == TN_OK) {
        if (n > IPS || used < len || memcmp(answer, query, 2) != 0
            || memcmp(answer + HEAD, query + HEAD, len - HEAD) != 0)
        {
            abort();
        }

        while (n--) {
            if (tn_ip_is_v4(&ips[n]) != v4 && v4) {
                abort();
            }
        }

    } else if (n != 0) {
        abort();
    }

    free(answer);

    return 0;
}

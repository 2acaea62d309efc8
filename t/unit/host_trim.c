
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What is given back is gone from memory, and everything works as before.
 */

#include "host/tn_trim.h"

#include "tap.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>


static atomic_bool  stop;
static atomic_long  hashed;
static uint64_t     written = 1;


/* KB of a line of /proc/self/status */
static long
status(const char *name)
{
    char   line[256];
    long   kb;
    FILE  *file;

    file = fopen("/proc/self/status", "r");
    kb = -1;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kb = strtol(line + strlen(name), NULL, 10);
        }
    }

    (void) fclose(file);

    return kb;
}


static bool
hash(void)
{
    uint8_t                md[EVP_MAX_MD_SIZE];
    static const uint8_t   first[] = { 0xba, 0x78, 0x16, 0xbf };

    return EVP_Digest("abc", 3, md, NULL, EVP_sha256(), NULL) == 1
           && memcmp(md, first, sizeof(first)) == 0;
}


/* what it is given, when it went wrong */
static void *
hash_run(void *data)
{
    while (!stop) {
        if (!hash()) {
            return data;
        }

        hashed++;
    }

    return NULL;
}


int
main(void)
{
    int        i;
    long       before, after, n;
    void      *wrong;
    SSL_CTX   *ctx;
    pthread_t  thread;

    /* a start like the core's */

    ctx = SSL_CTX_new(TLS_client_method());
    (void) SSL_CTX_set_default_verify_paths(ctx);
    SSL_CTX_free(ctx);
    ok(hash(), "a library in use");

    written = 2;
    before = status("RssFile:");
    tn_trim();
    after = status("RssFile:");

    ok(after > 0 && after < before - before / 4,
       "pages of files: %ld KB, then %ld KB", before, after);
    ok(hash() && written == 2, "what is code and what is data is as it was");

    /* while another thread runs the same code */

    if (pthread_create(&thread, NULL, hash_run, &stop) != 0) {
        return 1;
    }

    n = hashed;

    for (i = 0; i < 200 || hashed == n; i++) {
        tn_trim();
    }

    stop = true;
    (void) pthread_join(thread, &wrong);
    ok(wrong == NULL && hashed > n, "%ld times meanwhile", hashed - n);

    return tap_done();
}

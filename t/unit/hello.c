
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ClientHellos as OpenSSL's client makes them.
 */

#include "tap.h"

#include "wire/tn_hello.h"

#include <openssl/ssl.h>
#include <stdlib.h>


#define RECORD  5       /* bytes of a record's head */

static uint8_t  hello[16384];


/* the handshake message of a client; its length */

static size_t
make(const char *name, const char *alpn, int version)
{
    int       n;
    BIO      *in, *out;
    SSL      *ssl;
    uint8_t   record[sizeof(hello) + RECORD];
    SSL_CTX  *ctx;

    ctx = SSL_CTX_new(TLS_client_method());
    ssl = SSL_new(ctx);
    in = BIO_new(BIO_s_mem());
    out = BIO_new(BIO_s_mem());

    SSL_set_bio(ssl, in, out);
    SSL_set_max_proto_version(ssl, version);

    if (name != NULL) {
        SSL_set_tlsext_host_name(ssl, name);
    }

    if (alpn != NULL) {
        SSL_set_alpn_protos(ssl, (const uint8_t *) alpn,
                            (unsigned) strlen(alpn));
    }

    (void) SSL_connect(ssl);
    n = BIO_read(out, record, sizeof(record));

    SSL_free(ssl);
    SSL_CTX_free(ctx);

    if (n <= RECORD || record[0] != SSL3_RT_HANDSHAKE) {
        return 0;
    }

    memcpy(hello, record + RECORD, (size_t) n - RECORD);

    return (size_t) n - RECORD;
}


static tn_rc_t
wants(size_t len, char name[TN_HELLO_NAME])
{
    tn_rc_t   rc;
    uint8_t  *copy;

    /* of its own size, so that a read behind it is seen */

    copy = malloc(len);
    memcpy(copy, hello, len);
    rc = tn_hello_only(copy, len, TN_HELLO_ACME, name);
    free(copy);

    return rc;
}


int
main(void)
{
    int     bad;
    char    name[TN_HELLO_NAME], longest[300];
    size_t  i, len;

    len = make("WWW.Example.com", "\x0a" "acme-tls/1", TLS1_3_VERSION);
    ok(len != 0 && wants(len, name) == TN_OK, "of TLS 1.3");
    is_str(name, "www.example.com", "its name");

    bad = 0;

    for (i = 1; i < len; i++) {
        bad += wants(i, name) != TN_MALFORMED;
    }

    is_int(bad, 0, "cut off anywhere it is malformed");

    hello[len] = 0;
    ok(wants(len + 1, name) == TN_MALFORMED, "and with a byte more");

    len = make("www.example.com", "\x0a" "acme-tls/1", TLS1_2_VERSION);
    ok(wants(len, name) == TN_OK, "of TLS 1.2");

    len = make("www.example.com", "\x0a" "acme-tls/1\x02h2", TLS1_3_VERSION);
    ok(wants(len, name) == TN_NOTFOUND, "another protocol beside it");

    len = make("www.example.com", "\x02h2\x08http/1.1", TLS1_3_VERSION);
    ok(wants(len, name) == TN_NOTFOUND, "other protocols");

    len = make("www.example.com", NULL, TLS1_3_VERSION);
    ok(wants(len, name) == TN_NOTFOUND, "none");

    len = make(NULL, "\x0a" "acme-tls/1", TLS1_3_VERSION);
    ok(wants(len, name) == TN_NOTFOUND, "no name");

    memset(longest, 'a', 255);
    longest[255] = '\0';
    len = make(longest, "\x0a" "acme-tls/1", TLS1_3_VERSION);
    ok(wants(len, name) == TN_OK && strlen(name) == 255, "a long name");

    hello[0] = 2;
    ok(wants(len, name) == TN_NOTFOUND, "another message");

    return tap_done();
}

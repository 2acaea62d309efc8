
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "cert/tn_jose.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_JOSE_COORDINATE  32          /* bytes of one of P-256 */


static json_t *tn_jose_jwk(EVP_PKEY *key);
static char *tn_jose_coordinate(EVP_PKEY *key, const char *name);
static char *tn_jose_signature(EVP_PKEY *key, const char *input);


EVP_PKEY *
tn_jose_key_create(void)
{
    return EVP_EC_gen("P-256");
}


char *
tn_jose_base64(const void *data, size_t len)
{
    char    *text;
    size_t   i, n;

    /* OpenSSL's is the other alphabet, padded, and zero at its end */

    if (len > SIZE_MAX / 8 || len > INT32_MAX / 2) {
        return NULL;
    }

    text = malloc((len + 2) / 3 * 4 + 1);
    if (text == NULL) {
        return NULL;
    }

    n = (size_t) EVP_EncodeBlock((unsigned char *) text, data, (int) len);

    while (n != 0 && text[n - 1] == '=') {
        n--;
    }

    text[n] = '\0';

    for (i = 0; i < n; i++) {
        if (text[i] == '+') {
            text[i] = '-';

        } else if (text[i] == '/') {
            text[i] = '_';
        }
    }

    return text;
}


char *
tn_jose_thumbprint(EVP_PKEY *key)
{
    char     *text, *print;
    json_t   *jwk;
    uint8_t   hash[SHA256_DIGEST_LENGTH];

    print = NULL;

    /* RFC 7638, 3.: the required members in lexicographic order, no space */

    jwk = tn_jose_jwk(key);
    text = json_dumps(jwk, JSON_COMPACT|JSON_SORT_KEYS);
    json_decref(jwk);

    if (text != NULL
        && SHA256((uint8_t *) text, strlen(text), hash) != NULL)
    {
        print = tn_jose_base64(hash, sizeof(hash));
    }

    free(text);

    return print;
}


char *
tn_jose_sign(EVP_PKEY *key, const char *kid, const char *nonce,
    const char *url, const char *payload)
{
    char    *header, *head, *body, *input, *signature, *text;
    json_t  *o;

    head = NULL;
    body = NULL;
    input = NULL;
    signature = NULL;
    text = NULL;

    o = json_pack("{s:s, s:s, s:s}", "alg", "ES256", "nonce", nonce,
                  "url", url);

    if (kid != NULL) {
        json_object_set_new(o, "kid", json_string(kid));

    } else {
        json_object_set_new(o, "jwk", tn_jose_jwk(key));
    }

    header = json_object_size(o) == 4 ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);

    if (header == NULL) {
        goto done;
    }

    head = tn_jose_base64(header, strlen(header));
    body = tn_jose_base64(payload, strlen(payload));

    if (head == NULL || body == NULL
        || asprintf(&input, "%s.%s", head, body) == -1)
    {
        input = NULL;
        goto done;
    }

    signature = tn_jose_signature(key, input);
    if (signature == NULL) {
        goto done;
    }

    o = json_pack("{s:s, s:s, s:s}", "protected", head, "payload", body,
                  "signature", signature);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

done:

    free(header);
    free(head);
    free(body);
    free(input);
    free(signature);

    return text;
}


static json_t *
tn_jose_jwk(EVP_PKEY *key)
{
    char    *x, *y;
    json_t  *jwk;

    jwk = NULL;
    x = tn_jose_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X);
    y = tn_jose_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y);

    if (x != NULL && y != NULL) {
        jwk = json_pack("{s:s, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256",
                        "x", x, "y", y);
    }

    free(x);
    free(y);

    return jwk;
}


static char *
tn_jose_coordinate(EVP_PKEY *key, const char *name)
{
    char     *text;
    BIGNUM   *n;
    uint8_t   bytes[TN_JOSE_COORDINATE];

    n = NULL;
    text = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &n) == 1
        && BN_bn2binpad(n, bytes, sizeof(bytes)) == (int) sizeof(bytes))
    {
        text = tn_jose_base64(bytes, sizeof(bytes));
    }

    BN_free(n);

    return text;
}


/* RFC 7518, 3.4.: R and S, each of 32 bytes, not OpenSSL's ASN.1 */

static char *
tn_jose_signature(EVP_PKEY *key, const char *input)
{
    char           *text;
    size_t          len;
    uint8_t         der[128], raw[2 * TN_JOSE_COORDINATE];
    ECDSA_SIG      *sig;
    EVP_MD_CTX     *ctx;
    const uint8_t  *p;

    text = NULL;
    sig = NULL;
    len = sizeof(der);

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL
        || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1
        || EVP_DigestSign(ctx, der, &len, (const uint8_t *) input,
                          strlen(input))
           != 1)
    {
        goto done;
    }

    p = der;
    sig = d2i_ECDSA_SIG(NULL, &p, (long) len);

    if (sig != NULL
        && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, TN_JOSE_COORDINATE)
           == TN_JOSE_COORDINATE
        && BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + TN_JOSE_COORDINATE,
                        TN_JOSE_COORDINATE)
           == TN_JOSE_COORDINATE)
    {
        text = tn_jose_base64(raw, sizeof(raw));
    }

done:

    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);

    return text;
}

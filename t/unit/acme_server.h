
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * An ACME server for the unit tests, as one function from request to answer:
 * it checks signatures and nonces, and misbehaves when told to.
 */

#ifndef ACME_SERVER_H_INCLUDED_
#define ACME_SERVER_H_INCLUDED_

#include "cert/tn_certs.h"
#include "cert/tn_jose.h"

#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define ACME  "https://ca.test"


typedef struct {
    EVP_PKEY    *ca;
    int64_t      wall;
    int64_t      life;                  /* seconds of a certificate */

    /* misbehaviour, counted down */
    int          bad_nonces;
    int          losses;                /* 500 */
    int          forget;                /* the account */
    int          dislike_replaces;
    int          stumble_replaces;      /* 500 */
    int          not_ready;
    int          pending;               /* polls of the authorization */
    int          processing;            /* polls of the order */
    const char  *invalid;               /* the validation's error */
    const char  *limited;               /* Retry-After of new orders */
    bool         wrong_key;
    bool         wrong_name;
    bool         stuck;                 /* the window stays as it is */
    int64_t      window_start;
    int64_t      window_end;

    /* what it saw */
    int          requests;
    int          accounts;
    int          orders;
    int          unsigned_;             /* bad signatures */
    int          looks;
    char         replaces[256];
    char         name[256];
    char         last_nonce[32];
    int          nonce;
    EVP_PKEY    *csr_key;
    bool         valid;                 /* the authorization */
    bool         by_alpn;               /* how it was proved */
    char        *chain;

    /* the answer */
    char         body[65536];
    char         location[128];
    char         nonce_text[32];
} acme_server_t;


static inline char *
acme_decode(const char *text, size_t *len)
{
    char  *out;

    out = calloc(1, strlen(text) + 1);

    if (sodium_base642bin((unsigned char *) out, strlen(text), text,
                          strlen(text), NULL, len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING)
        != 0)
    {
        *len = 0;
    }

    return out;
}


/* by the x and y of a JWK; the same point, by another way than the signer's */
static inline bool
acme_verify(EVP_PKEY *key, const char *head, const char *payload,
    const char *signature)
{
    bool         good;
    char        *raw, *input;
    size_t       len;
    uint8_t     *der;
    ECDSA_SIG   *sig;
    EVP_MD_CTX  *ctx;
    int          n;

    raw = acme_decode(signature, &len);

    if (len != 64 || asprintf(&input, "%s.%s", head, payload) == -1) {
        free(raw);
        return false;
    }

    sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn((uint8_t *) raw, 32, NULL),
                   BN_bin2bn((uint8_t *) raw + 32, 32, NULL));

    der = NULL;
    n = i2d_ECDSA_SIG(sig, &der);
    ctx = EVP_MD_CTX_new();

    good = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1
           && EVP_DigestVerify(ctx, der, (size_t) n, (uint8_t *) input,
                               strlen(input))
              == 1;

    EVP_MD_CTX_free(ctx);
    ECDSA_SIG_free(sig);
    OPENSSL_free(der);
    free(raw);
    free(input);

    return good;
}


static inline X509 *
acme_issue(acme_server_t *s, EVP_PKEY *key, const char *name)
{
    char             alt[300];
    X509            *cert;
    X509_EXTENSION  *ext;
    uint8_t          aki[4 + 20] = { 0x30, 22, 0x80, 20, 0x69, 0x88, 0x5b,
                                     0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3,
                                     0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde,
                                     0x01, 0xc8, 0xd4 };
    ASN1_OCTET_STRING  *octets;

    cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), 0x87654321);
    ASN1_TIME_set(X509_getm_notBefore(cert), s->wall);
    ASN1_TIME_set(X509_getm_notAfter(cert), s->wall + s->life);
    X509_set_pubkey(cert, key);

    snprintf(alt, sizeof(alt), "DNS:%s", name);
    ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);

    octets = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(octets, aki, sizeof(aki));
    ext = X509_EXTENSION_create_by_NID(NULL, NID_authority_key_identifier, 0,
                                       octets);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(octets);

    X509_sign(cert, s->ca, EVP_sha256());

    return cert;
}


static inline void
acme_finalize(acme_server_t *s, const char *csr64)
{
    BIO            *bio;
    X509           *cert;
    char           *der, *text;
    long            n;
    size_t          len;
    EVP_PKEY       *key;
    X509_REQ       *req;
    const uint8_t  *p;

    der = acme_decode(csr64, &len);
    p = (uint8_t *) der;
    req = d2i_X509_REQ(NULL, &p, (long) len);
    key = req ? X509_REQ_get_pubkey(req) : NULL;

    if (key != NULL && X509_REQ_verify(req, key) == 1) {
        cert = acme_issue(s, s->wrong_key ? s->ca : key,
                          s->wrong_name ? "other.test" : s->name);
        bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(bio, cert);
        n = BIO_get_mem_data(bio, &text);

        if (!s->stuck) {
            s->window_start = 0;
        }

        free(s->chain);
        s->chain = strndup(text, (size_t) n);
        BIO_free(bio);
        X509_free(cert);
    }

    EVP_PKEY_free(key);
    X509_REQ_free(req);
    free(der);
}


static inline int
acme_problem(acme_server_t *s, int status, const char *type,
    const char *detail)
{
    snprintf(s->body, sizeof(s->body),
             "{\"type\":\"urn:ietf:params:acme:error:%s\",\"detail\":\"%s\","
             "\"status\":%d}", type, detail, status);
    return status;
}


static inline int
acme_signed(acme_server_t *s, EVP_PKEY *account, const char *url,
    const char *body, size_t blen)
{
    int          status;
    char        *header, *payload;
    json_t      *o, *h, *p;
    size_t       len;
    const char  *head, *pay, *text;

    status = 200;
    o = json_loadb(body, blen, 0, NULL);
    head = json_string_value(json_object_get(o, "protected"));
    pay = json_string_value(json_object_get(o, "payload"));
    header = acme_decode(head, &len);
    payload = acme_decode(pay, &len);
    h = json_loads(header, 0, NULL);
    p = json_loads(payload, 0, NULL);

    if (!acme_verify(account, head, pay,
                     json_string_value(json_object_get(o, "signature")))
        || strcmp(json_string_value(json_object_get(h, "url")), url) != 0
        || (json_object_get(h, "jwk") == NULL)
           == (json_object_get(h, "kid") == NULL))
    {
        s->unsigned_++;
        status = acme_problem(s, 400, "malformed", "bad JWS");
        goto done;
    }

    text = json_string_value(json_object_get(h, "nonce"));

    if (strcmp(text, s->last_nonce) != 0 || s->bad_nonces > 0) {
        s->bad_nonces--;
        status = acme_problem(s, 400, "badNonce", "another one, please");
        goto done;
    }

    if (strcmp(url, ACME "/account") == 0) {
        s->accounts++;
        snprintf(s->location, sizeof(s->location), ACME "/account/1");
        snprintf(s->body, sizeof(s->body), "{\"status\":\"valid\"}");
        status = 201;

    } else if (strcmp(url, ACME "/order") == 0) {

        if (s->forget > 0) {
            s->forget--;
            status = acme_problem(s, 400, "accountDoesNotExist", "who?");
            goto done;
        }

        if (s->limited != NULL) {
            status = acme_problem(s, 429, "rateLimited",
                                  "too many certificates");
            goto done;
        }

        text = json_string_value(json_object_get(p, "replaces"));
        snprintf(s->replaces, sizeof(s->replaces), "%s", text ? text : "");

        if (text != NULL && s->dislike_replaces > 0) {
            s->dislike_replaces--;
            status = acme_problem(s, 409, "alreadyReplaced", "no");
            goto done;
        }

        if (text != NULL && s->stumble_replaces > 0) {
            s->stumble_replaces--;
            status = acme_problem(s, 500, "serverInternal", "what order?");
            goto done;
        }

        text = json_string_value(json_object_get(json_array_get(
                   json_object_get(p, "identifiers"), 0), "value"));
        snprintf(s->name, sizeof(s->name), "%s", text);

        s->orders++;
        s->valid = false;
        snprintf(s->location, sizeof(s->location), ACME "/order/1");
        snprintf(s->body, sizeof(s->body),
                 "{\"status\":\"pending\",\"authorizations\":[\"" ACME
                 "/authz/1\"],\"finalize\":\"" ACME "/finalize/1\"}");
        status = 201;

    } else if (strcmp(url, ACME "/authz/1") == 0) {

        if (s->valid && s->pending-- > 0) {
            snprintf(s->body, sizeof(s->body), "{\"status\":\"pending\"}");

        } else if (s->valid && s->invalid != NULL) {
            snprintf(s->body, sizeof(s->body),
                     "{\"status\":\"invalid\",\"challenges\":[{\"error\":"
                     "{\"detail\":\"%s\"}}]}", s->invalid);

        } else {
            snprintf(s->body, sizeof(s->body),
                     "{\"status\":\"%s\",\"challenges\":["
                     "{\"type\":\"http-01\",\"token\":\"no\",\"url\":\"" ACME
                     "/no\"},{\"type\":\"dns-01\",\"token\":\"tok-en_1\","
                     "\"url\":\"" ACME "/chall/1\"},"
                     "{\"type\":\"tls-alpn-01\",\"token\":\"tok-en_2\","
                     "\"url\":\"" ACME "/chall/2\"}]}",
                     s->valid ? "valid" : "pending");
        }

    } else if (strcmp(url, ACME "/chall/1") == 0
               || strcmp(url, ACME "/chall/2") == 0)
    {
        s->by_alpn = url[strlen(url) - 1] == '2';
        s->valid = true;
        snprintf(s->body, sizeof(s->body), "{\"status\":\"processing\"}");

    } else if (strcmp(url, ACME "/finalize/1") == 0) {

        if (s->not_ready > 0) {
            s->not_ready--;
            status = acme_problem(s, 403, "orderNotReady", "wait");
            goto done;
        }

        acme_finalize(s, json_string_value(json_object_get(p, "csr")));
        snprintf(s->body, sizeof(s->body), "{\"status\":\"processing\"}");

    } else if (strcmp(url, ACME "/order/1") == 0) {
        snprintf(s->body, sizeof(s->body),
                 "{\"status\":\"%s\",\"certificate\":\"" ACME "/cert/1\"}",
                 s->chain == NULL ? "ready"
                 : s->processing-- > 0 ? "processing" : "valid");

    } else if (strcmp(url, ACME "/cert/1") == 0) {
        snprintf(s->body, sizeof(s->body), "%s", s->chain);
        free(s->chain);
        s->chain = NULL;

    } else {
        status = acme_problem(s, 404, "malformed", "no such thing");
    }

done:

    json_decref(o);
    json_decref(h);
    json_decref(p);
    free(header);
    free(payload);

    return status;
}


/* the answer is good until the next request */
static inline void
acme_serve(acme_server_t *s, EVP_PKEY *account, const char *method,
    const char *url, const char *body, size_t len, tn_acme_answer_t *answer)
{
    int  status;

    s->requests++;
    s->body[0] = '\0';
    s->location[0] = '\0';
    status = 200;

    if (s->losses > 0) {
        s->losses--;
        status = 500;

    } else if (strcmp(url, ACME "/dir") == 0) {
        snprintf(s->body, sizeof(s->body),
                 "{\"newNonce\":\"" ACME "/nonce\",\"newAccount\":\"" ACME
                 "/account\",\"newOrder\":\"" ACME "/order\","
                 "\"renewalInfo\":\"" ACME "/info\"}");

    } else if (strncmp(url, ACME "/info/", sizeof(ACME "/info/") - 1) == 0) {
        s->looks++;

        if (s->window_start == 0) {
            status = acme_problem(s, 404, "malformed", "not here");

        } else {
            struct tm  a, b;
            time_t     t1 = s->window_start, t2 = s->window_end;

            gmtime_r(&t1, &a);
            gmtime_r(&t2, &b);
            snprintf(s->body, sizeof(s->body),
                     "{\"suggestedWindow\":{\"start\":\"%04d-%02d-%02dT%02d:"
                     "%02d:%02dZ\",\"end\":\"%04d-%02d-%02dT%02d:%02d:%02d"
                     ".5+00:00\"}}",
                     a.tm_year + 1900, a.tm_mon + 1, a.tm_mday, a.tm_hour,
                     a.tm_min, a.tm_sec, b.tm_year + 1900, b.tm_mon + 1,
                     b.tm_mday, b.tm_hour, b.tm_min, b.tm_sec);
        }

    } else if (strcmp(method, "POST") == 0) {
        status = acme_signed(s, account, url, body, len);
    }

    snprintf(s->nonce_text, sizeof(s->nonce_text), "n%d", ++s->nonce);
    memcpy(s->last_nonce, s->nonce_text, sizeof(s->last_nonce));

    answer->status = status;
    answer->nonce = strcmp(url, ACME "/dir") == 0 ? "" : s->nonce_text;
    answer->location = s->location;
    answer->retry_after = s->limited && status == 429 ? s->limited : "";
    answer->body = s->body;
    answer->len = strlen(s->body);
}


#endif /* ACME_SERVER_H_INCLUDED_ */

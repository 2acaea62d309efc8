
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "cert/tn_chain.h"

#include "base/tn_cursor.h"
#include "cert/tn_jose.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


#define TN_CHAIN_SERIAL_MAX  20         /* bytes, RFC 5280, 4.1.2.2. */
#define TN_CHAIN_KEYID_MAX   64


static bool tn_chain_finish(tn_chain_t *chain);
static bool tn_chain_time(const ASN1_TIME *when, int64_t *seconds);
static bool tn_chain_text_write(BIO *bio, const tn_chain_t *chain);
static STACK_OF(X509_EXTENSION) *tn_chain_names(const char *name);
static tn_rc_t tn_chain_make(tn_chain_t *chain, const char *name,
    int64_t wall, int64_t seconds, const uint8_t *hash);
static bool tn_chain_add_hash(X509 *cert, const uint8_t *hash);
static int tn_chain_no_password(char *buf, int size, int rw, void *data);


void
tn_chain_free(tn_chain_t *chain)
{
    size_t  i;

    for (i = 0; i < chain->n; i++) {
        X509_free(chain->cert[i]);
    }

    EVP_PKEY_free(chain->key);
    memset(chain, 0, sizeof(tn_chain_t));
}


tn_rc_t
tn_chain_parse(tn_chain_t *chain, const void *pem, size_t len, bool key)
{
    BIO   *bio;
    bool   good;
    X509  *cert;

    memset(chain, 0, sizeof(tn_chain_t));
    good = false;

    if (len == 0 || len > TN_CHAIN_PEM_MAX) {
        return TN_MALFORMED;
    }

    bio = BIO_new_mem_buf(pem, (int) len);
    if (bio == NULL) {
        goto done;
    }

    if (key) {
        chain->key = PEM_read_bio_PrivateKey(bio, NULL, tn_chain_no_password,
                                             NULL);
        if (chain->key == NULL) {
            goto done;
        }
    }

    while ((cert = PEM_read_bio_X509(bio, NULL, tn_chain_no_password, NULL))
           != NULL)
    {
        if (chain->n == TN_CHAIN_MAX) {
            X509_free(cert);
            goto done;
        }

        chain->cert[chain->n++] = cert;
    }

    /* the end has to be the end, not one that is damaged */

    good = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
           && tn_chain_finish(chain);

done:

    BIO_free(bio);
    ERR_clear_error();

    if (!good) {
        tn_chain_free(chain);
        return TN_MALFORMED;
    }

    return TN_OK;
}


/* what follows from the certificates; false when they make no sense */

static bool
tn_chain_finish(tn_chain_t *chain)
{
    return chain->n != 0
           && tn_chain_time(X509_get0_notBefore(chain->cert[0]),
                            &chain->not_before)
           && tn_chain_time(X509_get0_notAfter(chain->cert[0]),
                            &chain->not_after)
           && chain->not_before < chain->not_after
           && (chain->key == NULL || tn_chain_has_key(chain, chain->key));
}


static bool
tn_chain_time(const ASN1_TIME *when, int64_t *seconds)
{
    struct tm  tm;

    if (ASN1_TIME_to_tm(when, &tm) != 1) {
        return false;
    }

    *seconds = (int64_t) timegm(&tm);

    return true;
}


static int
tn_chain_no_password(char *buf, int size, int rw, void *data)
{
    (void) buf;
    (void) size;
    (void) rw;
    (void) data;

    return -1;
}


char *
tn_chain_text(const tn_chain_t *chain, size_t *len)
{
    BIO   *bio;
    char  *text, *data;
    long   size;

    text = NULL;

    bio = BIO_new(BIO_s_secmem());
    if (bio == NULL) {
        return NULL;
    }

    if (tn_chain_text_write(bio, chain)) {
        size = BIO_get_mem_data(bio, &data);
        text = size > 0 ? malloc((size_t) size + 1) : NULL;

        if (text != NULL) {
            memcpy(text, data, (size_t) size);
            text[size] = '\0';
            *len = (size_t) size;
        }
    }

    BIO_free(bio);
    ERR_clear_error();

    return text;
}


static bool
tn_chain_text_write(BIO *bio, const tn_chain_t *chain)
{
    size_t  i;

    if (chain->key == NULL
        || PEM_write_bio_PKCS8PrivateKey(bio, chain->key, NULL, NULL, 0,
                                         NULL, NULL)
           != 1)
    {
        return false;
    }

    for (i = 0; i < chain->n; i++) {
        if (PEM_write_bio_X509(bio, chain->cert[i]) != 1) {
            return false;
        }
    }

    return true;
}


void
tn_chain_text_free(char *text, size_t len)
{
    if (text != NULL) {
        tn_wipe(text, len);
        free(text);
    }
}


bool
tn_chain_has_name(const tn_chain_t *chain, const char *name)
{
    return chain->n != 0
           && X509_check_host(chain->cert[0], name, strlen(name),
                              X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL)
              == 1;
}


bool
tn_chain_has_key(const tn_chain_t *chain, EVP_PKEY *key)
{
    bool  same;

    same = chain->n != 0 && X509_check_private_key(chain->cert[0], key) == 1;
    ERR_clear_error();

    return same;
}


tn_rc_t
tn_chain_ari(const tn_chain_t *chain, char text[TN_CHAIN_ARI_MAX])
{
    int                  n;
    char                *issuer, *serial;
    uint8_t             *der;
    const ASN1_STRING   *id, *number;

    number = X509_get0_serialNumber(chain->cert[0]);
    id = X509_get0_authority_key_id(chain->cert[0]);

    if (id == NULL
        || ASN1_STRING_length(id) < 1
        || ASN1_STRING_length(id) > TN_CHAIN_KEYID_MAX)
    {
        return TN_NOTFOUND;
    }

    /* the content of the serial number's DER: a leading zero belongs to it */

    der = NULL;
    n = i2d_ASN1_INTEGER((ASN1_INTEGER *) number, &der);

    if (n < 3 || n > 2 + TN_CHAIN_SERIAL_MAX + 1) {
        OPENSSL_free(der);
        return TN_NOTFOUND;
    }

    issuer = tn_jose_base64(ASN1_STRING_get0_data(id),
                            (size_t) ASN1_STRING_length(id));
    serial = tn_jose_base64(der + 2, (size_t) n - 2);
    OPENSSL_free(der);

    n = -1;

    if (issuer != NULL && serial != NULL) {
        n = snprintf(text, TN_CHAIN_ARI_MAX, "%s.%s", issuer, serial);
    }

    free(issuer);
    free(serial);

    return n > 0 && n < TN_CHAIN_ARI_MAX ? TN_OK : TN_NOTFOUND;
}


static STACK_OF(X509_EXTENSION) *
tn_chain_names(const char *name)
{
    char                       value[TN_CHAIN_NAME_MAX + 8];
    X509_EXTENSION            *ext;
    STACK_OF(X509_EXTENSION)  *exts;

    /* it goes into a little language of OpenSSL's */

    if (strlen(name) > TN_CHAIN_NAME_MAX
        || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789.-_*")
           != strlen(name))
    {
        return NULL;
    }

    (void) snprintf(value, sizeof(value), "DNS:%s", name);

    ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    exts = ext != NULL ? sk_X509_EXTENSION_new_null() : NULL;

    if (exts == NULL || sk_X509_EXTENSION_push(exts, ext) == 0) {
        X509_EXTENSION_free(ext);
        sk_X509_EXTENSION_free(exts);
        return NULL;
    }

    return exts;
}


uint8_t *
tn_chain_request(EVP_PKEY *key, const char *name, size_t *len)
{
    int                        n;
    uint8_t                   *der, *copy;
    X509_REQ                  *req;
    STACK_OF(X509_EXTENSION)  *exts;

    der = NULL;
    copy = NULL;

    req = X509_REQ_new();
    exts = tn_chain_names(name);

    /* the subject stays empty: a common name has room for 64 characters */

    if (req != NULL && exts != NULL
        && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1
        && X509_REQ_set_pubkey(req, key) == 1
        && X509_REQ_add_extensions(req, exts) == 1
        && X509_REQ_sign(req, key, EVP_sha256()) > 0)
    {
        n = i2d_X509_REQ(req, &der);

        if (n > 0) {
            copy = malloc((size_t) n);
        }

        if (copy != NULL) {
            memcpy(copy, der, (size_t) n);
            *len = (size_t) n;
        }
    }

    OPENSSL_free(der);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_REQ_free(req);
    ERR_clear_error();

    return copy;
}


tn_rc_t
tn_chain_self_signed(tn_chain_t *chain, const char *name, int64_t wall,
    int64_t seconds)
{
    return tn_chain_make(chain, name, wall, seconds, NULL);
}


tn_rc_t
tn_chain_challenge(tn_chain_t *chain, const char *name, int64_t wall,
    int64_t seconds, const uint8_t hash[TN_CHAIN_HASH])
{
    return tn_chain_make(chain, name, wall, seconds, hash);
}


static tn_rc_t
tn_chain_make(tn_chain_t *chain, const char *name, int64_t wall,
    int64_t seconds, const uint8_t *hash)
{
    X509                      *cert;
    bool                       good;
    uint64_t                   serial;
    EVP_PKEY                  *key;
    X509_NAME                 *subject;
    STACK_OF(X509_EXTENSION)  *exts;

    static const uint8_t  issuer[] = "nginx, self-signed";

    memset(chain, 0, sizeof(tn_chain_t));

    cert = X509_new();
    key = tn_jose_key_create();
    exts = tn_chain_names(name);
    subject = X509_NAME_new();

    /* another serial number for each: browsers remember pairs of it */

    serial = (uint64_t) wall;

    good = cert != NULL && key != NULL && exts != NULL && subject != NULL
           && X509_set_version(cert, X509_VERSION_3) == 1
           && ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) == 1
           && ASN1_TIME_set(X509_getm_notBefore(cert), (time_t) wall - 3600)
              != NULL
           && ASN1_TIME_set(X509_getm_notAfter(cert),
                            (time_t) (wall + seconds))
              != NULL
           && X509_NAME_add_entry_by_NID(subject, NID_commonName,
                                         MBSTRING_UTF8,
                                         (unsigned char *) issuer, -1, -1, 0)
              == 1
           && X509_set_subject_name(cert, subject) == 1
           && X509_set_issuer_name(cert, subject) == 1
           && X509_set_pubkey(cert, key) == 1
           && X509_add_ext(cert, sk_X509_EXTENSION_value(exts, 0), -1) == 1
           && (hash == NULL || tn_chain_add_hash(cert, hash))
           && X509_sign(cert, key, EVP_sha256()) > 0;

    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_NAME_free(subject);

    if (good) {
        chain->cert[0] = cert;
        chain->n = 1;
        chain->key = key;

        if (tn_chain_finish(chain)) {
            return TN_OK;
        }

        tn_chain_free(chain);

    } else {
        X509_free(cert);
        EVP_PKEY_free(key);
    }

    ERR_clear_error();

    return TN_NOMEM;
}


/* RFC 8737, 3.: id-pe-acmeIdentifier, critical, an OCTET STRING */

static bool
tn_chain_add_hash(X509 *cert, const uint8_t *hash)
{
    bool                added;
    uint8_t             der[2 + TN_CHAIN_HASH];
    ASN1_OBJECT        *id;
    X509_EXTENSION     *ext;
    ASN1_OCTET_STRING  *value;

    der[0] = V_ASN1_OCTET_STRING;
    der[1] = TN_CHAIN_HASH;
    memcpy(der + 2, hash, TN_CHAIN_HASH);

    ext = NULL;
    id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    value = ASN1_OCTET_STRING_new();

    if (id != NULL && value != NULL
        && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1)
    {
        ext = X509_EXTENSION_create_by_OBJ(NULL, id, 1, value);
    }

    added = ext != NULL && X509_add_ext(cert, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(id);

    return added;
}


/*
 * u8 count, and for each: u8 length and name, u8 flags, u16 length and the
 * key as PKCS #8, u8 count and as many of u16 length and certificate, DER.
 */

uint8_t *
tn_chain_pack(const tn_chain_named_t *const *set, size_t n, size_t *len)
{
    int                   size;
    size_t                i, k, room;
    uint8_t              *bytes, *der;
    tn_writer_t           w;
    const tn_chain_t     *chain;
    PKCS8_PRIV_KEY_INFO  *info;

    n = tn_min(n, TN_CHAIN_SET_MAX);
    room = 1 + n * 2 * TN_CHAIN_PEM_MAX;

    bytes = malloc(room);
    if (bytes == NULL) {
        return NULL;
    }

    w = tn_writer(bytes, room);
    tn_write_u8(&w, (uint8_t) n);

    for (i = 0; i < n; i++) {
        chain = &set[i]->chain;

        tn_write_u8(&w, (uint8_t) strlen(set[i]->name));
        tn_write_bytes(&w, set[i]->name, strlen(set[i]->name));
        tn_write_u8(&w, (uint8_t) set[i]->flags);

        der = NULL;
        info = EVP_PKEY2PKCS8(chain->key);
        size = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
        PKCS8_PRIV_KEY_INFO_free(info);

        if (size <= 0 || size > UINT16_MAX) {
            w.bad = true;

        } else {
            tn_write_u16(&w, (uint16_t) size);
            tn_write_bytes(&w, der, (size_t) size);
        }

        OPENSSL_clear_free(der, size > 0 ? (size_t) size : 0);
        tn_write_u8(&w, (uint8_t) chain->n);

        for (k = 0; k < chain->n; k++) {
            der = NULL;
            size = i2d_X509(chain->cert[k], &der);

            if (size <= 0 || size > UINT16_MAX) {
                w.bad = true;

            } else {
                tn_write_u16(&w, (uint16_t) size);
                tn_write_bytes(&w, der, (size_t) size);
            }

            OPENSSL_free(der);
        }
    }

    if (w.bad) {
        tn_wipe(bytes, room);
        free(bytes);
        return NULL;
    }

    *len = tn_writer_len(&w);

    return bytes;
}


tn_rc_t
tn_chain_unpack(const void *bytes, size_t len, tn_chain_named_t *set,
    size_t *n)
{
    size_t                i, k, count, certs, size;
    tn_cursor_t           c;
    tn_chain_t           *chain;
    const uint8_t        *p;
    PKCS8_PRIV_KEY_INFO  *info;

    c = tn_cursor(bytes, len);
    count = tn_read_u8(&c);
    *n = 0;

    if (count > TN_CHAIN_SET_MAX) {
        return TN_MALFORMED;
    }

    for (i = 0; i < count; i++) {
        memset(&set[i], 0, sizeof(tn_chain_named_t));
        chain = &set[i].chain;

        size = tn_read_u8(&c);

        if (size > TN_CHAIN_NAME_MAX) {
            c.bad = true;
        }

        if (!c.bad) {
            tn_read_copy(&c, set[i].name, size);
        }

        set[i].flags = tn_read_u8(&c);

        *n = i + 1;

        size = tn_read_u16(&c);
        p = tn_read_bytes(&c, size);

        if (p != NULL) {
            info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long) size);
            chain->key = info != NULL ? EVP_PKCS82PKEY(info) : NULL;
            PKCS8_PRIV_KEY_INFO_free(info);
        }

        certs = tn_read_u8(&c);

        if (chain->key == NULL || certs > TN_CHAIN_MAX) {
            goto failed;
        }

        for (k = 0; k < certs; k++) {
            size = tn_read_u16(&c);
            p = tn_read_bytes(&c, size);

            chain->cert[k] = p != NULL ? d2i_X509(NULL, &p, (long) size)
                                       : NULL;

            if (chain->cert[k] == NULL) {
                goto failed;
            }

            chain->n++;
        }

        if (!tn_chain_finish(chain)) {
            goto failed;
        }
    }

    if (!c.bad && tn_cursor_left(&c) == 0) {
        return TN_OK;
    }

failed:

    for (i = 0; i < *n; i++) {
        tn_chain_free(&set[i].chain);
    }

    *n = 0;
    ERR_clear_error();

    return TN_MALFORMED;
}

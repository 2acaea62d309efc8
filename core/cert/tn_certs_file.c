
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Files of certificates and of the account.  What is read is checked before
 * it is used; what is made is used only once it is on disk.
 */

#include "cert/tn_certs_int.h"

#include "cert/tn_jose.h"
#include "crypto/tn_blake2s.h"

#include <jansson.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_CERTS_SELF_S      (397 * 86400)
#define TN_CERTS_SELF_LEFT_S (30 * 86400)
#define TN_CERTS_SELF_FILE   "cert.self-signed.pem"


static int tn_certs_no_password(char *buf, int size, int rw, void *data);


/* the key of this server's account, read or made */

bool
tn_certs_account(tn_certs_t *certs)
{
    BIO         *bio;
    char         file[TN_CERTS_FILE];
    size_t       len;
    json_t      *o;
    tn_rc_t      rc;
    uint8_t     *bytes;
    const char  *pem, *url;

    if (certs->account_key != NULL) {
        return true;
    }

    (void) snprintf(file, sizeof(file), "acme.%s.json", certs->server);

    rc = certs->ops->load(certs->data, file, &bytes, &len);

    if (rc == TN_NOTFOUND) {
        certs->account_key = tn_jose_key_create();
        return certs->account_key != NULL && tn_certs_account_save(certs);
    }

    if (rc != TN_OK) {
        return false;
    }

    o = json_loadb((char *) bytes, len, 0, NULL);
    certs->ops->unload(certs->data, bytes, len);

    pem = json_string_value(json_object_get(o, "key"));
    url = json_string_value(json_object_get(o, "account"));

    if (pem != NULL) {
        bio = BIO_new_mem_buf(pem, -1);

        if (bio != NULL) {
            certs->account_key = PEM_read_bio_PrivateKey(bio, NULL,
                                                  tn_certs_no_password, NULL);
            BIO_free(bio);
        }
    }

    if (url != NULL && strlen(url) < sizeof(certs->account)) {
        memcpy(certs->account, url, strlen(url) + 1);
    }

    json_decref(o);

    if (certs->account_key == NULL
        || EVP_PKEY_get_base_id(certs->account_key) != EVP_PKEY_EC
        || EVP_PKEY_get_bits(certs->account_key) != 256)
    {
        tn_log(certs->log, TN_LOG_ERR, "certificates: \"%s\" in the state "
               "directory is no ACME account; remove it to make another",
               file);
        EVP_PKEY_free(certs->account_key);
        certs->account_key = NULL;
        return false;
    }

    return true;
}


static int
tn_certs_no_password(char *buf, int size, int rw, void *data)
{
    (void) buf;
    (void) size;
    (void) rw;
    (void) data;

    return -1;
}


/* what depends on the key is done only once it is on disk */

bool
tn_certs_account_save(tn_certs_t *certs)
{
    BIO     *bio;
    char     file[TN_CERTS_FILE], *pem, *text;
    long     len;
    bool     saved;
    json_t  *o;

    saved = false;
    text = NULL;

    (void) snprintf(file, sizeof(file), "acme.%s.json", certs->server);

    bio = BIO_new(BIO_s_secmem());

    if (bio != NULL
        && PEM_write_bio_PKCS8PrivateKey(bio, certs->account_key, NULL, NULL,
                                         0, NULL, NULL)
           == 1)
    {
        len = BIO_get_mem_data(bio, &pem);
        o = json_pack("{s:s, s:s, s:s%}", "directory", certs->directory,
                      "account", certs->account, "key", pem, (size_t) len);
        text = json_dumps(o, JSON_INDENT(2));
        json_decref(o);
    }

    BIO_free(bio);

    if (text != NULL) {
        saved = certs->ops->save(certs->data, file, text, strlen(text))
                == TN_OK;
        tn_chain_text_free(text, strlen(text));
    }

    if (!saved && certs->account[0] == '\0') {
        EVP_PKEY_free(certs->account_key);
        certs->account_key = NULL;
    }

    return saved;
}


void
tn_certs_load(tn_certs_t *certs, tn_certs_name_t *name)
{
    char         file[TN_CERTS_FILE], day[32];
    size_t       len;
    int64_t      wall;
    uint8_t     *bytes;
    tn_chain_t   chain;
    const char  *why;

    tn_certs_file(certs, name->named.name, file);

    if (certs->ops->load(certs->data, file, &bytes, &len) != TN_OK) {
        return;
    }

    wall = certs->ops->wall(certs->data);
    why = NULL;

    if (tn_chain_parse(&chain, bytes, len, true) != TN_OK) {
        why = "damaged";

    } else if (!tn_chain_has_name(&chain, name->named.name)) {
        why = "of another name";

    } else if (chain.not_after <= wall) {
        why = "expired";
    }

    certs->ops->unload(certs->data, bytes, len);

    if (why != NULL) {
        tn_log(certs->log, TN_LOG_WARN, "certificate of %s: \"%s\" in the "
               "state directory is %s, another is ordered",
               name->named.name, file, why);
        tn_chain_free(&chain);
        return;
    }

    name->named.chain = chain;
    tn_certs_plan(certs, name);

    tn_log(certs->log, TN_LOG_INFO, "certificate of %s: valid until %s",
           name->named.name, tn_certs_day(chain.not_after, day));

    certs->ops->changed(certs->data);
}


bool
tn_certs_save(tn_certs_t *certs, const char *file, const tn_chain_t *chain)
{
    char    *text;
    bool     saved;
    size_t   len;

    text = tn_chain_text(chain, &len);
    if (text == NULL) {
        return false;
    }

    saved = certs->ops->save(certs->data, file, text, len) == TN_OK;
    tn_chain_text_free(text, len);

    return saved;
}


/* made when asked for, kept for those who have told their browser to trust */

void
tn_certs_self(tn_certs_t *certs)
{
    size_t       i, len;
    int64_t      wall;
    uint8_t     *bytes;
    tn_chain_t  *chain;
    const char  *name;

    if (!certs->fallback) {
        return;
    }

    name = certs->own;

    for (i = 0; i < certs->n; i++) {

        if (certs->name[i].listed) {
            if (certs->name[i].have) {
                return;
            }

            name = certs->name[i].named.name;
            break;
        }
    }

    chain = &certs->self.chain;
    wall = certs->ops->wall(certs->data);

    if (!certs->have_self
        && certs->ops->load(certs->data, TN_CERTS_SELF_FILE, &bytes, &len)
           == TN_OK)
    {
        certs->have_self = tn_chain_parse(chain, bytes, len, true) == TN_OK;
        certs->ops->unload(certs->data, bytes, len);

    } else if (certs->have_self && tn_chain_has_name(chain, name)
               && chain->not_after - wall > TN_CERTS_SELF_LEFT_S)
    {
        return;
    }

    if (certs->have_self && tn_chain_has_name(chain, name)
        && chain->not_after - wall > TN_CERTS_SELF_LEFT_S)
    {
        goto done;
    }

    tn_chain_free(chain);

    certs->have_self = *name != '\0'
                       && tn_chain_self_signed(chain, name, wall,
                                               TN_CERTS_SELF_S)
                          == TN_OK;

    if (!certs->have_self) {
        return;
    }

    (void) tn_certs_save(certs, TN_CERTS_SELF_FILE, chain);

done:

    certs->self.flags = TN_CHAIN_SELF_SIGNED;
    (void) snprintf(certs->self.name, sizeof(certs->self.name), "%s", name);
    certs->ops->changed(certs->data);
}


void
tn_certs_file(const tn_certs_t *certs, const char *name,
    char file[TN_CERTS_FILE])
{
    int     n;
    char    hash[17];
    size_t  i;

    n = snprintf(file, TN_CERTS_FILE, "cert.%s.%s.pem", name, certs->server);

    if (n >= TN_CERTS_FILE) {
        tn_certs_hash(name, hash);
        (void) snprintf(file, TN_CERTS_FILE, "cert.%s.%s.pem", hash,
                        certs->server);
    }

    for (i = 0; file[i] != '\0'; i++) {
        if (file[i] >= 'A' && file[i] <= 'Z') {
            file[i] |= 0x20;
        }
    }
}


void
tn_certs_hash(const char *text, char hash[17])
{
    uint8_t  digest[TN_BLAKE2S_LEN];

    memset(digest, 0, sizeof(digest));
    (void) tn_blake2s(digest, text, strlen(text), NULL, 0);
    sodium_bin2hex(hash, 17, digest, 8);
}

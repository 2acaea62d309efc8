
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A certificate with its chain and its private key: made, read, checked and
 * packed for nginx's workers.  By OpenSSL's X.509; owns no file.
 */

#ifndef TN_CHAIN_H_INCLUDED_
#define TN_CHAIN_H_INCLUDED_

#include "base/tn_base.h"

#include <openssl/evp.h>
#include <openssl/x509.h>


#define TN_CHAIN_MAX        8           /* certificates of one chain */
#define TN_CHAIN_PEM_MAX    65536       /* bytes of a chain or a file */
#define TN_CHAIN_NAME_MAX   253         /* of a DNS name (RFC 1035) */
#define TN_CHAIN_ARI_MAX    128         /* text that names a certificate */
#define TN_CHAIN_SET_MAX    32          /* chains packed together */
#define TN_CHAIN_HASH       32          /* of a challenge */

typedef struct {
    X509       *cert[TN_CHAIN_MAX];     /* the leaf first */
    size_t      n;
    EVP_PKEY   *key;                    /* the leaf's, or NULL */
    int64_t     not_before;             /* of the leaf; Unix seconds */
    int64_t     not_after;
} tn_chain_t;


/* frees what it holds, the key wiped, and zeroes it */
void tn_chain_free(tn_chain_t *chain);

/*
 * Reads PEM of 1 to TN_CHAIN_MAX certificates and, with `key`, of the private
 * key before them; what else is in it is refused.  TN_OK, TN_MALFORMED, also
 * when the key is not the leaf's.
 */
tn_rc_t tn_chain_parse(tn_chain_t *chain, const void *pem, size_t len,
    bool key);

/* the same the other way, key first, for tn_chain_text_free(); or NULL */
char *tn_chain_text(const tn_chain_t *chain, size_t *len);
void tn_chain_text_free(char *text, size_t len);

/* whether the leaf is for this DNS name */
bool tn_chain_has_name(const tn_chain_t *chain, const char *name);

/* whether this is the private key of the leaf */
bool tn_chain_has_key(const tn_chain_t *chain, EVP_PKEY *key);

/*
 * What ARI calls the leaf (RFC 9773, 4.1.): TN_OK, or TN_NOTFOUND when it has
 * no authority key identifier or an odd serial number.
 */
tn_rc_t tn_chain_ari(const tn_chain_t *chain,
    char text[TN_CHAIN_ARI_MAX]);

/* a request for a certificate of this name, DER for free(); or NULL */
uint8_t *tn_chain_request(EVP_PKEY *key, const char *name, size_t *len);

/*
 * One that nobody vouches for, with a new key, valid from an hour before
 * `wall` for `seconds`.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_chain_self_signed(tn_chain_t *chain, const char *name,
    int64_t wall, int64_t seconds);

/*
 * The same, as the answer to a tls-alpn-01 challenge whose key authorization
 * has this SHA-256 (RFC 8737, 3.).
 */
tn_rc_t tn_chain_challenge(tn_chain_t *chain, const char *name,
    int64_t wall, int64_t seconds, const uint8_t hash[TN_CHAIN_HASH]);


/* of the worker's set: nobody vouches for it */
#define TN_CHAIN_SELF_SIGNED  0x01
/* for nobody but an ACME server that asks for "acme-tls/1" */
#define TN_CHAIN_CHALLENGE    0x02

typedef struct {
    char        name[TN_CHAIN_NAME_MAX + 1];
    uint32_t    flags;
    tn_chain_t  chain;
} tn_chain_named_t;

/*
 * A set as bytes, with its private keys, to be wiped and freed by the caller;
 * NULL without memory.  tn_chain_unpack() puts TN_CHAIN_SET_MAX at most into
 * set[] and their number into *n: TN_OK, or TN_MALFORMED and nothing.
 */
uint8_t *tn_chain_pack(const tn_chain_named_t *const *set, size_t n,
    size_t *len);
tn_rc_t tn_chain_unpack(const void *bytes, size_t len, tn_chain_named_t *set,
    size_t *n);


#endif /* TN_CHAIN_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * OpenSSL reads and writes the socket through a BIO of ours and not through
 * its socket BIO, whose write() would raise SIGPIPE in a process that is not
 * ours to set signals in (the core may be a thread of nginx).
 *
 * The system's roots are some hundred and fifty, a megabyte when read, and a
 * node needs two or three.  So they are looked up one by one in the system's
 * directory, by their hashes; the file that has them all is read when a chain
 * does not verify without it, once for a profile.
 */

#include "host/tn_tls.h"

#include "base/tn_addr.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>


#define TN_TLS_DERP_PREFIX   "derpkey"
#define TN_TLS_READ_BYTES    (64 * 1024)

/* derphttp_client.go, parseMetaCert: versions up to 255 */
#define TN_TLS_DERP_VERSION_MAX  255


struct tn_tls_s {
    SSL_CTX  *ctx;
};

/* hangs on the session when the leaf is pinned */
typedef struct {
    uint8_t   hash[SHA256_DIGEST_LENGTH];
    char      host[256];        /* empty when it is an IP literal */
} tn_tls_pin_t;


static pthread_once_t   tn_tls_once = PTHREAD_ONCE_INIT;
static BIO_METHOD      *tn_tls_bio_method;
static int              tn_tls_pin_index = -1;

/* of the reading of the file; what is read is locked by OpenSSL */
static pthread_mutex_t  tn_tls_lock = PTHREAD_MUTEX_INITIALIZER;


static void tn_tls_init(void);
static tn_rc_t tn_tls_pin(SSL *ssl, const char *host, const char *hex);
static void tn_tls_pin_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad,
    int index, long argl, void *argp);
static int tn_tls_verify(X509_STORE_CTX *store, void *arg);
static int tn_tls_verify_chain(X509_STORE_CTX *store, SSL *ssl);
static void tn_tls_read_roots(SSL_CTX *ctx);
static tn_rc_t tn_tls_expect(SSL *ssl, const char *host, const char *name);
static bool tn_tls_is_ip(const char *text);
static int tn_tls_bio_write(BIO *bio, const char *data, int len);
static int tn_tls_bio_read(BIO *bio, char *data, int len);
static long tn_tls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr);
static int tn_tls_bio_fd(BIO *bio);
static bool tn_tls_again(int err);
static void tn_tls_library_error(const char *what, char *text);


tn_tls_t *
tn_tls_create(const char *ca_file, bool verify, char *text)
{
    tn_tls_t  *tls;

    text[0] = '\0';
    ERR_clear_error();

    (void) pthread_once(&tn_tls_once, tn_tls_init);

    if (tn_tls_bio_method == NULL || tn_tls_pin_index == -1) {
        tn_tls_library_error("OpenSSL did not start", text);
        return NULL;
    }

    tls = calloc(1, sizeof(tn_tls_t));
    if (tls == NULL) {
        (void) snprintf(text, TN_TLS_TEXT, "out of memory");
        return NULL;
    }

    tls->ctx = SSL_CTX_new(TLS_client_method());
    if (tls->ctx == NULL) {
        tn_tls_library_error("SSL_CTX_new() failed", text);
        goto failed;
    }

    (void) SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
    (void) SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
    (void) SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION
                                         | SSL_OP_NO_COMPRESSION);
    (void) SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                      | SSL_MODE_RELEASE_BUFFERS);

    /* a relay's records are short: many by one call, not two calls for each */
    SSL_CTX_set_read_ahead(tls->ctx, 1);
    SSL_CTX_set_default_read_buffer_len(tls->ctx, TN_TLS_READ_BYTES);

    SSL_CTX_set_cert_verify_callback(tls->ctx, tn_tls_verify, NULL);

    if (!verify) {
        SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_NONE, NULL);
        return tls;
    }

    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);

    /* while nobody else has the store: later additions would change it */
    (void) X509_STORE_add_lookup(SSL_CTX_get_cert_store(tls->ctx),
                                 X509_LOOKUP_file());

    /* a system without any roots can still have ca_file */
    (void) SSL_CTX_set_default_verify_dir(tls->ctx);
    ERR_clear_error();

    if (ca_file != NULL
        && SSL_CTX_load_verify_locations(tls->ctx, ca_file, NULL) != 1)
    {
        tn_tls_library_error("no certificates could be read", text);
        goto failed;
    }

    return tls;

failed:

    tn_tls_free(tls);

    return NULL;
}


static void
tn_tls_init(void)
{
    int  type;

    tn_tls_pin_index = SSL_get_ex_new_index(0, NULL, NULL, NULL,
                                            tn_tls_pin_free);

    type = BIO_get_new_index();
    if (type == -1) {
        return;
    }

    tn_tls_bio_method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK,
                                     "tailnet socket");
    if (tn_tls_bio_method == NULL) {
        return;
    }

    if (BIO_meth_set_write(tn_tls_bio_method, tn_tls_bio_write) != 1
        || BIO_meth_set_read(tn_tls_bio_method, tn_tls_bio_read) != 1
        || BIO_meth_set_ctrl(tn_tls_bio_method, tn_tls_bio_ctrl) != 1)
    {
        BIO_meth_free(tn_tls_bio_method);
        tn_tls_bio_method = NULL;
    }
}


void
tn_tls_free(tn_tls_t *tls)
{
    if (tls == NULL) {
        return;
    }

    SSL_CTX_free(tls->ctx);
    free(tls);
}


tn_rc_t
tn_tls_session(tn_tls_t *tls, SSL **ssl, int fd, const char *host,
    const char *name)
{
    BIO      *bio;
    SSL      *s;
    tn_rc_t   rc;

    *ssl = NULL;
    rc = TN_ERROR;

    ERR_clear_error();

    s = SSL_new(tls->ctx);
    if (s == NULL) {
        return TN_ERROR;
    }

    bio = BIO_new(tn_tls_bio_method);
    if (bio == NULL) {
        goto failed;
    }

    BIO_set_data(bio, (void *) (intptr_t) fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(s, bio, bio);

    SSL_set_connect_state(s);

    /* RFC 6066, 3: literal addresses are not permitted in "HostName" */
    if (!tn_tls_is_ip(host) && SSL_set_tlsext_host_name(s, host) != 1) {
        goto failed;
    }

    if (name != NULL
        && strncmp(name, TN_TLS_PIN, sizeof(TN_TLS_PIN) - 1) == 0)
    {
        rc = tn_tls_pin(s, host, name + sizeof(TN_TLS_PIN) - 1);

    } else {
        rc = tn_tls_expect(s, host, name);
    }

    if (rc != TN_OK) {
        goto failed;
    }

    *ssl = s;

    return TN_OK;

failed:

    SSL_free(s);

    return rc;
}


void
tn_tls_session_free(SSL *ssl)
{
    SSL_free(ssl);
}


/* tlsdial.go, SetConfigExpectedCertHash: the leaf, its dates, and its name */

static tn_rc_t
tn_tls_pin(SSL *ssl, const char *host, const char *hex)
{
    tn_tls_pin_t  *pin;

    if (strlen(hex) != 2 * SHA256_DIGEST_LENGTH
        || strspn(hex, "0123456789abcdefABCDEF") != 2 * SHA256_DIGEST_LENGTH)
    {
        return TN_MALFORMED;
    }

    pin = calloc(1, sizeof(tn_tls_pin_t));
    if (pin == NULL) {
        return TN_NOMEM;
    }

    if (OPENSSL_hexstr2buf_ex(pin->hash, sizeof(pin->hash), NULL, hex, '\0')
        != 1)
    {
        free(pin);
        return TN_MALFORMED;
    }

    if (!tn_tls_is_ip(host)) {
        (void) snprintf(pin->host, sizeof(pin->host), "%s", host);
    }

    if (SSL_set_ex_data(ssl, tn_tls_pin_index, pin) != 1) {
        free(pin);
        return TN_ERROR;
    }

    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);

    return TN_OK;
}


static void
tn_tls_pin_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index,
    long argl, void *argp)
{
    (void) parent;
    (void) ad;
    (void) index;
    (void) argl;
    (void) argp;

    free(ptr);
}


/* in place of X509_verify_cert(), which knows nothing of pins */

static int
tn_tls_verify(X509_STORE_CTX *store, void *arg)
{
    int            err;
    SSL           *ssl;
    X509          *leaf;
    uint8_t        hash[SHA256_DIGEST_LENGTH];
    unsigned int   len;
    tn_tls_pin_t  *pin;

    (void) arg;

    ssl = X509_STORE_CTX_get_ex_data(store,
                                    SSL_get_ex_data_X509_STORE_CTX_idx());
    pin = ssl ? SSL_get_ex_data(ssl, tn_tls_pin_index) : NULL;

    if (pin == NULL) {
        return tn_tls_verify_chain(store, ssl);
    }

    leaf = X509_STORE_CTX_get0_cert(store);
    err = X509_V_OK;

    if (leaf == NULL
        || X509_digest(leaf, EVP_sha256(), hash, &len) != 1
        || len != sizeof(hash)
        || !tn_ct_equal(hash, pin->hash, sizeof(hash)))
    {
        err = X509_V_ERR_APPLICATION_VERIFICATION;

    } else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) >= 0) {
        err = X509_V_ERR_CERT_NOT_YET_VALID;

    } else if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0) {
        err = X509_V_ERR_CERT_HAS_EXPIRED;

    } else if (pin->host[0] != '\0'
               && X509_check_host(leaf, pin->host, 0, 0, NULL) != 1)
    {
        err = X509_V_ERR_HOSTNAME_MISMATCH;
    }

    X509_STORE_CTX_set_error(store, err);

    return err == X509_V_OK;
}


static int
tn_tls_verify_chain(X509_STORE_CTX *store, SSL *ssl)
{
    int  rc;

    rc = X509_verify_cert(store);

    if (rc == 1 || ssl == NULL || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE) {
        return rc;
    }

    tn_tls_read_roots(SSL_get_SSL_CTX(ssl));

    /* from the start: X509_verify_cert() refuses a chain that is there */

    X509_STORE_CTX_set0_verified_chain(store, NULL);
    X509_STORE_CTX_set_error(store, X509_V_OK);
    X509_STORE_CTX_set_error_depth(store, 0);

    return X509_verify_cert(store);
}


static void
tn_tls_read_roots(SSL_CTX *ctx)
{
    (void) pthread_mutex_lock(&tn_tls_lock);

    if (SSL_CTX_get_app_data(ctx) == NULL) {

        /* a system without such a file can still have the directory */
        (void) SSL_CTX_set_default_verify_file(ctx);
        (void) SSL_CTX_set_app_data(ctx, ctx);
        ERR_clear_error();
    }

    (void) pthread_mutex_unlock(&tn_tls_lock);
}


static tn_rc_t
tn_tls_expect(SSL *ssl, const char *host, const char *name)
{
    X509_VERIFY_PARAM  *param;

    if (name == NULL) {
        name = host;
    }

    param = SSL_get0_param(ssl);

    if (tn_tls_is_ip(name)) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? TN_OK
                                                               : TN_ERROR;
    }

    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);

    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 ? TN_OK
                                                            : TN_ERROR;
}


static bool
tn_tls_is_ip(const char *text)
{
    tn_ip_t  ip;

    return tn_ip_parse(&ip, text, strlen(text)) == TN_OK;
}


void
tn_tls_error(SSL *ssl, int err, char *text)
{
    int            saved;
    long           verify;
    unsigned long  code;

    saved = errno;
    code = ERR_peek_error();

    if (ssl != NULL && !SSL_is_init_finished(ssl)
        && (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER))
    {
        verify = SSL_get_verify_result(ssl);

        if (verify != X509_V_OK) {
            (void) snprintf(text, TN_TLS_TEXT,
                            "certificate verify failed: %s",
                            verify == X509_V_ERR_APPLICATION_VERIFICATION
                            ? "it is not the one pinned by its SHA-256"
                            : X509_verify_cert_error_string(verify));
            goto done;
        }
    }

    if (code != 0 && ERR_reason_error_string(code) != NULL) {
        (void) snprintf(text, TN_TLS_TEXT, "%s",
                        ERR_reason_error_string(code));

    } else if (code != 0) {
        (void) snprintf(text, TN_TLS_TEXT, "OpenSSL error %08lx", code);

    } else if (err == SSL_ERROR_SYSCALL && saved != 0) {
        (void) snprintf(text, TN_TLS_TEXT, "%s", strerror(saved));

    } else {
        (void) snprintf(text, TN_TLS_TEXT, "the connection was closed");
    }

done:

    ERR_clear_error();
}


bool
tn_tls_derp_key(SSL *ssl, tn_key_t *key, uint32_t *version)
{
    int                    i, len;
    X509                  *cert;
    int64_t                serial;
    const uint8_t         *data;
    X509_NAME             *subject;
    STACK_OF(X509)        *chain;
    const ASN1_STRING     *cn;
    const size_t           prefix = sizeof(TN_TLS_DERP_PREFIX) - 1;

    /* before TLS 1.3 the chain is not encrypted: anybody may have added it */

    chain = SSL_version(ssl) >= TLS1_3_VERSION ? SSL_get_peer_cert_chain(ssl)
                                               : NULL;

    for (i = 0; chain != NULL && i < sk_X509_num(chain); i++) {
        cert = sk_X509_value(chain, i);
        subject = X509_get_subject_name(cert);
        len = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

        if (len < 0) {
            continue;
        }

        cn = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, len));
        data = ASN1_STRING_get0_data(cn);
        len = ASN1_STRING_length(cn);

        if ((size_t) len != prefix + 2 * TN_KEY_LEN
            || tn_key_parse(key, TN_TLS_DERP_PREFIX, (const char *) data,
                            (size_t) len)
               != TN_OK)
        {
            continue;
        }

        if (ASN1_INTEGER_get_int64(&serial, X509_get0_serialNumber(cert)) == 1
            && serial >= 0 && serial <= TN_TLS_DERP_VERSION_MAX)
        {
            *version = (uint32_t) serial;
            return true;
        }
    }

    ERR_clear_error();
    memset(key, 0, sizeof(tn_key_t));
    *version = 0;

    return false;
}


static int
tn_tls_bio_write(BIO *bio, const char *data, int len)
{
    ssize_t  n;

    BIO_clear_retry_flags(bio);

    n = send(tn_tls_bio_fd(bio), data, (size_t) len, MSG_NOSIGNAL);

    if (n == -1 && tn_tls_again(errno)) {
        BIO_set_retry_write(bio);
    }

    return (int) n;
}


static int
tn_tls_bio_read(BIO *bio, char *data, int len)
{
    ssize_t  n;

    BIO_clear_retry_flags(bio);

    n = recv(tn_tls_bio_fd(bio), data, (size_t) len, 0);

    if (n == -1 && tn_tls_again(errno)) {
        BIO_set_retry_read(bio);
    }

    if (n == 0) {
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    }

    return (int) n;
}


static long
tn_tls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void) num;
    (void) ptr;

    switch (cmd) {

    case BIO_CTRL_FLUSH:
        return 1;

    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;

    default:
        return 0;
    }
}


static int
tn_tls_bio_fd(BIO *bio)
{
    return (int) (intptr_t) BIO_get_data(bio);
}


static bool
tn_tls_again(int err)
{
    return err == EAGAIN || err == EWOULDBLOCK || err == EINTR;
}


static void
tn_tls_library_error(const char *what, char *text)
{
    const char    *reason;
    unsigned long  code;

    code = ERR_peek_error();
    reason = code ? ERR_reason_error_string(code) : NULL;

    if (code != 0 && ERR_SYSTEM_ERROR(code)) {
        reason = strerror(ERR_GET_REASON(code));
    }

    (void) snprintf(text, TN_TLS_TEXT, "%s: %s", what,
                    reason ? reason : "unknown error");

    ERR_clear_error();
}

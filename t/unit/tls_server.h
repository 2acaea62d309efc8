
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A server in a thread of the test, plain or TLS, with a certificate of a CA
 * made at run time.  What it does with a connection is the test's script.
 */

#ifndef TLS_SERVER_H_INCLUDED_
#define TLS_SERVER_H_INCLUDED_

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


#define SERVER_NAME  "server.test"
#define SERVER_DERP_KEY                                                       \
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

#define SERVER_BIG   (4 * 1024 * 1024)


typedef enum {
    SERVER_ECHO,        /* echoes; at the end of the stream says "bye" */
    SERVER_GREET,       /* says "hello" and ends in order */
    SERVER_RUDE,        /* says "hello" and ends without close_notify */
    SERVER_RESET,       /* resets */
    SERVER_SILENT,      /* accepts TCP, says nothing until `go` */
    SERVER_HOLD,        /* reads nothing until `go`, then all, counting */
    SERVER_BIG_SEND,    /* sends SERVER_BIG bytes */
    SERVER_HALF,        /* half a handshake message, the rest after `go`, then
                           as SERVER_ECHO; TLS */
    SERVER_UPDATE       /* after a `go` each: new keys and "one"; "two"; then
                           reads all, counting; TLS */
} server_mode_e;


typedef struct {
    int            fd;
    uint16_t       port;
    pthread_t      thread;
    sem_t          go;

    atomic_int     mode;        /* server_mode_e; before a client connects */
    atomic_bool    tls;
    uint64_t       count;       /* read after `done` */
    sem_t          done;        /* one connection was served */

    EVP_PKEY      *ca_key;
    X509          *ca;
    X509          *cert;
    SSL_CTX       *ctx;
    char           ca_file[64];
    char           pin[80];     /* "sha256-raw:..." of the certificate */
    char           bad_pin[80];
} server_t;


static void
server_die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}


static X509 *
server_cert(const char *cn, long serial, const char *names, EVP_PKEY *key,
    X509 *issuer, EVP_PKEY *issuer_key)
{
    X509            *cert;
    X509V3_CTX       v3;
    X509_NAME       *name;
    X509_EXTENSION  *ext;

    cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);

    name = X509_get_subject_name(cert);

    /* not MBSTRING_ASC: a DERP key is longer than X.520 lets a CN be */
    X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING,
                               (const unsigned char *) cn, -1, -1, 0);
    X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name);

    X509V3_set_ctx(&v3, issuer ? issuer : cert, cert, NULL, NULL, 0);

    ext = names ? X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, names)
                : X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints,
                                      "critical,CA:TRUE");
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);

    X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256());

    return cert;
}


/* makes a ticket long enough for several records */

static int
server_ticket(SSL *ssl, void *data)
{
    server_t  *server;

    static const uint8_t  bytes[2000];

    server = data;

    return server->mode != SERVER_HALF
           || SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), bytes,
                                              sizeof(bytes));
}


static SSL_TICKET_RETURN
server_ticket_back(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
    size_t len, SSL_TICKET_STATUS status, void *data)
{
    (void) ssl;
    (void) session;
    (void) name;
    (void) len;
    (void) status;
    (void) data;

    return SSL_TICKET_RETURN_IGNORE;
}


static void
server_certificates(server_t *server)
{
    int            i, fd;
    FILE          *file;
    X509          *meta;
    uint8_t        hash[32];
    EVP_PKEY      *key;
    unsigned int   len;

    server->ca_key = EVP_EC_gen("P-256");
    key = EVP_EC_gen("P-256");

    server->ca = server_cert("test CA", 1, NULL, server->ca_key, NULL, NULL);
    server->cert = server_cert("test", 2,
                               "DNS:" SERVER_NAME ",IP:127.0.0.1", key,
                               server->ca, server->ca_key);
    meta = server_cert("derpkey" SERVER_DERP_KEY, 2, NULL, key, NULL, NULL);

    server->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(server->ctx, server->cert);
    SSL_CTX_use_PrivateKey(server->ctx, key);
    SSL_CTX_add_extra_chain_cert(server->ctx, meta);
    SSL_CTX_set_session_ticket_cb(server->ctx, server_ticket,
                                  server_ticket_back, server);

    strcpy(server->ca_file, "/tmp/tn_host_conn_ca.XXXXXX");
    fd = mkstemp(server->ca_file);
    file = fd != -1 ? fdopen(fd, "w") : NULL;

    if (file == NULL) {
        server_die("CA file");
    }

    PEM_write_X509(file, server->ca);
    fclose(file);

    X509_digest(server->cert, EVP_sha256(), hash, &len);
    strcpy(server->pin, "sha256-raw:");

    for (i = 0; i < 32; i++) {
        sprintf(server->pin + 11 + 2 * i, "%02x", hash[i]);
    }

    strcpy(server->bad_pin, server->pin);
    server->bad_pin[11] = server->pin[11] == '0' ? '1' : '0';

    EVP_PKEY_free(key);
}


static ssize_t
server_read(SSL *ssl, int fd, void *buf, size_t len)
{
    return ssl ? SSL_read(ssl, buf, (int) len) : recv(fd, buf, len, 0);
}


static ssize_t
server_write(SSL *ssl, int fd, const void *buf, size_t len)
{
    return ssl ? SSL_write(ssl, buf, (int) len)
               : send(fd, buf, len, MSG_NOSIGNAL);
}


static void
server_half(server_t *server, SSL *ssl, int fd)
{
    int      len, first;
    BIO     *out, *socket;
    uint8_t  bytes[16384];

    out = BIO_new(BIO_s_mem());
    socket = SSL_get_wbio(ssl);
    BIO_up_ref(socket);
    BIO_up_ref(out);
    SSL_set0_wbio(ssl, out);
    SSL_set_max_send_fragment(ssl, 512);

    if (SSL_new_session_ticket(ssl) != 1 || SSL_do_handshake(ssl) != 1) {
        server_die("a ticket");
    }

    len = BIO_read(out, bytes, sizeof(bytes));
    SSL_set0_wbio(ssl, socket);
    BIO_free(out);

    /* a record's length is behind its type and version */

    first = len > 5 ? 5 + (bytes[3] << 8 | bytes[4]) : 0;

    if (first == 0 || first >= len) {
        server_die("a ticket of one record");
    }

    send(fd, bytes, (size_t) first, MSG_NOSIGNAL);
    sem_wait(&server->go);
    send(fd, bytes + first, (size_t) (len - first), MSG_NOSIGNAL);
}


static void
server_serve(server_t *server, SSL *ssl, int fd)
{
    char           buf[16384];
    size_t         sent;
    ssize_t        n;
    struct linger  linger;

    switch (atomic_load(&server->mode)) {

    case SERVER_HALF:
        server_half(server, ssl, fd);
        /* fall through */

    case SERVER_ECHO:
        while ((n = server_read(ssl, fd, buf, sizeof(buf))) > 0) {
            server_write(ssl, fd, buf, (size_t) n);
        }

        server_write(ssl, fd, "bye", 3);
        break;

    case SERVER_GREET:
    case SERVER_RUDE:
        server_write(ssl, fd, "hello", 5);
        break;

    case SERVER_RESET:
        /* not before the client's handshake is over */
        server_read(ssl, fd, buf, 1);
        linger.l_onoff = 1;
        linger.l_linger = 0;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        return;

    case SERVER_SILENT:
        sem_wait(&server->go);
        return;

    case SERVER_UPDATE:
        sem_wait(&server->go);
        SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(ssl);
        server_write(ssl, fd, "one", 3);
        sem_wait(&server->go);
        server_write(ssl, fd, "two", 3);
        /* fall through */

    case SERVER_HOLD:
        sem_wait(&server->go);

        while ((n = server_read(ssl, fd, buf, sizeof(buf))) > 0) {
            server->count += (uint64_t) n;
        }

        break;

    case SERVER_BIG_SEND:
        for (sent = 0; sent < SERVER_BIG; sent += (size_t) n) {
            memset(buf, (int) (sent / sizeof(buf)), sizeof(buf));
            n = server_write(ssl, fd, buf, sizeof(buf));

            if (n <= 0) {
                break;
            }
        }

        break;
    }

    if (ssl != NULL && server->mode != SERVER_RUDE) {
        SSL_shutdown(ssl);
    }
}


static void *
server_run(void *data)
{
    int        fd;
    SSL       *ssl;
    server_t  *server;

    server = data;

    for ( ;; ) {
        fd = accept(server->fd, NULL, NULL);
        if (fd == -1) {
            return NULL;
        }

        ssl = NULL;

        if (server->tls && server->mode != SERVER_SILENT) {
            ssl = SSL_new(server->ctx);
            SSL_set_fd(ssl, fd);

            if (SSL_accept(ssl) != 1) {
                goto next;
            }
        }

        server_serve(server, ssl, fd);

    next:

        SSL_free(ssl);
        ERR_clear_error();
        close(fd);
        sem_post(&server->done);
    }
}


static void
server_start(server_t *server)
{
    socklen_t           len;
    struct sockaddr_in  sin;

    memset(server, 0, sizeof(server_t));
    server_certificates(server);

    sem_init(&server->go, 0, 0);
    sem_init(&server->done, 0, 0);

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);

    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(server->fd, (struct sockaddr *) &sin, len) == -1
        || listen(server->fd, 16) == -1
        || getsockname(server->fd, (struct sockaddr *) &sin, &len) == -1)
    {
        server_die("server");
    }

    server->port = ntohs(sin.sin_port);

    pthread_create(&server->thread, NULL, server_run, server);
}


static void
server_stop(server_t *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);

    unlink(server->ca_file);
    SSL_CTX_free(server->ctx);
    X509_free(server->cert);
    X509_free(server->ca);
    EVP_PKEY_free(server->ca_key);
    sem_destroy(&server->go);
    sem_destroy(&server->done);
}


#endif /* TLS_SERVER_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes lwIP behind tn_lwip.h: an input is packets with two bytes before
 * each, the length and FUZZ_*, from peers of the stack, with their checksums
 * put right.  A port is listened on and echoed, and one connection is dialled.
 */

#include <stdlib.h>
#include <sys/random.h>

#include "stack/tn_dgram.h"
#include "stack/tn_lwip.h"
#include "wire/tn_checksum.h"
#include "wire/tn_icmp.h"


/* in the first byte: as the stack's last segment wants it */
#define FUZZ_ACK    0x80
#define FUZZ_SEQ    0x40
#define FUZZ_PORTS  0x20
#define FUZZ_LATE   0x10        /* a second later */

#define FUZZ_CONNS  1024


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_packet(void *data, uint8_t *packet, size_t len);
static void fuzz_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port);
static void fuzz_ready(void *data, tn_lwip_conn_t *conn);
static void fuzz_mend(uint8_t *packet, size_t len, const tn_packet_t *p,
    unsigned how);
static void fuzz_parts(const uint8_t *packet, const tn_packet_t *p);


static uint8_t   fuzz_seq[4];       /* of what comes next, in either way */
static uint8_t   fuzz_ack[4];
static uint8_t   fuzz_ports[4];
static uint32_t  fuzz_entropy;

static size_t           fuzz_n;
static tn_lwip_conn_t  *fuzz_conns[FUZZ_CONNS];


static const tn_lwip_ops_t  fuzz_ops = {
    fuzz_packet,
    fuzz_accepted,
    fuzz_ready,
    NULL
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t           len;
    tn_ms_t          now;
    unsigned         how;
    tn_ip_t          ip;
    uint8_t          packet[TN_LWIP_MTU];
    tn_addr_t        to;
    tn_lwip_t       *lwip;
    tn_packet_t      p;
    tn_lwip_conn_t  *dialled;

    now = 1;
    fuzz_entropy = 7;
    fuzz_n = 0;
    lwip = tn_lwip_create(&fuzz_ops, NULL, now);

    (void) tn_ip_parse(&ip, "100.64.0.1", 10);
    (void) tn_addr_parse(&to, "100.64.0.2:80", 13);
    tn_lwip_addresses(lwip, &ip, 1);
    (void) tn_lwip_listen(lwip, 80);
    dialled = tn_lwip_connect(lwip, &to, NULL);

    while (size > 2) {
        how = data[0];
        len = ((size_t) (data[0] & 0x07) << 8 | data[1]) % TN_LWIP_MTU;
        data += 2;
        size -= 2;
        len = tn_min(len, size);
        memcpy(packet, data, len);
        data += len;
        size -= len;

        if (tn_packet_parse(&p, packet, len) == TN_OK) {
            fuzz_mend(packet, len, &p, how);
        }

        if (tn_packet_parse(&p, packet, len) == TN_OK) {
            fuzz_parts(packet, &p);
            tn_lwip_in(lwip, now, packet, &p);
        }

        now += how & FUZZ_LATE ? 1000 : 100;
        tn_lwip_tick(lwip, now);
    }

    if (dialled != NULL) {
        tn_lwip_close(dialled, false);
    }

    while (fuzz_n-- > 0) {
        tn_lwip_close(fuzz_conns[fuzz_n], (fuzz_n & 1) != 0);
    }

    tn_lwip_destroy(lwip);

    return 0;
}


/* libc's: a run depends on its input only */
ssize_t
getrandom(void *buf, size_t len, unsigned flags)
{
    size_t  i;

    (void) flags;

    for (i = 0; i < len; i++) {
        fuzz_entropy = fuzz_entropy * 1664525 + 1013904223;
        ((uint8_t *) buf)[i] = (uint8_t) (fuzz_entropy >> 24);
    }

    return (ssize_t) len;
}


static void
fuzz_packet(void *data, uint8_t *packet, size_t len)
{
    uint32_t        seq;
    tn_packet_t     p;
    const uint8_t  *tcp;

    (void) data;

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        abort();
    }

    if (p.proto != TN_PROTO_TCP) {
        return;
    }

    tcp = packet + p.header_len;
    memcpy(&seq, tcp + 4, 4);
    seq = htonl(ntohl(seq) + (uint32_t) (p.total_len - p.data_offset)
                + ((p.tcp_flags & 0x03) != 0));

    memcpy(fuzz_ack, &seq, 4);
    memcpy(fuzz_seq, tcp + 8, 4);
    memcpy(fuzz_ports, tcp + 2, 2);
    memcpy(fuzz_ports + 2, tcp, 2);
}


static void
fuzz_parts(const uint8_t *packet, const tn_packet_t *p)
{
    size_t          i, n, sum;
    uint8_t         proto;
    tn_addr_t       from, to;
    const uint8_t  *bytes;

    bytes = tn_dgram_data(packet, p, &n);

    if (bytes != NULL) {
        for (i = 0, sum = 0; i < n; i++) {
            sum += bytes[i];
        }

        if (bytes + n > packet + p->total_len || sum > n * 255) {
            abort();
        }
    }

    (void) tn_icmp_unreachable(packet, p, &proto, &from, &to);
}


static void
fuzz_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    (void) data;
    (void) port;

    if (fuzz_n == FUZZ_CONNS) {
        abort();
    }

    fuzz_conns[fuzz_n++] = conn;
}


static void
fuzz_ready(void *data, tn_lwip_conn_t *conn)
{
    struct iovec  iov;

    (void) data;

    while (tn_lwip_peek(conn, &iov, 1) == 1) {
        (void) tn_lwip_write(conn, iov.iov_base, iov.iov_len);
        tn_lwip_take(conn, iov.iov_len);
    }

    if (tn_lwip_conn_state(conn) & TN_LWIP_EOF) {
        tn_lwip_shutdown(conn);
    }

    tn_lwip_push(conn);
}


static void
fuzz_mend(uint8_t *packet, size_t len, const tn_packet_t *p, unsigned how)
{
    size_t    n, at;
    uint16_t  sum;

    if (p->version == 4) {
        tn_checksum_ip4(packet, p->header_len);
    }

    at = p->header_len + 16;
    n = p->total_len - p->header_len;

    if (p->proto != TN_PROTO_TCP || p->frag != TN_PACKET_WHOLE
        || at + 2 > len)
    {
        return;
    }

    if (how & FUZZ_PORTS) {
        memcpy(packet + p->header_len, fuzz_ports, 4);
    }

    if (how & FUZZ_SEQ) {
        memcpy(packet + p->header_len + 4, fuzz_seq, 4);
    }

    if (how & FUZZ_ACK) {
        memcpy(packet + p->header_len + 8, fuzz_ack, 4);
    }

    memset(packet + at, 0, 2);
    sum = tn_checksum_finish(tn_checksum_add(tn_checksum_pseudo(packet,
                                 TN_PROTO_TCP, (uint32_t) n),
                                 packet + p->header_len, n));
    memcpy(packet + at, &sum, 2);
}

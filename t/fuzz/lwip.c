
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes lwIP behind tn_lwip.h: an input is packets with a length of two
 * bytes before each, from peers of the stack, with their checksums put right.
 * A port is listened on and echoed, and one connection is dialled.
 */

#include <stdlib.h>

#include "stack/tn_lwip.h"
#include "wire/tn_checksum.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_packet(void *data, uint8_t *packet, size_t len);
static void fuzz_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port);
static void fuzz_ready(void *data, tn_lwip_conn_t *conn);
static void fuzz_mend(uint8_t *packet, size_t len, const tn_packet_t *p);


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
    tn_ip_t          ip;
    uint8_t          packet[TN_LWIP_MTU];
    tn_addr_t        to;
    tn_lwip_t       *lwip;
    tn_packet_t      p;
    tn_lwip_conn_t  *dialled;

    now = 1;
    lwip = tn_lwip_create(&fuzz_ops, NULL, now);

    (void) tn_ip_parse(&ip, "100.64.0.1", 10);
    (void) tn_addr_parse(&to, "100.64.0.2:80", 13);
    tn_lwip_addresses(lwip, &ip, 1);
    (void) tn_lwip_listen(lwip, 80);
    dialled = tn_lwip_connect(lwip, &to, NULL);

    while (size > 2) {
        len = ((size_t) data[0] << 8 | data[1]) % TN_LWIP_MTU;
        data += 2;
        size -= 2;
        len = tn_min(len, size);
        memcpy(packet, data, len);
        data += len;
        size -= len;

        if (tn_packet_parse(&p, packet, len) == TN_OK) {
            fuzz_mend(packet, len, &p);
            tn_lwip_in(lwip, now, packet, &p);
        }

        now += 100;
        tn_lwip_tick(lwip, now);
    }

    if (dialled != NULL) {
        tn_lwip_close(dialled, false);
    }

    tn_lwip_destroy(lwip);

    return 0;
}


static void
fuzz_packet(void *data, uint8_t *packet, size_t len)
{
    tn_packet_t  p;

    (void) data;

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        abort();
    }
}


static void
fuzz_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    (void) data;
    (void) conn;
    (void) port;
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
fuzz_mend(uint8_t *packet, size_t len, const tn_packet_t *p)
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

    memset(packet + at, 0, 2);
    sum = tn_checksum_finish(tn_checksum_add(tn_checksum_pseudo(packet,
                                 TN_PROTO_TCP, (uint32_t) n),
                                 packet + p->header_len, n));
    memcpy(packet + at, &sum, 2);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A refused connection is reset with what a stack in SYN-SENT believes, once,
 * and only the connection that was being opened.
 */

#include "tap.h"

#include "node/tn_plane_private.h"
#include "wire/tn_checksum.h"

#include <stdlib.h>


static uint8_t  got[128];
static size_t   got_len, frames;


static void
on_tun(void *data, const struct iovec *iov, int n)
{
    (void) data;
    (void) n;

    frames++;
    got_len = iov[1].iov_len;
    memcpy(got, iov[1].iov_base, got_len);
}


static void
check(const char *from, const char *to)
{
    size_t          len;
    uint8_t         syn[60];
    uint64_t        sum;
    tn_addr_t       src, dst, other;
    tn_plane_t     *plane;
    tn_packet_t     p;
    tn_plane_ops_t  ops;

    memset(&ops, 0, sizeof(ops));
    ops.tun_write = on_tun;
    plane = calloc(1, sizeof(tn_plane_t));
    plane->ops = &ops;
    frames = 0;

    if (tn_ip_parse(&src.ip, from, strlen(from)) != TN_OK
        || tn_ip_parse(&dst.ip, to, strlen(to)) != TN_OK)
    {
        abort();
    }

    src.port = 0x1234;
    dst.port = 80;

    memset(syn, 0, sizeof(syn));
    len = tn_packet_header(syn, sizeof(syn), TN_PROTO_TCP, &src.ip, &dst.ip,
                           20);
    memcpy(syn + len, "\x12\x34\0\x50\xff\xff\xff\xff", 8);
    syn[len + 12] = 0x50;
    syn[len + 13] = TN_TCP_SYN;

    ok(!tn_plane_syn_refused(plane, &src, &dst), "nothing is being opened");

    is_int(tn_packet_parse(&p, syn, len + 20), TN_OK, "a SYN");
    tn_plane_syn_sent(plane, syn, &p);

    other = src;
    other.port += TN_PLANE_SYNS;
    ok(!tn_plane_syn_refused(plane, &other, &dst), "not from this port");
    other = dst;
    other.ip.b[15] ^= 1;
    ok(!tn_plane_syn_refused(plane, &src, &other), "not to this address");
    ok(!tn_plane_syn_refused(plane, &dst, &src), "not the other way");
    is_int((long) frames, 0, "nothing was reset");

    ok(tn_plane_syn_refused(plane, &src, &dst), "it is refused");
    ok(!tn_plane_syn_refused(plane, &src, &dst), "once");
    is_int((long) frames, 1, "one packet");

    is_int(tn_packet_parse(&p, got, got_len), TN_OK, "which is good");
    ok(tn_ip_equal(&p.src, &dst.ip) && tn_ip_equal(&p.dst, &src.ip)
       && p.src_port == 80 && p.dst_port == 0x1234, "goes back");
    is_int(p.tcp_flags, TN_TCP_RST | TN_TCP_ACK, "RST with ACK");
    ok(memcmp(got + len + 8, "\0\0\0\0", 4) == 0,
       "which acknowledges the SYN, all ones and one");

    sum = tn_checksum_add(tn_checksum_pseudo(got, TN_PROTO_TCP, 20),
                          got + len, 20);
    is_int(tn_checksum_fold(sum), 0xffff, "its checksum");

    free(plane);
}


int
main(void)
{
    check("100.64.0.1", "100.64.0.2");
    check("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2");

    return tap_done();
}

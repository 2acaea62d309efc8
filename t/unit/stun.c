
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * STUN against upstream's own package and the vectors of RFC 5769.
 */

#include "tap.h"

#include "wire/tn_stun.h"

#include "../vectors/path/vectors.h"


/* RFC 5769, 2.2 and 2.3: responses with SOFTWARE, integrity, fingerprint */

static const char  rfc5769_v4[] =
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96";

static const char  rfc5769_v6[] =
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c";

/* MAPPED-ADDRESS alone, as RFC 3489 servers answer, and both */

static const char  mapped[] =
    "0101000c2112a442b7e7a701bc34d686fa87dfae"
    "0001000800011234c0000201";

static const char  both[] =
    "010100182112a442b7e7a701bc34d686fa87dfae"
    "0001000800011234c0000201"
    "802000080001a147e112a643";


static void
check_response(const char *hex, const char *want, const char *name)
{
    char       text[TN_ADDR_TEXT];
    size_t     n, i;
    uint8_t    bytes[256], txid[TN_STUN_TXID];
    tn_addr_t  addr;

    n = unhex(bytes, hex);

    is_int(tn_stun_response(bytes, n, txid, &addr), TN_OK, name);
    is_str(tn_addr_text(&addr, text), want, name);
    is_mem(txid, bytes + 8, TN_STUN_TXID, "its transaction");
    ok(tn_stun_is_binding(bytes, n), "%s: looks like one", name);

    for (i = 0; i < n; i++) {
        if (tn_stun_response(bytes, i, txid, &addr) == TN_OK) {
            break;
        }
    }

    ok(i == n, "%s: no shorter one is taken", name);
}


int
main(void)
{
    size_t     n;
    uint8_t    bytes[256], request[TN_STUN_REQUEST_LEN], txid[TN_STUN_TXID];
    tn_addr_t  addr;

    n = unhex(bytes, stun_request);
    is_int((long long) n, TN_STUN_REQUEST_LEN, "length of a request");

    tn_stun_request(request, bytes + 8);
    is_mem(request, bytes, n, "request as upstream writes it");
    ok(tn_stun_is_binding(request, n), "looks like STUN");
    ok(tn_stun_response(request, n, txid, &addr) == TN_MALFORMED,
       "but is no response");

    check_response(stun_response_v4, "203.0.113.77:41641", "upstream, IPv4");
    check_response(stun_response_v6, "[2001:db8::77]:3478", "upstream, IPv6");
    check_response(rfc5769_v4, "192.0.2.1:32853", "RFC 5769, 2.2");
    check_response(rfc5769_v6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                   "RFC 5769, 2.3");
    check_response(mapped, "192.0.2.1:4660", "MAPPED-ADDRESS alone");
    check_response(both, "192.0.2.1:32853", "XOR-MAPPED-ADDRESS wins");

    n = unhex(bytes, rfc5769_v4);
    bytes[4] ^= 1;
    ok(!tn_stun_is_binding(bytes, n), "another cookie is not STUN");
    is_int(tn_stun_response(bytes, n, txid, &addr), TN_MALFORMED,
           "nor a response");
    bytes[4] ^= 1;

    bytes[0] = 0x41;
    ok(!tn_stun_is_binding(bytes, n), "the upper bits are zeroes");
    bytes[0] = 0x01;

    bytes[41] = 3;
    is_int(tn_stun_response(bytes, n, txid, &addr), TN_MALFORMED,
           "an unknown family");

    ok(!tn_stun_is_binding(bytes, 19), "19 bytes are none");

    return tap_done();
}

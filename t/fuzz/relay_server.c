
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A peer relay's server with one session: whole datagrams, and, when the
 * first byte is odd, the insides of boxes that a client has sealed.  What it
 * sends is never longer than what it was sent.
 */

#include "crypto/tn_curve.h"
#include "path/tn_relay_server.h"
#include "wire/tn_geneve.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static tn_keypair_t       self, client[2];
static tn_relay_server_t  *server;
static tn_disco_relay_t   place;


static void
relay_setup(void)
{
    tn_key_t  pair[2];

    tn_random_seed_for_tests(1);
    tn_curve_keypair(&self);
    tn_curve_keypair(&client[0]);
    tn_curve_keypair(&client[1]);

    pair[0] = client[0].pub;
    pair[1] = client[1].pub;

    server = tn_relay_server_create(&self, 4);

    if (server == NULL
        || tn_relay_server_allocate(server, 1, &pair[0], pair, &place)
           != TN_OK)
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t          len, n;
    uint8_t         plain[2048], bytes[2048];
    tn_addr_t       from, to;
    tn_writer_t     w;
    tn_geneve_t     geneve;
    tn_box_key_t    box;
    const uint8_t  *out;

    if (server == NULL) {
        relay_setup();
    }

    if (size < 1 || size > 1024) {
        return 0;
    }

    memset(&from, 1, sizeof(from));
    from.port = (uint16_t) (1000 + (data[0] >> 1) % 4);

    if (data[0] & 1) {
        memset(&geneve, 0, sizeof(geneve));
        geneve.protocol = TN_GENEVE_DISCO;
        geneve.vni = place.vni;
        geneve.control = true;

        w = tn_writer(bytes, sizeof(bytes));
        tn_geneve_write(&w, &geneve);
        tn_write_bytes(&w, "TS\xf0\x9f\x92\xac", TN_DISCO_MAGIC);
        tn_write_bytes(&w, client[data[0] >> 7].pub.b, TN_KEY_LEN);
        memcpy(plain, data + 1, size - 1);

        if (tn_box_key(&box, &self.pub, &client[data[0] >> 7].priv) != TN_OK
            || tn_box_seal(&box, plain, size - 1, w.pos) != TN_OK)
        {
            abort();
        }

        len = TN_GENEVE_HEADER + TN_DISCO_OVERHEAD + size - 1;

    } else {
        len = size - 1;
        memcpy(bytes, data + 1, len);
    }

    n = tn_relay_server_input(server, 1, &from, bytes, len, &out, &to);

    if (n > len || tn_relay_server_sessions(server) != 1) {
        abort();
    }

    return 0;
}

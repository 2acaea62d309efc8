
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The codec of WireGuard's messages: whatever is read is written back as it
 * was, but for the macs, which the codec leaves to others.
 */

#include "wire/tn_wgmsg.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(const uint8_t *msg, const uint8_t *data, size_t len, size_t macs)
{
    size_t  i;

    if (memcmp(msg, data, len - macs) != 0) {
        abort();
    }

    for (i = len - macs; i < len; i++) {
        if (msg[i] != 0) {
            abort();
        }
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t                msg[TN_WGMSG_HANDSHAKE_MAX];
    uint32_t               type;
    tn_wgmsg_data_t        d;
    tn_wgmsg_cookie_t      c;
    tn_wgmsg_response_t    r;
    tn_wgmsg_initiation_t  i;

    type = tn_wgmsg_type(data, size);

    if ((tn_wgmsg_read_initiation(&i, data, size) == TN_OK)
        != (type == TN_WGMSG_INITIATION)
        || (tn_wgmsg_read_response(&r, data, size) == TN_OK)
           != (type == TN_WGMSG_RESPONSE)
        || (tn_wgmsg_read_cookie(&c, data, size) == TN_OK)
           != (type == TN_WGMSG_COOKIE)
        || tn_wgmsg_is_data(data, size) != (type == TN_WGMSG_DATA))
    {
        abort();
    }

    memset(msg, 0xff, sizeof(msg));

    switch (type) {

    case TN_WGMSG_INITIATION:
        tn_wgmsg_write_initiation(msg, &i);
        check(msg, data, size, TN_WGMSG_MACS);
        break;

    case TN_WGMSG_RESPONSE:
        tn_wgmsg_write_response(msg, &r);
        check(msg, data, size, TN_WGMSG_MACS);
        break;

    case TN_WGMSG_COOKIE:
        tn_wgmsg_write_cookie(msg, &c);
        check(msg, data, size, 0);
        break;

    case TN_WGMSG_DATA:
        tn_wgmsg_read_data(&d, data);
        tn_wgmsg_write_data(msg, &d);
        check(msg, data, TN_WGMSG_DATA_HEADER, 0);
        break;
    }

    return 0;
}

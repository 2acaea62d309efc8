
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A data thread with stack lwip ends while a connection is under way: that
 * one is reset, and the packet goes the way of any other.
 */

#include "crypto/tn_aead.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "data_thread.h"
#include "tap.h"


int
main(void)
{
    int                pair[2];
    char               byte;
    tn_ip_t            own, peer;
    tn_loop_t          control;
    tn_data_t         *data;
    tn_ipc_dial_t      dial;
    tn_data_conf_t     conf;
    tn_lwnet_table_t  *table;

    /* what is freed and large is gone at once, and not to be read any more */
    (void) mallopt(M_MMAP_THRESHOLD, 64 * 1024);

    table = tn_lwnet_table_create();

    if (tn_crypto_init() != TN_OK || tn_loop_init(&control) != TN_OK
        || table == NULL || tn_ipc_pair(pair) != TN_OK
        || tn_ip_parse(&own, "100.64.0.1", 10) != TN_OK
        || tn_ip_parse(&peer, "100.64.0.2", 10) != TN_OK)
    {
        abort();
    }

    conf = data_thread_conf(&control);
    conf.listeners = table;
    conf.by_lwip = true;

    data = tn_data_start(&conf);

    if (!ok(data != NULL, "a data thread")) {
        return tap_done();
    }

    tn_lwnet_table_addresses(table, &own, 1);

    tn_ipc_init(&dial, TN_IPC_DIAL);
    dial.proto = TN_IPC_TCP;
    dial.port = 80;
    tn_lwnet_table_dial(table, pair[1], &dial, &peer, 1);

    usleep(300000);
    is_int(recv(pair[0], &byte, 1, MSG_DONTWAIT), -1, "a dial is under way");

    tn_data_stop(data);
    is_int(recv(pair[0], &byte, 1, MSG_DONTWAIT), 0,
           "it ends with the thread");

    close(pair[0]);
    tn_lwnet_table_free(table);
    tn_loop_done(&control);

    return tap_done();
}

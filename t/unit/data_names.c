
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node of another key has another data plane, which numbers the names that
 * it asks for anew: an answer to the one before is none of its.
 */

#include "crypto/tn_aead.h"
#include "data/tn_data_private.h"

#include <stdlib.h>
#include <unistd.h>

#include "data_thread.h"
#include "tap.h"


#define ASKED  2


static atomic_int  looked;
static bool        asked, kept;


/* the rest by the data thread */

static void
ask(void *arg)
{
    tn_data_t *data = arg;

    data->plane_conf.ops->resolve(data, ASKED, "stun.invalid");
    asked = !tn_list_empty(&data->names);
}


static void
look(void *arg)
{
    tn_data_t *data = arg;

    kept = !tn_list_empty(&data->names);
    atomic_store(&looked, 1);
}


int
main(void)
{
    int              i;
    tn_loop_t        control;
    tn_data_t       *data;
    tn_keypair_t     other;
    tn_data_conf_t   conf;

    if (tn_crypto_init() != TN_OK || tn_loop_init(&control) != TN_OK) {
        abort();
    }

    conf = data_thread_conf(&control);
    tn_curve_keypair(&other);

    data = tn_data_start(&conf);

    if (!ok(data != NULL, "a data thread")) {
        return tap_done();
    }

    (void) tn_loop_post(&data->loop, ask, data);
    tn_data_identity(data, &other);
    (void) tn_loop_post(&data->loop, look, data);

    for (i = 0; i < 1000 && !atomic_load(&looked); i++) {
        usleep(10000);
    }

    ok(atomic_load(&looked) && asked, "a name was asked for");
    ok(!kept, "and not for the node of another key");

    tn_data_stop(data);
    tn_loop_done(&control);

    return tap_done();
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node of another key has another data plane, which numbers the names that
 * it asks for anew: an answer to the one before is none of its.
 */

#include "crypto/tn_aead.h"
#include "crypto/tn_curve.h"
#include "data/tn_data_private.h"

#include <stdlib.h>
#include <unistd.h>

#include "tap.h"


#define ASKED  2


static atomic_int  looked;
static bool        asked, kept;


static void
log_write(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    printf("# %.*s\n", (int) len, line);
}


/* what happens is told on a loop that never turns */
static const tn_data_ops_t  ops;


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
    tn_log_t         log;
    tn_loop_t        control;
    tn_data_t       *data;
    tn_keypair_t     other;
    tn_data_conf_t   conf;

    log.level = TN_LOG_ERR;
    log.write = log_write;
    log.data = NULL;

    if (tn_crypto_init() != TN_OK || tn_loop_init(&control) != TN_OK) {
        abort();
    }

    memset(&conf, 0, sizeof(conf));
    conf.ops = &ops;
    conf.control = &control;
    conf.log = &log;
    conf.name = "home";
    conf.tun = -1;
    conf.bulk = -1;
    conf.udp4 = -1;
    conf.udp6 = -1;
    tn_curve_keypair(&conf.node);
    tn_curve_keypair(&conf.disco);
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

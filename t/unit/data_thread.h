
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a data thread is started with that has no socket and no TUN.
 */

#ifndef DATA_THREAD_H_INCLUDED_
#define DATA_THREAD_H_INCLUDED_

#include "crypto/tn_curve.h"
#include "data/tn_data.h"

#include "tap_log.h"


/* of new keys; what happens is told on a loop that need not turn */
static inline tn_data_conf_t
data_thread_conf(tn_loop_t *control)
{
    tn_data_conf_t  conf;

    static const tn_data_ops_t  ops;

    logger.level = TN_LOG_ERR;

    memset(&conf, 0, sizeof(conf));
    conf.ops = &ops;
    conf.control = control;
    conf.log = &logger;
    conf.name = "home";
    conf.tun = -1;
    conf.bulk = -1;
    conf.udp4 = -1;
    conf.udp6 = -1;
    tn_curve_keypair(&conf.node);
    tn_curve_keypair(&conf.disco);

    return conf;
}


#endif /* DATA_THREAD_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Where the core says what happens: a level, one line, and a sink that the
 * host gives.  Levels are nginx's.  Never give it a private key or an auth
 * key.
 */

#ifndef TN_LOG_H_INCLUDED_
#define TN_LOG_H_INCLUDED_

#include "tn_base.h"


typedef enum {
    TN_LOG_EMERG = 1,
    TN_LOG_ALERT,
    TN_LOG_CRIT,
    TN_LOG_ERR,
    TN_LOG_WARN,
    TN_LOG_NOTICE,
    TN_LOG_INFO,
    TN_LOG_DEBUG
} tn_log_level_e;


typedef struct tn_log_s  tn_log_t;

struct tn_log_s {
    tn_log_level_e   level;     /* what is above it is dropped unformatted */
    void           (*write)(tn_log_t *log, tn_log_level_e level,
                            const char *line, size_t len);
    void            *data;      /* the sink's own */
};


/*
 * Bytes of a line, the rest is cut.  Control characters and bytes over 0x7e
 * become '?', so what a peer named itself cannot forge a line.
 */
#define TN_LOG_LINE  1024

void tn_log_printf(tn_log_t *log, tn_log_level_e level, const char *fmt, ...)
    tn_printf_like(3, 4);

/* evaluates its arguments only when the level is wanted; log may be NULL */
#define tn_log(log, lvl, ...)                                                 \
    do {                                                                      \
        if ((log) != NULL && (int) (lvl) <= (int) (log)->level) {             \
            tn_log_printf(log, lvl, __VA_ARGS__);                             \
        }                                                                     \
    } while (0)


#endif /* TN_LOG_H_INCLUDED_ */

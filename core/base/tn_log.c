
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_log.h"

#include <stdarg.h>
#include <stdio.h>


void
tn_log_printf(tn_log_t *log, tn_log_level_e level, const char *fmt, ...)
{
    int      n;
    char     line[TN_LOG_LINE];
    size_t   i, len;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    if (n < 0) {
        return;
    }

    len = tn_min((size_t) n, sizeof(line) - 1);

    for (i = 0; i < len; i++) {
        if ((unsigned char) line[i] < 0x20 || (unsigned char) line[i] > 0x7e) {
            line[i] = '?';
        }
    }

    log->write(log, level, line, len);
}

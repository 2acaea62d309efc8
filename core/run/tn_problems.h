
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The last troubles of a node, for its status page: what went to the error
 * log at warn and above.  Any thread may note one.
 */

#ifndef TN_PROBLEMS_H_INCLUDED_
#define TN_PROBLEMS_H_INCLUDED_

#include "base/tn_log.h"

#include <pthread.h>
#include <time.h>


#define TN_PROBLEMS_MAX   8
#define TN_PROBLEMS_TEXT  512


typedef struct {
    time_t           at;            /* the last time, 0: none */
    unsigned         count;
    tn_log_level_e   level;
    char             text[TN_PROBLEMS_TEXT];
} tn_problem_t;

typedef struct {
    pthread_mutex_t  mutex;
    tn_problem_t     list[TN_PROBLEMS_MAX];
} tn_problems_t;


void tn_problems_init(tn_problems_t *problems);
void tn_problems_done(tn_problems_t *problems);

/* the same text again is counted; otherwise the oldest gives way */
void tn_problems_note(tn_problems_t *problems, tn_log_level_e level,
    const char *line, size_t len);

/* copied to list, the latest first; returns their number */
size_t tn_problems_read(tn_problems_t *problems,
    tn_problem_t list[TN_PROBLEMS_MAX]);


#endif /* TN_PROBLEMS_H_INCLUDED_ */

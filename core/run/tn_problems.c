
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_problems.h"

#include <stdlib.h>


static int problems_compare(const void *one, const void *two);


void
tn_problems_init(tn_problems_t *problems)
{
    memset(problems, 0, sizeof(tn_problems_t));
    (void) pthread_mutex_init(&problems->mutex, NULL);
}


void
tn_problems_done(tn_problems_t *problems)
{
    (void) pthread_mutex_destroy(&problems->mutex);
}


void
tn_problems_note(tn_problems_t *problems, tn_log_level_e level,
    const char *line, size_t len)
{
    size_t         i;
    tn_problem_t  *problem, *oldest;

    if (level > TN_LOG_WARN) {
        return;
    }

    len = tn_min(len, (size_t) TN_PROBLEMS_TEXT - 1);

    (void) pthread_mutex_lock(&problems->mutex);

    oldest = &problems->list[0];
    problem = NULL;

    for (i = 0; i < TN_PROBLEMS_MAX && problem == NULL; i++) {

        if (problems->list[i].at < oldest->at) {
            oldest = &problems->list[i];
        }

        if (problems->list[i].at != 0
            && strlen(problems->list[i].text) == len
            && memcmp(problems->list[i].text, line, len) == 0)
        {
            problem = &problems->list[i];
        }
    }

    if (problem == NULL) {
        problem = oldest;
        problem->count = 0;
        problem->level = level;
        memcpy(problem->text, line, len);
        problem->text[len] = '\0';
    }

    problem->at = time(NULL);
    problem->count++;

    (void) pthread_mutex_unlock(&problems->mutex);
}


size_t
tn_problems_read(tn_problems_t *problems, tn_problem_t list[TN_PROBLEMS_MAX])
{
    size_t  n;

    (void) pthread_mutex_lock(&problems->mutex);
    memcpy(list, problems->list, sizeof(problems->list));
    (void) pthread_mutex_unlock(&problems->mutex);

    qsort(list, TN_PROBLEMS_MAX, sizeof(tn_problem_t), problems_compare);

    for (n = 0; n < TN_PROBLEMS_MAX && list[n].at != 0; n++) {
        /* void */
    }

    return n;
}


static int
problems_compare(const void *one, const void *two)
{
    const tn_problem_t  *a, *b;

    a = one;
    b = two;

    return (a->at < b->at) - (a->at > b->at);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A text that grows, for what people and their tools read.  Without memory
 * it stays as it was, and its end says so.
 */

#ifndef TN_TEXT_H_INCLUDED_
#define TN_TEXT_H_INCLUDED_

#include "base/tn_base.h"


typedef struct {
    char    *bytes;
    size_t   len;
    size_t   room;
    bool     failed;
} tn_text_t;


void tn_text_init(tn_text_t *text);

void tn_text_add(tn_text_t *text, const char *fmt, ...) tn_printf_like(2, 3);

/* what may stand in HTML between tags and in quoted attributes */
void tn_text_html(tn_text_t *text, const char *s);

/* the value of a label of the Prometheus text format */
void tn_text_label(tn_text_t *text, const char *s);

/* the caller's, with a zero; NULL when there was no memory */
char *tn_text_done(tn_text_t *text);


#endif /* TN_TEXT_H_INCLUDED_ */

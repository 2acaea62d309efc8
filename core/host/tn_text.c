
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


/* most pieces are shorter: one pass then */
#define TN_TEXT_GUESS  256


static bool text_room(tn_text_t *text, size_t len);
static void text_bytes(tn_text_t *text, const char *bytes, size_t len);


void
tn_text_init(tn_text_t *text)
{
    memset(text, 0, sizeof(tn_text_t));
}


void
tn_text_add(tn_text_t *text, const char *fmt, ...)
{
    int      n;
    size_t   room;
    va_list  args;

    if (!text_room(text, TN_TEXT_GUESS)) {
        text->failed = true;
        return;
    }

    room = text->room - text->len;

    va_start(args, fmt);
    n = vsnprintf(text->bytes + text->len, room, fmt, args);
    va_end(args);

    if (n >= 0 && (size_t) n >= room) {

        if (!text_room(text, (size_t) n + 1)) {
            text->failed = true;
            return;
        }

        va_start(args, fmt);
        n = vsnprintf(text->bytes + text->len, (size_t) n + 1, fmt, args);
        va_end(args);
    }

    if (n < 0) {
        text->failed = true;
        return;
    }

    text->len += (size_t) n;
}


void
tn_text_html(tn_text_t *text, const char *s)
{
    size_t       i, len;
    const char  *with;

    static const struct {
        char         c;
        const char  *with;
    } escapes[] = {
        { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" },
        { '\'', "&#39;" }
    };

    while (*s != '\0') {
        len = strcspn(s, "&<>\"'");
        text_bytes(text, s, len);
        s += len;
        with = NULL;

        for (i = 0; *s != '\0' && i < tn_nelems(escapes); i++) {
            if (escapes[i].c == *s) {
                with = escapes[i].with;
            }
        }

        if (with != NULL) {
            text_bytes(text, with, strlen(with));
            s++;
        }
    }
}


void
tn_text_label(tn_text_t *text, const char *s)
{
    size_t  len;

    while (*s != '\0') {
        len = strcspn(s, "\\\"\n");
        text_bytes(text, s, len);
        s += len;

        if (*s == '\n') {
            text_bytes(text, "\\n", 2);
            s++;

        } else if (*s != '\0') {
            text_bytes(text, "\\", 1);
            text_bytes(text, s++, 1);
        }
    }
}


char *
tn_text_done(tn_text_t *text)
{
    text_bytes(text, "", 1);

    if (text->failed) {
        free(text->bytes);
        text->bytes = NULL;
    }

    return text->bytes;
}


static bool
text_room(tn_text_t *text, size_t len)
{
    char    *bytes;
    size_t   room;

    if (text->room - text->len >= len) {
        return true;
    }

    room = tn_max(2 * text->room, text->len + len);
    bytes = realloc(text->bytes, room);

    if (bytes == NULL) {
        return false;
    }

    text->bytes = bytes;
    text->room = room;

    return true;
}


static void
text_bytes(tn_text_t *text, const char *bytes, size_t len)
{
    if (!text_room(text, len)) {
        text->failed = true;
        return;
    }

    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

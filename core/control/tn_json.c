
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "control/tn_json.h"

#include <stdlib.h>
#include <string.h>


static tn_rc_t tn_json_scan(tn_json_span_t text, char open,
    tn_json_visit_pt visit, void *data);
static const char *tn_json_skip_space(const char *p, const char *end);
static const char *tn_json_skip_string(const char *p, const char *end);
static const char *tn_json_skip_scalar(const char *p, const char *end);
static const char *tn_json_skip_value(const char *p, const char *end);
static bool tn_json_whole(tn_json_span_t text, char open);
static int64_t tn_json_days(int year, int month, int day);
static bool tn_json_digits(const char **p, int n, int *value);


void
tn_json_init(void)
{
    json_set_alloc_funcs(malloc, tn_wipe_free);
}


tn_rc_t
tn_json_scan_object(tn_json_span_t text, tn_json_visit_pt visit, void *data)
{
    return tn_json_scan(text, '{', visit, data);
}


tn_rc_t
tn_json_scan_array(tn_json_span_t text, tn_json_visit_pt visit, void *data)
{
    return tn_json_scan(text, '[', visit, data);
}


static tn_rc_t
tn_json_scan(tn_json_span_t text, char open, tn_json_visit_pt visit,
    void *data)
{
    tn_rc_t          rc;
    const char      *p, *q, *end;
    tn_json_span_t   key, value;

    if (tn_json_span_is(text, "null")) {
        return TN_OK;
    }

    if (!tn_json_whole(text, open)) {
        return TN_MALFORMED;
    }

    end = text.data + text.len;
    p = tn_json_skip_space(text.data, end) + 1;

    key.data = "";
    key.len = 0;

    for ( ;; ) {
        p = tn_json_skip_space(p, end);

        if (*p == '}' || *p == ']') {
            return TN_OK;
        }

        if (open == '{') {
            q = tn_json_skip_string(p, end);

            key.data = p + 1;
            key.len = (size_t) (q - p) - 2;

            p = tn_json_skip_space(q, end) + 1;
            p = tn_json_skip_space(p, end);
        }

        q = tn_json_skip_value(p, end);

        value.data = p;
        value.len = (size_t) (q - p);

        rc = visit(data, key, value);
        if (rc != TN_OK) {
            return rc;
        }

        p = tn_json_skip_space(q, end);

        if (*p == ',') {
            p++;
        }
    }
}


bool
tn_json_span_is(tn_json_span_t span, const char *text)
{
    return span.data != NULL && span.len == strlen(text)
           && memcmp(span.data, text, span.len) == 0;
}


bool
tn_json_span_given(tn_json_span_t span)
{
    return span.data != NULL && !tn_json_span_is(span, "null");
}


tn_rc_t
tn_json_load(tn_json_span_t span, json_t **value)
{
    json_error_t  error;

    *value = json_loadb(span.data, span.len,
                        JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (*value != NULL) {
        return TN_OK;
    }

    switch (json_error_code(&error)) {

    case json_error_out_of_memory:
        return TN_NOMEM;

    case json_error_numeric_overflow:
    case json_error_invalid_utf8:
    case json_error_null_byte_in_key:
        return TN_REFUSED;

    default:
        return TN_MALFORMED;
    }
}


const char *
tn_json_text(const json_t *object, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}


int64_t
tn_json_int(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}


bool
tn_json_bool(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}


int64_t
tn_json_time(const json_t *value)
{
    const char  *text;

    text = json_string_value(value);

    return text ? tn_json_time_text(text) : 0;
}


int64_t
tn_json_time_text(const char *text)
{
    int          year, month, day, hour, minute, second, zh, zm, sign;
    int64_t      t;
    const char  *p;

    p = text;

    if (!tn_json_digits(&p, 4, &year) || *p++ != '-'
        || !tn_json_digits(&p, 2, &month) || *p++ != '-'
        || !tn_json_digits(&p, 2, &day) || (*p != 'T' && *p != 't')
        || (p++, !tn_json_digits(&p, 2, &hour)) || *p++ != ':'
        || !tn_json_digits(&p, 2, &minute) || *p++ != ':'
        || !tn_json_digits(&p, 2, &second))
    {
        return 0;
    }

    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23
        || minute > 59 || second > 60)
    {
        return 0;
    }

    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++) { /* void */ }
    }

    zh = 0;
    zm = 0;
    sign = 1;

    if (*p == '+' || *p == '-') {
        sign = *p++ == '+' ? 1 : -1;

        if (!tn_json_digits(&p, 2, &zh) || *p++ != ':'
            || !tn_json_digits(&p, 2, &zm))
        {
            return 0;
        }

    } else if (*p == 'Z' || *p == 'z') {
        p++;

    } else {
        return 0;
    }

    if (*p != '\0') {
        return 0;
    }

    t = tn_json_days(year, month, day) * 86400
        + hour * 3600 + minute * 60 + second
        - sign * (zh * 3600 + zm * 60);

    /* Go's zero time is the year 1: nothing that matters lies before 1970 */
    return t > 0 ? t : 0;
}


bool
tn_json_key_int(tn_json_span_t key, int64_t *value)
{
    char   text[24], *end;
    size_t i;

    if (key.len == 0 || key.len > 20) {
        return false;
    }

    for (i = key.data[0] == '-'; i < key.len; i++) {
        if (key.data[i] < '0' || key.data[i] > '9') {
            return false;
        }
    }

    memcpy(text, key.data, key.len);
    text[key.len] = '\0';

    *value = strtoll(text, &end, 10);

    return *end == '\0' && end != text;
}


char *
tn_json_copy(const char *text, size_t max)
{
    return strndup(text ? text : "", max);
}


char *
tn_json_dump(const json_t *value, size_t max)
{
    char  *text;

    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    if (text != NULL && strlen(text) > max) {
        free(text);
        return NULL;
    }

    return text;
}


static const char *
tn_json_skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }

    return p;
}


/* p stands on the opening quote; NULL when there is no closing one */
static const char *
tn_json_skip_string(const char *p, const char *end)
{
    if (p == end || *p != '"') {
        return NULL;
    }

    for (p++; p < end; p++) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p == '\\') {
            p++;
        }
    }

    return NULL;
}


/* a number, true, false or null: only its letters are checked here */
static const char *
tn_json_skip_scalar(const char *p, const char *end)
{
    const char  *start;

    start = p;

    while (p < end && ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
                       || *p == '-' || *p == '+' || *p == '.' || *p == 'E'))
    {
        p++;
    }

    return p == start ? NULL : p;
}


/*
 * One value of any kind, without recursion: `kinds` holds one bit for each
 * open bracket, 1 for an object.  NULL when the text is malformed.
 */
static const char *
tn_json_skip_value(const char *p, const char *end)
{
    unsigned  depth;
    uint64_t  kinds;
    bool      object;

    depth = 0;
    kinds = 0;

    for ( ;; ) {

        /* a value is due */

        p = tn_json_skip_space(p, end);

        if (p == end) {
            return NULL;
        }

        if (*p == '{' || *p == '[') {
            object = *p == '{';

            if (depth == TN_JSON_DEPTH_MAX) {
                return NULL;
            }

            depth++;
            kinds = kinds << 1 | object;

            p = tn_json_skip_space(p + 1, end);

            if (p == end) {
                return NULL;
            }

            if (*p != (object ? '}' : ']')) {
                if (!object) {
                    continue;
                }

                goto key;
            }

        } else {
            p = *p == '"' ? tn_json_skip_string(p, end)
                          : tn_json_skip_scalar(p, end);
            if (p == NULL) {
                return NULL;
            }
        }

        /* a value has ended, or an empty bracket is about to */

        for ( ;; ) {

            if (depth == 0) {
                return p;
            }

            p = tn_json_skip_space(p, end);

            if (p == end) {
                return NULL;
            }

            object = kinds & 1;

            if (*p == (object ? '}' : ']')) {
                p++;
                depth--;
                kinds >>= 1;
                continue;
            }

            if (*p != ',') {
                return NULL;
            }

            p++;
            break;
        }

        if (!object) {
            continue;
        }

    key:

        p = tn_json_skip_string(tn_json_skip_space(p, end), end);
        if (p == NULL) {
            return NULL;
        }

        p = tn_json_skip_space(p, end);

        if (p == end || *p != ':') {
            return NULL;
        }

        p++;
    }
}


static bool
tn_json_whole(tn_json_span_t text, char open)
{
    const char  *p, *end;

    if (text.data == NULL) {
        return false;
    }

    end = text.data + text.len;
    p = tn_json_skip_space(text.data, end);

    if (p == end || *p != open) {
        return false;
    }

    p = tn_json_skip_value(p, end);

    return p != NULL && tn_json_skip_space(p, end) == end;
}


/* days since 1970-01-01 in the proleptic Gregorian calendar */
static int64_t
tn_json_days(int year, int month, int day)
{
    int64_t  era, y, doy;

    y = month <= 2 ? year - 1 : year;
    era = (y >= 0 ? y : y - 399) / 400;
    y -= era * 400;
    doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + y * 365 + y / 4 - y / 100 + doy - 719468;
}


static bool
tn_json_digits(const char **p, int n, int *value)
{
    *value = 0;

    while (n--) {
        if (**p < '0' || **p > '9') {
            return false;
        }

        *value = *value * 10 + (*(*p)++ - '0');
    }

    return true;
}

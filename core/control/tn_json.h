
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Reading control's JSON: a scanner that cuts large messages into the spans
 * of their values without building a tree, and getters over jansson for one
 * value at a time.  Never writes JSON.
 */

#ifndef TN_JSON_H_INCLUDED_
#define TN_JSON_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"

#include <jansson.h>


/* brackets within brackets; a map of control nests under 20 deep */
#define TN_JSON_DEPTH_MAX  64

/*
 * From now on jansson wipes what it frees: there are keys in it.  For a whole
 * process, so for one of our own only.
 */
void tn_json_init(void);

/* the text of one value inside a message; data is NULL for "absent" */
typedef struct {
    const char     *data;
    size_t          len;
} tn_json_span_t;


/*
 * Called for each member or element in order; key is empty for an element.
 * Another result than TN_OK ends the scan, which returns it.
 */
typedef tn_rc_t (*tn_json_visit_pt)(void *data, tn_json_span_t key,
    tn_json_span_t value);

/*
 * Walks the members of an object or the elements of an array.  Strings,
 * brackets, commas and colons of the whole text are checked first, so a
 * visitor never runs for a text that is cut.  TN_MALFORMED, also for a value
 * of another kind; null counts as empty.
 */
tn_rc_t tn_json_scan_object(tn_json_span_t text, tn_json_visit_pt visit,
    void *data);
tn_rc_t tn_json_scan_array(tn_json_span_t text, tn_json_visit_pt visit,
    void *data);

bool tn_json_span_is(tn_json_span_t span, const char *text);

/* present and not null */
bool tn_json_span_given(tn_json_span_t span);

/*
 * A tree of one value, to be given to json_decref().  TN_MALFORMED: not
 * JSON.  TN_REFUSED: JSON, but with something jansson does not take (a number
 * out of range, bytes that are not UTF-8); to be left out.  TN_NOMEM.
 */
tn_rc_t tn_json_load(tn_json_span_t span, json_t **value);


/* getters of an object's members: what is absent or of another type is the
 * default; `object` may be NULL or no object */
const char *tn_json_text(const json_t *object, const char *name);
int64_t tn_json_int(const json_t *object, const char *name);
bool tn_json_bool(const json_t *object, const char *name);

/* Unix seconds of an RFC 3339 time; 0 for none, Go's zero time or nonsense */
int64_t tn_json_time(const json_t *value);
int64_t tn_json_time_text(const char *text);

/* a decimal number as a whole text, as JSON keys carry NodeIDs */
bool tn_json_key_int(tn_json_span_t key, int64_t *value);

/* a copy cut to `max` bytes, "" for NULL; NULL when out of memory */
char *tn_json_copy(const char *text, size_t max);

/* an array of one value as text, sorted keys; NULL: no memory or over max */
char *tn_json_dump(const json_t *value, size_t max);


#endif /* TN_JSON_H_INCLUDED_ */

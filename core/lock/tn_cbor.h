
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Reads canonical CBOR (RFC 8949 in the CTAP2 form) and nothing else: what
 * is signed has one encoding, so the bytes that came are those to hash.
 */

#ifndef TN_CBOR_H_INCLUDED_
#define TN_CBOR_H_INCLUDED_

#include "base/tn_cursor.h"


/*
 * Each reads one item of the given type.  Another type, a head that is
 * longer than need be, an indefinite length, or less than it says sets
 * c->bad and yields zero, as the cursor itself does.  Strings stay in place
 * and live as long as the buffer; their data is never NULL when they are
 * good.
 */

uint64_t tn_cbor_uint(tn_cursor_t *c);
tn_str_t tn_cbor_bytes(tn_cursor_t *c);
tn_str_t tn_cbor_text(tn_cursor_t *c);      /* UTF-8 */

/* the number of elements, or pairs, that follow: `max` at the most */
size_t tn_cbor_array(tn_cursor_t *c, size_t max);
size_t tn_cbor_map(tn_cursor_t *c, size_t max);

/* a string of bytes of this length exactly, in place, or NULL */
const uint8_t *tn_cbor_fixed(tn_cursor_t *c, size_t len);

/* takes a null when one is next */
bool tn_cbor_null(tn_cursor_t *c);

/*
 * The next key of a map whose keys are small integers from 1 on; *last is
 * the one before, 0 at first.  Keys ascend, so none comes twice.  0 when it
 * is bad.
 */
unsigned tn_cbor_key(tn_cursor_t *c, unsigned *last);


#endif /* TN_CBOR_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Text of people as the value of an HTTP header: RFC 2047 encoded words in
 * the Q encoding, cut and joined as `tailscale serve` does.  No state.
 */

#ifndef TN_QWORD_H_INCLUDED_
#define TN_QWORD_H_INCLUDED_

#include "base/tn_base.h"


/* room that any text of `len` bytes needs */
#define TN_QWORD_ROOM(len)  ((len) * 4 + 16)

/*
 * Writes text to dst, which has TN_QWORD_ROOM(len) bytes, and returns the
 * length: as it is when all of it can be printed, encoded otherwise, nothing
 * when it is not UTF-8.
 */
size_t tn_qword_encode(char *dst, const char *text, size_t len);


#endif /* TN_QWORD_H_INCLUDED_ */

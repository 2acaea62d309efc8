
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A question for the addresses of a name, and what a server answers, as bytes
 * of RFC 1035; c-ares reads and writes them.  No state, any thread.
 */

#ifndef TN_DNSMSG_H_INCLUDED_
#define TN_DNSMSG_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_DNSMSG_QUERY   300           /* bytes; a name has 255 at most */
#define TN_DNSMSG_UDP     512           /* of an answer without TCP */


/*
 * A question for A, or for AAAA, into TN_DNSMSG_QUERY bytes.  Returns its
 * length, 0: `name` is none, or no memory.
 */
size_t tn_dnsmsg_query(uint8_t *query, uint16_t id, const char *name, bool v4);

/*
 * Reads what is said to be the answer to `query`, which was for A or for AAAA.
 * *n is the room in `ips`, and what was found; *ttl, in seconds, of the
 * shortest.  TN_OK: that is all there is, maybe nothing; TN_AGAIN: it is cut,
 * TCP has the whole; TN_ERROR: the server cannot tell; TN_MALFORMED: it
 * answers another question, or nothing that could be read.
 */
tn_rc_t tn_dnsmsg_answer(const uint8_t *query, size_t query_len,
    const uint8_t *answer, size_t len, bool v4, tn_ip_t *ips, size_t *n,
    uint32_t *ttl);


#endif /* TN_DNSMSG_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The signature by which tailnet lock vouches for a node's key (upstream
 * tka/sig.go): one by a trusted key, in it the keys handed on since.
 */

#ifndef TN_NODESIG_H_INCLUDED_
#define TN_NODESIG_H_INCLUDED_

#include "base/tn_key.h"


/* upstream's decoder nests no deeper */
#define TN_NODESIG_DEPTH_MAX  16

/* a bound of ours; 16 links of all fields are 4.1 kB */
#define TN_NODESIG_LEN_MAX    8192

typedef enum {
    TN_NODESIG_DIRECT = 1,          /* of a node, by a trusted key */
    TN_NODESIG_ROTATION = 2,        /* of a node, by the key nested in it */
    TN_NODESIG_CREDENTIAL = 3       /* of a key that may sign a rotation */
} tn_nodesig_kind_t;

/* pointers into what was parsed; NULL for what is not there */
typedef struct {
    uint8_t         kind;
    const uint8_t  *node;           /* TN_KEY_LEN */
    const uint8_t  *key_id;         /* 32: the trusted key that signed */
    const uint8_t  *signature;      /* 64 */
    const uint8_t  *wrapping;       /* 32: the key that may sign around it */

    tn_str_t        whole;          /* the link with all nested in it */

    /* the pairs of the map before the signature's and after */
    uint8_t         pairs;
    tn_str_t        before;
    tn_str_t        after;
} tn_nodesig_link_t;

/* from the outermost, which is of today's key, to the innermost */
typedef struct {
    unsigned           n;
    tn_nodesig_link_t  links[TN_NODESIG_DEPTH_MAX];
} tn_nodesig_t;


/*
 * Reads the form only and believes nothing.  `data` must outlive `sig`.
 * Stricter than upstream, which makes it again before it hashes it: an
 * unknown field or a form that is not canonical is malformed here.
 */
tn_rc_t tn_nodesig_parse(tn_nodesig_t *sig, const uint8_t *data, size_t len);

/* the id of the trusted key it goes back to, or NULL when it says none */
const uint8_t *tn_nodesig_key_id(const tn_nodesig_t *sig);

/*
 * TN_OK when all of it holds for this node, if `trusted` (a key's 32 bytes)
 * is trusted; TN_REFUSED otherwise.  Then the nodes of links 1 and on are
 * keys that this node has given up.
 */
tn_rc_t tn_nodesig_verify(const tn_nodesig_t *sig, const tn_key_t *node,
    const uint8_t *trusted);


#endif /* TN_NODESIG_H_INCLUDED_ */

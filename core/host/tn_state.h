
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's state directory: private, locked, small files replaced as a whole.
 * Used by the core at start and when keys change, by the supervisor to make
 * the directory.  Never knows what the files mean.
 */

#ifndef TN_STATE_H_INCLUDED_
#define TN_STATE_H_INCLUDED_

#include "base/tn_base.h"


#define TN_STATE_TEXT      512          /* of an error, with its zero */
#define TN_STATE_NAME_MAX  64
#define TN_STATE_MAX       (32 * 1024 * 1024)   /* bytes of one file */

typedef enum {
    TN_STATE_FINE = 0,
    TN_STATE_IN_USE,        /* another process holds the lock */
    TN_STATE_INSECURE,      /* owned by another, or open to others */
    TN_STATE_DENIED,        /* permission */
    TN_STATE_READ_ONLY,     /* the file system */
    TN_STATE_FULL,          /* disk or quota */
    TN_STATE_OTHER
} tn_state_why_e;

typedef struct {
    tn_state_why_e  why;
    char            text[TN_STATE_TEXT];    /* one line, names path and cause */
} tn_state_error_t;

typedef struct tn_state_s  tn_state_t;


/*
 * Makes the directory with its parents, 0700 and owned by uid and gid, when
 * it is not there; leaves an existing one as it is.  For who is root and
 * starts an unprivileged core.  TN_OK or TN_ERROR.
 */
tn_rc_t tn_state_prepare(const char *path, uid_t uid, gid_t gid,
    tn_state_error_t *error);

/*
 * Opens, making it when it is not there, and locks it for this object alone
 * until tn_state_close().  TN_OK; TN_REFUSED when it is in use or not
 * private; TN_ERROR; TN_NOMEM.
 */
tn_rc_t tn_state_open(tn_state_t **state, const char *path,
    tn_state_error_t *error);

void tn_state_close(tn_state_t *state);

/*
 * Replaces a file (0600) so that after a crash at any moment either the old
 * or the new one is there, whole.  `name` is of letters, digits, '-', '_' and
 * '.', and does not begin with '.'.  TN_OK or TN_ERROR; on error the old file
 * is untouched and nothing is left behind.
 */
tn_rc_t tn_state_write(tn_state_t *state, const char *name, const void *data,
    size_t len, tn_state_error_t *error);

/*
 * Reads a file of `max` bytes at most into new memory, with a zero byte after
 * it that is not counted.  TN_OK, TN_NOTFOUND, TN_NOMEM (also: too large),
 * TN_ERROR.
 */
tn_rc_t tn_state_read(tn_state_t *state, const char *name, size_t max,
    uint8_t **data, size_t *len, tn_state_error_t *error);

/* wipes and frees what tn_state_read() gave; NULL is fine */
void tn_state_free(uint8_t *data, size_t len);

/* TN_OK also when it is not there */
tn_rc_t tn_state_remove(tn_state_t *state, const char *name,
    tn_state_error_t *error);


#endif /* TN_STATE_H_INCLUDED_ */

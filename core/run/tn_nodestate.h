
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What of a node is on disk: its keys, in one JSON file of the state
 * directory, replaced as a whole.  The control thread reads and writes it.
 */

#ifndef TN_NODESTATE_H_INCLUDED_
#define TN_NODESTATE_H_INCLUDED_

#include "control/tn_control.h"
#include "host/tn_state.h"


#define TN_NODESTATE_FILE  "node.json"
#define TN_NODESTATE_MAX   65536
#define TN_NODESTATE_NETMAP  "netmap.zst"
#define TN_NODESTATE_LOCK  "lock.aums"

typedef struct tn_nodestate_s  tn_nodestate_t;


/* opens and locks; see tn_state_open() */
tn_rc_t tn_nodestate_open(tn_nodestate_t **state, const char *path,
    tn_state_error_t *error);

/* the directory itself, for files of other kinds */
tn_state_t *tn_nodestate_dir(tn_nodestate_t *state);

/* NULL is allowed */
void tn_nodestate_close(tn_nodestate_t *state);

/*
 * TN_OK also when there is nothing yet, and then *saved is zero.  A file that
 * belongs to another control server gives its machine key only.  TN_ERROR
 * when it cannot be read, TN_MALFORMED when it is not ours: it is never
 * overwritten then.
 */
tn_rc_t tn_nodestate_load(tn_nodestate_t *state, const char *control_url,
    tn_control_saved_t *saved, tn_state_error_t *error);

/* on stable storage when it returns TN_OK */
tn_rc_t tn_nodestate_save(tn_nodestate_t *state, const char *control_url,
    const tn_control_saved_t *saved, tn_state_error_t *error);

/*
 * The last good netmap, as tn_netmap_pack() makes it: replaced as a whole,
 * read into new memory for tn_state_free().  TN_NOTFOUND: there is none.
 * To keep NULL is to remove it.
 */
tn_rc_t tn_nodestate_netmap(tn_nodestate_t *state, uint8_t **bytes,
    size_t *len, tn_state_error_t *error);
tn_rc_t tn_nodestate_keep_netmap(tn_nodestate_t *state, const uint8_t *bytes,
    size_t len, tn_state_error_t *error);

/* the same of tailnet lock's updates, as tn_aums_pack() makes them */
tn_rc_t tn_nodestate_lock(tn_nodestate_t *state, uint8_t **bytes, size_t *len,
    tn_state_error_t *error);
tn_rc_t tn_nodestate_keep_lock(tn_nodestate_t *state, const uint8_t *bytes,
    size_t len, tn_state_error_t *error);


#endif /* TN_NODESTATE_H_INCLUDED_ */

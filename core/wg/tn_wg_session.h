
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A session: what one handshake yielded, a key for each direction, the
 * counter of the one and the replay window of the other.
 */

#ifndef TN_WG_SESSION_H_INCLUDED_
#define TN_WG_SESSION_H_INCLUDED_

#include "crypto/tn_aead.h"
#include "wg/tn_wg_index.h"
#include "wg/tn_wg_noise.h"
#include "wg/tn_wg_replay.h"


#define TN_WG_REKEY_AFTER_MESSAGES   ((uint64_t) 1 << 60)
#define TN_WG_REJECT_AFTER_MESSAGES  (UINT64_MAX - ((uint64_t) 1 << 13))

#define TN_WG_REKEY_AFTER_MS   120000
#define TN_WG_REJECT_AFTER_MS  180000

struct tn_wg_session_s {
    tn_aead_t       *seal;
    tn_aead_t       *open;
    uint64_t         counter;       /* of the next message to seal */
    uint32_t         remote;        /* the peer's index */
    bool             initiator;     /* the handshake was ours */
    bool             unused;        /* by the peer, which initiated */
    bool             hurried;       /* renewed because it is about to end */
    tn_ms_t          born_at;
    tn_wg_index_t    index;
    tn_wg_replay_t   replay;
};


/*
 * Its index is not in the table yet.  NULL when out of memory.  The keys are
 * copied.
 */
tn_wg_session_t *tn_wg_session_create(tn_wg_peer_t *peer,
    const tn_wg_keys_t *keys, bool initiator, tn_ms_t now);

/* wipes and frees; NULL is allowed */
void tn_wg_session_destroy(tn_hash_t *table, tn_wg_session_t *session);

/* young and unworn enough to seal */
static inline bool
tn_wg_session_usable(const tn_wg_session_t *session, tn_ms_t now)
{
    return session->counter < TN_WG_REJECT_AFTER_MESSAGES
           && now - session->born_at < TN_WG_REJECT_AFTER_MS;
}


#endif /* TN_WG_SESSION_H_INCLUDED_ */

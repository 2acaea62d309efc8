
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_wg_session.h"

#include <stdlib.h>


tn_wg_session_t *
tn_wg_session_create(tn_wg_peer_t *peer, const tn_wg_keys_t *keys,
    bool initiator, tn_ms_t now)
{
    tn_wg_session_t  *session;

    session = calloc(1, sizeof(tn_wg_session_t));
    if (session == NULL) {
        return NULL;
    }

    session->initiator = initiator;
    session->unused = !initiator;
    session->born_at = now;
    session->index.peer = peer;
    session->index.session = session;
    session->seal = tn_aead_create(&keys->seal);
    session->open = tn_aead_create(&keys->open);

    if (session->seal == NULL || session->open == NULL) {
        tn_wg_session_destroy(NULL, session);
        return NULL;
    }

    return session;
}


void
tn_wg_session_destroy(tn_hash_t *table, tn_wg_session_t *session)
{
    if (session == NULL) {
        return;
    }

    tn_wg_index_remove(table, &session->index);
    tn_aead_destroy(session->seal);
    tn_aead_destroy(session->open);
    free(session);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap as text: the MapResponse that would make it, for the copy on
 * disk and for people who debug.  Holds no private key, like the netmap.
 */

#ifndef TN_NETMAP_DUMP_H_INCLUDED_
#define TN_NETMAP_DUMP_H_INCLUDED_

#include "control/tn_netmap.h"


/* takes the next bytes; another result than TN_OK ends the dump with it */
typedef tn_rc_t (*tn_netmap_sink_pt)(void *data, const char *text,
    size_t len);

/*
 * Writes JSON without spaces, part by part, so that nothing of the size of
 * the map is ever held.  `home`: the home region to tell for the node
 * itself, 0 for the one the map has.
 */
tn_rc_t tn_netmap_dump(const tn_netmap_t *netmap, uint32_t home,
    tn_netmap_sink_pt sink, void *data);

/*
 * A dump for the disk, compressed, with `node` and the time in front.  On
 * TN_OK the bytes are the caller's to free.  TN_NOMEM, also over
 * TN_NETMAP_PACKED_MAX.
 */
#define TN_NETMAP_PACKED_MAX  (32 * 1024 * 1024)

tn_rc_t tn_netmap_pack(const tn_netmap_t *netmap, const tn_key_t *node,
    uint32_t home, int64_t wall, uint8_t **bytes, size_t *len);

/*
 * Applies packed bytes to an empty netmap.  TN_REFUSED: of another node key;
 * TN_MALFORMED; TN_NOMEM: in each case nothing has changed.  *saved is the
 * time of tn_netmap_pack().
 */
tn_rc_t tn_netmap_unpack(tn_netmap_t *netmap, const tn_key_t *node,
    const uint8_t *bytes, size_t len, int64_t wall, int64_t *saved,
    tn_netmap_changes_t *changes);


#endif /* TN_NETMAP_DUMP_H_INCLUDED_ */

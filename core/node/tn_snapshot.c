
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The memory: a header of one block, then slots, then blocks of 256 bytes.
 *
 *   slot     a prefix and the first block of its peer; an open hash table
 *            with linear probing, half of it used at most.  The header counts
 *            the prefixes of each length, so that a reader probes once for
 *            each length in use, the longest first
 *   record   a run of blocks, a power of two of them: head, lengths of the
 *            fields, then the fields
 *
 * One sequence number guards it all: odd while the writer writes.  A reader
 * notes it, copies the record out and looks again; when it was odd or is
 * another one, it begins anew, TN_SNAPSHOT_TRIES times at most.  A change of
 * a peer is a few slots and a copy of its record, microseconds.  A writer
 * that dies in between leaves the number odd: readers know nobody until the
 * next one has begun, which is the safe side.
 *
 * How many slots and blocks there are follows from the size of the memory
 * alone; a reader takes every other number out of it for what it may be, at
 * worst nonsense, and bounds it.
 */

#include "node/tn_snapshot.h"

#include "base/tn_hash.h"

#include <stdlib.h>


#define TN_SNAPSHOT_MAGIC   0x31706e736e74      /* "tnsnp1" */
#define TN_SNAPSHOT_BLOCK   256
#define TN_SNAPSHOT_HEAD    4096
#define TN_SNAPSHOT_MIN     (64 * 1024)
#define TN_SNAPSHOT_MAX     ((size_t) 1 << 30)
#define TN_SNAPSHOT_TRIES   1000
#define TN_SNAPSHOT_CLASSES 11                  /* 1 to 1024 blocks */
#define TN_SNAPSHOT_NONE    UINT32_MAX


typedef struct {
    uint64_t      magic;
    uint64_t      size;
    size_t        sequence;         /* as wide as every machine can at once */
    uint64_t      seed;
    uint32_t      used[2][129];     /* prefixes by length; [0] v6, [1] v4 */
} snapshot_head_t;

typedef struct {
    uint8_t       ip[16];
    uint8_t       bits;
    uint8_t       v4;
    uint8_t       taken;
    uint8_t       unused;
    uint32_t      block;
} snapshot_slot_t;

typedef struct {
    int64_t       id;
    uint64_t      since;
    uint32_t      len[TN_SNAPSHOT_NFIELDS];
} snapshot_record_t;

typedef struct {
    tn_hash_node_t  node;
    int64_t         id;
    uint32_t        block;
    uint32_t        class;
    size_t          n;
    tn_prefix_t     prefixes[];
} snapshot_entry_t;

struct tn_snapshot_writer_s {
    uint8_t        *base;
    uint32_t        slots;
    uint32_t        blocks;
    uint32_t        taken;          /* slots */
    uint32_t        fresh;          /* blocks from here were never used */
    uint32_t        free[TN_SNAPSHOT_CLASSES];
    uint32_t       *next;           /* of a free run, by its first block */
    tn_hash_t       entries;
};


static bool snapshot_layout(size_t size, uint32_t *slots, uint32_t *blocks);
static uint32_t snapshot_home(const uint8_t *ip, uint8_t bits, bool v4,
    uint64_t seed, uint32_t slots);
static void snapshot_mask(uint8_t *to, const tn_ip_t *ip, uint8_t bits,
    bool v4);
static uint32_t snapshot_slot(tn_snapshot_writer_t *writer,
    const tn_prefix_t *prefix);
static void snapshot_unslot(tn_snapshot_writer_t *writer,
    const tn_prefix_t *prefix, uint32_t block);
static uint32_t snapshot_take(tn_snapshot_writer_t *writer, uint32_t class);
static void snapshot_drop(tn_snapshot_writer_t *writer,
    snapshot_entry_t *entry);
static tn_rc_t snapshot_try(const tn_snapshot_t *snapshot, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf);


static inline snapshot_head_t *
snapshot_head(tn_snapshot_writer_t *writer)
{
    return (snapshot_head_t *) writer->base;
}


static inline snapshot_slot_t *
snapshot_slots(tn_snapshot_writer_t *writer)
{
    return (snapshot_slot_t *) (writer->base + TN_SNAPSHOT_HEAD);
}


static inline size_t
snapshot_offset(uint32_t slots, uint32_t block)
{
    return TN_SNAPSHOT_HEAD + (size_t) slots * sizeof(snapshot_slot_t)
           + (size_t) block * TN_SNAPSHOT_BLOCK;
}


static inline void
snapshot_begin(tn_snapshot_writer_t *writer)
{
    __atomic_store_n(&snapshot_head(writer)->sequence,
                     snapshot_head(writer)->sequence | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}


static inline void
snapshot_end(tn_snapshot_writer_t *writer)
{
    __atomic_store_n(&snapshot_head(writer)->sequence,
                     snapshot_head(writer)->sequence + 1, __ATOMIC_RELEASE);
}


/* an eighth of the memory is slots, their number a power of two */
static bool
snapshot_layout(size_t size, uint32_t *slots, uint32_t *blocks)
{
    size_t  n;

    if (size < TN_SNAPSHOT_MIN || size > TN_SNAPSHOT_MAX) {
        return false;
    }

    for (n = 256; n * 2 * sizeof(snapshot_slot_t) <= size / 8; n *= 2) {
        /* void */
    }

    *slots = (uint32_t) n;
    *blocks = (uint32_t) ((size - snapshot_offset(*slots, 0))
                          / TN_SNAPSHOT_BLOCK);

    return true;
}


static uint32_t
snapshot_home(const uint8_t *ip, uint8_t bits, bool v4, uint64_t seed,
    uint32_t slots)
{
    uint64_t  a, b, h;

    memcpy(&a, ip, 8);
    memcpy(&b, ip + 8, 8);

    h = (a ^ seed) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 29) ^ b) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 32) ^ bits ^ ((uint64_t) v4 << 8) ^ seed)
        * UINT64_C(0x94d049bb133111eb);

    return (uint32_t) (h >> 32) & (slots - 1);
}


static void
snapshot_mask(uint8_t *to, const tn_ip_t *ip, uint8_t bits, bool v4)
{
    unsigned  i, whole;

    whole = bits + (v4 ? 96u : 0u);

    memcpy(to, ip->b, 16);

    for (i = whole; i < 128; i++) {
        to[i / 8] &= (uint8_t) ~(0x80u >> (i % 8));
    }
}


tn_snapshot_writer_t *
tn_snapshot_create(void *mem, size_t size, uint64_t seed)
{
    size_t                 sequence;
    uint32_t               slots, blocks, i;
    snapshot_head_t       *head;
    tn_snapshot_writer_t  *writer;

    if (!snapshot_layout(size, &slots, &blocks)) {
        return NULL;
    }

    writer = calloc(1, sizeof(tn_snapshot_writer_t));
    if (writer == NULL) {
        return NULL;
    }

    writer->next = calloc(blocks, sizeof(uint32_t));

    if (writer->next == NULL) {
        free(writer);
        return NULL;
    }

    writer->base = mem;
    writer->slots = slots;
    writer->blocks = blocks;
    tn_hash_init(&writer->entries, sizeof(int64_t));

    for (i = 0; i < TN_SNAPSHOT_CLASSES; i++) {
        writer->free[i] = TN_SNAPSHOT_NONE;
    }

    head = mem;
    sequence = head->magic == TN_SNAPSHOT_MAGIC ? head->sequence : 0;

    snapshot_begin(writer);

    if (head->magic == TN_SNAPSHOT_MAGIC) {
        memset(head->used, 0, sizeof(head->used));
        memset(snapshot_slots(writer), 0, slots * sizeof(snapshot_slot_t));
    }

    head->magic = TN_SNAPSHOT_MAGIC;
    head->size = size;
    head->seed = seed;

    /* also when the one before ended between two numbers */

    head->sequence = sequence | 1;
    snapshot_end(writer);

    return writer;
}


void
tn_snapshot_destroy(tn_snapshot_writer_t *writer)
{
    tn_hash_node_t  *node, *next;

    if (writer == NULL) {
        return;
    }

    for (node = tn_hash_next(&writer->entries, NULL); node; node = next) {
        next = tn_hash_next(&writer->entries, node);
        tn_hash_remove(&writer->entries, node);
        free(tn_container(node, snapshot_entry_t, node));
    }

    tn_hash_done(&writer->entries);
    free(writer->next);
    free(writer);
}


tn_rc_t
tn_snapshot_put(tn_snapshot_writer_t *writer, const tn_snapshot_peer_t *peer,
    const tn_prefix_t *prefixes, size_t n)
{
    size_t             i, len;
    uint8_t           *pos;
    uint32_t           class, slot;
    snapshot_entry_t  *entry;
    tn_hash_node_t    *former;
    snapshot_slot_t   *slots;
    snapshot_record_t  record;

    len = sizeof(snapshot_record_t);

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        if (peer->field[i].len > TN_SNAPSHOT_FIELD_MAX) {
            goto failed;
        }

        record.len[i] = (uint32_t) peer->field[i].len;
        len += peer->field[i].len;
    }

    if (len > TN_SNAPSHOT_RECORD_MAX || n > TN_SNAPSHOT_PREFIXES
        || writer->taken + n > writer->slots / 2)
    {
        goto failed;
    }

    for (class = 0; ((size_t) TN_SNAPSHOT_BLOCK << class) < len; class++) {
        /* void */
    }

    entry = calloc(1, sizeof(snapshot_entry_t) + n * sizeof(tn_prefix_t));
    if (entry == NULL) {
        goto failed;
    }

    entry->block = snapshot_take(writer, class);
    entry->class = class;
    entry->id = peer->id;
    entry->node.key = &entry->id;
    entry->n = n;

    for (i = 0; i < n; i++) {
        entry->prefixes[i] = prefixes[i];
    }

    if (entry->block == TN_SNAPSHOT_NONE) {
        free(entry);
        goto failed;
    }

    /* the former one goes in the same moment: nobody misses the peer */

    former = tn_hash_find(&writer->entries, &peer->id);

    snapshot_begin(writer);

    if (former != NULL) {
        snapshot_drop(writer, tn_container(former, snapshot_entry_t, node));
    }

    if (tn_hash_insert(&writer->entries, &entry->node) != TN_OK) {
        snapshot_end(writer);
        writer->next[entry->block] = writer->free[class];
        writer->free[class] = entry->block;
        free(entry);
        return TN_NOMEM;
    }

    record.id = peer->id;
    record.since = snapshot_head(writer)->sequence + 1;

    pos = writer->base + snapshot_offset(writer->slots, entry->block);
    memcpy(pos, &record, sizeof(record));
    pos += sizeof(record);

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        if (record.len[i] != 0) {
            memcpy(pos, peer->field[i].data, record.len[i]);
            pos += record.len[i];
        }
    }

    slots = snapshot_slots(writer);

    for (i = 0; i < n; i++) {
        slot = snapshot_slot(writer, &prefixes[i]);

        if (!slots[slot].taken) {
            snapshot_mask(slots[slot].ip, &prefixes[i].ip, prefixes[i].bits,
                          prefixes[i].v4);
            slots[slot].bits = prefixes[i].bits;
            slots[slot].v4 = prefixes[i].v4;
            slots[slot].taken = 1;
            snapshot_head(writer)->used[prefixes[i].v4][prefixes[i].bits]++;
            writer->taken++;
        }

        slots[slot].block = entry->block;
    }

    snapshot_end(writer);

    return TN_OK;

failed:

    tn_snapshot_remove(writer, peer->id);

    return TN_NOMEM;
}


void
tn_snapshot_remove(tn_snapshot_writer_t *writer, int64_t id)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&writer->entries, &id);

    if (node != NULL) {
        snapshot_begin(writer);
        snapshot_drop(writer, tn_container(node, snapshot_entry_t, node));
        snapshot_end(writer);
    }
}


/* frees the entry */
static void
snapshot_drop(tn_snapshot_writer_t *writer, snapshot_entry_t *entry)
{
    size_t  i;

    for (i = 0; i < entry->n; i++) {
        snapshot_unslot(writer, &entry->prefixes[i], entry->block);
    }

    writer->next[entry->block] = writer->free[entry->class];
    writer->free[entry->class] = entry->block;

    tn_hash_remove(&writer->entries, &entry->node);
    free(entry);
}


/* the first block of a run, or TN_SNAPSHOT_NONE */
static uint32_t
snapshot_take(tn_snapshot_writer_t *writer, uint32_t class)
{
    uint32_t  block;

    block = writer->free[class];

    if (block != TN_SNAPSHOT_NONE) {
        writer->free[class] = writer->next[block];
        return block;
    }

    if (writer->blocks - writer->fresh < 1u << class) {
        return TN_SNAPSHOT_NONE;
    }

    block = writer->fresh;
    writer->fresh += 1u << class;

    return block;
}


/* where this prefix is, or the free slot where it belongs */
static uint32_t
snapshot_slot(tn_snapshot_writer_t *writer, const tn_prefix_t *prefix)
{
    uint8_t           ip[16];
    uint32_t          i;
    snapshot_slot_t  *slots;

    slots = snapshot_slots(writer);
    snapshot_mask(ip, &prefix->ip, prefix->bits, prefix->v4);

    i = snapshot_home(ip, prefix->bits, prefix->v4,
                      snapshot_head(writer)->seed, writer->slots);

    while (slots[i].taken
           && (memcmp(slots[i].ip, ip, 16) != 0
               || slots[i].bits != prefix->bits
               || slots[i].v4 != prefix->v4))
    {
        i = (i + 1) & (writer->slots - 1);
    }

    return i;
}


static void
snapshot_unslot(tn_snapshot_writer_t *writer, const tn_prefix_t *prefix,
    uint32_t block)
{
    uint32_t          hole, i, home, mask;
    snapshot_slot_t  *slots;

    slots = snapshot_slots(writer);
    mask = writer->slots - 1;
    hole = snapshot_slot(writer, prefix);

    if (!slots[hole].taken || slots[hole].block != block) {

        /* another peer has it by now */

        return;
    }

    snapshot_head(writer)->used[prefix->v4][prefix->bits]--;
    writer->taken--;

    /* what was put behind it because of it moves up */

    for (i = (hole + 1) & mask; slots[i].taken; i = (i + 1) & mask) {
        home = snapshot_home(slots[i].ip, slots[i].bits, slots[i].v4,
                             snapshot_head(writer)->seed, writer->slots);

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            slots[hole] = slots[i];
            hole = i;
        }
    }

    memset(&slots[hole], 0, sizeof(snapshot_slot_t));
}


tn_rc_t
tn_snapshot_open(tn_snapshot_t *snapshot, const void *mem, size_t size)
{
    const snapshot_head_t  *head;

    head = mem;

    if (!snapshot_layout(size, &snapshot->slots, &snapshot->blocks)
        || head->magic != TN_SNAPSHOT_MAGIC || head->size != size)
    {
        return TN_MALFORMED;
    }

    snapshot->base = mem;

    return TN_OK;
}


uint64_t
tn_snapshot_generation(const tn_snapshot_t *snapshot)
{
    return __atomic_load_n(
                    &((const snapshot_head_t *) snapshot->base)->sequence,
                    __ATOMIC_ACQUIRE);
}


tn_rc_t
tn_snapshot_find(const tn_snapshot_t *snapshot, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf)
{
    tn_rc_t   rc;
    unsigned  i;
    uint64_t  sequence;

    for (i = 0; i < TN_SNAPSHOT_TRIES; i++) {
        sequence = tn_snapshot_generation(snapshot);

        if (sequence & 1) {
            continue;
        }

        rc = snapshot_try(snapshot, ip, peer, buf);

        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        if (tn_snapshot_generation(snapshot) == sequence) {
            return rc;
        }
    }

    return TN_AGAIN;
}


/* each number of the memory is read once, then bounded */
static tn_rc_t
snapshot_try(const tn_snapshot_t *snapshot, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf)
{
    int                     bits;
    bool                    v4;
    size_t                  room, len, used;
    uint8_t                 masked[16];
    uint32_t                i, n, block;
    const uint8_t          *pos;
    snapshot_slot_t         slot;
    snapshot_record_t       record;
    const snapshot_head_t  *head;
    const snapshot_slot_t  *slots;

    head = (const snapshot_head_t *) snapshot->base;
    slots = (const snapshot_slot_t *) (snapshot->base + TN_SNAPSHOT_HEAD);
    v4 = tn_ip_is_v4(ip);
    block = TN_SNAPSHOT_NONE;

    for (bits = v4 ? 32 : 128; bits >= 0 && block == TN_SNAPSHOT_NONE; bits--)
    {
        if (head->used[v4][bits] == 0) {
            continue;
        }

        snapshot_mask(masked, ip, (uint8_t) bits, v4);

        i = snapshot_home(masked, (uint8_t) bits, v4, head->seed,
                          snapshot->slots);

        /* in a sound table there is a free one before */

        for (n = 0; n < snapshot->slots; n++) {
            memcpy(&slot, &slots[(i + n) & (snapshot->slots - 1)],
                   sizeof(slot));

            if (!slot.taken) {
                break;
            }

            if (memcmp(slot.ip, masked, 16) == 0 && slot.bits == bits
                && slot.v4 == v4)
            {
                block = slot.block;
                break;
            }
        }
    }

    if (block == TN_SNAPSHOT_NONE) {
        return TN_NOTFOUND;
    }

    if (block >= snapshot->blocks) {
        return TN_MALFORMED;
    }

    room = (size_t) (snapshot->blocks - block) * TN_SNAPSHOT_BLOCK;
    room = tn_min(room, (size_t) TN_SNAPSHOT_RECORD_MAX) - sizeof(record);
    pos = snapshot->base + snapshot_offset(snapshot->slots, block);
    memcpy(&record, pos, sizeof(record));

    len = 0;

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        if (record.len[i] > TN_SNAPSHOT_FIELD_MAX) {
            return TN_MALFORMED;
        }

        len += record.len[i];
    }

    if (len > room) {
        return TN_MALFORMED;
    }

    peer->id = record.id;
    peer->since = record.since;
    used = 0;

    if (buf == NULL) {
        memset(peer->field, 0, sizeof(peer->field));
        return TN_OK;
    }

    memcpy(buf, pos + sizeof(record), len);

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        peer->field[i].data = buf + used;
        peer->field[i].len = record.len[i];
        used += record.len[i];
    }

    return TN_OK;
}

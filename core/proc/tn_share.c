
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>


/* NOLINTNEXTLINE(misc-redundant-expression): that they stay so */
_Static_assert(TN_SHARE_BYTES == TN_DIRECTORY_SIZE,
               "the memory is of the directory's size");


/* in the directory's head, of which that uses the first word */
#define TN_SHARE_TOLD  64


struct tn_share_s {
    void                   *mem;
    tn_directory_writer_t  *directory;
};


static void share_release(void *mem, size_t len);


tn_share_t *
tn_share_open(int fd, tn_log_t *log)
{
    int          err;
    uint64_t     seed;
    tn_share_t  *share;

    if (fd == -1) {
        return NULL;
    }

    share = calloc(1, sizeof(tn_share_t));

    if (share != NULL) {
        share->mem = tn_share_map(fd, true);
    }

    err = errno;

    if (share != NULL && share->mem != NULL
        && getrandom(&seed, sizeof(seed), 0) == (ssize_t) sizeof(seed))
    {
        share->directory = tn_directory_create(share->mem, share_release,
                                               seed, log);
        err = ENOMEM;
    }

    (void) close(fd);

    if (share == NULL || share->directory == NULL) {
        tn_log(log, TN_LOG_ERR, "nginx cannot be told who is who: %s",
               strerror(err));

        if (share != NULL) {
            tn_share_unmap(share->mem);
            free(share);
        }

        return NULL;
    }

    return share;
}


void
tn_share_update(tn_share_t *share, const tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes)
{
    if (share != NULL) {
        tn_directory_update(share->directory, netmap, changes);
    }
}


void
tn_share_path(tn_share_t *share, const tn_netmap_t *netmap, int64_t id,
    tn_path_kind_e kind, uint32_t derp)
{
    char                        text[32];
    const tn_derpmap_region_t  *region;

    if (share == NULL) {
        return;
    }

    region = netmap->derpmap ? tn_derpmap_find(netmap->derpmap, derp) : NULL;
    text[0] = '\0';

    switch (kind) {

    case TN_PATH_DIRECT:
        (void) snprintf(text, sizeof(text), "direct");
        break;

    case TN_PATH_RELAY:
        (void) snprintf(text, sizeof(text), "relay");
        break;

    case TN_PATH_DERP:
        if (region != NULL && region->code != NULL) {
            (void) snprintf(text, sizeof(text), "derp-%s", region->code);

        } else {
            (void) snprintf(text, sizeof(text), "derp-%u", (unsigned) derp);
        }

        break;

    default:
        break;
    }

    tn_directory_path(share->directory, netmap, id, text);
}


uint64_t *
tn_share_told(tn_share_t *share)
{
    return share != NULL
           ? (uint64_t *) ((uint8_t *) share->mem + TN_SHARE_TOLD) : NULL;
}


void
tn_share_close(tn_share_t *share)
{
    if (share == NULL) {
        return;
    }

    tn_directory_forget(share->directory);
    tn_directory_destroy(share->directory);
    tn_share_unmap(share->mem);
    free(share);
}


static void
share_release(void *mem, size_t len)
{
    if (madvise(mem, len, MADV_REMOVE) == -1) {
        memset(mem, 0, len);
    }
}

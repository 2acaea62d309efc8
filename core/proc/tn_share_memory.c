
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_share_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


#define TN_SHARE_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW)


int
tn_share_create(void)
{
    int  fd, err;

    fd = memfd_create("tailnet", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd == -1) {
        return -1;
    }

    /* of another user only who is given a descriptor */

    if (fchmod(fd, 0600) == -1
        || ftruncate(fd, (off_t) TN_SHARE_BYTES) == -1
        || fcntl(fd, F_ADD_SEALS, TN_SHARE_SEALS | F_SEAL_SEAL) == -1)
    {
        err = errno;
        (void) close(fd);
        errno = err;
        return -1;
    }

    return fd;
}


int
tn_share_read_only(int fd)
{
    char  path[32];

    (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    return open(path, O_RDONLY | O_CLOEXEC);
}


void *
tn_share_map(int fd, bool write)
{
    int           seals;
    void         *mem;
    struct stat   st;

    if (fstat(fd, &st) == -1) {
        return NULL;
    }

    seals = fcntl(fd, F_GET_SEALS);

    if (seals == -1 || (seals & TN_SHARE_SEALS) != TN_SHARE_SEALS
        || (size_t) st.st_size != TN_SHARE_BYTES)
    {
        errno = EINVAL;
        return NULL;
    }

    mem = mmap(NULL, TN_SHARE_BYTES,
               write ? PROT_READ | PROT_WRITE : PROT_READ,
               MAP_SHARED | MAP_NORESERVE, fd, 0);

    return mem == MAP_FAILED ? NULL : mem;
}


void
tn_share_unmap(void *mem)
{
    if (mem != NULL) {
        (void) munmap(mem, TN_SHARE_BYTES);
    }
}

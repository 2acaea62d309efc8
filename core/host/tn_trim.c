
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The start runs through much that is never run again: relocation, OpenSSL's
 * tables of algorithms, ipsec-mb's tests of each of its ciphers.  Mapped it
 * stays until the system is short of memory.  What is mapped read only is as
 * its file is, so it can be dropped at any time, in other threads' use too.
 */

#include "host/tn_trim.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>


static int trim_object(struct dl_phdr_info *info, size_t size, void *data);
static bool trim_is_patched(const struct dl_phdr_info *info);


void
tn_trim(void)
{
    long  page;

    (void) malloc_trim(0);

    page = sysconf(_SC_PAGESIZE);

    if (page > 0) {
        (void) dl_iterate_phdr(trim_object, &page);
    }
}


static int
trim_object(struct dl_phdr_info *info, size_t size, void *data)
{
    size_t             i;
    uintptr_t          start, end, page;
    const ElfW(Phdr)  *header;

    (void) size;

    if (trim_is_patched(info)) {
        return 0;
    }

    page = (uintptr_t) *(long *) data;

    for (i = 0; i < info->dlpi_phnum; i++) {
        header = &info->dlpi_phdr[i];

        if (header->p_type != PT_LOAD || (header->p_flags & PF_W)) {
            continue;
        }

        start = info->dlpi_addr + header->p_vaddr;
        end = (start + header->p_memsz + page - 1) & ~(page - 1);
        start &= ~(page - 1);

        (void) madvise((void *) start, end - start, MADV_DONTNEED);
    }

    return 0;
}


/* relocated in its code, which is not as in the file then */

static bool
trim_is_patched(const struct dl_phdr_info *info)
{
    size_t            i;
    const ElfW(Dyn)  *dyn;

    for (i = 0; i < info->dlpi_phnum; i++) {

        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) {
            continue;
        }

        dyn = (const ElfW(Dyn) *) (info->dlpi_addr
                                   + info->dlpi_phdr[i].p_vaddr);

        for ( /* void */ ; dyn->d_tag != DT_NULL; dyn++) {
            if (dyn->d_tag == DT_TEXTREL
                || (dyn->d_tag == DT_FLAGS && (dyn->d_un.d_val & DF_TEXTREL)))
            {
                return true;
            }
        }
    }

    return false;
}

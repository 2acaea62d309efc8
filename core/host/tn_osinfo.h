
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the machine is, as a node tells control about itself.
 */

#ifndef TN_OSINFO_H_INCLUDED_
#define TN_OSINFO_H_INCLUDED_

#include "base/tn_base.h"


#define TN_OSINFO_TEXT  64

typedef struct {
    char  release[TN_OSINFO_TEXT];          /* of the kernel */
    char  machine[TN_OSINFO_TEXT];          /* uname -m */
    char  distro[TN_OSINFO_TEXT];
    char  distro_version[TN_OSINFO_TEXT];
    char  distro_codename[TN_OSINFO_TEXT];
} tn_osinfo_t;


/* what cannot be found stays empty; reads /etc/os-release */
void tn_osinfo_read(tn_osinfo_t *os);


#endif /* TN_OSINFO_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_osinfo.h"

#include <stdio.h>
#include <sys/utsname.h>


static void tn_osinfo_value(char *dst, const char *line, const char *name);


void
tn_osinfo_read(tn_osinfo_t *os)
{
    char            line[256];
    FILE           *file;
    struct utsname  uts;

    memset(os, 0, sizeof(tn_osinfo_t));

    if (uname(&uts) == 0) {
        (void) snprintf(os->release, sizeof(os->release), "%.63s",
                        uts.release);
        (void) snprintf(os->machine, sizeof(os->machine), "%.63s",
                        uts.machine);
    }

    file = fopen("/etc/os-release", "re");
    if (file == NULL) {
        return;
    }

    while (fgets(line, sizeof(line), file) != NULL) {
        tn_osinfo_value(os->distro, line, "ID=");
        tn_osinfo_value(os->distro_version, line, "VERSION_ID=");
        tn_osinfo_value(os->distro_codename, line, "VERSION_CODENAME=");
    }

    (void) fclose(file);
}


static void
tn_osinfo_value(char *dst, const char *line, const char *name)
{
    size_t  len;

    len = strlen(name);

    if (strncmp(line, name, len) != 0) {
        return;
    }

    line += len;
    line += line[0] == '"';
    len = strcspn(line, "\"\n");
    len = tn_min(len, (size_t) TN_OSINFO_TEXT - 1);

    memcpy(dst, line, len);
    dst[len] = '\0';
}


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_lastport.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>


uint16_t
tn_lastport_read(const char *path)
{
    int          fd;
    char         name[PATH_MAX], text[8] = "";
    ssize_t      i, n;
    unsigned     port;
    struct stat  st;

    if (snprintf(name, sizeof(name), "%s/" TN_LASTPORT_FILE, path)
        >= (int) sizeof(name))
    {
        return 0;
    }

    fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        return 0;
    }

    n = -1;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        n = read(fd, text, sizeof(text));
    }

    (void) close(fd);

    /* digits and a newline */

    if (n < 2 || n > 6 || text[n - 1] != '\n') {
        return 0;
    }

    port = 0;

    for (i = 0; i < n - 1; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }

        port = port * 10 + (unsigned) (text[i] - '0');
    }

    return port >= TN_LASTPORT_MIN && port <= 65535 ? (uint16_t) port : 0;
}


tn_rc_t
tn_lastport_write(tn_state_t *state, const char *path, uint16_t port,
    tn_state_error_t *error)
{
    int   len;
    char  text[8];

    if (port < TN_LASTPORT_MIN || port == tn_lastport_read(path)) {
        return TN_OK;
    }

    len = snprintf(text, sizeof(text), "%u\n", (unsigned) port);

    return tn_state_write(state, TN_LASTPORT_FILE, text, (size_t) len, error);
}

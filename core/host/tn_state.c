
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


#define TN_STATE_LOCK  "lock"


struct tn_state_s {
    int    dir;
    int    lock;
    char  *path;
    uid_t  uid;             /* whose the directory and its files are */
    gid_t  gid;
};


static tn_rc_t tn_state_make(const char *path, bool *made,
    tn_state_error_t *error);
static tn_rc_t tn_state_make_parents(const char *path,
    tn_state_error_t *error);
static tn_rc_t tn_state_check(tn_state_t *state, tn_state_error_t *error);
static tn_rc_t tn_state_not_ours(const char *path, uid_t uid,
    tn_state_error_t *error);
static tn_rc_t tn_state_own(const tn_state_t *state, int fd);
static tn_rc_t tn_state_take(tn_state_t *state, tn_state_error_t *error);
static bool tn_state_name_ok(const char *name);
static tn_rc_t tn_state_write_all(int fd, const uint8_t *data, size_t len);
static tn_rc_t tn_state_bad_name(tn_state_t *state, const char *name,
    tn_state_error_t *error);
static tn_rc_t tn_state_errno(tn_state_error_t *error, const char *fmt, ...)
    tn_printf_like(2, 3);
static tn_rc_t tn_state_says(tn_state_error_t *error, tn_state_why_e why,
    const char *fmt, ...) tn_printf_like(3, 4);


tn_rc_t
tn_state_prepare(const char *path, uid_t uid, gid_t gid,
    tn_state_error_t *error)
{
    int          fd;
    bool         made;
    tn_rc_t      rc;
    struct stat  st;

    rc = tn_state_make(path, &made, error);

    if (rc != TN_OK || !made) {
        return rc;
    }

    /* what is there now may not be what we made, when the parent is not ours */
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd == -1) {
        return tn_state_errno(error, "state directory \"%s\": open", path);
    }

    if (fstat(fd, &st) == -1 || st.st_uid != geteuid()) {
        rc = tn_state_says(error, TN_STATE_INSECURE,
                           "state directory \"%s\" was replaced while it was "
                           "made", path);
        goto done;
    }

    if (fchown(fd, uid, gid) == -1) {
        rc = tn_state_errno(error, "state directory \"%s\": chown", path);
    }

done:

    (void) close(fd);

    return rc == TN_OK ? TN_OK : TN_ERROR;
}


tn_rc_t
tn_state_open(tn_state_t **out, const char *path, tn_state_error_t *error)
{
    bool         made;
    tn_rc_t      rc;
    tn_state_t  *state;
    struct stat  st;

    *out = NULL;

    rc = tn_state_make(path, &made, error);
    if (rc != TN_OK) {
        return rc;
    }

    state = calloc(1, sizeof(tn_state_t));
    if (state == NULL) {
        (void) tn_state_says(error, TN_STATE_OTHER, "out of memory");
        return TN_NOMEM;
    }

    state->lock = -1;
    state->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    state->path = strdup(path);

    if (state->path == NULL) {
        (void) tn_state_says(error, TN_STATE_OTHER, "out of memory");
        rc = TN_NOMEM;
        goto failed;
    }

    if (state->dir == -1) {
        rc = tn_state_errno(error, "state directory \"%s\": open", path);

        /* "Permission denied" alone does not say what to do */

        if (error->why == TN_STATE_DENIED && stat(path, &st) == 0
            && st.st_uid != geteuid())
        {
            rc = tn_state_not_ours(path, st.st_uid, error);
        }

        goto failed;
    }

    rc = tn_state_check(state, error);
    if (rc != TN_OK) {
        goto failed;
    }

    rc = tn_state_take(state, error);
    if (rc != TN_OK) {
        goto failed;
    }

    error->why = TN_STATE_FINE;
    error->text[0] = '\0';
    *out = state;

    return TN_OK;

failed:

    tn_state_close(state);

    return rc;
}


void
tn_state_close(tn_state_t *state)
{
    if (state == NULL) {
        return;
    }

    /* the lock goes with its descriptor */
    if (state->lock != -1) {
        (void) close(state->lock);
    }

    if (state->dir != -1) {
        (void) close(state->dir);
    }

    free(state->path);
    free(state);
}


static tn_rc_t
tn_state_make(const char *path, bool *made, tn_state_error_t *error)
{
    int      err;
    tn_rc_t  rc;

    *made = false;

    if (path[0] == '\0' || strlen(path) >= PATH_MAX) {
        return tn_state_says(error, TN_STATE_OTHER,
                             "bad path of a state directory");
    }

    if (mkdir(path, 0700) == 0) {
        *made = true;
        return TN_OK;
    }

    if (errno == ENOENT) {
        rc = tn_state_make_parents(path, error);
        if (rc != TN_OK) {
            return rc;
        }

        if (mkdir(path, 0700) == 0) {
            *made = true;
            return TN_OK;
        }
    }

    /* a file system that is read-only may say so before "it is there" */
    err = errno;

    if (err == EEXIST || access(path, F_OK) == 0) {
        return TN_OK;
    }

    errno = err;

    return tn_state_errno(error, "state directory \"%s\": mkdir", path);
}


/* parents are for all to pass: those of a root's path serve nginx's user */

static tn_rc_t
tn_state_make_parents(const char *path, tn_state_error_t *error)
{
    int          fd, err;
    char        *p, part[PATH_MAX];
    struct stat  st;

    (void) snprintf(part, sizeof(part), "%s", path);

    for (p = part + 1; *p != '\0'; p++) {

        if (*p != '/' || p[1] == '\0') {
            continue;
        }

        *p = '\0';

        if (mkdir(part, 0755) == 0) {

            /* whatever the umask is; it may not be what we made any more, when
             * its parent is not ours */

            fd = open(part, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

            if (fd != -1) {
                if (fstat(fd, &st) == 0 && st.st_uid == geteuid()) {
                    (void) fchmod(fd, 0755);
                }

                (void) close(fd);
            }

        } else if (errno != EEXIST) {
            err = errno;

            if (access(part, F_OK) == -1) {
                errno = err;
                return tn_state_errno(error, "directory \"%s\": mkdir",
                                      part);
            }
        }

        *p = '/';
    }

    return TN_OK;
}


static tn_rc_t
tn_state_check(tn_state_t *state, tn_state_error_t *error)
{
    struct stat  st;

    if (fstat(state->dir, &st) == -1) {
        return tn_state_errno(error, "state directory \"%s\": stat",
                              state->path);
    }

    /*
     * Root, in a single-process nginx, may use the directory that nginx's
     * user has when there are workers; files stay that user's then.
     */

    if (st.st_uid != geteuid() && geteuid() != 0) {
        return tn_state_not_ours(state->path, st.st_uid, error);
    }

    if (st.st_mode & 077) {
        (void) tn_state_says(error, TN_STATE_INSECURE,
                             "state directory \"%s\" is open to others (mode "
                             "%04o), it must be 0700", state->path,
                             (unsigned) st.st_mode & 07777);
        return TN_REFUSED;
    }

    state->uid = st.st_uid;
    state->gid = st.st_gid;

    return TN_OK;
}


static tn_rc_t
tn_state_not_ours(const char *path, uid_t uid, tn_state_error_t *error)
{
    (void) tn_state_says(error, TN_STATE_INSECURE,
                         "state directory \"%s\" is owned by uid %u, "
                         "not by uid %u that uses it: chown -R it", path,
                         (unsigned) uid, (unsigned) geteuid());

    return TN_REFUSED;
}


static tn_rc_t
tn_state_own(const tn_state_t *state, int fd)
{
    if (state->uid == geteuid()) {
        return TN_OK;
    }

    return fchown(fd, state->uid, state->gid) == 0 ? TN_OK : TN_ERROR;
}


static tn_rc_t
tn_state_take(tn_state_t *state, tn_state_error_t *error)
{
    int          n;
    char         text[32];
    ssize_t      len;
    struct stat  st;

    state->lock = openat(state->dir, TN_STATE_LOCK,
                         O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (state->lock == -1 || fstat(state->lock, &st) == -1) {
        return tn_state_errno(error, "state directory \"%s\": lock file",
                              state->path);
    }

    /* root must not be led to give away or empty a file from elsewhere */

    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        (void) tn_state_says(error, TN_STATE_INSECURE,
                             "state directory \"%s\": the lock file is not a "
                             "file of its own", state->path);
        return TN_REFUSED;
    }

    if (tn_state_own(state, state->lock) != TN_OK) {
        return tn_state_errno(error, "state directory \"%s\": lock file",
                              state->path);
    }

    if (flock(state->lock, LOCK_EX | LOCK_NB) == -1) {

        if (errno != EWOULDBLOCK) {
            return tn_state_errno(error, "state directory \"%s\": flock",
                                  state->path);
        }

        len = pread(state->lock, text, sizeof(text) - 1, 0);
        text[len > 0 ? len : 0] = '\0';
        text[strspn(text, "0123456789")] = '\0';

        (void) tn_state_says(error, TN_STATE_IN_USE,
                             "state directory \"%s\" is in use by another "
                             "process%s%s", state->path,
                             text[0] != '\0' ? ", pid " : "", text);
        return TN_REFUSED;
    }

    /* the number is for people only: on a full disk the lock holds as well */
    n = snprintf(text, sizeof(text), "%ld\n", (long) getpid());

    if (ftruncate(state->lock, 0) == 0) {
        (void) !pwrite(state->lock, text, (size_t) n, 0);
    }

    return TN_OK;
}


tn_rc_t
tn_state_write(tn_state_t *state, const char *name, const void *data,
    size_t len, tn_state_error_t *error)
{
    int          fd;
    char         tmp[TN_STATE_NAME_MAX + 8];
    tn_rc_t      rc;
    const char  *what;

    if (!tn_state_name_ok(name)) {
        return tn_state_bad_name(state, name, error);
    }

    /* one fixed name will do: we alone hold the directory */
    (void) snprintf(tmp, sizeof(tmp), ".%s.tmp", name);
    (void) unlinkat(state->dir, tmp, 0);

    what = "create";

    fd = openat(state->dir, tmp,
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        goto failed;
    }

    what = "chown";

    if (tn_state_own(state, fd) != TN_OK) {
        goto failed;
    }

    what = "write";

    if (tn_state_write_all(fd, data, len) != TN_OK) {
        goto failed;
    }

    what = "fsync";

    if (fsync(fd) == -1) {
        goto failed;
    }

    what = "close";

    if (close(fd) == -1) {
        fd = -1;
        goto failed;
    }

    fd = -1;
    what = "rename";

    if (renameat(state->dir, tmp, state->dir, name) == -1) {
        goto failed;
    }

    /* the new name is there; only its survival of a power cut is in doubt */
    if (fsync(state->dir) == -1 && errno != EINVAL && errno != ENOTSUP) {
        return tn_state_errno(error, "state file \"%s/%s\": fsync of the "
                              "directory", state->path, name);
    }

    return TN_OK;

failed:

    rc = tn_state_errno(error, "state file \"%s/%s\": %s", state->path, name,
                        what);

    if (fd != -1) {
        (void) close(fd);
    }

    (void) unlinkat(state->dir, tmp, 0);

    return rc;
}


static tn_rc_t
tn_state_write_all(int fd, const uint8_t *data, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = write(fd, data, len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            return TN_ERROR;
        }

        data += n;
        len -= (size_t) n;
    }

    return TN_OK;
}


tn_rc_t
tn_state_read(tn_state_t *state, const char *name, size_t max,
    uint8_t **data, size_t *len, tn_state_error_t *error)
{
    int           fd;
    size_t        size, got;
    tn_rc_t       rc;
    ssize_t       n;
    uint8_t      *buf;
    struct stat   st;

    *data = NULL;
    *len = 0;
    size = 0;
    buf = NULL;

    if (!tn_state_name_ok(name)) {
        return tn_state_bad_name(state, name, error);
    }

    fd = openat(state->dir, name,
                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -1) {
        rc = errno == ENOENT ? TN_NOTFOUND : TN_ERROR;
        (void) tn_state_errno(error, "state file \"%s/%s\": open",
                              state->path, name);
        return rc;
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        rc = tn_state_says(error, TN_STATE_OTHER,
                           "state file \"%s/%s\" is not a regular file",
                           state->path, name);
        goto failed;
    }

    max = tn_min(max, (size_t) TN_STATE_MAX);

    if (st.st_size < 0 || (uint64_t) st.st_size > max) {
        (void) tn_state_says(error, TN_STATE_OTHER,
                             "state file \"%s/%s\" is too large: over %zu "
                             "bytes", state->path, name, max);
        rc = TN_NOMEM;
        goto failed;
    }

    size = (size_t) st.st_size;

    buf = malloc(size + 1);
    if (buf == NULL) {
        (void) tn_state_says(error, TN_STATE_OTHER, "out of memory");
        rc = TN_NOMEM;
        goto failed;
    }

    for (got = 0; got < size; got += (size_t) n) {
        n = read(fd, buf + got, size - got);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            rc = tn_state_errno(error, "state file \"%s/%s\": read",
                                state->path, name);
            goto failed;
        }

        if (n == 0) {
            break;
        }
    }

    (void) close(fd);

    buf[got] = '\0';
    *data = buf;
    *len = got;

    return TN_OK;

failed:

    (void) close(fd);
    tn_state_free(buf, buf != NULL ? size : 0);

    return rc;
}


void
tn_state_free(uint8_t *data, size_t len)
{
    if (data == NULL) {
        return;
    }

    tn_wipe(data, len);
    free(data);
}


tn_rc_t
tn_state_remove(tn_state_t *state, const char *name, tn_state_error_t *error)
{
    if (!tn_state_name_ok(name)) {
        return tn_state_bad_name(state, name, error);
    }

    if (unlinkat(state->dir, name, 0) == -1) {
        return errno == ENOENT
               ? TN_OK
               : tn_state_errno(error, "state file \"%s/%s\": remove",
                                state->path, name);
    }

    (void) fsync(state->dir);

    return TN_OK;
}


static bool
tn_state_name_ok(const char *name)
{
    size_t  len;

    len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789-_.");

    return len > 0 && len <= TN_STATE_NAME_MAX && name[len] == '\0'
           && name[0] != '.' && strcmp(name, TN_STATE_LOCK) != 0;
}


static tn_rc_t
tn_state_bad_name(tn_state_t *state, const char *name,
    tn_state_error_t *error)
{
    return tn_state_says(error, TN_STATE_OTHER,
                         "state directory \"%s\": bad file name \"%.64s\"",
                         state->path, name);
}


/* TN_ERROR; the text ends with what errno says */

static tn_rc_t
tn_state_errno(tn_state_error_t *error, const char *fmt, ...)
{
    int      err;
    size_t   len;
    va_list  args;

    err = errno;

    switch (err) {

    case EACCES:
    case EPERM:
        error->why = TN_STATE_DENIED;
        break;

    case EROFS:
        error->why = TN_STATE_READ_ONLY;
        break;

    case ENOSPC:
    case EDQUOT:
        error->why = TN_STATE_FULL;
        break;

    default:
        error->why = TN_STATE_OTHER;
        break;
    }

    va_start(args, fmt);
    (void) vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);

    len = strlen(error->text);
    (void) snprintf(error->text + len, sizeof(error->text) - len, ": %s",
                    strerror(err));

    return TN_ERROR;
}


/* TN_ERROR */

static tn_rc_t
tn_state_says(tn_state_error_t *error, tn_state_why_e why, const char *fmt,
    ...)
{
    va_list  args;

    error->why = why;

    va_start(args, fmt);
    (void) vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);

    return TN_ERROR;
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The state directory: privacy, lock, files replaced whole, every error told
 * by its kind.  Each test works in a directory of its own under /tmp.
 */

#include "host/tn_state.h"

#include "own_network.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>


#define NOBODY  65534


static char              base[64];
static tn_state_error_t  error;


/* what takes the place of a directory that was just made, if named */
static char              made[256];
static char              instead[256];


int
mkdir(const char *path, mode_t mode)
{
    int  rc;

    rc = (int) syscall(SYS_mkdirat, AT_FDCWD, path, mode);

    if (rc == 0 && strcmp(path, made) == 0) {
        made[0] = '\0';

        if (rmdir(path) == -1 || rename(instead, path) == -1) {
            abort();
        }
    }

    return rc;
}


static const char *
in_base(const char *name)
{
    static char  path[4][256];
    static int   next;

    next = (next + 1) % 4;
    (void) snprintf(path[next], sizeof(path[next]), "%s/%s", base, name);

    return path[next];
}


static bool
says(const char *text)
{
    bool  found;

    found = strstr(error.text, text) != NULL;

    if (!found) {
        printf("# \"%s\" is not in \"%s\"\n", text, error.text);
    }

    return found;
}


static int
entries(const char *path)
{
    int             n;
    DIR            *dir;
    struct dirent  *entry;

    dir = opendir(path);
    if (dir == NULL) {
        return -1;
    }

    n = 0;

    while ((entry = readdir(dir)) != NULL) {
        n += strcmp(entry->d_name, ".") != 0
             && strcmp(entry->d_name, "..") != 0;
    }

    (void) closedir(dir);

    return n;
}


static unsigned
mode_of(const char *path)
{
    struct stat  st;

    return stat(path, &st) == 0 ? (unsigned) st.st_mode & 07777 : 0;
}


static bool
holds(tn_state_t *state, const char *name, const char *text)
{
    bool      same;
    size_t    len;
    uint8_t  *data;

    if (tn_state_read(state, name, 1000, &data, &len, &error) != TN_OK) {
        return false;
    }

    same = len == strlen(text) && memcmp(data, text, len) == 0
           && data[len] == '\0';

    tn_state_free(data, len);

    return same;
}


/* what a child with uid `nobody` (or the same one) finds out: its exit code */

static int
as_another(int (*fn)(void), bool nobody)
{
    int    status;
    pid_t  pid;

    (void) fflush(stdout);
    pid = fork();

    if (pid == 0) {
        if (nobody && (setgid(NOBODY) == -1 || setuid(NOBODY) == -1)) {
            _exit(99);
        }

        status = fn();
        (void) fflush(stdout);
        _exit(status);
    }

    if (pid == -1 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return 98;
    }

    return WEXITSTATUS(status);
}


static void
test_files(void)
{
    char         dir[128];
    size_t       len;
    uint8_t     *data, big[5000];
    tn_state_t  *state, *other;

    (void) snprintf(dir, sizeof(dir), "%s/a/b/c", base);
    (void) umask(077);

    ok(tn_state_open(&state, dir, &error) == TN_OK, "made with its parents");
    is_int(mode_of(dir), 0700, "it is private");
    is_int(mode_of(in_base("a/b")), 0755, "its parents are not");
    is_int(error.why, TN_STATE_FINE, "no error");

    ok(tn_state_read(state, "keys", 1000, &data, &len, &error)
       == TN_NOTFOUND, "a file that is not there");
    ok(data == NULL && len == 0, "gives nothing");

    ok(tn_state_write(state, "keys", "first", 5, &error) == TN_OK, "written");
    ok(holds(state, "keys", "first"), "read");
    is_int(mode_of(in_base("a/b/c/keys")), 0600, "private");
    ok(tn_state_write(state, "keys", "2nd", 3, &error) == TN_OK, "replaced");
    ok(holds(state, "keys", "2nd"), "read again");
    ok(tn_state_write(state, "empty", "", 0, &error) == TN_OK, "empty");
    ok(holds(state, "empty", ""), "read empty");
    is_int(entries(dir), 3, "two files and the lock, nothing else");

    memset(big, 'x', sizeof(big));
    (void) tn_state_write(state, "big", big, sizeof(big), &error);
    ok(tn_state_read(state, "big", sizeof(big) - 1, &data, &len, &error)
       == TN_NOMEM, "a file over the limit is not read");
    ok(says("too large"), "and says so");
    ok(tn_state_read(state, "big", sizeof(big), &data, &len, &error) == TN_OK
       && len == sizeof(big), "one at the limit is");
    tn_state_free(data, len);

    ok(tn_state_remove(state, "big", &error) == TN_OK, "removed");
    ok(tn_state_remove(state, "big", &error) == TN_OK, "twice is no error");

    ok(tn_state_write(state, "../x", "", 0, &error) == TN_ERROR, "no path");
    ok(tn_state_write(state, ".x", "", 0, &error) == TN_ERROR, "no dot file");
    ok(tn_state_write(state, "", "", 0, &error) == TN_ERROR, "no empty name");
    ok(tn_state_remove(state, "lock", &error) == TN_ERROR, "not the lock");
    ok(says("bad file name"), "and it says so");

    (void) !symlink("/etc/passwd", in_base("a/b/c/link"));
    ok(tn_state_read(state, "link", 1 << 20, &data, &len, &error)
       == TN_ERROR, "a symbolic link is not followed");
    ok(tn_state_write(state, "link", "l", 1, &error) == TN_OK
       && holds(state, "link", "l"), "but replaced");

    (void) mkdir(in_base("a/b/c/dir"), 0700);
    ok(tn_state_read(state, "dir", 1000, &data, &len, &error) == TN_ERROR,
       "a directory is no file");
    ok(tn_state_write(state, "dir", "d", 1, &error) == TN_ERROR,
       "and cannot be replaced");
    is_int(entries(dir), 5, "nothing is left behind");

    /* what a crash left, and what may be written over it */

    (void) mkdir(in_base("a/b/c/dir/sub"), 0700);
    (void) !symlink("/nonexistent", in_base("a/b/c/.keys.tmp"));
    ok(tn_state_write(state, "keys", "3rd", 3, &error) == TN_OK
       && holds(state, "keys", "3rd"), "a left-over does not matter");

    /* the lock */

    ok(tn_state_open(&other, dir, &error) == TN_REFUSED && other == NULL,
       "in use");
    is_int(error.why, TN_STATE_IN_USE, "by another");
    ok(says("is in use by another process, pid "), "and it is named");

    tn_state_close(state);
    ok(tn_state_open(&other, dir, &error) == TN_OK, "free again");
    ok(holds(other, "keys", "3rd"), "with its files");
    tn_state_close(other);
    tn_state_close(NULL);
}


static int
try_shared(void)
{
    tn_rc_t      rc;
    tn_state_t  *state;

    rc = tn_state_open(&state, in_base("shared"), &error);
    tn_state_close(state);

    return rc == TN_REFUSED ? error.why : 97;
}


static int
try_lock(void)
{
    return tn_state_open(&(tn_state_t *) { NULL }, in_base("shared"), &error)
           == TN_REFUSED ? error.why : 97;
}


/* who may write where a parent is made may put something else there */

static void
test_parents(void)
{
    (void) umask(077);
    (void) mkdir(in_base("other"), 0700);
    (void) mkdir(in_base("theirs"), 0700);
    (void) !symlink(in_base("other"), in_base("link"));

    strcpy(made, in_base("parent"));
    strcpy(instead, in_base("link"));
    (void) tn_state_prepare(in_base("parent/state"), geteuid(), getegid(),
                            &error);
    ok(made[0] == '\0', "a link in a parent's place");
    is_int(mode_of(in_base("other")), 0700, "opens nothing to others");

    if (geteuid() != 0) {
        ok(true, "another's directory # SKIP needs root");
        return;
    }

    (void) !chown(in_base("theirs"), NOBODY, NOBODY);
    strcpy(made, in_base("parent2"));
    strcpy(instead, in_base("theirs"));
    (void) tn_state_prepare(in_base("parent2/state"), 0, 0, &error);
    ok(made[0] == '\0', "nor does another's directory");
    is_int(mode_of(in_base("parent2")), 0700, "which stays as it is");
}


static void
test_privacy(void)
{
    tn_state_t  *state;

    (void) mkdir(in_base("shared"), 0700);
    (void) chmod(in_base("shared"), 0750);
    is_int(try_shared(), TN_STATE_INSECURE, "readable by the group: refused");
    ok(says("mode 0750") && says("0700"), "it says what is and should be");

    (void) chmod(in_base("shared"), 0701);
    is_int(try_shared(), TN_STATE_INSECURE, "open to all: refused");

    (void) chmod(in_base("shared"), 0700);
    ok(tn_state_open(&state, in_base("shared"), &error) == TN_OK,
       "private: taken");
    is_int(as_another(try_lock, false), TN_STATE_IN_USE,
           "another process is told that it is in use");
    tn_state_close(state);

    (void) !system("exit 0");   /* children hold no lock */
    ok(tn_state_open(&state, in_base("shared"), &error) == TN_OK,
       "the lock goes with its holder");
    tn_state_close(state);

    (void) mkdir(in_base("linked"), 0700);
    (void) close(open(in_base("victim"), O_WRONLY | O_CREAT, 0600));
    (void) !link(in_base("victim"), in_base("linked/lock"));
    ok(tn_state_open(&state, in_base("linked"), &error) == TN_REFUSED
       && error.why == TN_STATE_INSECURE && says("lock file"),
       "a lock that is a hard link to another file is refused");

    ok(tn_state_open(&state, "", &error) == TN_ERROR, "no path");
    ok(tn_state_open(&state, "/dev/null/x", &error) == TN_ERROR,
       "a file in the way");
    ok(says("/dev/null/x"), "is named");
}


static int
try_owned(void)
{
    tn_rc_t      rc;
    tn_state_t  *state;

    rc = tn_state_open(&state, in_base("owned"), &error);

    if (rc == TN_OK) {
        rc = tn_state_write(state, "f", "x", 1, &error);
        tn_state_close(state);
    }

    return rc == TN_OK ? 50 : (int) error.why;
}


static int
try_another(void)
{
    tn_state_t  *state;

    return tn_state_open(&state, in_base("p/of-root"), &error) == TN_REFUSED
           && says("owned by uid 0, not by uid 65534") && says("chown -R")
           ? (int) error.why : 98;
}


static int
try_denied(void)
{
    tn_state_t  *state;

    return tn_state_open(&state, in_base("root/new"), &error) == TN_ERROR
           ? (int) error.why : 97;
}


static void
test_root(void)
{
    struct stat  st;

    if (geteuid() != 0) {
        ok(true, "owners # SKIP only root can have several");
        return;
    }

    (void) chmod(base, 0755);

    ok(tn_state_prepare(in_base("p/owned"), NOBODY, NOBODY, &error) == TN_OK,
       "made for another");
    ok(stat(in_base("p/owned"), &st) == 0 && st.st_uid == NOBODY
       && st.st_gid == NOBODY && (st.st_mode & 07777) == 0700,
       "owned by it, private");
    ok(stat(in_base("p"), &st) == 0 && st.st_uid == 0
       && (st.st_mode & 07777) == 0755, "its parent is not");

    (void) rename(in_base("p/owned"), in_base("owned"));
    is_int(as_another(try_owned, true), 50, "the other can use it");
    is_int(as_another(try_owned, false), 50, "and so can root");
    ok(stat(in_base("owned/f"), &st) == 0 && st.st_uid == NOBODY,
       "whose files stay the owner's");

    (void) chmod(in_base("owned"), 0750);
    ok(tn_state_prepare(in_base("owned"), 0, 0, &error) == TN_OK
       && stat(in_base("owned"), &st) == 0 && st.st_uid == NOBODY
       && (st.st_mode & 07777) == 0750, "one that is there stays as it is");

    (void) mkdir(in_base("p/of-root"), 0700);
    is_int(as_another(try_another, true), TN_STATE_INSECURE,
           "another's: whose, and what helps, is told");

    (void) mkdir(in_base("root"), 0755);
    is_int(as_another(try_denied, true), TN_STATE_DENIED,
           "no permission is told as such");
}


static int
try_disks(void)
{
    int          n;
    tn_rc_t      rc;
    uint8_t     *big;
    tn_state_t  *state;

    if (!own_network(CLONE_NEWNS)
        || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1
        || mount("none", in_base("disk"), "tmpfs", 0, "size=64k") == -1)
    {
        return 60;
    }

    big = calloc(1, 200000);

    if (big == NULL
        || tn_state_open(&state, in_base("disk/s"), &error) != TN_OK
        || tn_state_write(state, "keys", "before", 6, &error) != TN_OK)
    {
        return 1;
    }

    n = entries(in_base("disk/s"));

    rc = tn_state_write(state, "keys", big, 200000, &error);
    free(big);

    if (rc != TN_ERROR || error.why != TN_STATE_FULL || !says("No space")) {
        return 2;
    }

    if (!holds(state, "keys", "before") || entries(in_base("disk/s")) != n) {
        return 3;
    }

    if (mount("none", in_base("disk"), NULL, MS_REMOUNT | MS_RDONLY, NULL)
        == -1)
    {
        /* a file is open for writing: the lock */
        tn_state_close(state);
        state = NULL;

        if (mount("none", in_base("disk"), NULL, MS_REMOUNT | MS_RDONLY,
                  NULL) == -1)
        {
            return 4;
        }
    }

    if (state != NULL) {
        tn_state_close(state);
    }

    if (tn_state_open(&state, in_base("disk/s"), &error) != TN_ERROR
        || error.why != TN_STATE_READ_ONLY || !says("Read-only"))
    {
        printf("# %s\n", error.text);
        return 5;
    }

    if (tn_state_open(&state, in_base("disk/new/one"), &error) != TN_ERROR
        || error.why != TN_STATE_READ_ONLY)
    {
        printf("# %s\n", error.text);
        return 6;
    }

    return 0;
}


static void
test_disks(void)
{
    int  rc;

    (void) mkdir(in_base("disk"), 0700);

    rc = as_another(try_disks, false);

    if (rc == 60) {
        ok(true, "full and read-only disks # SKIP no mount namespace here");
        return;
    }

    is_int(rc, 0, "full and read-only disks are told, the old file stays");
}


/*
 * A writer is killed again and again: the file is always a whole one.
 */

static void
test_kill(void)
{
    int          i, bad;
    pid_t        pid;
    size_t       k, len;
    uint8_t     *data, buf[20000];
    tn_rc_t      rc;
    tn_state_t  *state;

    bad = 0;

    (void) tn_state_open(&state, in_base("killed"), &error);
    memset(buf, 0, sizeof(buf));
    (void) tn_state_write(state, "f", buf, sizeof(buf), &error);
    tn_state_close(state);

    for (i = 0; i < 20; i++) {
        pid = fork();

        if (pid == 0) {
            if (tn_state_open(&state, in_base("killed"), &error) != TN_OK) {
                _exit(1);
            }

            for (k = 0; ; k++) {
                memset(buf, (int) k, sizeof(buf));
                (void) tn_state_write(state, "f", buf, sizeof(buf), &error);
            }
        }

        (void) usleep(5000 + 1000 * (unsigned) i);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);

        rc = tn_state_open(&state, in_base("killed"), &error);
        if (rc != TN_OK) {
            bad++;
            continue;
        }

        rc = tn_state_read(state, "f", sizeof(buf), &data, &len, &error);
        bad += rc != TN_OK || len != sizeof(buf);

        for (k = 1; rc == TN_OK && k < len; k++) {
            if (data[k] != data[0]) {
                bad++;
                break;
            }
        }

        tn_state_free(data, len);
        tn_state_close(state);
    }

    is_int(bad, 0, "a killed writer leaves a whole file and no lock");
}


static int
remove_one(const char *path, const struct stat *st, int flag,
    struct FTW *ftw)
{
    (void) st;
    (void) flag;
    (void) ftw;

    return remove(path);
}


int
main(void)
{
    strcpy(base, "/tmp/tn_host_state.XXXXXX");

    if (mkdtemp(base) == NULL) {
        return 1;
    }

    test_files();
    test_parents();
    test_privacy();
    test_root();
    test_disks();
    test_kill();

    (void) nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);

    return tap_done();
}

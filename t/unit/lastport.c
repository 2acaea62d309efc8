
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The UDP port of the last start: kept, read back, and nothing of a file that
 * somebody else made is believed.
 */

#include "host/tn_lastport.h"

#include "tap.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>


static char  dir[64], file[128];


static uint16_t
read_of(const char *text)
{
    FILE  *f;

    (void) unlink(file);

    f = fopen(file, "w");
    if (f == NULL || fputs(text, f) == EOF || fclose(f) != 0) {
        return 1;
    }

    return tn_lastport_read(dir);
}


int
main(void)
{
    char              target[160];
    size_t            i;
    struct stat       before, after;
    tn_state_t       *state;
    tn_state_error_t  error;

    static const char *const  bad[] = {
        "", "\n", "41641", "0\n", "80\n", "1023\n", "65536\n", "99999\n",
        "123456\n", "-5000\n", " 5000\n", "5000 \n", "50x0\n", "5000\n\n",
        "5000\n6000\n"
    };

    (void) snprintf(dir, sizeof(dir), "/tmp/tn_lastport.XXXXXX");

    if (mkdtemp(dir) == NULL
        || tn_state_open(&state, dir, &error) != TN_OK)
    {
        printf("Bail out! no directory\n");
        return 1;
    }

    (void) snprintf(file, sizeof(file), "%s/" TN_LASTPORT_FILE, dir);

    ok(tn_lastport_read(dir) == 0, "nothing is there at first");
    ok(tn_lastport_write(state, dir, 41641, &error) == TN_OK
       && tn_lastport_read(dir) == 41641, "a port is kept");
    ok(tn_lastport_write(state, dir, 65535, &error) == TN_OK
       && tn_lastport_read(dir) == 65535, "another takes its place");
    ok(stat(file, &before) == 0
       && tn_lastport_write(state, dir, 65535, &error) == TN_OK
       && stat(file, &after) == 0 && before.st_ino == after.st_ino,
       "the same is not written again");
    ok(tn_lastport_write(state, dir, 0, &error) == TN_OK
       && tn_lastport_write(state, dir, 443, &error) == TN_OK
       && tn_lastport_read(dir) == 65535, "none, and privileged ones, are not");

    ok(read_of("1024\n") == 1024, "the least port");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(read_of(bad[i]) == 0, "bad content %zu", i);
    }

    (void) snprintf(target, sizeof(target), "%s/elsewhere", dir);
    (void) read_of("5000\n");

    ok(rename(file, target) == 0 && symlink(target, file) == 0
       && tn_lastport_read(dir) == 0, "a link is not followed");
    ok(unlink(file) == 0 && mkfifo(file, 0600) == 0
       && tn_lastport_read(dir) == 0, "a pipe is not waited for");
    ok(unlink(file) == 0 && mkdir(file, 0700) == 0
       && tn_lastport_read(dir) == 0, "nor is a directory a file");
    ok(tn_lastport_write(state, dir, 5000, &error) == TN_ERROR,
       "what cannot be written is said");

    (void) rmdir(file);
    (void) unlink(target);
    tn_state_close(state);

    (void) snprintf(target, sizeof(target), "rm -rf %s", dir);
    ok(system(target) == 0, "cleaned up");

    return tap_done();
}

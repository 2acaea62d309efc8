
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * HTTPS requests with libcurl and without: it is loaded by the first of them.
 */

#include "host/tn_curl.h"
#include "host/tn_http.h"

#include "tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>


static int   called;
static char  said[512];


static void
on_answer(void *data, const tn_http_answer_t *answer, const char *error)
{
    (void) data;

    called++;
    (void) snprintf(said, sizeof(said), "%s", answer ? "an answer" : error);
}


static bool
mapped(void)
{
    char   line[1024];
    bool   found;
    FILE  *maps;

    maps = fopen("/proc/self/maps", "r");
    found = false;

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        found |= strstr(line, "libcurl.so") != NULL;
    }

    (void) fclose(maps);

    return found;
}


static tn_http_call_t *
ask(tn_http_t *http)
{
    tn_http_params_t  params;

    memset(&params, 0, sizeof(params));
    params.method = "POST";
    params.url = "https://127.0.0.1:1/";
    params.type = "text/plain";
    params.body = "x";
    params.len = 1;
    params.answer_max = 100;

    called = 0;

    return tn_http_request(http, &params, on_answer, NULL);
}


static void
wait_for(tn_loop_t *loop)
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + 20000;

    while (!called && tn_loop_clock_ms() < end) {
        (void) tn_loop_turn(loop, 100);
    }
}


/* no descriptor is left to open the library's file with */

static void
without(tn_loop_t *loop, tn_http_t *http)
{
    struct rlimit    limit;
    tn_http_call_t  *call;

    limit.rlim_cur = 0;
    limit.rlim_max = 0;
    (void) setrlimit(RLIMIT_NOFILE, &limit);

    call = ask(http);
    ok(call != NULL && !called, "a request is taken");
    wait_for(loop);
    is_int(called, 1, "and answered later");
    ok(strstr(said, TN_CURL_LIBRARY) != NULL, "with what is missing: %s",
       said);

    tn_http_cancel(ask(http));
    (void) tn_loop_turn(loop, 0);
    is_int(called, 0, "one given up is not answered");
}


int
main(void)
{
    int             status;
    pid_t           pid;
    tn_http_t      *http;
    tn_loop_t       loop;
    tn_resolver_t  *resolver;

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    resolver = tn_resolve_create(&loop);
    http = tn_http_create(&loop, resolver);
    ok(http != NULL && !mapped(), "without a request there is no libcurl");

    pid = fork();

    if (pid == 0) {
        without(&loop, http);
        _exit(tap_failed);
    }

    tap_count += 4;
    is_int(waitpid(pid, &status, 0) == pid ? status : -1, 0,
           "without libcurl");

    ok(ask(http) != NULL, "a request with it");
    wait_for(&loop);
    ok(called == 1 && strstr(said, "127.0.0.1") != NULL,
       "its error: %s", said);
    ok(mapped(), "it is loaded now");

    tn_http_destroy(http);
    tn_resolve_destroy(resolver);
    tn_loop_done(&loop);

    return tap_done();
}

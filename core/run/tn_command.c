
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * `ngx_tailnet_core node`: one node without nginx.  The namespace's holder is
 * a child, the core a thread of this process; whoever enters the namespace
 * (nsenter -t PID -n) stands on the tailnet.
 */

#include "base/tn_log.h"
#include "proc/tn_client.h"
#include "run/tn_core.h"
#include "host/tn_state.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


static int command_usage(void);
static bool command_text(char *dst, size_t size, const char *src,
    const char *name);
static bool command_key(char *key, char *value);
static bool command_key_read(char *key, const char *path);
static void command_key_take(char *key, const char *text, size_t len);
static bool command_number(long *number, long max, const char *text);
static void *command_core(void *arg);


int
tn_core_command(int argc, char **argv)
{
    int               c, fd, level;
    long              number;
    bool              bad;
    char              text[TN_IPC_TEXT], program[TN_IPC_PATH];
    char              token[TN_IPC_TOKEN];
    ssize_t           n;
    sigset_t          set;
    pthread_t         thread;
    tn_ipc_node_t     node;
    tn_client_t       client;
    tn_client_conf_t  conf;
    tn_state_error_t  error;

    static const struct option  options[] = {
        { "state",       required_argument, NULL, 's' },
        { "control-url", required_argument, NULL, 'c' },
        { "auth-key",    required_argument, NULL, 'k' },
        { "hostname",    required_argument, NULL, 'h' },
        { "tags",        required_argument, NULL, 't' },
        { "ca",          required_argument, NULL, 'a' },
        { "port",        required_argument, NULL, 'p' },
        { "proxy",       required_argument, NULL, 'x' },
        { "ephemeral",   no_argument,       NULL, 'e' },
        { "accept-routes", no_argument,     NULL, 'r' },
        { "log-level",   required_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 }
    };

    memset(&node, 0, sizeof(node));
    (void) snprintf(node.name, sizeof(node.name), "node");
    level = TN_LOG_INFO;
    bad = false;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {

        case 's':
            bad |= !command_text(node.state_dir, sizeof(node.state_dir),
                                 optarg, "state");
            break;

        case 'c':
            bad |= !command_text(node.control_url, sizeof(node.control_url),
                                 optarg, "control-url");
            break;

        case 'k':
            if (!command_key(node.auth_key, optarg)) {
                return 1;
            }

            break;

        case 'h':
            bad |= !command_text(node.hostname, sizeof(node.hostname), optarg,
                                 "hostname");
            break;

        case 't':
            bad |= !command_text(node.tags, sizeof(node.tags), optarg, "tags");
            break;

        case 'a':
            bad |= !command_text(node.tls_ca, sizeof(node.tls_ca), optarg,
                                 "ca");
            break;

        case 'p':
            bad |= !command_number(&number, 65535, optarg);
            node.udp_port = (uint16_t) number;
            break;

        case 'x':
            bad |= !command_text(node.proxy, sizeof(node.proxy), optarg,
                                 "proxy");
            tn_wipe(optarg, strlen(optarg));    /* a password is in it */
            break;

        case 'e':
            node.flags |= TN_IPC_EPHEMERAL;
            break;

        case 'r':
            node.flags |= TN_IPC_ACCEPT_ROUTES;
            break;

        case 'l':
            bad |= !command_number(&number, TN_LOG_DEBUG, optarg)
                   || number < TN_LOG_EMERG;
            level = (int) number;
            break;

        default:
            bad = true;
        }
    }

    if (bad || optind != argc || node.state_dir[0] == '\0') {
        return command_usage();
    }

    if (tn_state_prepare(node.state_dir, getuid(), getgid(), &error)
        != TN_OK)
    {
        (void) fprintf(stderr, "%s\n", error.text);
        return 1;
    }

    n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n < 0) {
        (void) fprintf(stderr, "/proc/self/exe: %s\n", strerror(errno));
        return 1;
    }

    program[n] = '\0';

    /* the core's thread inherits the mask: signals come to this one */

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGINT);
    (void) sigaddset(&set, SIGTERM);
    (void) sigaddset(&set, SIGHUP);
    (void) sigaddset(&set, SIGPIPE);
    (void) pthread_sigmask(SIG_BLOCK, &set, NULL);

    tn_client_token(token);

    memset(&client, 0, sizeof(client));
    memset(&conf, 0, sizeof(conf));
    conf.dir = node.state_dir;
    conf.program = program;
    conf.token = token;
    conf.uid = getuid();
    conf.gid = getgid();
    conf.log_fd = STDERR_FILENO;
    conf.log_level = level;
    conf.local = true;

    if (tn_client_open(&client, &conf, text) != TN_OK) {
        (void) fprintf(stderr, "%s\n", text);
        return 1;
    }

    if (tn_client_node(&client, &node, &fd, text) != TN_OK) {
        (void) fprintf(stderr, "%s\n", text);
    }

    tn_ipc_close(&fd, 1);

    tn_wipe(node.auth_key, sizeof(node.auth_key));
    tn_wipe(node.proxy, sizeof(node.proxy));

    if (tn_client_commit(&client, text) != TN_OK) {
        (void) fprintf(stderr, "%s\n", text);
        tn_client_close(&client);
        return 1;
    }

    fd = tn_client_local_core();

    if (fd == -1
        || pthread_create(&thread, NULL, command_core, (void *) (intptr_t) fd)
           != 0)
    {
        (void) fprintf(stderr, "the core does not start\n");
        tn_client_close(&client);
        return 1;
    }

    (void) sigdelset(&set, SIGPIPE);
    (void) sigwait(&set, &c);

    tn_client_close(&client);
    (void) pthread_join(thread, NULL);

    return 0;
}


static int
command_usage(void)
{
    (void) fprintf(stderr,
        "usage: ngx_tailnet_core node --state DIR [--control-url URL]\n"
        "           [--auth-key file:PATH|env:NAME|KEY] [--hostname NAME]\n"
        "           [--tags LIST] [--ca FILE] [--port UDP] [--proxy URL]\n"
        "           [--ephemeral] [--accept-routes] [--log-level 1-8]\n");

    return 2;
}


static bool
command_text(char *dst, size_t size, const char *src, const char *name)
{
    if (strlen(src) >= size) {
        (void) fprintf(stderr, "--%s is too long\n", name);
        return false;
    }

    (void) snprintf(dst, size, "%s", src);

    return true;
}


/*
 * As the directive auth_key has it.  Other users see the arguments of a
 * process: a key that is among them is wiped there.
 */
static bool
command_key(char *key, char *value)
{
    const char  *env, *where;

    if (*value == '\0') {
        return true;
    }

    where = value;

    if (strncmp(value, "file:", 5) == 0) {

        if (!command_key_read(key, value + 5)) {
            (void) fprintf(stderr, "%s: %s\n", value, strerror(errno));
            return false;
        }

    } else if (strncmp(value, "env:", 4) == 0) {
        env = getenv(value + 4);

        /* a node that has joined before needs none, so no more than */

        if (env == NULL || *env == '\0') {
            (void) fprintf(stderr, "%s is not set\n", value);
            return true;
        }

        command_key_take(key, env, strlen(env));

    } else {
        command_key_take(key, value, strlen(value));
        tn_wipe(value, strlen(value));
        where = "--auth-key";
    }

    if (*key == '\0') {
        (void) fprintf(stderr, "there is no key in %s\n", where);
        return false;
    }

    return true;
}


static bool
command_key_read(char *key, const char *path)
{
    int      fd;
    char     text[TN_IPC_KEY + 64];     /* white space around it */
    size_t   first, len;
    ssize_t  n;

    fd = open(path, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        return false;
    }

    len = 0;

    do {
        n = read(fd, text + len, sizeof(text) - len);
        len += n > 0 ? (size_t) n : 0;
    } while (n > 0 && len < sizeof(text));

    if (n != -1) {
        while (len != 0 && (unsigned char) text[len - 1] <= ' ') {
            len--;
        }

        for (first = 0; first < len && (unsigned char) text[first] <= ' ';
             first++)
        {
            /* void */
        }

        command_key_take(key, text + first, len - first);
    }

    tn_wipe(text, sizeof(text));
    (void) close(fd);

    return n != -1;
}


/* "": it is none */
static void
command_key_take(char *key, const char *text, size_t len)
{
    if (!tn_ipc_is_key(text, len)) {
        len = 0;
    }

    memcpy(key, text, len);
    key[len] = '\0';
}


static bool
command_number(long *number, long max, const char *text)
{
    char  *end;

    *number = strtol(text, &end, 10);

    return end != text && *end == '\0' && *number >= 0 && *number <= max;
}


static void *
command_core(void *arg)
{
    (void) tn_core_run((int) (intptr_t) arg);

    return NULL;
}

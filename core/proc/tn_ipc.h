
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Every message between nginx, supervisor, guard, the holders and the core:
 * fixed-size structures over SOCK_SEQPACKET, descriptors by SCM_RIGHTS.
 * Magic, version, type and length are checked before a field is looked at.
 * It owns no state; nothing here may be logged as a whole (auth keys).
 */

#ifndef TN_IPC_H_INCLUDED_
#define TN_IPC_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_base.h"


#define TN_IPC_MAGIC    0x746e6970
#define TN_IPC_VERSION  1           /* of what sizes do not tell */

#define TN_IPC_FDS      32          /* descriptors in one message, at most */

/* bytes of the text fields, each with its terminating zero */
#define TN_IPC_NAME     64
#define TN_IPC_PATH     1024
#define TN_IPC_URL      512
#define TN_IPC_KEY      4096    /* or a JWT, with the ID it is for */
#define TN_IPC_HOST     256
#define TN_IPC_TAGS     1024
#define TN_IPC_PROXY    512
#define TN_IPC_TEXT     512
#define TN_IPC_TOKEN    40
#define TN_IPC_CHUNK    4096    /* of a tool's answer; not terminated */

#define TN_IPC_ADDRS    64          /* addresses of a node, at most */
#define TN_IPC_STATIC   8           /* static endpoints of a node */
#define TN_IPC_ROUTES   64          /* it advertises */
#define TN_IPC_MEMBERS_MAX  32      /* peers that stand for a tag, at most */
#define TN_IPC_SERVES   64          /* listeners of services of a node */
#define TN_IPC_SERVICE  72          /* "svc:", a DNS label, zero */

/* why a request over a lifeline is refused */
#define TN_IPC_COMMITTED                                                      \
    "this cycle is committed, it has nothing more to ask for"

/* files in the run-time directory */
#define TN_IPC_SUPER_SOCK  "super.sock"
#define TN_IPC_DIAL_SOCK   "dial.sock"


/*
 * "->" names who sends.  The requests over a lifeline and to a holder are
 * each answered by one TN_IPC_REPLY with the same `seq`.
 */
typedef enum {

    /* any answer: tn_ipc_reply_t, with the descriptors asked for */
    TN_IPC_REPLY = 1,

    /* nginx master -> supervisor, over super.sock: a lifeline */
    TN_IPC_HELLO,               /* tn_ipc_hello_t + log descriptor if any;
                                   REPLY has a pipe's end */
    TN_IPC_NODE,                /* tn_ipc_node_msg_t; REPLY has its share */
    TN_IPC_LISTEN,              /* tn_ipc_listen_t; REPLY has the socket */
    TN_IPC_COMMIT,              /* tn_ipc_name_t, name unused; the last one:
                                   from then on the lifeline is the pipe,
                                   which workers inherit */

    /* nginx worker -> core, over dial.sock, one per connection */
    TN_IPC_DIAL,                /* tn_ipc_dial_t */
    TN_IPC_DIAL_REPLY,          /* tn_ipc_dial_reply_t + socket; core -> */

    /* holder -> supervisor, once, when set up or failed */
    TN_IPC_HOLDER_READY,        /* tn_ipc_ready_t + TUN, netns, userns */

    /* supervisor -> holder */
    TN_IPC_HOLDER_LISTEN,       /* tn_ipc_listen_t; REPLY has the socket */
    TN_IPC_HOLDER_ATTACH,       /* tn_ipc_name_t + the core's channel */

    /* core -> holder, over the attached channel */
    TN_IPC_HOLDER_SOCKETS,      /* tn_ipc_sockets_t; REPLY has them */
    TN_IPC_HOLDER_ADDRS,        /* tn_ipc_addrs_t */

    /* supervisor -> core, no answers */
    TN_IPC_CORE_SETUP,          /* tn_ipc_setup_t + log, dial listener */
    TN_IPC_CORE_NODE,           /* tn_ipc_core_node_t + its descriptors */
    TN_IPC_CORE_HOLDER,         /* tn_ipc_name_t + new holder channel */
    TN_IPC_CORE_STOP,           /* tn_ipc_name_t: stop this node */
    TN_IPC_CORE_START,          /* tn_ipc_name_t: all initial nodes sent */

    /* command line -> core, over dial.sock, one per connection */
    TN_IPC_TOOL,                /* tn_ipc_tool_t */
    TN_IPC_TOOL_REPLY,          /* tn_ipc_tool_reply_t, several; core -> */

    /*
     * supervisor -> guard: all that is to survive the supervisor, from BEGIN
     * to END in this order; the same from the guard to the next supervisor
     */
    TN_IPC_KEEP_BEGIN,          /* tn_ipc_name_t */
    TN_IPC_KEEP_SUPER,          /* tn_ipc_keep_super_t + super.sock, dial,
                                   the core's channel, its pidfd */
    TN_IPC_KEEP_NODE,           /* tn_ipc_keep_node_t + its descriptors */
    TN_IPC_KEEP_LISTENER,       /* tn_ipc_listen_t + the socket */
    TN_IPC_KEEP_LIFELINE,       /* tn_ipc_keep_lifeline_t + itself, log */
    TN_IPC_KEEP_WANT,           /* tn_ipc_keep_want_t: a node it wants */
    TN_IPC_KEEP_SOCKET,         /* tn_ipc_keep_socket_t: a listener of it */
    TN_IPC_KEEP_END,            /* tn_ipc_name_t */
    TN_IPC_KEEP_BYE,            /* tn_ipc_name_t: an end in order */

    /* supervisor -> core, no answer: where connections of a port go */
    TN_IPC_CORE_LISTEN,         /* tn_ipc_listen_t + nginx's listener */

    /* nginx worker -> core, over dial.sock, one per connection */
    TN_IPC_WATCH,               /* tn_ipc_watch_t */
    TN_IPC_MEMBERS,             /* tn_ipc_members_t, at each change; core -> */

    /* nginx worker -> core, over dial.sock: certificates as they change */
    TN_IPC_CERT,                /* tn_ipc_cert_t; stays open */
    TN_IPC_CERT_SET,            /* tn_ipc_cert_set_t + memory; core -> */

    /* supervisor -> core, no answer: nobody accepts them any more */
    TN_IPC_CORE_UNLISTEN,       /* tn_ipc_listen_t */

    /* core -> nginx worker, to its listener: a Funnel connection */
    TN_IPC_FUNNEL,              /* tn_ipc_funnel_t + the connection */

    /* nginx worker -> core, over dial.sock, again and again */
    TN_IPC_TAKE,                /* tn_ipc_take_t; REPLY has sockets */

    /* nginx worker -> core, over dial.sock: it serves; stays open */
    TN_IPC_SERVE,               /* tn_ipc_serve_t; the next one: it leaves */
    TN_IPC_SERVE_SET,           /* tn_ipc_serve_set_t + listener; core -> */

    /* core -> holder, no answer */
    TN_IPC_HOLDER_NEAR,         /* tn_ipc_near_t */

    /*
     * another supervisor -> the core of the one before, or in a single
     * process to one that missed a message, no answer: up to CORE_START
     * follows what it is to run; what is so already goes on
     */
    TN_IPC_CORE_RESUME,         /* tn_ipc_name_t, name unused */

    /*
     * nginx master -> supervisor, over super.sock, the only one of a
     * connection: the master ends, and its lifelines are closed.  The answer
     * is the end of the connection: at once when others have lifelines, else
     * when the supervisor, which ends now, has ended
     */
    TN_IPC_LEAVE,               /* tn_ipc_name_t, name unused */

    TN_IPC_TYPES
} tn_ipc_type_e;


typedef struct {
    uint32_t       magic;
    uint16_t       version;
    uint16_t       type;
    uint32_t       len;         /* of the whole message */
    uint32_t       seq;         /* a reply repeats its request's */
} tn_ipc_head_t;


typedef struct {
    tn_ipc_head_t  head;
    int32_t        rc;          /* tn_rc_t */
    int32_t        err;         /* errno of the failed call, or 0 */
    uint32_t       value;       /* HELLO: process id of the supervisor */
    uint32_t       fds;         /* descriptors that come with it */
    char           text[TN_IPC_TEXT];   /* for the error log when failed */
} tn_ipc_reply_t;


typedef struct {
    tn_ipc_head_t  head;
    /*
     * Names the nginx master: lifelines with one token are cycles of one
     * master, and a commit takes the sockets of its earlier cycles away.
     */
    char           token[TN_IPC_TOKEN];
    uint32_t       uid;         /* what the core runs as */
    uint32_t       gid;
    uint32_t       log_level;   /* tn_log_level_e */
    char           log_path[TN_IPC_PATH];   /* absolute, or empty */
} tn_ipc_hello_t;


typedef enum {
    TN_IPC_STACK_AUTO = 0,
    TN_IPC_STACK_KERNEL,
    TN_IPC_STACK_LWIP
} tn_ipc_stack_e;

/* flags of a node */
#define TN_IPC_EPHEMERAL      0x0001
#define TN_IPC_ACCEPT_ROUTES  0x0002
#define TN_IPC_NO_PORT_MAP    0x0004
#define TN_IPC_SHIELDS_UP     0x0008

/*
 * A node's configuration.  Compared as bytes to see a change, so it is to be
 * zeroed before it is filled in.
 */
typedef struct {
    char           name[TN_IPC_NAME];
    char           state_dir[TN_IPC_PATH];
    char           control_url[TN_IPC_URL];
    char           auth_key[TN_IPC_KEY];    /* the key itself; secret */
    char           hostname[TN_IPC_HOST];   /* empty: the system's */
    char           tags[TN_IPC_TAGS];       /* "tag:a,tag:b" */
    char           tls_ca[TN_IPC_PATH];     /* PEM file, or empty */
    uint32_t       flags;
    uint16_t       udp_port;    /* 0: any, kept while the supervisor lives */
    uint8_t        stack;       /* tn_ipc_stack_e */
    uint8_t        unused;
    uint16_t       relay_port;  /* of a peer relay, 0: none */
    uint16_t       nstatic;
    tn_addr_t      static_endpoints[TN_IPC_STATIC];
    char           proxy[TN_IPC_PROXY]; /* URL, "off", or empty: as the
                                           environment says; secret */
    char           acme[TN_IPC_URL];    /* ACME directory, or empty */
    char           exit_node[TN_IPC_HOST];  /* name or address, or empty */
    uint32_t       nroutes;
    tn_prefix_t    routes[TN_IPC_ROUTES];   /* to advertise */
    char           domains[TN_IPC_TAGS];    /* "a.example,b.example" */
} tn_ipc_node_t;


typedef struct {
    tn_ipc_head_t  head;
    tn_ipc_node_t  node;
} tn_ipc_node_msg_t;


#define TN_IPC_TCP      1
#define TN_IPC_UDP      2
#define TN_IPC_INGRESS  3           /* TCP that comes through Funnel */

/*
 * of a listener: for addresses that are not the node's own but routes that it
 * advertises; port 0 is all ports
 */
#define TN_IPC_CAPTURE  0x0001

/* of such a one for TCP: only what the destination accepts is let in */
#define TN_IPC_PROBE    0x0002

typedef struct {
    tn_ipc_head_t  head;
    char           node[TN_IPC_NAME];
    uint16_t       family;      /* 4 or 6 */
    uint16_t       proto;       /* TN_IPC_TCP, TN_IPC_UDP */
    uint16_t       port;
    uint16_t       worker;      /* distinct for each clone of reuseport */
    int32_t        backlog;
    uint32_t       flags;       /* TN_IPC_CAPTURE, TN_IPC_PROBE */
} tn_ipc_listen_t;


typedef struct {
    tn_ipc_head_t  head;
    char           name[TN_IPC_NAME];
} tn_ipc_name_t;


typedef struct {
    tn_ipc_head_t  head;
    char           node[TN_IPC_NAME];
    char           host[TN_IPC_HOST];   /* MagicDNS name or IP address */
    uint16_t       port;
    uint16_t       proto;       /* TN_IPC_TCP, TN_IPC_UDP */
    uint32_t       timeout_ms;  /* 0: TN_DIAL_TIMEOUT_MS */
} tn_ipc_dial_t;


typedef struct {
    tn_ipc_head_t  head;
    int32_t        rc;          /* TN_OK: a connecting socket comes with it */
    int32_t        err;         /* an errno that tells nginx what happened */
    tn_addr_t      addr;        /* where it connects to */
    uint16_t       unused;
    char           text[TN_IPC_TEXT];
} tn_ipc_dial_reply_t;


typedef enum {
    TN_IPC_TOOL_STATUS = 1,
    TN_IPC_TOOL_WHOIS,          /* argument: address, address:port or name */
    TN_IPC_TOOL_NETCHECK,
    TN_IPC_TOOL_PING,           /* argument: as of whois */
    TN_IPC_TOOL_PATH,           /* argument: as of whois */
    TN_IPC_TOOL_HOME,           /* argument: region's number or code, "auto" */
    TN_IPC_TOOL_BREAK,          /* argument: region's number or code */
    TN_IPC_TOOL_RESTUN,
    TN_IPC_TOOL_REBIND,
    TN_IPC_TOOL_POKE,
    TN_IPC_TOOL_CAPTURE,        /* of one node; pcapng until it is closed */
    TN_IPC_TOOL_PING_TSMP,      /* argument: as of whois */
    TN_IPC_TOOL_LOGOUT,         /* of one node, like the next two */
    TN_IPC_TOOL_LOGIN,
    TN_IPC_TOOL_RENEW,          /* a new node key */
    TN_IPC_TOOL_PING_ICMP,      /* argument: as of whois */
    TN_IPC_TOOL_CONNS,          /* counted since the first time it is asked */
    TN_IPC_TOOL_REPORT,         /* argument: json, html or prometheus */
    TN_IPC_TOOL_HELPER          /* argument: busy, always or never */
} tn_ipc_tool_e;

typedef struct {
    tn_ipc_head_t  head;
    uint32_t       command;     /* tn_ipc_tool_e */
    uint32_t       unused;
    char           node[TN_IPC_NAME];   /* empty: all nodes */
    char           argument[TN_IPC_HOST];
} tn_ipc_tool_t;


/*
 * A piece of the answer: JSON, or when rc is not TN_OK one line that says
 * what is wrong.
 */
typedef struct {
    tn_ipc_head_t  head;
    int32_t        rc;
    uint32_t       more;        /* others follow */
    uint32_t       len;         /* bytes of text, 0 to TN_IPC_CHUNK */
    uint32_t       unused;
    char           text[TN_IPC_CHUNK];
} tn_ipc_tool_reply_t;


/* ready: which descriptors came, in this order; also for the core's node */
#define TN_IPC_FD_TUN     0x01
#define TN_IPC_FD_NETNS   0x02
#define TN_IPC_FD_USERNS  0x04
#define TN_IPC_FD_HOLDER  0x08
#define TN_IPC_FD_UDP4    0x10
#define TN_IPC_FD_UDP6    0x20
#define TN_IPC_FD_LOG     0x40
#define TN_IPC_FD_DIAL    0x80
#define TN_IPC_FD_SUPER   0x100
#define TN_IPC_FD_SHARE   0x200   /* see proc/tn_share.h */
#define TN_IPC_FD_CORE    0x400   /* our end of the core's channel */
#define TN_IPC_FD_PROCESS 0x800   /* pidfd of the core */
#define TN_IPC_FD_BULK    0x1000  /* the TUN's second queue, if it has one */
#define TN_IPC_FD_HOLD    0x2000  /* our end of a lifeline's pipe */

/* how the stack came out; `features` of a node */
#define TN_IPC_TUN_USO       0x01   /* the TUN splits UDP too */
#define TN_IPC_UNPRIVILEGED  0x02   /* by a user namespace */
#define TN_IPC_NO_IPV6       0x04   /* this kernel runs without IPv6 */
#define TN_IPC_BY_LWIP       0x08   /* no namespace: the core has the stack */

typedef struct {
    tn_ipc_head_t  head;
    int32_t        rc;
    int32_t        err;
    uint32_t       mask;
    uint32_t       features;
    char           text[TN_IPC_TEXT];
} tn_ipc_ready_t;


typedef struct {
    tn_ipc_head_t  head;
    uint16_t       family;      /* 4 or 6 */
    uint16_t       proto;
    uint32_t       count;       /* 1 to TN_IPC_FDS */
} tn_ipc_sockets_t;


/* all addresses of the node: what is not here is taken away */
typedef struct {
    tn_ipc_head_t  head;
    uint32_t       count;
    tn_ip_t        ip[TN_IPC_ADDRS];
    uint32_t       services;    /* so many of these, the last, are only to be
                                   reached at, never to send from first */
} tn_ipc_addrs_t;


/*
 * A peer whose way is as short as those of a LAN, or is not any more; one of
 * its addresses may be none, and without both nobody is near.
 */
typedef struct {
    tn_ipc_head_t  head;
    uint32_t       near;
    tn_ip_t        ip[2];
} tn_ipc_near_t;


typedef struct {
    tn_ipc_head_t  head;
    uint32_t       mask;        /* TN_IPC_FD_LOG, TN_IPC_FD_DIAL */
    uint32_t       log_level;
} tn_ipc_setup_t;


typedef struct {
    tn_ipc_head_t  head;
    uint32_t       mask;        /* TUN, HOLDER, UDP4, UDP6, SHARE */
    uint32_t       features;
    tn_ipc_node_t  node;
    char           text[TN_IPC_TEXT];   /* why there is no TUN, or empty */

    /*
     * The private disco key, as random as any: new with the supervisor, the
     * same for each core of it.  A peer that hears of another disco key drops
     * its WireGuard session, also one that the new core has just made.
     */
    uint8_t        disco[32];
} tn_ipc_core_node_t;


typedef struct {
    tn_ipc_head_t  head;
    uint32_t       mask;        /* TN_IPC_FD_DIAL, SUPER, CORE, PROCESS */
    uint32_t       uid;
    uint32_t       gid;
    uint32_t       core_pid;
} tn_ipc_keep_super_t;


typedef struct {
    tn_ipc_head_t  head;
    uint32_t       mask;        /* TUN, NETNS, USERNS, UDP4, UDP6, SHARE */
    uint32_t       features;
    char           name[TN_IPC_NAME];
    tn_ipc_node_t  node;        /* what is in force, if running */
    uint8_t        disco[32];
    uint16_t       running;
    uint16_t       udp_port;
    uint32_t       unused;
} tn_ipc_keep_node_t;


/* a lifeline is named by the serial number of its opening */
typedef struct {
    tn_ipc_head_t  head;
    uint64_t       opened;
    uint64_t       committed;
    uint32_t       mask;        /* LOG, SUPER: its own, HOLD */
    uint32_t       hello;       /* conf was said */
    tn_ipc_hello_t conf;
} tn_ipc_keep_lifeline_t;


typedef struct {
    tn_ipc_head_t  head;
    uint64_t       opened;
    tn_ipc_node_t  node;
    uint64_t       lwip;        /* its listeners are of that stack */
} tn_ipc_keep_want_t;


typedef struct {
    tn_ipc_head_t    head;
    uint64_t         opened;
    uint64_t         lwip;      /* not of a holder */
    tn_ipc_listen_t  listen;
} tn_ipc_keep_socket_t;


typedef struct {
    tn_ipc_head_t  head;
    char           node[TN_IPC_NAME];
    char           host[TN_IPC_HOST];   /* "tag:NAME", or as of a dial */
} tn_ipc_watch_t;


typedef struct {
    tn_ipc_head_t  head;
    char           node[TN_IPC_NAME];
    uint16_t       family;      /* 4 or 6 */
    uint16_t       proto;
    uint32_t       count;       /* at most; 1 to TN_IPC_FDS */
} tn_ipc_take_t;


/* the peers behind a watched tag, by ascending id; or one, of another name */
typedef struct {
    int64_t        id;          /* of the peer in this tailnet; of a name 0 */
    tn_ip_t        ip;          /* the best of its addresses */
    char           host[TN_IPC_HOST];   /* its MagicDNS name */
} tn_ipc_member_t;

typedef struct {
    tn_ipc_head_t    head;
    uint32_t         count;     /* 0 to TN_IPC_MEMBERS_MAX */
    uint32_t         total;     /* more than count: some are left out */
    tn_ipc_member_t  members[TN_IPC_MEMBERS_MAX];
} tn_ipc_members_t;


/* also one that nobody vouches for, while there is no other */
#define TN_IPC_CERT_FALLBACK  0x01

typedef struct {
    tn_ipc_head_t  head;
    char           node[TN_IPC_NAME];
    uint32_t       flags;
    uint32_t       unused;
    char           domains[TN_IPC_TAGS];    /* of the node's, to be proved by
                                               tls-alpn-01 */
} tn_ipc_cert_t;


/* all certificates of the node: tn_chain_unpack() of so much of the memory */
typedef struct {
    tn_ipc_head_t  head;
    uint32_t       len;
    uint32_t       unused;
} tn_ipc_cert_set_t;


typedef struct {
    tn_ipc_head_t  head;
    tn_addr_t      client;      /* on the Internet */
    tn_addr_t      local;       /* the node's, with the port it wanted */
    tn_addr_t      relay;       /* the peer that passed it on */
    uint16_t       unused[3];
} tn_ipc_funnel_t;


/* of a service by UDP: a socket of the namespace, each worker has its own */
#define TN_IPC_QUIC  0x0001

/*
 * A listener of a service, for one family.  That of UDP, without TN_IPC_QUIC,
 * and all of stack lwip are of AF_UNIX and accepted from.
 */
typedef struct {
    char           name[TN_IPC_SERVICE];    /* "svc:web" */
    uint16_t       port;
    uint16_t       family;      /* 4 or 6 */
    int32_t        backlog;
    uint16_t       proto;       /* TN_IPC_TCP, TN_IPC_UDP */
    uint16_t       flags;       /* TN_IPC_QUIC */
} tn_ipc_service_t;

/*
 * What a worker accepts for; count 0: it is going to accept no more, when the
 * core has taken the listeners away.
 */
typedef struct {
    tn_ipc_head_t     head;
    char              node[TN_IPC_NAME];
    uint32_t          count;
    uint32_t          unused;
    tn_ipc_service_t  service[TN_IPC_SERVES];
} tn_ipc_serve_t;

/* its socket from now on, listening at `addr`; without a socket: none */
typedef struct {
    tn_ipc_head_t     head;
    tn_ipc_service_t  service;
    tn_addr_t         addr;
    uint16_t          unused[3];
} tn_ipc_serve_set_t;


typedef union {
    tn_ipc_head_t        head;
    tn_ipc_reply_t       reply;
    tn_ipc_hello_t       hello;
    tn_ipc_node_msg_t    node;
    tn_ipc_listen_t      listen;
    tn_ipc_name_t        name;
    tn_ipc_dial_t        dial;
    tn_ipc_dial_reply_t  dial_reply;
    tn_ipc_ready_t       ready;
    tn_ipc_sockets_t     sockets;
    tn_ipc_addrs_t       addrs;
    tn_ipc_near_t        near;
    tn_ipc_setup_t       setup;
    tn_ipc_core_node_t   core_node;
    tn_ipc_tool_t        tool;
    tn_ipc_tool_reply_t  tool_reply;
    tn_ipc_keep_super_t  keep_super;
    tn_ipc_keep_node_t   keep_node;
    tn_ipc_keep_lifeline_t  keep_lifeline;
    tn_ipc_keep_want_t   keep_want;
    tn_ipc_keep_socket_t  keep_socket;
    tn_ipc_watch_t       watch;
    tn_ipc_members_t     members;
    tn_ipc_take_t        take;
    tn_ipc_cert_t        cert;
    tn_ipc_cert_set_t    cert_set;
    tn_ipc_funnel_t      funnel;
    tn_ipc_serve_t       serve;
    tn_ipc_serve_set_t   serve_set;
} tn_ipc_msg_t;


/* zeroes the message of this type and fills its head in */
void tn_ipc_init(void *msg, tn_ipc_type_e type);

/*
 * Sends one message with `count` descriptors, which stay the caller's.
 * Never raises SIGPIPE and never blocks.  TN_OK; TN_AGAIN when the other
 * side does not read; TN_CLOSED; TN_ERROR with errno set.
 */
tn_rc_t tn_ipc_send(int fd, const void *msg, const int *fds, size_t count);

/* the same, waiting until `deadline` (tn_ipc_now()): then TN_AGAIN */
tn_rc_t tn_ipc_send_until(int fd, const void *msg, const int *fds,
    size_t count, tn_ms_t deadline);

/*
 * Receives one message without blocking.  TN_OK: msg->head.type names the
 * member of the union that may be read, its texts are terminated, and
 * *count descriptors (close-on-exec, the caller's now) are in fds, which has
 * room for TN_IPC_FDS.  TN_AGAIN; TN_CLOSED; TN_MALFORMED: not a message of
 * ours or of another version, or cut for want of descriptors here, those that
 * came are closed; TN_ERROR.
 */
tn_rc_t tn_ipc_recv(int fd, tn_ipc_msg_t *msg, int *fds, size_t *count);

/* the same, waiting until `deadline` (tn_ipc_now()): then TN_AGAIN */
tn_rc_t tn_ipc_recv_until(int fd, tn_ipc_msg_t *msg, int *fds, size_t *count,
    tn_ms_t deadline);

/*
 * Of this build's messages, in the head of each.  It is another one as soon as
 * a message has another size.
 */
uint16_t tn_ipc_version(void);

/* what a received buffer must satisfy; for the tests */
tn_rc_t tn_ipc_check(const tn_ipc_msg_t *msg, size_t len);

/* the descriptor that `bit` of `mask` names, or -1 */
int tn_ipc_fd(const int *fds, size_t count, uint32_t mask, uint32_t bit);

/*
 * Whether root, or this process's own user, is at the other end of a Unix
 * socket that is connected; `peer` gets who, all zero when that cannot be
 * told.
 */
struct ucred;
bool tn_ipc_trusts(int fd, struct ucred *peer);

/* closes what is not -1 */
void tn_ipc_close(int *fds, size_t count);

/* a connected pair, close-on-exec and non-blocking; TN_OK or TN_ERROR */
tn_rc_t tn_ipc_pair(int pair[2]);

/*
 * A non-blocking socket of dir/name, connected or listening.  Directories
 * longer than a socket address holds work too.  Returns the descriptor or
 * -1 with errno set; listening replaces what stands there atomically.
 */
int tn_ipc_connect(const char *dir, const char *name);
int tn_ipc_bind(const char *dir, const char *name, mode_t mode, uid_t uid,
    gid_t gid, int backlog);

/* CLOCK_MONOTONIC */
tn_ms_t tn_ipc_now(void);

/* whether these bytes may be an auth_key: all visible, and not too many */
bool tn_ipc_is_key(const void *text, size_t len);


#endif /* TN_IPC_H_INCLUDED_ */

/*
 * A link with faults between two Ethernet interfaces, for the lab: every
 * frame that arrives on one leaves on the other after delay, loss, duplication,
 * reordering and a bottleneck of some rate with a finite queue.  Started by
 * t/lib/Tailnet/Lab/Switch.pm; it knows nothing of IP.
 */

#include <errno.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * Life of a frame in one direction:
 *
 *   received -> lost? -> bottleneck: it starts when the frame before it has
 *   been put on the line and takes length / rate; with more than the queue's
 *   limit waiting it is dropped -> propagation: delay, and for a reordered
 *   frame an extra hold, so that those behind it overtake -> sent (twice if
 *   duplicated).
 *
 * Frames in flight are in a heap by the time they are due.  The checksums of
 * the sending host may still be unfinished (veth offload), so frames carry
 * their virtio-net header along.  Segmentation offload must be off on both
 * hosts: a frame over WIRE_FRAME_MAX bytes is counted as oversize and dropped.
 */

#define WIRE_FRAME_MAX    2048
#define WIRE_IN_FLIGHT    32768
#define WIRE_BATCH        64
#define WIRE_SOCKBUF      (16 << 20)

#define WIRE_NS_PER_MS    1000000ull
#define WIRE_NS_PER_S     1000000000ull


typedef struct {
    uint64_t                due_ns;
    uint64_t                seq;        /* keeps equal times in order */
    uint32_t                slot;
} wire_entry_t;


typedef struct {
    uint32_t                len;
    struct virtio_net_hdr   vnet;
    uint8_t                 data[WIRE_FRAME_MAX];
} wire_frame_t;


typedef struct {
    uint64_t                received;
    uint64_t                bytes;
    uint64_t                sent;
    uint64_t                lost;
    uint64_t                queue_dropped;
    uint64_t                reordered;
    uint64_t                duplicated;
    uint64_t                oversize;
    uint64_t                send_failed;
} wire_stats_t;


typedef struct {
    double                  delay_ms;
    double                  loss_pct;
    double                  rate_mbps;      /* 0: no bottleneck */
    double                  queue;          /* frames; 0: no limit */
    double                  reorder_pct;
    double                  hold_ms;
    double                  duplicate_pct;
} wire_faults_t;


typedef struct {
    const char             *from;
    const char             *to;
    int                     in;
    int                     out;

    wire_faults_t           faults;
    wire_stats_t            stats;

    wire_frame_t           *frames;
    uint32_t               *free_slots;
    uint32_t                nfree;

    wire_entry_t           *heap;
    uint32_t                nheap;
    uint64_t                seq;

    /* when each frame waiting for the bottleneck will have left it */
    uint64_t               *waiting;
    uint32_t                waiting_first;
    uint32_t                nwaiting;
    uint64_t                busy_until_ns;
} wire_dir_t;


typedef struct {
    wire_dir_t              dir[2];
    uint64_t                random;
    wire_frame_t            batch[WIRE_BATCH];
} wire_t;


static volatile sig_atomic_t  wire_quit;
static volatile sig_atomic_t  wire_report;


static void
wire_die(const char *fmt, ...)
{
    va_list  args;

    fputs("wire: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);

    exit(1);
}


static uint64_t
wire_now_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * WIRE_NS_PER_S + (uint64_t) ts.tv_nsec;
}


/* splitmix64: the same seed and the same frames give the same faults */

static bool
wire_chance(wire_t *w, double pct)
{
    uint64_t  z;

    if (pct <= 0) {
        return false;
    }

    w->random += 0x9e3779b97f4a7c15ull;

    z = w->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;

    return (double) (z >> 11) * 0x1p-53 * 100 < pct;
}


static bool
wire_before(const wire_entry_t *a, const wire_entry_t *b)
{
    if (a->due_ns != b->due_ns) {
        return a->due_ns < b->due_ns;
    }

    return a->seq < b->seq;
}


static void
wire_heap_push(wire_dir_t *d, wire_entry_t entry)
{
    uint32_t  i, parent;

    i = d->nheap++;

    while (i > 0) {
        parent = (i - 1) / 2;

        if (!wire_before(&entry, &d->heap[parent])) {
            break;
        }

        d->heap[i] = d->heap[parent];
        i = parent;
    }

    d->heap[i] = entry;
}


static wire_entry_t
wire_heap_pop(wire_dir_t *d)
{
    uint32_t      i, child;
    wire_entry_t  first, last;

    first = d->heap[0];
    last = d->heap[--d->nheap];
    i = 0;

    for ( ;; ) {
        child = 2 * i + 1;

        if (child >= d->nheap) {
            break;
        }

        if (child + 1 < d->nheap
            && wire_before(&d->heap[child + 1], &d->heap[child]))
        {
            child++;
        }

        if (!wire_before(&d->heap[child], &last)) {
            break;
        }

        d->heap[i] = d->heap[child];
        i = child;
    }

    d->heap[i] = last;

    return first;
}


/* when the frame will have passed the bottleneck; 0 if its queue is full */

static uint64_t
wire_bottleneck(wire_dir_t *d, uint32_t len, uint64_t now)
{
    uint32_t  limit;

    if (d->faults.rate_mbps <= 0) {
        return now;
    }

    while (d->nwaiting > 0 && d->waiting[d->waiting_first] <= now) {
        d->waiting_first = (d->waiting_first + 1) % WIRE_IN_FLIGHT;
        d->nwaiting--;
    }

    limit = (d->faults.queue > 0) ? (uint32_t) d->faults.queue
                                  : WIRE_IN_FLIGHT;

    if (d->nwaiting >= limit || d->nwaiting >= WIRE_IN_FLIGHT) {
        return 0;
    }

    if (d->busy_until_ns < now) {
        d->busy_until_ns = now;
    }

    d->busy_until_ns += (uint64_t) (len * 8e3 / d->faults.rate_mbps);

    d->waiting[(d->waiting_first + d->nwaiting) % WIRE_IN_FLIGHT] =
                                                            d->busy_until_ns;
    d->nwaiting++;

    return d->busy_until_ns;
}


static bool
wire_enqueue(wire_dir_t *d, const wire_frame_t *frame, uint64_t due)
{
    uint32_t      slot;
    wire_frame_t *copy;

    if (d->nfree == 0) {
        d->stats.queue_dropped++;
        return false;
    }

    slot = d->free_slots[--d->nfree];

    copy = &d->frames[slot];
    copy->len = frame->len;
    copy->vnet = frame->vnet;
    memcpy(copy->data, frame->data, frame->len);

    wire_heap_push(d, (wire_entry_t) { due, d->seq++, slot });

    return true;
}


static void
wire_take(wire_t *w, wire_dir_t *d, const wire_frame_t *frame, uint64_t now)
{
    uint64_t  due;

    d->stats.received++;
    d->stats.bytes += frame->len;

    if (wire_chance(w, d->faults.loss_pct)) {
        d->stats.lost++;
        return;
    }

    due = wire_bottleneck(d, frame->len, now);

    if (due == 0) {
        d->stats.queue_dropped++;
        return;
    }

    due += (uint64_t) (d->faults.delay_ms * WIRE_NS_PER_MS);

    if (wire_chance(w, d->faults.reorder_pct)) {
        d->stats.reordered++;
        due += (uint64_t) (d->faults.hold_ms * WIRE_NS_PER_MS);
    }

    if (!wire_enqueue(d, frame, due)) {
        return;
    }

    if (wire_chance(w, d->faults.duplicate_pct)
        && wire_enqueue(d, frame, due))
    {
        d->stats.duplicated++;
    }
}


static void
wire_receive(wire_t *w, wire_dir_t *d)
{
    int             i, n;
    uint64_t        now;
    wire_frame_t   *frame;
    struct iovec    iov[WIRE_BATCH][2];
    struct mmsghdr  msgs[WIRE_BATCH];

    memset(msgs, 0, sizeof(msgs));

    for (i = 0; i < WIRE_BATCH; i++) {
        frame = &w->batch[i];

        iov[i][0].iov_base = &frame->vnet;
        iov[i][0].iov_len = sizeof(frame->vnet);
        iov[i][1].iov_base = frame->data;
        iov[i][1].iov_len = sizeof(frame->data);

        msgs[i].msg_hdr.msg_iov = iov[i];
        msgs[i].msg_hdr.msg_iovlen = 2;
    }

    n = recvmmsg(d->in, msgs, WIRE_BATCH, MSG_DONTWAIT, NULL);

    if (n == -1) {
        if (errno != EAGAIN && errno != EINTR && errno != ENETDOWN) {
            wire_die("receiving from %s: %s", d->from, strerror(errno));
        }

        return;
    }

    now = wire_now_ns();

    for (i = 0; i < n; i++) {
        frame = &w->batch[i];

        if (msgs[i].msg_hdr.msg_flags & MSG_TRUNC
            || frame->vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE)
        {
            d->stats.oversize++;
            continue;
        }

        frame->len = msgs[i].msg_len - sizeof(frame->vnet);

        wire_take(w, d, frame, now);
    }
}


static void
wire_send(wire_dir_t *d)
{
    uint64_t       now;
    wire_entry_t   entry;
    wire_frame_t  *frame;
    struct iovec   iov[2];
    struct msghdr  msg = { .msg_iov = iov, .msg_iovlen = 2 };

    now = wire_now_ns();

    while (d->nheap > 0 && d->heap[0].due_ns <= now) {
        entry = wire_heap_pop(d);
        frame = &d->frames[entry.slot];

        iov[0].iov_base = &frame->vnet;
        iov[0].iov_len = sizeof(frame->vnet);
        iov[1].iov_base = frame->data;
        iov[1].iov_len = frame->len;

        if (sendmsg(d->out, &msg, 0) == -1) {
            d->stats.send_failed++;

        } else {
            d->stats.sent++;
        }

        d->free_slots[d->nfree++] = entry.slot;
    }
}


static void
wire_print_stats(const wire_dir_t *d)
{
    const wire_stats_t  *s;

    s = &d->stats;

    fprintf(stderr, "wire: %s>%s received=%" PRIu64 " bytes=%" PRIu64
            " sent=%" PRIu64 " lost=%" PRIu64 " queue_dropped=%" PRIu64
            " reordered=%" PRIu64 " duplicated=%" PRIu64
            " oversize=%" PRIu64 " send_failed=%" PRIu64 " in_flight=%u\n",
            d->from, d->to, s->received, s->bytes, s->sent, s->lost,
            s->queue_dropped, s->reordered, s->duplicated, s->oversize,
            s->send_failed, d->nheap);
}


static int
wire_open(const char *name)
{
    int                 fd, on, size;
    struct sockaddr_ll  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sll_family = AF_PACKET;
    addr.sll_protocol = htons(ETH_P_ALL);
    addr.sll_ifindex = (int) if_nametoindex(name);

    if (addr.sll_ifindex == 0) {
        wire_die("%s: %s", name, strerror(errno));
    }

    /* protocol 0: no frames from other interfaces before the bind */
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        wire_die("socket: %s", strerror(errno));
    }

    on = 1;
    size = WIRE_SOCKBUF;

    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == -1
        || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on))
           == -1
        || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size))
           == -1
        || setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size))
           == -1
        || bind(fd, (struct sockaddr *) &addr, sizeof(addr)) == -1)
    {
        wire_die("%s: %s", name, strerror(errno));
    }

    return fd;
}


static void
wire_init_dir(wire_dir_t *d, const char *from, const char *to, int in, int out)
{
    uint32_t  i;

    d->from = from;
    d->to = to;
    d->in = in;
    d->out = out;

    d->frames = malloc(WIRE_IN_FLIGHT * sizeof(wire_frame_t));
    d->free_slots = malloc(WIRE_IN_FLIGHT * sizeof(uint32_t));
    d->heap = malloc(WIRE_IN_FLIGHT * sizeof(wire_entry_t));
    d->waiting = malloc(WIRE_IN_FLIGHT * sizeof(uint64_t));

    if (d->frames == NULL || d->free_slots == NULL || d->heap == NULL
        || d->waiting == NULL)
    {
        wire_die("out of memory");
    }

    for (i = 0; i < WIRE_IN_FLIGHT; i++) {
        d->free_slots[i] = i;
    }

    d->nfree = WIRE_IN_FLIGHT;
}


/* "5" is for both directions, "5,0.1" for the first and the second */

static void
wire_parse(const char *arg, double *first, double *second)
{
    char  *end;

    *first = strtod(arg, &end);
    *second = *first;

    if (end != arg && *end == ',') {
        arg = end + 1;
        *second = strtod(arg, &end);
    }

    if (end == arg || *end != '\0' || *first < 0 || *second < 0) {
        wire_die("bad number \"%s\"", arg);
    }
}


static void
wire_signal(int signo)
{
    if (signo == SIGUSR1) {
        wire_report = 1;

    } else {
        wire_quit = 1;
    }
}


static void
wire_usage(void)
{
    fputs("usage: wire [options] IF1 IF2\n"
          "  -d MS     delay\n"
          "  -l PCT    loss\n"
          "  -r MBIT   rate of the bottleneck\n"
          "  -q N      frames that may wait for it\n"
          "  -o PCT    reordering\n"
          "  -h MS     how long a reordered frame is held (5)\n"
          "  -u PCT    duplication\n"
          "  -s SEED   of the random numbers (1)\n"
          "A value VALUE1,VALUE2 gives the two directions one each.\n"
          "SIGUSR1 prints statistics, SIGTERM too and ends.\n", stderr);

    exit(2);
}


static void
wire_run(wire_t *w, const sigset_t *unblocked)
{
    int               i;
    bool              pending;
    uint64_t          now, due, wait;
    wire_dir_t       *d;
    struct pollfd     fds[2];
    struct timespec   ts;

    for (i = 0; i < 2; i++) {
        fds[i].fd = w->dir[i].in;
        fds[i].events = POLLIN;
    }

    while (!wire_quit) {
        pending = false;
        due = UINT64_MAX;

        for (i = 0; i < 2; i++) {
            d = &w->dir[i];

            if (d->nheap > 0 && d->heap[0].due_ns < due) {
                due = d->heap[0].due_ns;
                pending = true;
            }
        }

        if (pending) {
            now = wire_now_ns();
            wait = (due > now) ? due - now : 0;
            ts.tv_sec = (time_t) (wait / WIRE_NS_PER_S);
            ts.tv_nsec = (long) (wait % WIRE_NS_PER_S);
        }

        /* the signals are blocked but here, so none is missed */

        if (ppoll(fds, 2, pending ? &ts : NULL, unblocked) == -1
            && errno != EINTR)
        {
            wire_die("poll: %s", strerror(errno));
        }

        for (i = 0; i < 2; i++) {
            wire_receive(w, &w->dir[i]);
            wire_send(&w->dir[i]);
        }

        if (wire_report) {
            wire_report = 0;
            wire_print_stats(&w->dir[0]);
            wire_print_stats(&w->dir[1]);
        }
    }

    wire_print_stats(&w->dir[0]);
    wire_print_stats(&w->dir[1]);
}


int
main(int argc, char *argv[])
{
    int                opt, first, second;
    wire_t            *w;
    sigset_t           blocked, unblocked;
    wire_faults_t     *a, *b;
    struct sigaction   sa;

    w = calloc(1, sizeof(wire_t));
    if (w == NULL) {
        wire_die("out of memory");
    }

    w->random = 1;
    a = &w->dir[0].faults;
    b = &w->dir[1].faults;
    a->hold_ms = 5;
    b->hold_ms = 5;

    while ((opt = getopt(argc, argv, "d:l:r:q:o:h:u:s:")) != -1) {
        switch (opt) {

        case 'd':
            wire_parse(optarg, &a->delay_ms, &b->delay_ms);
            break;

        case 'l':
            wire_parse(optarg, &a->loss_pct, &b->loss_pct);
            break;

        case 'r':
            wire_parse(optarg, &a->rate_mbps, &b->rate_mbps);
            break;

        case 'q':
            wire_parse(optarg, &a->queue, &b->queue);
            break;

        case 'o':
            wire_parse(optarg, &a->reorder_pct, &b->reorder_pct);
            break;

        case 'h':
            wire_parse(optarg, &a->hold_ms, &b->hold_ms);
            break;

        case 'u':
            wire_parse(optarg, &a->duplicate_pct, &b->duplicate_pct);
            break;

        case 's':
            w->random = strtoull(optarg, NULL, 0);
            break;

        default:
            wire_usage();
        }
    }

    if (argc - optind != 2) {
        wire_usage();
    }

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = wire_signal;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &unblocked);

    sigdelset(&unblocked, SIGUSR1);
    sigdelset(&unblocked, SIGTERM);
    sigdelset(&unblocked, SIGINT);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);

    /* the default of 50 us would show in every delay */
    prctl(PR_SET_TIMERSLACK, 1000);

    first = wire_open(argv[optind]);
    second = wire_open(argv[optind + 1]);

    wire_init_dir(&w->dir[0], argv[optind], argv[optind + 1], first, second);
    wire_init_dir(&w->dir[1], argv[optind + 1], argv[optind], second, first);

    printf("wire: %s and %s are joined\n", argv[optind], argv[optind + 1]);
    fflush(stdout);

    wire_run(w, &unblocked);

    return 0;
}

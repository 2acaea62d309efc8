
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What stands between a node's data plane and the TCP/IP stack behind its
 * sockets: packets in, packets out, time.  The plane drives it; a stack never
 * sees the tunnel, and no packet reaches it that the filter did not allow.
 */

#ifndef TN_STACK_H_INCLUDED_
#define TN_STACK_H_INCLUDED_

#include <sys/uio.h>

#include "wire/tn_ip.h"


/*
 * Listening and dialling are not calls of this interface, as they do not go
 * through the data plane: with the kernel's stack the holder makes sockets
 * inside of the node's namespace and hands their descriptors on, and what is
 * bound or connected shows here as packets only.
 */

typedef struct tn_stack_s      tn_stack_t;
typedef struct tn_stack_ops_s  tn_stack_ops_t;

/*
 * A complete packet that the stack sends.  It must be used up before the
 * call returns; its bytes may be overwritten, those behind it may not.
 */
typedef void (*tn_stack_packet_pt)(void *data, uint8_t *packet, size_t len);

struct tn_stack_ops_s {
    const char  *name;          /* as the directive `stack` calls it */

    /*
     * A packet for the stack; packet[0..p->total_len) stays where it is and
     * belongs to the stack until the next flush.
     */
    void       (*in)(tn_stack_t *stack, uint8_t *packet,
                     const tn_packet_t *p);

    /* the end of a batch of packets in */
    void       (*flush)(tn_stack_t *stack);

    /*
     * Bytes that the stack's device gave, to be cut into packets; they are
     * overwritten.  Returns how many packets, or TN_MALFORMED.
     */
    int        (*frame)(tn_stack_t *stack, uint8_t *frame, size_t len);

    /* when to call tick(), or TN_NEVER_MS */
    tn_ms_t    (*deadline)(const tn_stack_t *stack);
    void       (*tick)(tn_stack_t *stack, tn_ms_t now);

    void       (*destroy)(tn_stack_t *stack);
};

/* the first member of every stack */
struct tn_stack_s {
    const tn_stack_ops_t  *ops;
};


typedef struct {
    /* one frame for the TUN; iov[0] is its virtio header of 10 bytes */
    void               (*write)(void *data, const struct iovec *iov, int n);
    tn_stack_packet_pt   packet;
    void                *data;          /* of both */
    bool                 udp_offload;   /* the TUN took USO4 and USO6 */
} tn_stack_kernel_t;

/*
 * Linux's own stack behind a TUN with offloads: frames are super-packets.
 * Its timers are the kernel's.  NULL: no memory.
 */
tn_stack_t *tn_stack_kernel_create(const tn_stack_kernel_t *conf);


#endif /* TN_STACK_H_INCLUDED_ */

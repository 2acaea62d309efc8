
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "stack/tn_stack.h"

#include <stdlib.h>

#include "stack/tn_coalesce.h"
#include "stack/tn_split.h"


typedef struct {
    tn_stack_t          stack;
    tn_coalesce_t      *coalesce;
    tn_stack_packet_pt  packet;
    void               *data;
} tn_stack_kernel_ctx_t;


static void tn_stack_kernel_in(tn_stack_t *stack, uint8_t *packet,
    const tn_packet_t *p);
static void tn_stack_kernel_flush(tn_stack_t *stack);
static int tn_stack_kernel_frame(tn_stack_t *stack, uint8_t *frame,
    size_t len);
static tn_ms_t tn_stack_kernel_deadline(const tn_stack_t *stack);
static void tn_stack_kernel_tick(tn_stack_t *stack, tn_ms_t now);
static void tn_stack_kernel_destroy(tn_stack_t *stack);


static const tn_stack_ops_t  tn_stack_kernel_ops = {
    "kernel",
    tn_stack_kernel_in,
    tn_stack_kernel_flush,
    tn_stack_kernel_frame,
    tn_stack_kernel_deadline,
    tn_stack_kernel_tick,
    tn_stack_kernel_destroy
};


tn_stack_t *
tn_stack_kernel_create(const tn_stack_kernel_t *conf)
{
    tn_stack_kernel_ctx_t  *ctx;

    ctx = calloc(1, sizeof(tn_stack_kernel_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->coalesce = tn_coalesce_create(conf->write, conf->data);
    if (ctx->coalesce == NULL) {
        free(ctx);
        return NULL;
    }

    tn_coalesce_set_udp(ctx->coalesce, conf->udp_offload);

    ctx->stack.ops = &tn_stack_kernel_ops;
    ctx->packet = conf->packet;
    ctx->data = conf->data;

    return &ctx->stack;
}


static void
tn_stack_kernel_in(tn_stack_t *stack, uint8_t *packet, const tn_packet_t *p)
{
    tn_stack_kernel_ctx_t  *ctx;

    ctx = tn_container(stack, tn_stack_kernel_ctx_t, stack);

    tn_coalesce_add(ctx->coalesce, packet, p);
}


static void
tn_stack_kernel_flush(tn_stack_t *stack)
{
    tn_stack_kernel_ctx_t  *ctx;

    ctx = tn_container(stack, tn_stack_kernel_ctx_t, stack);

    tn_coalesce_flush(ctx->coalesce);
}


static int
tn_stack_kernel_frame(tn_stack_t *stack, uint8_t *frame, size_t len)
{
    tn_vnet_t               vnet;
    tn_stack_kernel_ctx_t  *ctx;

    ctx = tn_container(stack, tn_stack_kernel_ctx_t, stack);

    if (len < sizeof(tn_vnet_t)) {
        return TN_MALFORMED;
    }

    memcpy(&vnet, frame, sizeof(tn_vnet_t));

    return tn_split(&vnet, frame + sizeof(tn_vnet_t),
                    len - sizeof(tn_vnet_t), ctx->packet, ctx->data);
}


static tn_ms_t
tn_stack_kernel_deadline(const tn_stack_t *stack)
{
    (void) stack;

    return TN_NEVER_MS;
}


static void
tn_stack_kernel_tick(tn_stack_t *stack, tn_ms_t now)
{
    (void) stack;
    (void) now;
}


static void
tn_stack_kernel_destroy(tn_stack_t *stack)
{
    tn_stack_kernel_ctx_t  *ctx;

    ctx = tn_container(stack, tn_stack_kernel_ctx_t, stack);

    tn_coalesce_destroy(ctx->coalesce);
    free(ctx);
}

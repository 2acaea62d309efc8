
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Every block is its type, its length, a body padded to 32 bits, and its
 * length again.  Three kinds are written: the section header, whose
 * byte-order magic tells readers that this is big-endian; one interface of
 * link type RAW, whose packets begin with the IP header; and enhanced packet
 * blocks with the direction and the count of lost packets as options.
 */

#include "tn_pcapng.h"

#include "base/tn_cursor.h"


#define TN_PCAPNG_SECTION     0x0a0d0d0a
#define TN_PCAPNG_INTERFACE   1
#define TN_PCAPNG_PACKET      6

#define TN_PCAPNG_MAGIC       0x1a2b3c4d
#define TN_PCAPNG_RAW         101

#define TN_PCAPNG_SECTION_LEN    28
#define TN_PCAPNG_INTERFACE_LEN  44
#define TN_PCAPNG_PACKET_LEN     44     /* without the packet and `lost` */
#define TN_PCAPNG_LOST_LEN       12

#define TN_PCAPNG_OPT_END     0
#define TN_PCAPNG_OPT_NAME    2         /* of an interface */
#define TN_PCAPNG_OPT_TSRESOL 9
#define TN_PCAPNG_OPT_FLAGS   2         /* of a packet */
#define TN_PCAPNG_OPT_LOST    4

#define TN_PCAPNG_INBOUND     1
#define TN_PCAPNG_OUTBOUND    2


size_t
tn_pcapng_head(uint8_t *buf, size_t size)
{
    tn_writer_t  w;

    w = tn_writer(buf, size);

    tn_write_u32(&w, TN_PCAPNG_SECTION);
    tn_write_u32(&w, TN_PCAPNG_SECTION_LEN);
    tn_write_u32(&w, TN_PCAPNG_MAGIC);
    tn_write_u16(&w, 1);
    tn_write_u16(&w, 0);
    tn_write_u32(&w, 0xffffffff);       /* the section's length: */
    tn_write_u32(&w, 0xffffffff);       /* not known yet */
    tn_write_u32(&w, TN_PCAPNG_SECTION_LEN);

    tn_write_u32(&w, TN_PCAPNG_INTERFACE);
    tn_write_u32(&w, TN_PCAPNG_INTERFACE_LEN);
    tn_write_u16(&w, TN_PCAPNG_RAW);
    tn_write_u16(&w, 0);
    tn_write_u32(&w, 0);                /* packets are whole */

    tn_write_u16(&w, TN_PCAPNG_OPT_NAME);
    tn_write_u16(&w, 7);
    tn_write_bytes(&w, "tailnet", 8);

    tn_write_u16(&w, TN_PCAPNG_OPT_TSRESOL);
    tn_write_u16(&w, 1);
    tn_write_u8(&w, 9);                 /* 10 to the power of -9 seconds */
    tn_write_zeros(&w, 3);

    tn_write_u32(&w, TN_PCAPNG_OPT_END);
    tn_write_u32(&w, TN_PCAPNG_INTERFACE_LEN);

    return w.bad ? 0 : tn_writer_len(&w);
}


size_t
tn_pcapng_packet(uint8_t *buf, size_t size, const tn_pcapng_packet_t *packet)
{
    size_t       pad, len;
    tn_writer_t  w;

    if (packet->len > UINT16_MAX) {
        return 0;
    }

    pad = -packet->len & 3;
    len = TN_PCAPNG_PACKET_LEN + packet->len + pad
          + (packet->lost != 0 ? TN_PCAPNG_LOST_LEN : 0);

    if (len > size) {
        return 0;
    }

    w = tn_writer(buf, size);

    tn_write_u32(&w, TN_PCAPNG_PACKET);
    tn_write_u32(&w, (uint32_t) len);
    tn_write_u32(&w, 0);                /* the interface */
    tn_write_u32(&w, (uint32_t) (packet->wall_ns >> 32));
    tn_write_u32(&w, (uint32_t) packet->wall_ns);
    tn_write_u32(&w, (uint32_t) packet->len);
    tn_write_u32(&w, (uint32_t) packet->len);
    tn_write_bytes(&w, packet->bytes, packet->len);
    tn_write_zeros(&w, pad);

    tn_write_u16(&w, TN_PCAPNG_OPT_FLAGS);
    tn_write_u16(&w, 4);
    tn_write_u32(&w, packet->out ? TN_PCAPNG_OUTBOUND : TN_PCAPNG_INBOUND);

    if (packet->lost != 0) {
        tn_write_u16(&w, TN_PCAPNG_OPT_LOST);
        tn_write_u16(&w, 8);
        tn_write_u32(&w, (uint32_t) (packet->lost >> 32));
        tn_write_u32(&w, (uint32_t) packet->lost);
    }

    tn_write_u32(&w, TN_PCAPNG_OPT_END);
    tn_write_u32(&w, (uint32_t) len);

    return w.bad ? 0 : tn_writer_len(&w);
}

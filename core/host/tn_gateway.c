
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Gateways with a public address are left alone, as upstream does: such a
 * host is in a data centre, and what answers there is not ours to command.
 */

#include "host/tn_gateway.h"

#include "host/tn_sockname.h"

#include <linux/route.h>


#define TN_GATEWAY_ROUTES  1000     /* lines read of a long table */
#define TN_GATEWAY_PORT    9        /* any: nothing is sent there */


static bool tn_gateway_way4(FILE *routes, char way[TN_GATEWAY_WAY]);
static void tn_gateway_way6(FILE *routes, char way[TN_GATEWAY_WAY]);


tn_rc_t
tn_gateway_find(tn_ip_t *gateway, tn_ip_t *self)
{
    FILE     *routes;
    tn_rc_t   rc;

    routes = fopen("/proc/net/route", "re");
    if (routes == NULL) {
        return TN_NOTFOUND;
    }

    rc = tn_gateway_read(routes, gateway);
    (void) fclose(routes);

    return rc == TN_OK ? tn_gateway_self(gateway, self) : rc;
}


tn_rc_t
tn_gateway_read(FILE *routes, tn_ip_t *gateway)
{
    int           i;
    bool          found;
    char          line[256];
    tn_ip_t       ip;
    uint32_t      v4;
    unsigned int  to, via, flags, metric, mask, lowest;

    found = false;
    lowest = 0;

    for (i = 0; i < TN_GATEWAY_ROUTES; i++) {

        if (fgets(line, sizeof(line), routes) == NULL) {
            break;
        }

        if (sscanf(line, "%*15s %8x %8x %4x %*u %*u %u %8x", &to, &via,
                   &flags, &metric, &mask) != 5)
        {
            continue;
        }

        if (to != 0 || mask != 0
            || (flags & (RTF_UP | RTF_GATEWAY)) != (RTF_UP | RTF_GATEWAY))
        {
            continue;
        }

        /* the digits are those of the number in memory */

        v4 = via;
        ip = tn_ip_from_v4((uint8_t *) &v4);

        if (tn_ip_is_private(&ip) && (!found || metric < lowest)) {
            *gateway = ip;
            lowest = metric;
            found = true;
        }
    }

    return found ? TN_OK : TN_NOTFOUND;
}


tn_rc_t
tn_gateway_self(const tn_ip_t *gateway, tn_ip_t *self)
{
    tn_addr_t  addr;

    addr.ip = *gateway;
    addr.port = TN_GATEWAY_PORT;

    return tn_sockname_towards(&addr, self) == TN_OK ? TN_OK : TN_NOTFOUND;
}


void
tn_gateway_way(char way[TN_GATEWAY_WAY])
{
    FILE  *routes, *routes6;

    routes = fopen("/proc/net/route", "re");
    routes6 = fopen("/proc/net/ipv6_route", "re");

    tn_gateway_read_way(routes, routes6, way);

    if (routes != NULL) {
        (void) fclose(routes);
    }

    if (routes6 != NULL) {
        (void) fclose(routes6);
    }
}


/* of several routers of IPv6 the kernel takes turns, so its gateway is left
 * out */
void
tn_gateway_read_way(FILE *routes, FILE *routes6, char way[TN_GATEWAY_WAY])
{
    way[0] = '\0';

    if ((routes == NULL || !tn_gateway_way4(routes, way)) && routes6 != NULL) {
        tn_gateway_way6(routes6, way);
    }
}


static bool
tn_gateway_way4(FILE *routes, char way[TN_GATEWAY_WAY])
{
    int           i;
    bool          found;
    char          line[256], name[16];
    unsigned int  to, via, flags, metric, mask, lowest;

    found = false;
    lowest = 0;

    for (i = 0; i < TN_GATEWAY_ROUTES; i++) {

        if (fgets(line, sizeof(line), routes) == NULL) {
            break;
        }

        if (sscanf(line, "%15s %8x %8x %4x %*u %*u %u %8x", name, &to, &via,
                   &flags, &metric, &mask) != 6)
        {
            continue;
        }

        if (to != 0 || mask != 0
            || (flags & (RTF_UP | RTF_REJECT)) != RTF_UP
            || (found && metric >= lowest))
        {
            continue;
        }

        (void) snprintf(way, TN_GATEWAY_WAY, "%s %08x", name, via);
        lowest = metric;
        found = true;
    }

    return found;
}


static void
tn_gateway_way6(FILE *routes, char way[TN_GATEWAY_WAY])
{
    int           i;
    bool          found;
    char          line[256], to[33], name[16];
    unsigned int  bits, metric, flags, lowest;

    found = false;
    lowest = 0;

    for (i = 0; i < TN_GATEWAY_ROUTES; i++) {

        if (fgets(line, sizeof(line), routes) == NULL) {
            break;
        }

        if (sscanf(line, "%32s %2x %*32s %*2x %*32s %8x %*8x %*8x %8x %15s",
                   to, &bits, &metric, &flags, name) != 5)
        {
            continue;
        }

        if (bits != 0 || (flags & (RTF_UP | RTF_REJECT)) != RTF_UP
            || (found && metric >= lowest))
        {
            continue;
        }

        (void) snprintf(way, TN_GATEWAY_WAY, "%s", name);
        lowest = metric;
        found = true;
    }
}

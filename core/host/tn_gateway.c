
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


/* a default route that is up */
typedef struct {
    char          name[16];         /* of the interface */
    unsigned int  via;              /* of IPv4; as in memory */
    unsigned int  flags;
    unsigned int  metric;
} tn_gateway_route_t;


static bool tn_gateway_next(FILE *routes, bool ip6, unsigned *lines,
    tn_gateway_route_t *route);
static bool tn_gateway_scan4(const char *line, tn_gateway_route_t *route);
static bool tn_gateway_scan6(const char *line, tn_gateway_route_t *route);
static bool tn_gateway_way_by(FILE *routes, bool ip6,
    char way[TN_GATEWAY_WAY]);


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
    bool                found;
    tn_ip_t             ip;
    uint32_t            v4;
    unsigned            lines, lowest;
    tn_gateway_route_t  route;

    found = false;
    lowest = 0;
    lines = 0;

    while (tn_gateway_next(routes, false, &lines, &route)) {

        if (!(route.flags & RTF_GATEWAY)) {
            continue;
        }

        /* the digits are those of the number in memory */

        v4 = route.via;
        ip = tn_ip_from_v4((uint8_t *) &v4);

        if (tn_ip_is_private(&ip) && (!found || route.metric < lowest)) {
            *gateway = ip;
            lowest = route.metric;
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


void
tn_gateway_read_way(FILE *routes, FILE *routes6, char way[TN_GATEWAY_WAY])
{
    way[0] = '\0';

    if ((routes == NULL || !tn_gateway_way_by(routes, false, way))
        && routes6 != NULL)
    {
        (void) tn_gateway_way_by(routes6, true, way);
    }
}


/* of several routers of IPv6 the kernel takes turns, so its gateway is left
 * out */
static bool
tn_gateway_way_by(FILE *routes, bool ip6, char way[TN_GATEWAY_WAY])
{
    bool                found;
    unsigned            lines, lowest;
    tn_gateway_route_t  route;

    found = false;
    lowest = 0;
    lines = 0;

    while (tn_gateway_next(routes, ip6, &lines, &route)) {

        if ((route.flags & RTF_REJECT) || (found && route.metric >= lowest)) {
            continue;
        }

        if (ip6) {
            (void) snprintf(way, TN_GATEWAY_WAY, "%s", route.name);

        } else {
            (void) snprintf(way, TN_GATEWAY_WAY, "%s %08x", route.name,
                            route.via);
        }

        lowest = route.metric;
        found = true;
    }

    return found;
}


/* the next one in the kernel's text; false: there is none */
static bool
tn_gateway_next(FILE *routes, bool ip6, unsigned *lines,
    tn_gateway_route_t *route)
{
    char  line[256];

    while ((*lines)++ < TN_GATEWAY_ROUTES
           && fgets(line, sizeof(line), routes) != NULL)
    {
        if ((ip6 ? tn_gateway_scan6(line, route)
                 : tn_gateway_scan4(line, route))
            && (route->flags & RTF_UP))
        {
            return true;
        }
    }

    return false;
}


static bool
tn_gateway_scan4(const char *line, tn_gateway_route_t *route)
{
    unsigned int  to, mask;

    return sscanf(line, "%15s %8x %8x %4x %*u %*u %u %8x", route->name, &to,
                  &route->via, &route->flags, &route->metric, &mask) == 6
           && to == 0 && mask == 0;
}


static bool
tn_gateway_scan6(const char *line, tn_gateway_route_t *route)
{
    char          to[33];
    unsigned int  bits;

    return sscanf(line, "%32s %2x %*32s %*2x %*32s %8x %*8x %*8x %8x %15s",
                  to, &bits, &route->metric, &route->flags, route->name) == 5
           && bits == 0;
}

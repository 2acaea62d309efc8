
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What others may reach at this node besides its own addresses: services and
 * routes.  Both change while it runs, and a plane that is made anew, with
 * another node key, is told again.
 */

#include "tn_data_private.h"

#include <stdlib.h>


typedef struct {
    tn_post_t             post;
    tn_data_t            *data;
    tn_filter_service_t  *services;
    size_t                nservices;
    tn_prefix_t           routes[TN_PLANE_ROUTES];
    size_t                nroutes;
} reach_order_t;


static reach_order_t *reach_order(tn_data_t *data, void (*fn)(void *arg));
static tn_rc_t reach_post(reach_order_t *order);
static bool reach_same_services(const tn_data_said_t *said,
    const tn_filter_service_t *served, size_t n);
static bool reach_same_routes(const tn_data_said_t *said,
    const tn_prefix_t *routes, size_t n);
static void reach_on_services(void *arg);
static void reach_on_routes(void *arg);
static void reach_order_free(reach_order_t *order);


tn_rc_t
tn_data_services(tn_data_t *data, const tn_filter_service_t *served,
    size_t n)
{
    tn_rc_t         rc;
    reach_order_t  *order;

    n = tn_min(n, (size_t) TN_FILTER_SERVICES_MAX);

    if (reach_same_services(&data->said, served, n)) {
        return TN_OK;
    }

    order = reach_order(data, reach_on_services);

    if (order == NULL) {
        return TN_NOMEM;
    }

    if (n != 0) {
        order->services = calloc(n, sizeof(tn_filter_service_t));

        if (order->services == NULL) {
            free(order);
            return TN_NOMEM;
        }

        memcpy(order->services, served, n * sizeof(tn_filter_service_t));
        order->nservices = n;
    }

    rc = reach_post(order);

    if (rc == TN_OK) {
        data->said.services_given = true;
        data->said.nservices = n;

        if (n != 0) {
            memcpy(data->said.services, served,
                   n * sizeof(tn_filter_service_t));
        }
    }

    return rc;
}


static bool
reach_same_services(const tn_data_said_t *said,
    const tn_filter_service_t *served, size_t n)
{
    size_t  i;

    if (!said->services_given || said->nservices != n) {
        return false;
    }

    for (i = 0; i < n; i++) {
        if (said->services[i].proto != served[i].proto
            || !tn_addr_equal(&said->services[i].addr, &served[i].addr))
        {
            return false;
        }
    }

    return true;
}


tn_rc_t
tn_data_routes(tn_data_t *data, const tn_prefix_t *routes, size_t n)
{
    tn_rc_t         rc;
    reach_order_t  *order;

    n = tn_min(n, (size_t) TN_PLANE_ROUTES);

    if (reach_same_routes(&data->said, routes, n)) {
        return TN_OK;
    }

    order = reach_order(data, reach_on_routes);

    if (order == NULL) {
        return TN_NOMEM;
    }

    order->nroutes = n;

    if (n != 0) {
        memcpy(order->routes, routes, n * sizeof(tn_prefix_t));
    }

    rc = reach_post(order);

    if (rc == TN_OK) {
        data->said.routes_given = true;
        data->said.nroutes = n;

        if (n != 0) {
            memcpy(data->said.routes, routes, n * sizeof(tn_prefix_t));
        }
    }

    return rc;
}


static bool
reach_same_routes(const tn_data_said_t *said, const tn_prefix_t *routes,
    size_t n)
{
    size_t  i;

    if (!said->routes_given || said->nroutes != n) {
        return false;
    }

    for (i = 0; i < n; i++) {
        if (!tn_prefix_equal(&said->routes[i], &routes[i])) {
            return false;
        }
    }

    return true;
}


void
tn_data_reach(tn_data_t *data)
{
    tn_plane_set_services(data->plane, data->services, data->nservices);
}


static reach_order_t *
reach_order(tn_data_t *data, void (*fn)(void *arg))
{
    reach_order_t  *order;

    order = calloc(1, sizeof(reach_order_t));

    if (order != NULL) {
        order->post.fn = fn;
        order->post.data = order;
        order->data = data;
    }

    return order;
}


static tn_rc_t
reach_post(reach_order_t *order)
{
    if (tn_loop_post_item(&order->data->loop, &order->post) != TN_OK) {
        reach_order_free(order);
        return TN_NOMEM;
    }

    return TN_OK;
}


static void
reach_on_services(void *arg)
{
    reach_order_t *order = arg;

    tn_data_t  *data;

    data = order->data;

    free(data->services);
    data->services = order->services;
    data->nservices = order->nservices;
    order->services = NULL;

    if (data->plane != NULL) {
        tn_data_reach(data);
    }

    reach_order_free(order);
}


static void
reach_on_routes(void *arg)
{
    reach_order_t *order = arg;

    tn_data_t  *data;

    data = order->data;

    memcpy(data->routes, order->routes, sizeof(data->routes));
    data->plane_conf.nroutes = order->nroutes;

    if (data->plane != NULL
        && tn_plane_set_routes(data->plane, data->routes, order->nroutes)
           != TN_OK)
    {
        tn_log(data->log, TN_LOG_ERR, "no memory for the routes");
    }

    reach_order_free(order);
}


static void
reach_order_free(reach_order_t *order)
{
    free(order->services);
    free(order);
}


/*
 * Copyright (C) the ngx_tailnet authors
 *
 * libcurl, loaded when a certificate is first ordered: with it come some
 * thirty libraries, 6 MB of each process that links it, and most nodes order
 * none.  The functions are those of <curl/curl.h> without "curl_".
 */

#ifndef TN_CURL_H_INCLUDED_
#define TN_CURL_H_INCLUDED_

#include "base/tn_base.h"

#include <curl/curl.h>


#define TN_CURL_LIBRARY  "libcurl.so.4"

typedef struct {
    __typeof__(&curl_easy_cleanup)        easy_cleanup;
    __typeof__(&curl_easy_getinfo)        easy_getinfo;
    __typeof__(&curl_easy_header)         easy_header;
    __typeof__(&curl_easy_init)           easy_init;
    __typeof__(&curl_easy_setopt)         easy_setopt;
    __typeof__(&curl_easy_strerror)       easy_strerror;
    __typeof__(&curl_multi_add_handle)    multi_add_handle;
    __typeof__(&curl_multi_assign)        multi_assign;
    __typeof__(&curl_multi_cleanup)       multi_cleanup;
    __typeof__(&curl_multi_info_read)     multi_info_read;
    __typeof__(&curl_multi_init)          multi_init;
    __typeof__(&curl_multi_remove_handle) multi_remove_handle;
    __typeof__(&curl_multi_setopt)        multi_setopt;
    __typeof__(&curl_multi_socket_action) multi_socket_action;
    __typeof__(&curl_slist_append)        slist_append;
    __typeof__(&curl_slist_free_all)      slist_free_all;
} tn_curl_t;


/* the same each time, for good; NULL when it is not there or too old */
const tn_curl_t *tn_curl(void);


#endif /* TN_CURL_H_INCLUDED_ */


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_curl.h"

#include <dlfcn.h>
#include <pthread.h>


#define tn_curl_symbol(name)  { "curl_" #name, &tn_curl_functions.name }


static void tn_curl_load(void);


static tn_curl_t       tn_curl_functions;
static bool            tn_curl_loaded;
static pthread_once_t  tn_curl_once = PTHREAD_ONCE_INIT;


const tn_curl_t *
tn_curl(void)
{
    (void) pthread_once(&tn_curl_once, tn_curl_load);

    return tn_curl_loaded ? &tn_curl_functions : NULL;
}


static void
tn_curl_load(void)
{
    void                             *library, *found;
    size_t                            i;
    __typeof__(&curl_global_init)     init;

    const struct {
        const char  *name;
        void        *function;
    } symbols[] = {
        { "curl_global_init", &init },
        tn_curl_symbol(easy_cleanup),
        tn_curl_symbol(easy_getinfo),
        tn_curl_symbol(easy_header),
        tn_curl_symbol(easy_init),
        tn_curl_symbol(easy_setopt),
        tn_curl_symbol(easy_strerror),
        tn_curl_symbol(multi_add_handle),
        tn_curl_symbol(multi_assign),
        tn_curl_symbol(multi_cleanup),
        tn_curl_symbol(multi_info_read),
        tn_curl_symbol(multi_init),
        tn_curl_symbol(multi_remove_handle),
        tn_curl_symbol(multi_setopt),
        tn_curl_symbol(multi_socket_action),
        tn_curl_symbol(slist_append),
        tn_curl_symbol(slist_free_all)
    };

    library = dlopen(TN_CURL_LIBRARY, RTLD_LAZY | RTLD_LOCAL);

    if (library == NULL) {
        return;
    }

    for (i = 0; i < tn_nelems(symbols); i++) {
        found = dlsym(library, symbols[i].name);

        if (found == NULL) {
            return;
        }

        memcpy(symbols[i].function, &found, sizeof(found));
    }

    tn_curl_loaded = init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

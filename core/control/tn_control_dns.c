
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A TXT record of this node's name, published by control (upstream: set-dns);
 * it is how a certificate authority sees that the name is ours.
 */

#include "control/tn_control_int.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_CONTROL_DNS_PATH  "/machine/set-dns"


static void tn_control_dns_answered(tn_control_t *c, tn_control_call_t *call,
    const char *error);


tn_rc_t
tn_control_set_dns(tn_control_t *c, const char *name, const char *value)
{
    char     buf[TN_KEY_TEXT], *text;
    json_t  *o;

    if (c->h2 == NULL || c->failed || !tn_control_online(c) || c->stopping) {
        return TN_CLOSED;
    }

    o = json_pack("{s:i, s:s, s:s, s:s, s:s}",
                  "Version", TN_CONTROL_CAPABILITY_VERSION,
                  "NodeKey", tn_key_text(&c->saved.node.pub, TN_KEY_NODE,
                                         buf),
                  "Name", name, "Type", "TXT", "Value", value);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    if (text == NULL) {
        return TN_NOMEM;
    }

    tn_control_enter(c);

    tn_control_call_cancel(&c->dns);
    c->dns = tn_control_request(c, "POST", TN_CONTROL_DNS_PATH,
                                "application/json", text,
                                tn_control_dns_answered);

    tn_control_leave(c);

    return c->dns != NULL ? TN_OK : TN_CLOSED;
}


static void
tn_control_dns_answered(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    char  text[TN_CONTROL_TEXT];

    c->dns = NULL;

    if (c->ops->dns_set == NULL) {
        return;
    }

    if (error == NULL && call->h2.status == 200) {
        c->ops->dns_set(c->data, NULL);
        return;
    }

    if (error != NULL) {
        (void) snprintf(text, sizeof(text), "%s", error);

    } else if (call->h2.status == 404 || call->h2.status == 501) {
        (void) snprintf(text, sizeof(text), "%s does not know how to "
                        "(%d)", c->url.host, call->h2.status);

    } else {
        (void) snprintf(text, sizeof(text), "%s answers %d: %s",
                        c->url.host, call->h2.status,
                        tn_control_answer_text(call));
    }

    c->ops->dns_set(c->data, text);
}

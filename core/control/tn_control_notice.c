
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control has for people to read: it is logged, each time that it is
 * something else.
 */

#include "control/tn_control_int.h"

#include <stdio.h>
#include <stdlib.h>


void
tn_control_notice_url(tn_control_t *c, tn_json_span_t span)
{
    char    *url;
    json_t  *o;

    if (tn_json_load(span, &o) != TN_OK) {
        return;
    }

    url = tn_json_copy(json_string_value(o), TN_URL_PATH_MAX);
    json_decref(o);

    if (url == NULL || *url == '\0'
        || (c->popped != NULL && strcmp(c->popped, url) == 0))
    {
        free(url);
        return;
    }

    free(c->popped);
    c->popped = url;

    tn_log(c->log, TN_LOG_NOTICE, "control: %s asks you to visit %s",
           c->url.host, url);
}


/*
 * ClientVersion (tailcfg) is about Tailscale's own clients: that one is newer
 * than what we say in IPNVersion means nothing.  What makes an update urgent
 * for them may be wrong here, too, and a text was written to be read.
 */
void
tn_control_notice_version(tn_control_t *c, tn_json_span_t span)
{
    bool         urgent;
    char         said[TN_CONTROL_TEXT];
    json_t      *o;
    const char  *latest, *text, *url;

    if (tn_json_load(span, &o) != TN_OK) {
        return;
    }

    urgent = tn_json_bool(o, "UrgentSecurityUpdate")
             && !tn_json_bool(o, "RunningLatest");
    latest = tn_json_text(o, "LatestVersion");
    text = tn_json_bool(o, "Notify") ? tn_json_text(o, "NotifyText") : "";
    url = tn_json_bool(o, "Notify") ? tn_json_text(o, "NotifyURL") : "";
    said[0] = '\0';

    if (urgent || *text != '\0') {
        snprintf(said, sizeof(said), "%s%s%.40s%s%.200s%s%.150s",
                 urgent ? "a security update is urgent" : "",
                 urgent && *latest ? ", " : "", urgent ? latest : "",
                 urgent && *text ? "; " : "", text, *url ? " " : "", url);
    }

    json_decref(o);

    if (strcmp(said, c->version_said) == 0) {
        return;
    }

    memcpy(c->version_said, said, sizeof(said));

    if (said[0] != '\0') {
        tn_log(c->log, TN_LOG_INFO, "control: %s says of Tailscale's own "
               "clients, of which this is none: %s", c->url.host, said);
    }
}

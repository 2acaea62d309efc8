
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control may ask of the client itself by c2n requests: an echo, the
 * health, what it has told us and our own, and the netmap as we have
 * understood it.  All else is the owner's.
 */

#include "control/tn_control_int.h"

#include "control/tn_netmap_dump.h"

#include <stdlib.h>


typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
} tn_control_text_t;


static void tn_control_c2n_health(tn_control_t *c, uint32_t id);
static void tn_control_c2n_netmap(tn_control_t *c, uint32_t id);
static tn_rc_t tn_control_c2n_text(void *data, const char *text, size_t len);


bool
tn_control_c2n_own(tn_control_t *c, const tn_control_c2n_t *request)
{
    /* echo is how control sees that this way works; it mirrors the body */

    if (strcmp(request->path, "/echo") == 0) {
        tn_control_c2n_answer(c, request->id, 200, NULL, request->body,
                              request->body_len);
        return true;
    }

    if (strcmp(request->path, "/debug/health") == 0) {
        tn_control_c2n_health(c, request->id);
        return true;
    }

    if (strcmp(request->path, "/debug/netmap") == 0) {
        tn_control_c2n_netmap(c, request->id);
        return true;
    }

    return false;
}


/* upstream's health.State: Warnings by their code, null when all is well */
static void
tn_control_c2n_health(tn_control_t *c, uint32_t id)
{
    char                       *text;
    json_t                     *o, *warnings;
    size_t                      i;
    const char                 *code, *own;
    const tn_netmap_message_t  *m;

    own = tn_control_health(c, &code);

    warnings = c->netmap->nmessages != 0 || own != NULL ? json_object()
                                                        : json_null();

    if (own != NULL) {
        json_object_set_new(warnings, code,
                            json_pack("{s:s, s:s, s:s, s:s}",
                                      "WarnableCode", code,
                                      "Severity", "high",
                                      "Title", "Node key",
                                      "Text", own));
    }

    for (i = 0; i < c->netmap->nmessages; i++) {
        m = &c->netmap->messages[i];
        code = m->id[0] != '\0' ? m->id : "control-health";

        json_object_set_new(warnings, code,
                            json_pack("{s:s, s:s, s:s, s:s}",
                                      "WarnableCode", code,
                                      "Severity", m->severity[0] != '\0'
                                                  ? m->severity : "medium",
                                      "Title", m->title,
                                      "Text", m->text));
    }

    o = json_object();
    json_object_set_new(o, "Warnings", warnings);

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    if (text != NULL) {
        tn_control_c2n_answer(c, id, 200, "application/json", text,
                              strlen(text));
    }

    free(text);
}


/* one that is too large for an answer is not given in part */
static void
tn_control_c2n_netmap(tn_control_t *c, uint32_t id)
{
    tn_rc_t             rc;
    tn_control_text_t   text;

    static const char  large[] = "the netmap is too large\n";

    memset(&text, 0, sizeof(text));

    rc = tn_control_c2n_text(&text, "{\"current\":", 11);

    if (rc == TN_OK) {
        rc = tn_netmap_dump(c->netmap, 0, tn_control_c2n_text, &text);
    }

    if (rc == TN_OK) {
        rc = tn_control_c2n_text(&text, "}", 1);
    }

    if (rc == TN_OK) {
        tn_control_c2n_answer(c, id, 200, "application/json", text.data,
                              text.len);
    } else {
        tn_control_c2n_answer(c, id, 500, NULL, large, sizeof(large) - 1);
    }

    free(text.data);
}


static tn_rc_t
tn_control_c2n_text(void *data, const char *bytes, size_t len)
{
    char               *more;
    size_t              size;
    tn_control_text_t  *text;

    text = data;

    if (text->size - text->len < len) {
        size = text->size * 2 + len + 1024;
        more = size <= TN_CONTROL_ANSWER_MAX ? realloc(text->data, size)
                                             : NULL;
        if (more == NULL) {
            return TN_NOMEM;
        }

        text->data = more;
        text->size = size;
    }

    memcpy(text->data + text->len, bytes, len);
    text->len += len;

    return TN_OK;
}


/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_nodestate.h"

#include "crypto/tn_curve.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>


struct tn_nodestate_s {
    tn_state_t  *dir;
    char        *path;
};


static tn_rc_t nodestate_key(const json_t *root, const char *name,
    const char *prefix, tn_key_t *key);


tn_rc_t
tn_nodestate_open(tn_nodestate_t **out, const char *path,
    tn_state_error_t *error)
{
    tn_rc_t          rc;
    tn_nodestate_t  *state;

    *out = NULL;

    state = calloc(1, sizeof(tn_nodestate_t));
    if (state == NULL) {
        goto nomem;
    }

    state->path = strdup(path);
    if (state->path == NULL) {
        goto nomem;
    }

    rc = tn_state_open(&state->dir, path, error);

    if (rc != TN_OK) {
        tn_nodestate_close(state);
        return rc;
    }

    *out = state;

    return TN_OK;

nomem:

    tn_nodestate_close(state);
    error->why = TN_STATE_OTHER;
    (void) snprintf(error->text, sizeof(error->text), "out of memory");

    return TN_NOMEM;
}


tn_state_t *
tn_nodestate_dir(tn_nodestate_t *state)
{
    return state->dir;
}


void
tn_nodestate_close(tn_nodestate_t *state)
{
    if (state == NULL) {
        return;
    }

    if (state->dir != NULL) {
        tn_state_close(state->dir);
    }

    free(state->path);
    free(state);
}


tn_rc_t
tn_nodestate_load(tn_nodestate_t *state, const char *control_url,
    tn_control_saved_t *saved, tn_state_error_t *error)
{
    size_t       len;
    json_t      *root;
    tn_rc_t      rc;
    uint8_t     *data;
    const char  *url;

    memset(saved, 0, sizeof(tn_control_saved_t));

    rc = tn_state_read(state->dir, TN_NODESTATE_FILE, TN_NODESTATE_MAX, &data,
                       &len, error);

    if (rc == TN_NOTFOUND) {
        return TN_OK;
    }

    if (rc != TN_OK) {
        return TN_ERROR;
    }

    root = json_loadb((const char *) data, len, 0, NULL);
    tn_state_free(data, len);

    url = json_string_value(json_object_get(root, "control_url"));

    if (url == NULL
        || nodestate_key(root, "machine", TN_KEY_PRIVATE, &saved->machine.priv)
           != TN_OK
        || nodestate_key(root, "node", TN_KEY_PRIVATE, &saved->node.priv)
           != TN_OK)
    {
        rc = TN_MALFORMED;
        goto done;
    }

    tn_curve_public(&saved->machine.pub, &saved->machine.priv);

    if (strcmp(url, control_url) != 0) {

        /* a node key belongs to the control server that knows it */

        tn_wipe(&saved->node.priv, sizeof(tn_key_t));
        goto done;
    }

    tn_curve_public(&saved->node.pub, &saved->node.priv);
    saved->registered = json_is_true(json_object_get(root, "registered"));

    if (json_object_get(root, "next_node") != NULL) {
        rc = nodestate_key(root, "next_node", TN_KEY_PRIVATE,
                           &saved->next.priv);
    }

done:

    json_decref(root);

    if (rc != TN_OK) {
        tn_wipe(saved, sizeof(tn_control_saved_t));
        error->why = TN_STATE_OTHER;
        (void) snprintf(error->text, sizeof(error->text),
                        "\"%.400s/" TN_NODESTATE_FILE "\" is damaged; remove "
                        "it to sign in anew", state->path);
    }

    return rc;
}


tn_rc_t
tn_nodestate_save(tn_nodestate_t *state, const char *control_url,
    const tn_control_saved_t *saved, tn_state_error_t *error)
{
    char      machine[TN_KEY_TEXT], node[TN_KEY_TEXT], next[TN_KEY_TEXT];
    char     *text;
    json_t   *root;
    tn_rc_t   rc;

    rc = TN_ERROR;
    text = NULL;

    root = json_pack("{s:s, s:s, s:s, s:b}",
                     "control_url", control_url,
                     "machine", tn_key_text(&saved->machine.priv,
                                            TN_KEY_PRIVATE, machine),
                     "node", tn_key_text(&saved->node.priv, TN_KEY_PRIVATE,
                                         node),
                     "registered", (int) saved->registered);

    if (root != NULL && !tn_key_is_zero(&saved->next.priv)
        && json_object_set_new(root, "next_node",
                               json_string(tn_key_text(&saved->next.priv,
                                                       TN_KEY_PRIVATE, next)))
           != 0)
    {
        json_decref(root);
        root = NULL;
    }

    if (root != NULL) {
        text = json_dumps(root, JSON_INDENT(1));
    }

    if (text != NULL) {
        rc = tn_state_write(state->dir, TN_NODESTATE_FILE, text, strlen(text),
                            error);

    } else {
        error->why = TN_STATE_OTHER;
        (void) snprintf(error->text, sizeof(error->text), "out of memory");
    }

    tn_wipe_free(text);
    json_decref(root);
    tn_wipe(machine, sizeof(machine));
    tn_wipe(node, sizeof(node));
    tn_wipe(next, sizeof(next));

    return rc;
}


tn_rc_t
tn_nodestate_netmap(tn_nodestate_t *state, uint8_t **bytes, size_t *len,
    tn_state_error_t *error)
{
    return tn_state_read(state->dir, TN_NODESTATE_NETMAP, TN_STATE_MAX, bytes,
                         len, error);
}


tn_rc_t
tn_nodestate_keep_netmap(tn_nodestate_t *state, const uint8_t *bytes,
    size_t len, tn_state_error_t *error)
{
    return bytes != NULL
           ? tn_state_write(state->dir, TN_NODESTATE_NETMAP, bytes, len, error)
           : tn_state_remove(state->dir, TN_NODESTATE_NETMAP, error);
}


tn_rc_t
tn_nodestate_lock(tn_nodestate_t *state, uint8_t **bytes, size_t *len,
    tn_state_error_t *error)
{
    return tn_state_read(state->dir, TN_NODESTATE_LOCK, TN_STATE_MAX, bytes,
                         len, error);
}


tn_rc_t
tn_nodestate_keep_lock(tn_nodestate_t *state, const uint8_t *bytes,
    size_t len, tn_state_error_t *error)
{
    return bytes != NULL
           ? tn_state_write(state->dir, TN_NODESTATE_LOCK, bytes, len, error)
           : tn_state_remove(state->dir, TN_NODESTATE_LOCK, error);
}


static tn_rc_t
nodestate_key(const json_t *root, const char *name, const char *prefix,
    tn_key_t *key)
{
    const char  *text;

    text = json_string_value(json_object_get(root, name));

    return text ? tn_key_parse(key, prefix, text, strlen(text))
                : TN_MALFORMED;
}

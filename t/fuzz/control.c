
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The control client against a server that says anything at one place, which
 * the first byte chooses: instead of its key, of the upgrade, inside Noise,
 * as HTTP/2, as the answer to a registration, in the map stream.
 */

#include "../unit/control_world.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char               *text;
    conn_t             *conn;
    uint8_t             place;
    stream_t           *stream;
    tn_control_conf_t   conf;

    if (size == 0 || tn_crypto_init() != TN_OK) {
        return 0;
    }

    place = data[0] % 6;
    data++;
    size--;

    text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }

    memcpy(text, data, size);
    text[size] = '\0';

    memset(&conf, 0, sizeof(conf));
    conf.url = "http://127.0.0.1:8080";
    conf.auth_key = "key";
    conf.hostname = "fuzz";

    world_begin(1, "{\"Node\":{\"ID\":1,\"Key\":\"nodekey:22222222222222222222"
                   "22222222222222222222222222222222222222222222\"}}");
    world_log.level = TN_LOG_WARN;
    w.piece = 1 + size % 251;

    if (place == 0) {
        w.key_answer = text;

    } else if (place == 1) {
        w.upgrade_answer = text;

    } else if (place == 2) {
        w.register_answer = text;
    }

    w.control = tn_control_create(&conf, &world_ops, NULL, &w.timers,
                                  &world_log);
    if (w.control == NULL) {
        abort();
    }

    tn_control_start(w.control);
    run(300);

    conn = server_conn();
    stream = server_map_stream(conn);

    if (place == 3 && conn != NULL) {
        server_send(conn, data, size);

    } else if (place == 4 && conn != NULL) {
        server_seal(conn, data, size);

    } else if (place == 5 && stream != NULL) {
        server_map_bytes(data, size, false);
    }

    run(2000);
    server_close("gone");
    run(500);

    world_end();
    free(text);

    return 0;
}

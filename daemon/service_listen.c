#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/service.h"

/* The settings were checked: ranges can be read. NULL where there are none, or memory is out. */
static sttp_network *read_networks(const settings_list *from)
{
    sttp_network *networks = from->count > 0 ? calloc(from->count, sizeof *networks) : NULL;

    for (size_t i = 0; networks != NULL && i < from->count; i++)
        (void)sttp_network_parse((sttp_slice){from->items[i], strlen(from->items[i])},
                                 &networks[i]);
    return networks;
}

static sttp_status listen_on(sttp_server *server, const struct listener *listener)
{
    sttp_network *trusted = read_networks(&listener->trusted_proxies);
    sttp_listener_options options = {
        .size = sizeof options,
        .address = listener->address,
        .proxy_protocol = listener->proxy_protocol,
        .trusted = trusted,
        .trusted_count = listener->trusted_proxies.count,
    };
    sttp_status status = STTP_ERR_MEMORY;

    if (trusted != NULL || listener->trusted_proxies.count == 0)
        status = sttp_server_listen_with(server, &options);
    int error = errno;
    free(trusted);
    errno = error;
    return status;
}

bool service_listen(struct service *service, const struct listen_options *options, const char *flag)
{
    const struct listener *listeners = options->listen.items;
    bool is_good = true;

    for (size_t i = 0; i < options->listen.count; i++) {
        sttp_status status = listen_on(service->server, &listeners[i]);
        if (status != STTP_OK) {
            service_log_listen_failure(service->log, listeners[i].address, status, errno, flag);
            is_good = false;
        }
    }
    return is_good;
}

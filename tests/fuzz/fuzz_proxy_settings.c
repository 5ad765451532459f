/* Settings of sttp-proxy, whatever the bytes are. */
#include "settings_property.h"
#include "sttp-proxy/destination.h"
#include "sttp-proxy/options.h"

/* What the proxy takes for granted. */
static void check_routes(const struct proxy_options *options)
{
    const struct route_options *routes = options->reverse.items;
    struct destination destination;

    for (size_t i = 0; i < options->reverse.count; i++) {
        const struct upstream_options *upstreams = routes[i].upstreams.items;
        require(routes[i].prefix && routes[i].upstreams.count > 0, "a route is whole");
        for (size_t j = 0; j < routes[i].upstreams.count; j++)
            require(destination_parse(upstreams[j].address, &destination), "an upstream is whole");
    }
    require(!options->forward_parent ||
                destination_parse_parent(options->forward_parent, &destination),
            "a parent can be read");
    require(options->faults.count == 0 || options->allow_faults, "faults are allowed");
    require(options->listen.listen.count > 0, "there is something to listen on");
}

static void check_proxy(int argc, char **argv, sttp_slice text)
{
    struct proxy_options values = {0};
    settings_command command;
    char *said = NULL;
    size_t size = 0;
    settings_report report = {.out = open_memstream(&said, &size)};

    require(report.out != NULL, "memory");
    int status = settings_load(&proxy_program, argc, argv, &values, &command, &report);
    fclose(report.out);
    check_report(status, &report, (sttp_slice){said, size}, text);
    if (status == 0 && !command.help && !command.version)
        check_routes(&values);
    check_table(proxy_program.options, proxy_program.option_count, (const char *)&values);
    settings_release(&proxy_program, &values);
    free(said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    with_input(data, size, &proxy_program, check_proxy);
    return 0;
}

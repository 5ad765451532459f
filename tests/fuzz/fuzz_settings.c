/* Settings of sttpd, and of a program that has lists of mappings, whatever the bytes are. */
#include "settings_property.h"
#include "sttpd/options.h"
#include "tests/unit/records_program.h"

/* Nothing that has to be there is missing where all is well. */
static void check_routes(const struct records_options *options)
{
    const struct route *routes = options->routes.items;

    for (size_t i = 0; i < options->routes.count; i++) {
        const struct upstream *upstreams = routes[i].upstreams.items;
        require(routes[i].prefix && upstreams, "a route is whole");
        for (size_t j = 0; j < routes[i].upstreams.count; j++)
            require(upstreams[j].address, "an upstream is whole");
    }
}

static void check_sttpd(int argc, char **argv, sttp_slice text)
{
    struct sttpd_options values = {0};
    settings_command command;
    char *said = NULL;
    size_t size = 0;
    settings_report report = {.out = open_memstream(&said, &size)};

    require(report.out != NULL, "memory");
    int status = settings_load(&sttpd_program, argc, argv, &values, &command, &report);
    fclose(report.out);
    check_report(status, &report, (sttp_slice){said, size}, text);
    require(status != 0 || size == 0, "nothing is said where all is well");
    if (status == 0 && !command.help && !command.version)
        require(values.listen.listen.count > 0, "there is something to listen on");
    check_table(sttpd_program.options, sttpd_program.option_count, (const char *)&values);
    settings_release(&sttpd_program, &values);
    free(said);
}

static void check_program_of_records(int argc, char **argv, sttp_slice text)
{
    struct records_options values = {0};
    settings_command command;
    char *said = NULL;
    size_t size = 0;
    settings_report report = {.out = open_memstream(&said, &size)};

    require(report.out != NULL, "memory");
    int status = settings_load(&records_program, argc, argv, &values, &command, &report);
    fclose(report.out);
    check_report(status, &report, (sttp_slice){said, size}, text);
    if (status == 0)
        check_routes(&values);
    check_table(records_program.options, records_program.option_count, (const char *)&values);
    settings_release(&records_program, &values);
    free(said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    with_input(data, size, &sttpd_program, check_sttpd);
    with_input(data, size, &records_program, check_program_of_records);
    return 0;
}

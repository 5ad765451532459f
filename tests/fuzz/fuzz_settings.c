/* Any bytes as a settings file: they are read or refused, with something said where they are
 * refused, and what is said is plain lines of UTF-8. */
#include "property.h"
#include "sttpd/options.h"

static void check_report(const char *text, size_t size)
{
    size_t length;

    for (size_t at = 0; at < size; at += length) {
        length = sttp_next_char((sttp_slice){text + at, size - at}, NULL);
        require(length > 0, "the report is UTF-8");
        require((unsigned char)text[at] >= 0x20 || text[at] == '\n', "the report is plain");
    }
}

static void check_values(const struct sttpd_options *values)
{
    for (size_t i = 0; i < sttpd_program.option_count; i++) {
        const settings_option *option = &sttpd_program.options[i];
        uint64_t number;
        if (option->kind != SETTINGS_NUMBER && option->kind != SETTINGS_SIZE &&
            option->kind != SETTINGS_DURATION)
            continue;
        memcpy(&number, (const char *)values + option->offset, sizeof number);
        require((number >= option->minimum && number <= option->maximum) ||
                    (number == 0 && option->zero != NULL),
                "values are in their ranges");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sttpd_options values = {0};
    settings_command command = {0};
    settings_report report = {0};
    char *said = NULL;
    size_t said_size = 0;
    char *text = exact_copy(data, size);

    report.out = open_memstream(&said, &said_size);
    require(report.out != NULL, "memory");
    require(settings_defaults(&sttpd_program, &values, &report), "the defaults are good");
    bool is_good = settings_read_text(&sttpd_program, "s", (sttp_slice){text, size}, &values,
                                      &command, &report);
    fclose(report.out);
    require(is_good == (report.count == 0), "mistakes are counted");
    require(is_good == (said_size == 0), "mistakes are told");
    check_report(said, said_size);
    check_values(&values);
    settings_release(&sttpd_program, &values);
    free(said);
    free(text);
    return 0;
}

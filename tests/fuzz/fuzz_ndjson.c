/* Any bytes as a line that sttpd-admin imports: what it takes obeys the rules of the protocol, and
 * comes back when it is exported; what it refuses is told. */
#include "property.h"
#include "sttpd-admin/ndjson.h"

static void check_item(const struct ndjson_item *item)
{
    sttp_slice path = {item->path, item->path_size}, text = {item->text, item->text_size};
    struct ndjson_item again;
    char *line = NULL, mistake[STTP_MAX_MESSAGE + 64];
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);

    require(out != NULL, "memory");
    require(sttp_check_path(item->is_directory ? STTP_ACTION_LIST : STTP_ACTION_CREATE, path,
                            NULL) == STTP_OK,
            "the path can be requested");
    require(sttp_check_text(text, NULL) == STTP_OK, "the text can be stored");
    if (item->is_directory)
        ndjson_write_directory(out, path);
    else
        ndjson_write_text(out, path, text);
    require(fclose(out) == 0 && size <= NDJSON_LINE, "a line is no longer than one may be");
    require(memchr(line, '\n', size) == line + size - 1, "it is one line");
    require(ndjson_read(line, size - 1, &again, mistake, sizeof mistake), "it can be read");
    require(again.is_directory == item->is_directory, "it is of the same kind");
    require(slices_equal((sttp_slice){again.path, again.path_size}, path), "the path comes back");
    require(slices_equal((sttp_slice){again.text, again.text_size}, text), "the text comes back");
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = exact_copy(data, size), mistake[STTP_MAX_MESSAGE + 64] = "";
    struct ndjson_item item;

    if (ndjson_read(line, size, &item, mistake, sizeof mistake))
        check_item(&item);
    else
        require(mistake[0] != '\0', "a mistake is told");
    free(line);
    return 0;
}

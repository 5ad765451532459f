/* Feeds each file of the given directories to a fuzz target: so every input that once mattered is
 * an ordinary test, with any compiler. */
#include <dirent.h>

#include "property.h"

enum { INPUT_ROOM = 1 << 20 };

static bool replay_file(const char *path, uint8_t *input)
{
    FILE *file = fopen(path, "rb");
    size_t size;
    bool whole;

    if (!file)
        return false;
    size = fread(input, 1, INPUT_ROOM, file);
    whole = !ferror(file) && feof(file);
    fclose(file);
    if (whole)
        LLVMFuzzerTestOneInput(input, size);
    return whole;
}

/* The number of files replayed, -1 where one could not be. */
static int replay_directory(const char *name, uint8_t *input)
{
    DIR *directory = opendir(name);
    struct dirent *entry;
    char path[4096];
    int count = 0;

    if (!directory)
        return -1;
    while (count >= 0 && (entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
        if (replay_file(path, input)) {
            count++;
        } else {
            fprintf(stderr, "cannot replay %s\n", path);
            count = -1;
        }
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    uint8_t *input = malloc(INPUT_ROOM);
    bool failed = input == NULL || argc < 2;
    int i;

    for (i = 1; i < argc && !failed; i++) {
        int count = replay_directory(argv[i], input);

        printf("%s: %d inputs\n", argv[i], count);
        failed = count <= 0;
    }
    free(input);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

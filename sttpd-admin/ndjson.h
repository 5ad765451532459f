/* The file of export and import: a line for each text, {"path": "/notes/a.txt", "text": "Buy
 * milk"}, and for each directory with nothing in it, {"directory": "/notes/old/"}. */
#ifndef ADMIN_NDJSON_H
#define ADMIN_NDJSON_H

#include <stdbool.h>
#include <stdio.h>

#include <sttp/message.h>

/* A line is at most so long, with its LF: every character of the longest path and text may be
 * written as \uXXXX, and there is room for spaces. */
enum { NDJSON_LINE = 32 << 10 };

void ndjson_write_text(FILE *out, sttp_slice path, sttp_slice text);
void ndjson_write_directory(FILE *out, sttp_slice path);

struct ndjson_item {
    bool is_directory;
    char path[STTP_MAX_PATH + 2];
    size_t path_size;
    char text[STTP_MAX_CONTENTS_BYTES];
    size_t text_size;
};

/* Reads a line without its LF. False where it is none of the two, or breaks a rule of the protocol:
 * then `mistake` says which; it may quote the line, and is to be escaped. */
bool ndjson_read(const char *line, size_t size, struct ndjson_item *item, char *mistake,
                 size_t capacity);

#endif

/* What is in a document root and no request can name. */
#ifndef ADMIN_CHECK_FS_H
#define ADMIN_CHECK_FS_H

#include <stdint.h>

/* Tells of each, with what is wrong, and returns how many there are. Call it while the store is
 * open: what a server that died had left was removed then. */
uint64_t check_fs(const char *docroot);

#endif

/* What is in a document root and no request can name. */
#ifndef ADMIN_CHECK_FS_H
#define ADMIN_CHECK_FS_H

#include <stdbool.h>

#include "sttpd/store_check.h"

/* Tells of each. Call it while the store is open: what a server that died had left was removed
 * then. False where it could not look, which was told. */
bool check_fs(const char *docroot, const struct store_checker *checker);

#endif

/* What sttpd finds in this module. */
#include "sttpd/store_sqlite.h"

__attribute__((visibility("default"))) const struct store_module sttpd_store_module = {
    .open = store_sqlite_open,
    .check = store_sqlite_check,
};

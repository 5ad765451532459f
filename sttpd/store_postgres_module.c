#include "sttpd/store_postgres.h"

__attribute__((visibility("default"))) const struct store_module sttpd_store_module = {
    .open = store_postgres_open, .check = store_postgres_check};

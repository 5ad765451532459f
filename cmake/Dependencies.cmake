# What the parts above the core need. A part whose dependency is missing is left out, with one line saying so.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(EVENT IMPORTED_TARGET libevent_core>=2.1.12)
pkg_check_modules(CARES IMPORTED_TARGET libcares>=1.18.1)
pkg_check_modules(YAML IMPORTED_TARGET yaml-0.1>=0.2.5)
pkg_check_modules(SQLITE IMPORTED_TARGET sqlite3>=3.40)
pkg_check_modules(POSTGRES IMPORTED_TARGET libpq>=15)
pkg_check_modules(HIREDIS IMPORTED_TARGET hiredis>=0.14.1)

if(NOT EVENT_FOUND)
  message(WARNING "libevent 2.1.12 not found (libevent-dev): libsttp-event and sttpd are not built")
elseif(NOT YAML_FOUND)
  message(WARNING "libyaml 0.2.5 not found (libyaml-dev): sttpd is not built")
endif()
if(EVENT_FOUND AND NOT CARES_FOUND)
  message(WARNING "c-ares 1.18.1 not found (libc-ares-dev): the asynchronous client is not built")
endif()

# The hash of the cache: headers alone, nothing is linked.
find_path(XXHASH_INCLUDE_DIR xxhash.h)
if(NOT XXHASH_INCLUDE_DIR)
  message(FATAL_ERROR "xxhash.h not found (libxxhash-dev)")
endif()

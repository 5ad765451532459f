# C11 with GNU extensions of the C library, strict warnings, hardening in release builds.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  -Wwrite-strings -Wvla -Wundef -Wformat=2)
if(STTP_WERROR)
  add_compile_options(-Werror)
endif()

# A program that links the event library for its server engine alone does not load c-ares.
add_link_options(-Wl,--as-needed)

if(STTP_SANITIZE)
  add_compile_options(-fsanitize=${STTP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${STTP_SANITIZE})
else()
  # FORTIFY needs optimisation. Level 3 also knows sizes that are computed at run time, of allocated memory above all.
  add_compile_options(-fstack-protector-strong -fstack-clash-protection
    $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=3>)
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
endif()
# Releases are optimised across files. Fat objects: the installed archives are linked by any compiler.
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT STTP_SANITIZE)
  add_compile_options(-flto=auto -ffat-lto-objects -fno-plt)
  add_link_options(-flto=auto)
  # The names of their sections would be drawn at random, and no two builds alike.
  string(APPEND CMAKE_C_COMPILE_OBJECT " -frandom-seed=<OBJECT>")
endif()
if(STTP_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

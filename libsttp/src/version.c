#include <sttp/base.h>

const char *sttp_version(void)
{
    return STTP_VERSION;
}

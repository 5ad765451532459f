/* All of libsttp's core. libsttp-event has its own header, sttp/server.h. */
#ifndef STTP_STTP_H
#define STTP_STTP_H

#include <sttp/base.h>
#include <sttp/client.h>
#include <sttp/message.h>
#include <sttp/network.h>
#include <sttp/parser.h>
#include <sttp/serializer.h>
#include <sttp/status.h>
#include <sttp/url.h>

#endif

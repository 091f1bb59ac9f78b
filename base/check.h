// CHECK(condition, ...): stays on in release builds and aborts with the place and a message.
// Only for our own bugs: wrong input, model files and peers are reported with Result, never with CHECK.
#pragma once

#include <cstdio>
#include <cstdlib>

#define PENSTOCK_CHECK(condition)                                                                            \
  do {                                                                                                       \
    if (!(condition)) [[unlikely]] {                                                                         \
      std::fprintf(stderr, "%s:%d: check failed: %s (a bug in Penstock)\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                                          \
    }                                                                                                        \
  } while (false)

// How GGUF encodes values: shared by the parser and the access to values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model/files/gguf.h"

namespace penstock::gguf_layout {

// Bytes of one element, by GgufValue::Type; 0: variable or not an element type.
inline constexpr std::array<uint64_t, 13> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

template <class T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

}  // namespace penstock::gguf_layout

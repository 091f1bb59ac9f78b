// EngineKey: one connection of an engine.
#pragma once

#include <cstdint>

namespace penstock {

using EngineKey = uint32_t;  // never 0, never used twice

}  // namespace penstock

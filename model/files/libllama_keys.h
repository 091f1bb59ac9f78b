// The names of keys that libllama knows, without the architecture's prefix.
#pragma once

#include <span>
#include <string_view>

namespace penstock {

std::span<const std::string_view> LibllamaKeys();

}  // namespace penstock

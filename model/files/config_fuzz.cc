// Any text gives either a configuration whose numbers are consistent, or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/files/config.h"
#include "model/operations/rope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = penstock::JsonObject::Parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!json.has_value()) return 0;
  const auto config = penstock::ConfigFromJson(*json);
  if (!config.has_value()) return 0;
  PENSTOCK_CHECK(config->heads % config->kv_heads == 0 && config->context > 0 &&
                 config->experts_used <= config->experts);
  const penstock::Rope rope(*config, {});
  PENSTOCK_CHECK(rope.pairs() == config->rotary_dim / 2);
  return 0;
}

// How many output tokens a choice may have: settings, general and by model. Plain data and one decision.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "fleet/registry/served_model.h"

namespace penstock {

// A number of tokens for every model, and for some models another. 0: no limit but the context.
struct TokensByModel {
  uint32_t general = 0;
  std::map<std::string, uint32_t, std::less<>> by_model = {};  // a model's name, or its family's

  uint32_t Of(std::string_view model) const {
    auto found = by_model.find(model);
    if (found == by_model.end()) found = by_model.find(FamilyOf(model));
    return found == by_model.end() ? general : found->second;
  }
};

// `asked`: by the client; 0: nothing. `otherwise`: for who asks for nothing; 0: all the room. `most`: 0: no
// limit. `room`: what the context leaves beside the prompt. More than allowed means what is allowed: the
// answer then ends with "length".
inline uint32_t OutputTokens(uint32_t asked, uint32_t otherwise, uint32_t most, uint32_t room) {
  const uint32_t wanted = asked > 0 ? asked : otherwise > 0 ? otherwise : room;
  return std::min({wanted, most > 0 ? most : wanted, room});
}

}  // namespace penstock

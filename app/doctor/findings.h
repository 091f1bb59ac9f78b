// What `penstock doctor` concludes: facts in, findings out. Each problem comes with one command that fixes
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/doctor/facts.h"

namespace penstock {

struct Finding {
  enum class Level : uint8_t {
    kGood,
    kNote,  // works, and could be better
    kBad,   // must be fixed
  };
  std::string subject;  // one word
  Level level = Level::kGood;
  std::string words;
  std::string fix{};  // one command; empty if there is no problem, or if no command helps
};

std::vector<Finding> JudgeFacts(const DoctorFacts& facts);

}  // namespace penstock

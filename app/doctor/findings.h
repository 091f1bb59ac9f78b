// The judgement of `penstock doctor`: facts in, findings out. Each thing that is wrong comes with the one
// command that mends it.
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
    kBad,   // must be mended
  };
  std::string subject;  // one word
  Level level = Level::kGood;
  std::string words;
  std::string mend{};  // one command; empty where good, or where no command helps
};

std::vector<Finding> JudgeFacts(const DoctorFacts& facts);

}  // namespace penstock

// FakeRunner: a Runner without a model, for tests, sim/ and benches of everything above it.
//
// It keeps real pages: the slot of a token holds a hash of that token and all before it, and a sampled
// token is a hash over every slot of its sequence, read through the page table. So a wrong page, a
// missing copy, a stale token or a wrong position changes the text, or is reported as an Error: it
// refuses to read a slot that nobody wrote and to write one that still holds another owner's token.
#pragma once

#include <memory>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "runner/runner.h"

namespace penstock {

struct FakeOptions {
  Nanos step_time = 0;   // chip time of a step, whatever is in it
  Nanos token_time = 0;  // and of each token computed
  bool paced = false;    // a step really takes its chip time; otherwise it answers at once
  // Faults, each drawn for every step from `seed`.
  uint64_t seed = 0;
  double fail = 0;   // the step ends with an Error
  double slow = 0;   // it takes ten times as long
  double hang = 0;   // it never ends
  double crash = 0;  // the process aborts
};

// "step_ms=20&paced=1&fail=0.01": names as in FakeOptions; times as step_us, step_ms, token_us.
// Errors: kInvalid names the option and those that exist.
Result<FakeOptions> ParseFakeOptions(std::string_view text);

// Load takes
// "fake:NAME?vocabulary=1000&context=4096&pages=512&page_bytes=65536&on_demand=1&load_ms=500&error=TEXT", all
// of it optional, or the path of a real model, whose vocabulary it takes and of which it says plain words
// only. kv_bytes overrides pages. A logit_bias of 100 or more forces that token.
std::unique_ptr<Runner> MakeFakeRunner(FakeOptions options = {});

}  // namespace penstock

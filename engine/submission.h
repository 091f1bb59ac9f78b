// Submission: what an engine checks of a wire::Submit before it takes it, and what it reads out of it. The
// same rules for our own engines (engine/loop.h) and attached ones (attach/driver.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/output.h"
#include "engine/pieces.h"
#include "engine/wire.pb.h"
#include "runner/step.h"
#include "sched/scheduler.h"

namespace penstock {

constexpr uint32_t kMaxChoices = 128;  // of one request

// The engine's state as far as it decides whether a request may start.
struct SubmitContext {
  std::string_view engine;  // its name, for messages
  bool draining = false;
  bool model_ready = false;
  bool running = false;  // a request with this id
};
// Errors: kUnavailable (draining), kModelNotReady, kInternal (the id is in use), kTooLarge (choices),
// kBadField.
Status CheckSubmit(const wire::Submit& submit, const SubmitContext& context);

// `logprobs`: whether the engine can tell them.
OutputRules RulesOf(const wire::Submit& submit, std::shared_ptr<const Pieces> pieces, bool logprobs = true);
Sampling SamplingOf(const wire::Submit& submit);
// Choice number `choice` as the scheduler takes it; `resume`: what it has generated elsewhere, or null.
NewSequence ToSequence(ModelId model, const wire::Submit& submit, uint32_t choice,
                       const wire::Resume* resume);
// By choice; null where the choice begins here.
std::vector<const wire::Resume*> ResumesOf(const wire::Submit& submit);

// Ends every choice with the error. What is refused was never started.
void Refuse(const wire::Submit& submit, const Error& error, wire::StepReport& report);

// Submit.limit, lowered by a wire::Limit; never raised.
uint64_t Lowered(uint64_t limit, const wire::Limit& by);

}  // namespace penstock

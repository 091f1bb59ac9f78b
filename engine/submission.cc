#include "engine/submission.h"

#include <algorithm>
#include <utility>

#include "engine/wire_error.h"

namespace penstock {

Status CheckSubmit(const wire::Submit& submit, const SubmitContext& context) {
  if (context.draining)
    return Fail(Code::kUnavailable, "engine {} is draining and takes no new work", context.engine);
  if (!context.model_ready)
    return Fail(Reason::kModelNotReady, "model {} is not ready in engine {}", submit.model(), context.engine);
  if (context.running)
    return Fail(Code::kInternal, "request {} is already running in engine {}", submit.request(),
                context.engine);
  if (submit.choices() > kMaxChoices)
    return Fail(Code::kTooLarge, "{} choices; at most {} are served", submit.choices(), kMaxChoices);
  if (submit.max_tokens() == 0) return Fail(Reason::kBadField, "max_tokens is 0; ask for at least one token");
  return {};
}

OutputRules RulesOf(const wire::Submit& submit, std::shared_ptr<const Pieces> pieces, bool logprobs) {
  OutputRules rules{.pieces = std::move(pieces),
                    .stops = {},
                    .stop_tokens = {},
                    .include_stop = submit.include_stop(),
                    .logprobs = logprobs && submit.has_sampling() && submit.sampling().top_logprobs() >= 0,
                    .max_tokens = submit.max_tokens()};
  std::ranges::copy_if(submit.stop(), std::back_inserter(rules.stops),
                       [](const std::string& stop) { return !stop.empty(); });
  if (!submit.ignore_eos())
    rules.stop_tokens.assign(submit.stop_tokens().begin(), submit.stop_tokens().end());
  return rules;
}

Sampling SamplingOf(const wire::Submit& submit) {
  if (!submit.has_sampling()) return {};
  const wire::SamplingSpec& spec = submit.sampling();
  Sampling sampling{
      .temperature = spec.temperature(),
      .top_k = spec.top_k(),
      .top_p = spec.top_p(),
      .min_p = spec.min_p(),
      .repetition_penalty = spec.repetition_penalty() == 0 ? 1 : spec.repetition_penalty(),
      .presence_penalty = spec.presence_penalty(),
      .frequency_penalty = spec.frequency_penalty(),
      .logit_bias = {},
      .seed = spec.seed(),
      .top_logprobs = spec.top_logprobs(),
  };
  const int biases = std::min(spec.bias_tokens_size(), spec.bias_values_size());
  for (int i = 0; i < biases; ++i) sampling.logit_bias.emplace_back(spec.bias_tokens(i), spec.bias_values(i));
  return sampling;
}

NewSequence ToSequence(ModelId model, const wire::Submit& submit, uint32_t choice,
                       const wire::Resume* resume) {
  NewSequence sequence{.model = model,
                       .prompt = {submit.prompt().begin(), submit.prompt().end()},
                       .max_tokens = submit.max_tokens(),
                       .sampling = SamplingOf(submit),
                       .prefix_scope = submit.prefix_scope(),
                       .credits = submit.credits() == 0 ? -1 : int64_t{submit.credits()}};
  sequence.sampling.seed += choice;
  if (resume == nullptr) return sequence;
  sequence.prompt.insert(sequence.prompt.end(), resume->ids().begin(), resume->ids().end());
  sequence.generated = resume->ids_size();
  sequence.max_tokens = std::max<int64_t>(sequence.max_tokens - sequence.generated, 1);
  if (sequence.credits >= 0) sequence.credits = resume->credits();
  return sequence;
}

std::vector<const wire::Resume*> ResumesOf(const wire::Submit& submit) {
  std::vector<const wire::Resume*> resumes(std::max(submit.choices(), 1U));
  for (const wire::Resume& resume : submit.resume()) {
    if (resume.choice() < resumes.size()) resumes[resume.choice()] = &resume;
  }
  return resumes;
}

void Refuse(const wire::Submit& submit, const Error& error, wire::StepReport& report) {
  for (uint32_t i = 0; i < std::clamp(submit.choices(), 1U, kMaxChoices); ++i) {
    wire::TokenEvent& event = *report.add_tokens();
    event.set_request(submit.request());
    event.set_choice(i);
    event.set_finish(wire::ERROR);
    SetError(error, event);
  }
}

uint64_t Lowered(uint64_t limit, const wire::Limit& by) {
  if (by.tokens() == 0) return limit;
  return limit == 0 ? by.tokens() : std::min(limit, by.tokens());
}

}  // namespace penstock

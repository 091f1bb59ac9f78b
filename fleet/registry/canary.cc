#include "fleet/registry/canary.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

std::string Shown(const CanaryToken& token) {
  return fmt::format("'{}' ({})", token.text, token.id);
}

Status AgreesInText(const CanaryAnswer& truth, const std::string& given) {
  const auto [part, _] = std::ranges::mismatch(truth.text, given);
  const auto at = static_cast<size_t>(part - truth.text.begin());
  if (at >= std::min(truth.text.size(), given.size()) && !given.empty()) return {};  // cut at another place
  size_t end = 0;
  for (const CanaryToken& token : truth.tokens) {
    end += token.text.size();
    if (token.gap < kNearTie) return {};
    if (at < end) break;
  }
  return Fail(Code::kCorrupt, "it answers '{}' where '{}' is right", given, truth.text);
}

}  // namespace

void Append(const wire::TokenEvent& event, CanaryAnswer& answer) {
  answer.text += event.text();
  const int known = std::min(event.ids_size(), event.logprobs_size());
  for (int i = 0; i < known; ++i) {
    const wire::Logprob& logprob = event.logprobs(i);
    CanaryToken token{.id = event.ids(i), .logprob = logprob.logprob(), .gap = 0, .text = logprob.text()};
    float next = -INFINITY;
    for (const wire::Logprob& other : logprob.top()) {
      if (other.token() != token.id) next = std::max(next, other.logprob());
    }
    if (std::isfinite(next)) token.gap = std::max(token.logprob - next, 0.0F);
    answer.tokens.push_back(std::move(token));
  }
}

Status Agrees(const CanaryAnswer& truth, const CanaryAnswer& given, bool same_contract) {
  if (given.tokens.empty()) return AgreesInText(truth, given.text);
  if (given.tokens.size() != truth.tokens.size()) {
    return Fail(Code::kCorrupt, "it answers with {} tokens where {} were asked for", given.tokens.size(),
                truth.tokens.size());
  }
  const float tolerance = same_contract ? kExactTolerance : kLogprobTolerance;
  for (size_t i = 0; i < truth.tokens.size(); ++i) {
    const CanaryToken &right = truth.tokens[i], &token = given.tokens[i];
    if (token.id != right.id) {
      if (!same_contract && right.gap < kNearTie) return {};  // another text from here on
      return Fail(Code::kCorrupt, "token {} is {} where {} is right", i, Shown(token), Shown(right));
    }
    // Written so that a NaN is out of tolerance.
    if (!(std::abs(token.logprob - right.logprob) <= tolerance)) {
      return Fail(Code::kCorrupt, "token {} {} has log-probability {:.4f} where {:.4f} is right", i,
                  Shown(token), token.logprob, right.logprob);
    }
  }
  return {};
}

wire::Submit AskCanary(const std::string& model, const CanaryPrompt& prompt) {
  wire::Submit submit;
  submit.set_model(model);
  submit.mutable_prompt()->Add(prompt.tokens.begin(), prompt.tokens.end());
  submit.set_text(prompt.text);
  submit.set_max_tokens(kCanaryTokens);
  submit.set_choices(1);
  submit.set_ignore_eos(true);
  submit.set_lenient(true);
  submit.mutable_sampling()->set_temperature(0);
  submit.mutable_sampling()->set_top_logprobs(2);
  return submit;
}

}  // namespace penstock

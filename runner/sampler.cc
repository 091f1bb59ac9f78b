#include "runner/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/random.h"

namespace penstock {
namespace {

constexpr float kGreedyBelow = 1e-5F;

using Candidates = std::vector<std::pair<float, Token>>;

struct Best {
  Token token = -1;
  float logit = 0;
};

// The largest logit. 16 lanes, so that the compiler keeps them in vectors.
Result<Best> FindBest(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  std::array<int32_t, kLanes> nan{};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      const float x = logits[i + l];
      best[l] = x > best[l] ? x : best[l];
      nan[l] |= static_cast<int32_t>(x != x);
    }
  }
  for (; i < logits.size(); ++i) {
    best[0] = std::max(best[0], logits[i]);
    nan[0] |= static_cast<int32_t>(std::isnan(logits[i]));
  }
  const float top = *std::ranges::max_element(best);
  if (std::ranges::any_of(nan, [](int32_t n) { return n != 0; }) || !std::isfinite(top)) {
    return Fail(Code::kInternal,
                "the model's logits are not finite numbers: its weights are damaged; import it again");
  }
  return Best{static_cast<Token>(std::ranges::find(logits, top) - logits.begin()), top};
}

// p = softmax(logits / temperature).
std::span<float> Softmax(const kernels::Kernels& kernels, std::span<const float> logits, float temperature,
                         SamplerScratch& scratch) {
  auto& p = scratch.probabilities;
  p.resize(logits.size());
  for (size_t i = 0; i < p.size(); ++i) p[i] = logits[i] / temperature;
  kernels.softmax(p.data(), static_cast<int32_t>(p.size()));
  return p;
}

// Every token with a probability of at least `floor`.
void Gather(std::span<const float> p, float floor, Candidates& out) {
  out.clear();
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] >= floor) out.emplace_back(p[i], static_cast<Token>(i));
  }
}

// The likeliest tokens, best first (of equals the lowest id), at least so many that `enough(count, mass)`
// holds or all are in. Lowers the bar step by step, as a full sort of 150,000 is never needed.
template <class Enough>
void GatherBest(std::span<const float> p, Enough enough, Candidates& out) {
  constexpr float kFirst = 1.0F / 16, kStep = 1.0F / 256;
  const float top = *std::ranges::max_element(p);
  for (float floor = top * kFirst;; floor *= kStep) {
    Gather(p, floor, out);
    double mass = 0;
    for (const auto& [probability, token] : out) mass += probability;
    if (out.size() == p.size() || enough(out.size(), mass) || floor == 0) break;
  }
  std::ranges::sort(out, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
}

// How many of `c` (best first) top_p keeps: the fewest whose share of their mass reaches it.
size_t KeptByTopP(const Candidates& c, double top_p, double mass) {
  double sum = 0;
  for (size_t i = 0; i < c.size(); ++i) {
    sum += c[i].first;
    if (sum >= top_p * mass) return i + 1;
  }
  return c.size();
}

// The tokens that top_k, top_p and min_p leave.
void Filter(std::span<const float> p, const Sampling& s, Candidates& out) {
  const size_t k = s.top_k > 0 ? std::min<size_t>(static_cast<size_t>(s.top_k), p.size()) : p.size();
  const bool by_k = k < p.size(), by_p = s.top_p < 1;
  if (by_k || by_p) {
    GatherBest(p, [&](size_t n, double mass) { return by_k ? n >= k : mass >= s.top_p; }, out);
  } else {
    return Gather(p, s.min_p * *std::ranges::max_element(p), out);
  }
  double mass = 1;
  if (by_k) {
    out.resize(std::min(out.size(), k));
    mass = 0;
    for (const auto& [probability, token] : out) mass += probability;
  }
  if (by_p) out.resize(KeptByTopP(out, s.top_p, mass));
  const float bar = s.min_p * out.front().first;
  while (out.back().first < bar) out.pop_back();
}

// The token at `u` (in [0, 1)) of the candidates' mass.
Token Pick(const Candidates& c, double u) {
  double mass = 0;
  for (const auto& [probability, token] : c) mass += probability;
  double at = u * mass;
  for (const auto& [probability, token] : c) {
    at -= probability;
    if (at < 0) return token;
  }
  return c.back().second;  // rounding ate the last bit
}

// The same over the whole vocabulary in order of id; `p` sums to one.
Token PickOfAll(std::span<const float> p, double u) {
  double at = u;
  size_t last = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) continue;
    last = i;
    at -= p[i];
    if (at < 0) break;
  }
  return static_cast<Token>(last);
}

bool HasPenalty(const Sampling& s) {
  return s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0;
}

void Penalise(const SequenceStep& step, std::span<float> logits) {
  struct Seen {
    int32_t in_output = 0;
  };
  std::unordered_map<Token, Seen> seen;
  for (size_t i = 0; i < step.history.size(); ++i) {
    const Token token = step.history[i];
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    seen[token].in_output += i >= static_cast<size_t>(step.prompt_tokens) ? 1 : 0;
  }
  const Sampling& s = step.sampling;
  for (const auto& [token, times] : seen) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / s.repetition_penalty : logit * s.repetition_penalty;
    logit -= s.frequency_penalty * static_cast<float>(times.in_output);
    if (times.in_output > 0) logit -= s.presence_penalty;
  }
}

void AddBias(const Sampling& s, std::span<float> logits) {
  for (const auto& [token, bias] : s.logit_bias) {
    if (token >= 0 && static_cast<size_t>(token) < logits.size()) logits[static_cast<size_t>(token)] += bias;
  }
}

// Of every token, from raw logits: logit − log Σ exp.
class LogProbabilities {
 public:
  LogProbabilities(const kernels::Kernels& kernels, std::span<const float> logits, const Best& best,
                   SamplerScratch& scratch)
      : logits_(logits.begin(), logits.end()) {
    const auto p = Softmax(kernels, logits, 1, scratch);
    // The best one's probability is 1 / Σ exp(logit − best).
    log_sum_ = best.logit - std::log(p[static_cast<size_t>(best.token)]);
  }

  float Of(Token token) const { return logits_[static_cast<size_t>(token)] - log_sum_; }

  std::vector<TokenLogprob> Top(int32_t count, SamplerScratch& scratch) const {
    const auto n = std::min<size_t>(static_cast<size_t>(std::max(count, 0)), logits_.size());
    if (n == 0) return {};
    auto& c = scratch.candidates;
    GatherBest(scratch.probabilities, [&](size_t found, double) { return found >= n; }, c);
    std::vector<TokenLogprob> top;
    for (size_t i = 0; i < n; ++i) top.push_back({c[i].second, Of(c[i].second)});
    return top;
  }

 private:
  std::vector<float> logits_;
  float log_sum_ = 0;
};

Token Draw(const kernels::Kernels& kernels, const SequenceStep& step, std::span<const float> logits,
           SamplerScratch& scratch) {
  const auto p = Softmax(kernels, logits, step.sampling.temperature, scratch);
  const Sampling& s = step.sampling;
  const auto position = static_cast<uint64_t>(step.start) + step.tokens.size();
  const double u = Uniform(penstock::Draw(s.seed, position));
  if (s.top_k <= 0 && s.top_p >= 1 && s.min_p <= 0) return PickOfAll(p, u);
  Filter(p, s, scratch.candidates);
  return Pick(scratch.candidates, u);
}

}  // namespace

Result<Sampled> Sample(const kernels::Kernels& kernels, const SequenceStep& step, std::span<float> logits,
                       SamplerScratch& scratch) {
  PENSTOCK_ASSIGN(Best best, FindBest(logits));
  const Sampling& s = step.sampling;
  Sampled result{.sequence = step.sequence, .token = -1, .logprob = 0, .top = {}};
  std::optional<LogProbabilities> logprobs;
  if (s.top_logprobs >= 0) {
    logprobs.emplace(kernels, logits, best, scratch);
    result.top = logprobs->Top(s.top_logprobs, scratch);
  }
  if (HasPenalty(s) || !s.logit_bias.empty()) {
    if (HasPenalty(s)) Penalise(step, logits);
    AddBias(s, logits);
    PENSTOCK_ASSIGN(best, FindBest(logits));
  }
  result.token = s.temperature < kGreedyBelow ? best.token : Draw(kernels, step, logits, scratch);
  if (logprobs.has_value()) result.logprob = logprobs->Of(result.token);
  return result;
}

}  // namespace penstock

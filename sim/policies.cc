#include "sim/policies.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "base/random.h"

namespace penstock {
namespace {

using Candidates = std::span<const Candidate>;

Placement Chosen(Candidates candidates, const Need& need, std::optional<size_t> chosen) {
  Placement placement;
  if (chosen) {
    placement.chosen = candidates[*chosen];
    placement.verdict = Verdict::kFits;
    return placement;
  }
  for (const Candidate& candidate : candidates)
    placement.verdict = std::min(placement.verdict, Judge(candidate, need));
  return placement;
}

bool Fits(const Candidate& candidate, const Need& need) {
  return Judge(candidate, need) == Verdict::kFits;
}

// The candidate of least cost, from a place that moves on, so that equals take turns.
class Least {
 public:
  template <class Cost>
  std::optional<size_t> operator()(Candidates candidates, const Need& need, Cost cost) {
    std::optional<size_t> best;
    double least = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const size_t at = (turn_ + i) % candidates.size();
      if (!Fits(candidates[at], need)) continue;
      if (const double c = cost(candidates[at]); !best || c < least) {
        best = at;
        least = c;
      }
    }
    if (best) turn_ = *best + 1;
    return best;
  }

 private:
  size_t turn_ = 0;
};

PlacePolicy ByCost(std::function<double(const Candidate&)> cost) {
  return [cost = std::move(cost), least = Least()](Candidates candidates, const Need& need) mutable {
    return Chosen(candidates, need, least(candidates, need, cost));
  };
}

PlacePolicy RoundRobin() {
  return [turn = size_t{0}](Candidates candidates, const Need& need) mutable {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const size_t at = (turn + i) % candidates.size();
      if (!Fits(candidates[at], need)) continue;
      turn = at + 1;
      return Chosen(candidates, need, at);
    }
    return Chosen(candidates, need, std::nullopt);
  };
}

PlacePolicy TwoChoices(uint64_t seed) {
  return [random = Random(seed), least = Least()](Candidates candidates, const Need& need) mutable {
    const size_t a = random.Below(candidates.size()), b = random.Below(candidates.size());
    const auto sequences = [](const Candidate& candidate) -> double { return candidate.sequences; };
    const bool a_fits = Fits(candidates[a], need), b_fits = Fits(candidates[b], need);
    std::optional<size_t> chosen;
    if (a_fits && b_fits) {
      chosen = sequences(candidates[b]) < sequences(candidates[a]) ? b : a;
    } else if (a_fits || b_fits) {
      chosen = a_fits ? a : b;
    } else {
      chosen = least(candidates, need, sequences);
    }
    return Chosen(candidates, need, chosen);
  };
}

}  // namespace

PlacePolicy MakePolicy(FleetPolicy policy, uint64_t seed, std::function<double(EngineKey)> step_time) {
  switch (policy) {
    case FleetPolicy::kExpectedCost:
      return Place;
    case FleetPolicy::kRoundRobin:
      return RoundRobin();
    case FleetPolicy::kTwoChoices:
      return TwoChoices(seed);
    case FleetPolicy::kLeastConnections:
      return ByCost([](const Candidate& candidate) -> double { return candidate.sequences; });
    case FleetPolicy::kWeightedLeast:
      return ByCost([step_time = std::move(step_time)](const Candidate& candidate) {
        return (candidate.sequences + 1) * step_time(candidate.engine);
      });
    case FleetPolicy::kFastest:
      return ByCost([step_time = std::move(step_time)](const Candidate& candidate) {
        return step_time(candidate.engine) * 1e6 + candidate.sequences;
      });
  }
  return Place;
}

std::string_view PolicyName(FleetPolicy policy) {
  switch (policy) {
    case FleetPolicy::kExpectedCost:
      return "expected cost";
    case FleetPolicy::kRoundRobin:
      return "round robin";
    case FleetPolicy::kLeastConnections:
      return "least connections";
    case FleetPolicy::kWeightedLeast:
      return "weighted least connections";
    case FleetPolicy::kTwoChoices:
      return "two choices";
    case FleetPolicy::kFastest:
      return "fastest first";
  }
  return "";
}

}  // namespace penstock

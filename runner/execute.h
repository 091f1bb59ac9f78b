// Runs one step and waits for it.
#pragma once

#include <future>
#include <utility>

#include "runner/runner.h"

namespace penstock {

inline Result<StepResult> Execute(Runner& runner, StepPlan plan) {
  std::promise<Result<StepResult>> promise;
  auto future = promise.get_future();
  runner.Submit(std::move(plan), [&](Result<StepResult> result) { promise.set_value(std::move(result)); });
  return future.get();
}

}  // namespace penstock

#include "fleet/placement/profile.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr double kMemory = 0.999;   // of a step, at the next: about the last thousand count
constexpr double kPrior = 0.01;     // the defaults weigh as much as a hundredth of a step
constexpr double kDriftStep = 0.2;  // how much of a step's surprise is believed
constexpr double kLateSteps = 64;
constexpr int kSweeps = 8;  // of coordinate descent, from the last fit on

}  // namespace

void Profile::Note(const StepShape& shape, Nanos took) {
  if (took <= 0) return;
  const auto time = static_cast<double>(took);
  const Terms terms = {1, shape.prefill, shape.decode, shape.context};
  double expected = 0;
  for (size_t i = 0; i < kTerms; ++i) expected += terms[i] * fit_[i];
  ++steps_;
  chunk_ += (shape.prefill - chunk_) / kLateSteps;
  // The fit of the first steps is mostly the defaults': that they are wrong is no drift.
  if (steps_ > 2 * kTerms) log_drift_ += kDriftStep * (std::log(time / expected) - log_drift_);

  const Terms prior = {Speed().step, Speed().prefill, Speed().decode, Speed().context};
  const double weight = 1 / (time * time);
  for (size_t i = 0; i < kTerms; ++i) {
    for (size_t j = 0; j < kTerms; ++j) {
      products_[i][j] = products_[i][j] * kMemory + weight * terms[i] * terms[j];
    }
    targets_[i] = targets_[i] * kMemory + weight * terms[i] * time;
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (size_t i = 0; i < kTerms; ++i) {
      const double held = kPrior / (prior[i] * prior[i]);
      double rest = targets_[i] + held * prior[i];
      for (size_t j = 0; j < kTerms; ++j) rest -= j == i ? 0 : products_[i][j] * fit_[j];
      fit_[i] = std::max(0.0, rest / (products_[i][i] + held));
    }
  }
}

Speed Profile::speed() const {
  const double slower = drift();
  return {fit_[0] * slower, fit_[1] * slower, fit_[2] * slower, fit_[3] * slower};
}

double Profile::drift() const {
  return std::exp(log_drift_);
}

}  // namespace penstock

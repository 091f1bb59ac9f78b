// Reproducible random numbers: every stream is a pure function of a seed and a counter.
#pragma once

#include <cstdint>

namespace penstock {

// SplitMix64's finaliser (Steele et al., OOPSLA 2014): a bijection that scatters its input.
constexpr uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The `counter`-th number of stream `seed`: a recomputed sequence gets the same numbers.
constexpr uint64_t Draw(uint64_t seed, uint64_t counter) {
  return Mix(Mix(seed) ^ (counter * 0xd1342543de82ef95));
}

// In [0, 1), 53 bits.
constexpr double Uniform(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

// A generator for tests and simulations: Draw(seed, 0), Draw(seed, 1), …
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint64_t Next() { return Draw(seed_, counter_++); }
  double NextUniform() { return Uniform(Next()); }
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : Next() % n; }

 private:
  uint64_t seed_, counter_ = 0;
};

}  // namespace penstock

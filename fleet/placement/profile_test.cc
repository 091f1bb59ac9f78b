#include "fleet/placement/profile.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace penstock {
namespace {

struct Chip {
  double step = 4e6, prefill = 3e5, decode = 8e5, context = 600;
  Nanos Takes(const StepShape& shape, Random& random) const {
    const double noise = 0.95 + 0.1 * random.NextUniform();
    return static_cast<Nanos>(
        noise * (step + prefill * shape.prefill + decode * shape.decode + context * shape.context));
  }
};

StepShape AnyShape(Random& random) {
  StepShape shape{.decode = 1.0 + static_cast<double>(random.Below(16))};
  shape.context = shape.decode * (20.0 + static_cast<double>(random.Below(1000)));
  if (random.Below(4) == 0) shape.prefill = static_cast<double>(random.Below(256));
  return shape;
}

void Live(Profile& profile, const Chip& chip, int steps, Random& random) {
  for (int i = 0; i < steps; ++i) {
    const StepShape shape = AnyShape(random);
    profile.Note(shape, chip.Takes(shape, random));
  }
}

void ExpectKnown(const Profile& profile, const Chip& chip, double within) {
  for (const StepShape& shape : {StepShape{0, 1, 100}, {0, 16, 8000}, {256, 0, 0}, {128, 8, 4000}}) {
    const double truth =
        chip.step + chip.prefill * shape.prefill + chip.decode * shape.decode + chip.context * shape.context;
    EXPECT_NEAR(profile.speed().Expect(shape) / truth, 1, within)
        << shape.prefill << " " << shape.decode << " " << shape.context;
  }
}

TEST(Profile, LearnsAChipFromItsSteps) {
  Random random(1);
  Profile profile;
  Live(profile, {}, 300, random);
  ExpectKnown(profile, {}, 0.1);
}

TEST(Profile, AFewStepsAreEnoughToKnowRoughly) {
  Random random(2);
  Profile profile;
  const Chip fast{.step = 2e5, .prefill = 1e4, .decode = 2e4, .context = 10};
  profile.Note({.prefill = 60}, fast.Takes({.prefill = 60}, random));
  for (int i = 0; i < 8; ++i) {
    const StepShape shape{.decode = 2, .context = 64.0 + i};
    profile.Note(shape, fast.Takes(shape, random));
  }
  EXPECT_NEAR(profile.speed().Expect({.decode = 2, .context = 70}) / 2.407e5, 1, 0.3);
  EXPECT_LT(profile.speed().Expect({.prefill = 100}), 3e6) << "not the default's 110 ms";
}

TEST(Profile, FollowsAChipThatTurnsTenTimesSlower) {
  Random random(3);
  Profile profile;
  Live(profile, {}, 500, random);
  const Chip slow{.step = 4e7, .prefill = 3e6, .decode = 8e6, .context = 6000};
  Live(profile, slow, 15, random);
  EXPECT_GT(profile.drift(), 5);
  ExpectKnown(profile, slow, 0.4);
  Live(profile, {}, 20, random);
  ExpectKnown(profile, {}, 0.4);
}

TEST(Profile, NothingIsEverNegative) {
  Random random(4);
  Profile profile;
  for (int i = 0; i < 200; ++i) {
    // Odd chip: a step is faster the more it has to do.
    const StepShape shape = AnyShape(random);
    profile.Note(shape, static_cast<Nanos>(1e8 / (1 + shape.decode)));
    const Speed speed = profile.speed();
    EXPECT_GE(std::min({speed.step, speed.prefill, speed.decode, speed.context}), 0);
  }
  profile.Note({}, 0);
  profile.Note({}, -5);
}

}  // namespace
}  // namespace penstock

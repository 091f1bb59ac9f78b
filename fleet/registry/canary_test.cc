#include "fleet/registry/canary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock {
namespace {

CanaryAnswer Answer(std::initializer_list<CanaryToken> tokens) {
  CanaryAnswer answer{.tokens = tokens, .text = ""};
  for (const CanaryToken& token : tokens) answer.text += token.text;
  return answer;
}

const CanaryAnswer kTruth = Answer({{1, -0.1F, 3, " the"}, {2, -0.9F, 0.1F, " cat"}, {3, -0.2F, 2, " sat"}});

TEST(Canary, TheSameAnswerAgrees) {
  EXPECT_TRUE(Agrees(kTruth, kTruth, true));
  EXPECT_TRUE(Agrees(kTruth, kTruth, false));
}

TEST(Canary, UnderOneContractEveryTokenAndItsProbabilityMustAgree) {
  CanaryAnswer given = kTruth;
  given.tokens[1].id = 7;
  EXPECT_FALSE(Agrees(kTruth, given, true)) << "a near tie is no excuse";
  given = kTruth;
  given.tokens[2].logprob = -0.25F;
  const auto status = Agrees(kTruth, given, true);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("' sat' (3)"), std::string::npos) << status.error().message;
  EXPECT_TRUE(Agrees(kTruth, given, false));
}

TEST(Canary, WithoutOneNearTiesMayFallEitherWayAndNothingElse) {
  CanaryAnswer given = kTruth;
  given.tokens[1].id = 7;
  given.tokens[2].id = 8;
  EXPECT_TRUE(Agrees(kTruth, given, false)) << "what follows a near tie is another text";
  given = kTruth;
  given.tokens[0].id = 7;
  EXPECT_FALSE(Agrees(kTruth, given, false));
  given = kTruth;
  given.tokens[0].logprob = NAN;
  EXPECT_FALSE(Agrees(kTruth, given, false));
  given.tokens[0].logprob = -2;
  EXPECT_FALSE(Agrees(kTruth, given, false));
  given = kTruth;
  given.tokens.pop_back();
  EXPECT_FALSE(Agrees(kTruth, given, false));
}

TEST(Canary, TextAloneIsHeldToTheTokensItStandsFor) {
  EXPECT_TRUE(Agrees(kTruth, {.tokens = {}, .text = " the cat sat"}, false));
  EXPECT_TRUE(Agrees(kTruth, {.tokens = {}, .text = " the cat"}, false)) << "cut at another token";
  EXPECT_TRUE(Agrees(kTruth, {.tokens = {}, .text = " the dog ran"}, false)) << "a near tie";
  EXPECT_FALSE(Agrees(kTruth, {.tokens = {}, .text = " a cat sat"}, false));
  EXPECT_FALSE(Agrees(kTruth, {.tokens = {}, .text = ""}, false));
}

TEST(Canary, AnAnswerIsPutTogetherFromEvents) {
  wire::TokenEvent event;
  event.set_text(" the");
  event.add_ids(1);
  auto* chosen = event.add_logprobs();
  chosen->set_token(1);
  chosen->set_logprob(-0.1F);
  chosen->set_text(" the");
  for (const auto& [id, logprob] : {std::pair{1, -0.1F}, {9, -2.1F}}) {
    auto* top = chosen->add_top();
    top->set_token(id);
    top->set_logprob(logprob);
  }
  CanaryAnswer answer;
  Append(event, answer);
  ASSERT_EQ(answer.tokens.size(), 1u);
  EXPECT_EQ(answer.text, " the");
  EXPECT_FLOAT_EQ(answer.tokens[0].gap, 2);
}

}  // namespace
}  // namespace penstock

#include "text/render_calls.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "text/render_protocol.h"

namespace penstock {
namespace {

const TemplateSource kGood{.id = 1, .text = "good"}, kSlow{.id = 2, .text = "slow"};

// What a call came to: its text, "again", or "error: …".
struct Outcomes {
  RenderCalls::Done Next() {
    outcomes.emplace_back("pending");
    return [this, at = outcomes.size() - 1](std::optional<Result<std::string>> result) {
      outcomes[at] = !result ? "again" : *result ? **result : "error: " + result->error().message;
    };
  }
  std::vector<std::string> outcomes;
};
using Said = std::vector<std::string>;

std::string Answer(std::string_view text, penstock_text_status status = PENSTOCK_TEXT_OK) {
  return std::string(BytesOf(RenderAnswer{.status = status, .size = text.size()})) + std::string(text);
}

// The calls that `bytes` holds, as "source:context" with the source where it was sent.
Said Questions(std::string_view bytes) {
  Said questions;
  while (!bytes.empty()) {
    RenderQuestion question;
    std::memcpy(&question, bytes.data(), sizeof question);
    bytes.remove_prefix(sizeof question);
    const std::string source(bytes.substr(0, question.source_size));
    bytes.remove_prefix(question.source_size);
    questions.push_back(source + ":" + std::string(bytes.substr(0, question.context_size)));
    bytes.remove_prefix(question.context_size);
  }
  return questions;
}

TEST(RenderCalls, ATemplateIsSentOnceAndAnswersMayComeInPieces) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", said.Next());
  calls.Add(kGood, "b", said.Next());
  EXPECT_EQ(Questions(calls.TakeUnsent()), (Said{"good:a", ":b"}));
  EXPECT_FALSE(calls.unsent());
  const std::string answers = Answer("A") + Answer("roles must alternate", PENSTOCK_TEXT_INVALID);
  for (const char byte : answers) EXPECT_TRUE(calls.Received({&byte, 1}));
  EXPECT_EQ(said.outcomes, (Said{"A", "error: roles must alternate"}));
  EXPECT_TRUE(calls.empty());
}

TEST(RenderCalls, ACallMayBeMadeWhileAnotherIsAnswered) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", [&](auto) { calls.Add(kGood, "b", said.Next()); });
  calls.TakeUnsent();
  EXPECT_TRUE(calls.Received(Answer("A")));
  EXPECT_EQ(Questions(calls.TakeUnsent()), (Said{":b"}));
  EXPECT_TRUE(calls.Received(Answer("B")));
  EXPECT_EQ(said.outcomes, (Said{"B"}));
}

TEST(RenderCalls, TheProcessMustEndWhenOneCallUsesTooMuchOfIt) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", said.Next());
  calls.Add(kSlow, "b", said.Next());
  EXPECT_FALSE(calls.MustEnd(0, 0));
  EXPECT_FALSE(calls.MustEnd(20 * kMillisecond, 20 * kMillisecond));
  EXPECT_TRUE(calls.Received(Answer("A")));
  // The time of the call before does not count.
  EXPECT_FALSE(calls.MustEnd(40 * kMillisecond, 40 * kMillisecond));
  EXPECT_FALSE(calls.MustEnd(60 * kMillisecond, 79 * kMillisecond));
  EXPECT_TRUE(calls.MustEnd(80 * kMillisecond, 80 * kMillisecond));
}

TEST(RenderCalls, TheProcessMustEndWhenItGetsNoTimeOnTheMachine) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", said.Next());
  EXPECT_FALSE(calls.MustEnd(kSecond, 0));
  EXPECT_TRUE(calls.MustEnd(kSecond + RenderCalls::kTimeLimit, 0));
}

TEST(RenderCalls, AfterAnEndOnlyTheOldestCallsTemplateIsAvoided) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kSlow, "a", said.Next());
  calls.Add(kGood, "b", said.Next());
  calls.Add(kSlow, "c", said.Next());
  calls.Add(kGood, "d", said.Next());
  calls.TakeUnsent();
  EXPECT_TRUE(calls.Received(Answer("half an answer").substr(0, 20)));
  calls.Ended(kSecond);
  EXPECT_EQ(said.outcomes, (Said{"again", "pending", "again", "pending"}));
  EXPECT_EQ(Questions(calls.TakeUnsent()), (Said{"good:b", ":d"}));  // the next process knows no template
  EXPECT_TRUE(calls.Received(Answer("B") + Answer("D")));
  EXPECT_EQ(said.outcomes, (Said{"again", "B", "again", "D"}));
  EXPECT_TRUE(calls.Takes(kGood, kSecond));
  EXPECT_FALSE(calls.Takes(kSlow, kSecond));
  EXPECT_TRUE(calls.Takes(kSlow, kSecond + RenderCalls::kAvoid));
}

TEST(RenderCalls, AnAnswerThatNobodyAskedForIsNonsense) {
  RenderCalls calls;
  EXPECT_FALSE(calls.Received(Answer("A")));
}

TEST(RenderCalls, AnEndBetweenCallsBlamesNobody) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", said.Next());
  EXPECT_TRUE(calls.Received(Answer("A")));
  calls.Ended(0);
  EXPECT_TRUE(calls.Takes(kGood, 0));
}

TEST(RenderCalls, WithoutAProcessEveryCallMustBeMadeElsewhere) {
  RenderCalls calls;
  Outcomes said;
  calls.Add(kGood, "a", said.Next());
  calls.Add(kSlow, "b", said.Next());
  calls.GiveUp();
  EXPECT_EQ(said.outcomes, (Said{"again", "again"}));
  EXPECT_TRUE(calls.empty());
  EXPECT_FALSE(calls.unsent());
}

}  // namespace
}  // namespace penstock

#include "gateway/request/reasoning.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace penstock::gateway {
namespace {

using State = ReasoningSplitter::State;
using Parts = std::pair<std::string, std::string>;  // reasoning, answer

Parts Split(State start, const std::vector<std::string>& pieces) {
  ReasoningSplitter splitter(start);
  Parts parts;
  std::string reasoning, answer;
  for (const std::string& piece : pieces) {
    splitter.Feed(piece, reasoning, answer);
    parts.first += reasoning;
    parts.second += answer;
  }
  splitter.End(reasoning, answer);
  parts.first += reasoning;
  parts.second += answer;
  return parts;
}

TEST(Reasoning, TheStartComesFromTheRenderedPrompt) {
  EXPECT_EQ(ReasoningSplitter::StartState(false, "<think>"), State::kOff);
  EXPECT_EQ(ReasoningSplitter::StartState(true, "…assistant\n<think>\n"), State::kThinking);
  EXPECT_EQ(ReasoningSplitter::StartState(true, "…assistant\n<think>\n\n</think>\n\n"), State::kOff);
  EXPECT_EQ(ReasoningSplitter::StartState(true, "…assistant\n"), State::kMayOpen);
}

TEST(Reasoning, PartsThoughtFromAnswerHoweverTheTextIsCut) {
  const std::string text = "<think>\nwell, a < b\n</think>\n\nSo <b>yes</b>.";
  for (size_t cut = 1; cut < text.size(); ++cut) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size(); at += cut) pieces.push_back(text.substr(at, cut));
    EXPECT_EQ(Split(State::kMayOpen, pieces), Parts("well, a < b", "So <b>yes</b>.")) << cut;
  }
}

TEST(Reasoning, ThinkingThatThePromptOpenedNeedsNoTag) {
  EXPECT_EQ(Split(State::kThinking, {"hm", "m</thi", "nk>\n\nyes"}), Parts("hmm", "yes"));
}

TEST(Reasoning, AnAnswerWithoutThoughtIsWhole) {
  EXPECT_EQ(Split(State::kMayOpen, {"\n<thin", "g> is no tag"}), Parts("", "\n<thing> is no tag"));
}

TEST(Reasoning, AThoughtThatIsCutStaysAThought) {
  EXPECT_EQ(Split(State::kThinking, {"I wonder </th"}), Parts("I wonder </th", ""));
}

TEST(Reasoning, OffPassesEverythingOn) {
  EXPECT_EQ(Split(State::kOff, {"<think>", "a</think>"}), Parts("", "<think>a</think>"));
}

}  // namespace
}  // namespace penstock::gateway

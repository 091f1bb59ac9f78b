#include "engine/output.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace penstock {
namespace {

std::string Whole(const std::vector<std::string>& parts) {
  Utf8Stream stream;
  std::string text;
  for (const std::string& part : parts) stream.Push(part, text);
  stream.Flush(text);
  return text;
}

TEST(Utf8Stream, HoldsBackUnfinishedCharacters) {
  Utf8Stream stream;
  std::string text;
  stream.Push("a\xF0\x9F", text);
  EXPECT_EQ(text, "a");
  stream.Push("\x98", text);
  EXPECT_EQ(text, "a");
  stream.Push("\x80z", text);
  EXPECT_EQ(text, "a😀z");
}

TEST(Utf8Stream, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(Whole({"a\xFF", "b"}), "a\uFFFDb");
  EXPECT_EQ(Whole({"\xC3"}), "\uFFFD");
  EXPECT_EQ(Whole({"\xC3", "\x28"}), "\uFFFD(");
  EXPECT_EQ(Whole({"\xE2\x82", "A"}), "\uFFFDA");                      // one per maximal subpart
  EXPECT_EQ(Whole({"\xED\xA0\x80"}), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(Whole({"\xC0\x80"}), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(Whole({"\xF4\x90\x80\x80"}), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
}

TEST(Utf8Stream, TheCutDoesNotMatter) {
  const std::string text = "αβ\xFF 漢字 \xE2\x28 😀\xF0\x9F end \xED\xA0\x80";
  const std::string whole = Whole({text});
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random.Below(4);
      parts.push_back(text.substr(at, size));
      at += size;
    }
    EXPECT_EQ(Whole(parts), whole) << seed;
  }
}

struct Stopped {
  std::string text;
  std::optional<size_t> stop;
  bool operator==(const Stopped&) const = default;
};

Stopped Stop(const std::vector<std::string>& stops, const std::vector<std::string>& parts,
             bool include = false) {
  StopStrings matcher(&stops, include);
  Stopped result;
  for (const std::string& part : parts) {
    result.stop = matcher.Push(part, result.text);
    if (result.stop) return result;
  }
  matcher.Flush(result.text);
  return result;
}

TEST(StopStrings, TextBeforeTheMatchIsSaidAndTheMatchIsNot) {
  EXPECT_EQ(Stop({"END"}, {"abc E", "N", "D more"}), (Stopped{"abc ", 0}));
  EXPECT_EQ(Stop({"END"}, {"abc E", "N", "D more"}, true), (Stopped{"abc END", 0}));
  EXPECT_EQ(Stop({"END"}, {"abc E", "N"}), (Stopped{"abc EN", std::nullopt}));
}

TEST(StopStrings, APartialMatchThatFailsIsSaid) {
  const std::vector<std::string> stops = {"aab"};
  StopStrings matcher(&stops, false);
  std::string out;
  EXPECT_FALSE(matcher.Push("aa", out));
  EXPECT_EQ(out, "");
  EXPECT_FALSE(matcher.Push("a", out));
  EXPECT_EQ(out, "a");
  EXPECT_TRUE(matcher.Push("b", out));
  EXPECT_EQ(out, "a");
}

TEST(StopStrings, TheFirstToBeCompleteWins) {
  EXPECT_EQ(Stop({"bcd", "c"}, {"abcd"}), (Stopped{"ab", 1}));
  EXPECT_EQ(Stop({"c", "bc"}, {"abcd"}), (Stopped{"a", 1}));  // complete at once: the longer
}

TEST(StopStrings, TheCutDoesNotMatter) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    Random random(seed);
    std::vector<std::string> stops;
    for (uint64_t i = 0; i <= random.Below(3); ++i) {
      std::string stop;
      for (uint64_t j = 0; j <= random.Below(4); ++j) stop += static_cast<char>('a' + random.Below(2));
      stops.push_back(stop);
    }
    std::string text;
    for (int i = 0; i < 20; ++i) text += static_cast<char>('a' + random.Below(3));
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random.Below(5);
      parts.push_back(text.substr(at, size));
      at += size;
    }
    std::vector<std::string> letters;
    for (char c : text) letters.emplace_back(1, c);
    EXPECT_EQ(Stop(stops, parts), Stop(stops, letters)) << seed;
    EXPECT_EQ(Stop(stops, {text}), Stop(stops, letters)) << seed;
  }
}

TEST(Output, HeldBackTextIsSaidAtTheEnd) {
  OutputRules rules{.pieces = std::make_shared<const Pieces>(Pieces::Of({"a", "EN", "\xF0\x9F"})),
                    .stops = {"END"},
                    .stop_tokens = {},
                    .max_tokens = 2};
  Output output(&rules);
  wire::TokenEvent first, second;
  output.Take({.sequence = 1, .token = 0, .top = {}}, first);
  output.Take({.sequence = 1, .token = 1, .top = {}}, second);
  EXPECT_EQ(first.text(), "a");
  EXPECT_EQ(second.text(), "EN");
  EXPECT_EQ(second.finish(), wire::LENGTH);

  Output cut(&rules);
  wire::TokenEvent half, end;
  cut.Take({.sequence = 1, .token = 2, .top = {}}, half);
  EXPECT_EQ(half.text(), "");
  EXPECT_EQ(half.new_tokens(), 1U);
  cut.End(wire::CANCELLED, end);
  EXPECT_EQ(end.text(), "\uFFFD");
  EXPECT_EQ(end.emitted(), 1U);
}

TEST(Output, AStopStringThatIsAControlTokenStops) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.tokens = {"a", "<|im_start|>", "<|other|>"};
  vocabulary.types = {Vocabulary::kNormal, Vocabulary::kControl, Vocabulary::kControl};
  for (const bool include : {false, true}) {
    OutputRules rules{.pieces = std::make_shared<const Pieces>(Pieces::Of(vocabulary)),
                      .stops = {"ab", "<|im_start|>"},
                      .stop_tokens = {},
                      .include_stop = include,
                      .max_tokens = 9};
    Output output(&rules);
    wire::TokenEvent other, held, end;
    output.Take({.sequence = 1, .token = 2, .top = {}}, other);
    output.Take({.sequence = 1, .token = 0, .top = {}}, held);
    output.Take({.sequence = 1, .token = 1, .top = {}}, end);
    EXPECT_EQ(other.finish(), wire::NONE);
    EXPECT_EQ(held.text(), "") << "held back: it may begin \"ab\"";
    EXPECT_EQ(end.finish(), wire::STOP);
    EXPECT_EQ(end.stop(), "<|im_start|>");
    EXPECT_EQ(end.text(), include ? "a<|im_start|>" : "a");
  }
}

}  // namespace
}  // namespace penstock

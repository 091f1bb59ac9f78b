#include "app/common/table.h"

#include <gtest/gtest.h>

#include "app/common/json_get.h"
#include "base/nearest.h"

namespace penstock {
namespace {

TEST(Tables, AlignNumbersToTheRightAndCountCharactersNotBytes) {
  Table table({"NAME", ">COUNT", "NOTE"});
  table.Row({"größe", "5", "a"});
  table.Row({"x", "1,000"});
  EXPECT_EQ(table.Text(),
            "NAME   COUNT  NOTE\n"
            "größe      5  a\n"
            "x      1,000\n");
}

TEST(Tables, MeasureTheCellsOfATerminal) {
  Table table({"NAME", "X"});
  table.Row({"研究", "1"});
  table.Row({"🚀", "2"});
  table.Row({"e\u0301", "3"});
  EXPECT_EQ(table.Text(),
            "NAME  X\n"
            "研究  1\n"
            "🚀    2\n"
            "e\u0301     3\n");
}

TEST(Tables, ShortenTheLongestNameFirstAndNeverAFigure) {
  Table table({"~TEAM", "~NAME", ">TOKENS"});
  table.Row({"research-and-development", "laptop of ann", "1,234,567"});
  EXPECT_EQ(table.Text(),
            "TEAM                      NAME              TOKENS\n"
            "research-and-development  laptop of ann  1,234,567\n");
  EXPECT_EQ(table.Text(50), table.Text());
  EXPECT_EQ(table.Text(40),
            "TEAM            NAME              TOKENS\n"
            "research-and-…  laptop of ann  1,234,567\n");
  EXPECT_EQ(table.Text(10),
            "TEAM      NAME         TOKENS\n"
            "researc…  laptop …  1,234,567\n");
}

TEST(Tables, ShortenBetweenCharactersAlsoWideOnes) {
  Table table({"~NAME", "X"});
  table.Row({"研究開発部門", "1"});
  EXPECT_EQ(table.Text(12),
            "NAME       X\n"
            "研究開発…  1\n");
  EXPECT_EQ(table.Text(11),
            "NAME      X\n"
            "研究開…   1\n");
}

TEST(Humans, ReadSizesCountsAndTimes) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(98'362'432), "98.4 MB");
  EXPECT_EQ(HumanBytes(999'999), "1.0 MB");
  EXPECT_EQ(HumanCount(1'234'567), "1,234,567");
  EXPECT_EQ(HumanCount(-1234), "-1,234");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanSeconds(184), "3 min 4 s");
}

TEST(Nearest, SuggestsASimilarName) {
  const std::vector<std::string> known = {"smollm2-135m", "qwen3-0.6b"};
  EXPECT_EQ(DidYouMean("smollm-135m", known), " (did you mean 'smollm2-135m'?)");
  EXPECT_EQ(DidYouMean("qwen3", known), " (did you mean 'qwen3-0.6b'?)");
  EXPECT_EQ(DidYouMean("gpt-4o", known), "");
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3U);
}

TEST(PrettyJsonText, ParsesBackToTheSameValue) {
  const boost::json::value value = {{"a", {1, 2.5, "ü\"\n"}}, {"b", boost::json::object{}}, {"c", nullptr}};
  EXPECT_EQ(boost::json::parse(PrettyJson(value)), value);
}

}  // namespace
}  // namespace penstock

#include "teams/names.h"

#include <gtest/gtest.h>

#include "teams/teams.h"

namespace penstock {
namespace {

TEST(Names, AreKeptInNfc) {
  EXPECT_EQ(*CheckedName("team", "Cafe\u0301"), "Caf\u00e9");
  EXPECT_EQ(*CheckedName("team", "\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(*CheckedName("team", "R&D (a/b) \u7814\u7a76 \U0001F680"), "R&D (a/b) \u7814\u7a76 \U0001F680");
  EXPECT_TRUE(CheckedName("team", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"))
      << "a joiner is spelling";
}

TEST(Names, HaveNothingInvisibleInThem) {
  for (const char* name :
       {"",         " a",       "a ",       "\u3000a",  "a\u00a0",  "a\tb",         "a\nb",
        "a\x7f",    "a\u0085",  "a\u202eb", "a\u2066b", "a\u200fb", "a\u061cb",     "a\u200bb",
        "a\ufeffb", "a\u00adb", "a\u2028b", "a\ue000",  "\xff\xfe", "a\xed\xa0\x80"}) {
    const auto checked = CheckedName("team", name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().code, Code::kInvalid);
    for (const char c : checked.error().message) EXPECT_TRUE(c >= ' ' && c < 0x7F) << checked.error().message;
  }
  EXPECT_TRUE(CheckedName("team", std::string(64, 'x')));
  EXPECT_FALSE(CheckedName("team", std::string(65, 'x')));
}

TEST(Names, ThatDifferByCaseFoldToOne) {
  EXPECT_EQ(FoldedName("Search"), FoldedName("sEARCH"));
  EXPECT_EQ(FoldedName("STRASSE"), FoldedName("stra\u00dfe"));
  EXPECT_EQ(FoldedName("CAFE\u0301"), FoldedName("caf\u00e9"));
  EXPECT_EQ(FoldedName("\u03a3\u03a3"), FoldedName("\u03c3\u03c2"));
  EXPECT_NE(FoldedName("search"), FoldedName("research"));
}

TEST(Names, OfTeamsAreFoundExactlyOrByTheirId) {
  const std::vector<Team> teams = {{.id = 1, .name = "red"},
                                   {.id = 2, .name = "Red"},
                                   {.id = 3, .name = "1"},
                                   {.id = 4, .name = "caf\u00e9"}};
  EXPECT_EQ(FindTeamIn(teams, "red")->id, 1);
  EXPECT_EQ(FindTeamIn(teams, "Red")->id, 2);
  EXPECT_EQ(FindTeamIn(teams, "2")->id, 2);
  EXPECT_EQ(FindTeamIn(teams, "1")->id, 3) << "a name comes first";
  EXPECT_EQ(FindTeamIn(teams, "cafe\u0301")->id, 4);
  EXPECT_EQ(FindTeamIn(teams, "RED"), nullptr);
  EXPECT_EQ(FindTeamIn(teams, "2x"), nullptr);
  EXPECT_EQ(FindTeamIn(teams, ""), nullptr);
}

}  // namespace
}  // namespace penstock

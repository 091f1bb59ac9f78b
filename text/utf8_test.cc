#include "text/utf8.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace penstock {
namespace {

TEST(Utf8, CharacterIsHeldUntilItsLastByte) {
  Utf8Holder holder;
  EXPECT_EQ(holder.Feed("a\xF0\x9F"), "a");
  EXPECT_EQ(holder.pending().size(), 2u);
  EXPECT_EQ(holder.Feed("\x98"), "");
  EXPECT_EQ(holder.Feed("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(holder.Flush(), "");
}

TEST(Utf8, EndWithinACharacterIsOneReplacement) {
  Utf8Holder holder;
  EXPECT_EQ(holder.Feed("\xE4\xB8"), "");
  EXPECT_EQ(holder.Flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(holder.Feed("ok"), "ok");
}

// The cases of Unicode 16, tables 3-8 to 3-11: one U+FFFD per maximal subpart.
TEST(Utf8, InvalidBytesAreReplacedByMaximalSubparts) {
  const auto replaced = [](int count) {
    std::string out;
    while (count-- > 0) out += "\xEF\xBF\xBD";
    return out;
  };
  struct Case {
    const char* name;
    std::string bytes, expected;
  };
  const Case cases[] = {
      {"non-shortest forms", "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", replaced(8) + "A"},
      {"surrogates", "\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", replaced(8) + "A"},
      {"other ill-formed", "\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", replaced(5) + "A" + replaced(2) + "B"},
      {"truncated", "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", replaced(4) + "A"},
  };
  for (const Case& c : cases) EXPECT_EQ(ValidUtf8(c.bytes), c.expected) << c.name;
}

TEST(Utf8, OutputDoesNotDependOnHowTheBytesWereCut) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (uint64_t i = random.Below(40); i > 0; --i) {
      // Lead and continuation bytes, much more often than in random bytes.
      static constexpr uint8_t kBytes[] = {0x41, 0x80, 0x9F, 0xA0, 0xBF, 0xC3,
                                           0xE0, 0xE4, 0xED, 0xF0, 0xF4, 0xFF};
      bytes.push_back(static_cast<char>(kBytes[random.Below(std::size(kBytes))]));
    }
    Utf8Holder holder;
    std::string pieces;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = 1 + random.Below(4);
      pieces += holder.Feed(std::string_view(bytes).substr(at, size));
      EXPECT_LE(holder.pending().size(), 3u);
      at += size;
    }
    pieces += holder.Flush();
    EXPECT_EQ(pieces, ValidUtf8(bytes));
    EXPECT_EQ(ValidUtf8(pieces), pieces);
  }
}

}  // namespace
}  // namespace penstock

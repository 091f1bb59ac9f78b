#include "gateway/common/json_out.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>

#include "base/random.h"
#include "gateway/common/json_fields.h"

namespace penstock::gateway {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(text, out);
  return out;
}

TEST(JsonOut, EscapesWhatJsonWantsEscaped) {
  EXPECT_EQ(Quoted("a\"b\\c\n\r\t\x01\x7f/ü😀"), R"("a\"b\\c\n\r\t\u0001\u007f/ü😀")");
}

TEST(JsonOut, ReplacesBytesThatAreNoUtf8) {
  EXPECT_EQ(Quoted("a\xff"), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(Quoted("\xc3"), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(Quoted("\xed\xa0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");  // a surrogate
}

TEST(JsonOut, AnyBytesBecomeJsonThatReadsBack) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes;
    for (uint64_t n = random.Below(40); n > 0; --n) bytes += static_cast<char>(random.Next());
    boost::system::error_code ec;
    boost::json::parse(Quoted(bytes), ec);
    EXPECT_FALSE(ec) << ec.message();
  }
}

TEST(JsonOut, NumbersReadBackAsThemselves) {
  for (const double value : {0.0, -0.1, 1e-300, 12345.678, -3.4028234663852886e38}) {
    std::string out;
    AppendNumber(value, out);
    EXPECT_EQ(std::strtod(out.c_str(), nullptr), value) << out;
  }
}

TEST(JsonFields, KeepTheFirstFaultAndItsPath) {
  const auto value = ParseJsonObject(R"({"a":"x","b":1,"c":{}})");
  ASSERT_TRUE(value);
  Fields fields(value->get_object(), "top.");
  fields.Integer("a", 0, 1);
  fields.Bool("b");
  ASSERT_TRUE(fields.fault());
  EXPECT_EQ(fields.fault()->param, "top.a");
  EXPECT_EQ(fields.fault()->message, "'top.a' must be an integer, not a string");
  EXPECT_EQ(fields.Ignored(), std::vector<std::string>{"top.c"});
}

TEST(JsonFields, AWholeDoubleIsAnInteger) {
  const auto value = ParseJsonObject(R"({"a":3.0,"b":3.5,"c":18446744073709551615})");
  ASSERT_TRUE(value);
  Fields fields(value->get_object());
  EXPECT_EQ(fields.Integer("a", 0, 9), 3);
  EXPECT_FALSE(fields.fault());
  EXPECT_FALSE(fields.Integer("b", 0, 9));
  EXPECT_TRUE(fields.fault());
  EXPECT_FALSE(fields.Integer("c", 0, 9));
}

}  // namespace
}  // namespace penstock::gateway

#include "app/settings/toml_edit.h"

#include <gtest/gtest.h>

#include "app/settings/config.h"

namespace penstock {
namespace {

std::string Edit(std::string_view text, std::string_view name, std::string_view value) {
  auto edited = WithSetting(text, name, value);
  return edited.has_value() ? *edited : "error: " + edited.error().message;
}

TEST(TomlEdit, AValueIsReplacedAndCommentsStay) {
  EXPECT_EQ(Edit("# ours\nlisten = \"a:1\" # where\n[gateway]\nmax_body = 5\n", "listen", "b:2"),
            "# ours\nlisten = 'b:2' # where\n[gateway]\nmax_body = 5\n");
  EXPECT_EQ(Edit("[gateway] # é\nmax_body  =  \"é\"  # é\nmax_waiting = 1", "gateway.max_body", "16MiB"),
            "[gateway] # é\nmax_body  =  '16MiB'  # é\nmax_waiting = 1");
  EXPECT_EQ(Edit("[pull]\nmirrors = [\n  \"a\", # one\n  \"b\"]\npython = 'p'\n", "pull.mirrors", "c,d"),
            "[pull]\nmirrors = 'c,d'\npython = 'p'\n");
}

TEST(TomlEdit, AMissingKeyGoesIntoItsTableAndAMissingTableToTheEnd) {
  EXPECT_EQ(Edit("", "listen", "b:2"), "listen = 'b:2'\n");
  EXPECT_EQ(Edit("# top\n[gateway]\nmax_body = 5", "listen", "b:2"),
            "# top\nlisten = 'b:2'\n[gateway]\nmax_body = 5");
  EXPECT_EQ(Edit("[gateway]\n# kept\nmax_body = 5\n[pull]\n", "gateway.max_waiting", "7"),
            "[gateway]\nmax_waiting = 7\n# kept\nmax_body = 5\n[pull]\n");
  EXPECT_EQ(Edit("data = '/x'", "engine.prefix_cache", "false"),
            "data = '/x'\n\n[engine]\nprefix_cache = false\n");
  EXPECT_EQ(Edit("[engines.left]\n", "engines.left.memory", "2GiB"), "[engines.left]\nmemory = '2GiB'\n");
  EXPECT_EQ(Edit("[engines.left]\n", "engines.right.memory", "2GiB"),
            "[engines.left]\n\n[engines.right]\nmemory = '2GiB'\n");
}

TEST(TomlEdit, WhatCannotBeChangedSafelyIsLeftToTheUser) {
  EXPECT_TRUE(Edit("gateway = { max_body = 5 }\n", "gateway.max_waiting", "7")
                  .starts_with("error: gateway.max_waiting"));
  EXPECT_TRUE(Edit("listen = \n", "listen", "b:2").starts_with("error: line 1"));
  EXPECT_TRUE(Edit("[gateway.max_body]\nx = 1\n", "gateway.max_body", "7").starts_with("error: "));
}

TEST(TomlEdit, QuotesAndBackslashesSurvive) {
  const std::string odd = "a\"b'c\\d\te";
  const auto edited = WithSetting("", "pull.python", odd);
  ASSERT_TRUE(edited.has_value());
  const auto again = WithSetting(*edited, "pull.python", "p");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, "[pull]\npython = 'p'\n");
}

}  // namespace
}  // namespace penstock

#include "gateway/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Answer;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using testing::World;

Answer Get(World& world, std::string_view path, std::string_view headers) {
  Client client(world.port);
  client.Send(fmt::format("GET {} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", path, headers));
  return client.Read();
}

std::set<std::string> AllMatches(std::string_view text, const std::string& pattern) {
  const std::string all(text);
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator at(all.begin(), all.end(), regex), end; at != end; ++at) found.insert((*at)[1]);
  return found;
}

std::string_view FileText(std::string_view name) {
  for (const ConsoleFile& file : ConsoleFiles()) {
    if (file.name == name) return file.bytes;
  }
  return {};
}

constexpr std::string_view kBrowser = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

TEST(Console, ABrowserGetsThePageAndOthersAFewLines) {
  World world;
  const Answer page = Get(world, "/", kBrowser);
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, StartsWith("<!doctype html>"));
  for (const char* accept : {"", "accept: */*\r\n", "accept: application/json\r\n"}) {
    const Answer text = Get(world, "/", accept);
    EXPECT_EQ(text.status, 200);
    EXPECT_EQ(text.headers.at("content-type"), "text/plain; charset=utf-8") << accept;
    EXPECT_THAT(text.body, HasSubstr("/v1/chat/completions"));
  }
}

TEST(Console, MayLoadAndTalkToItsOwnServerOnly) {
  World world;
  const std::string policy = Get(world, "/", kBrowser).headers.at("content-security-policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, HasSubstr("script-src 'self';"));
  EXPECT_THAT(policy, HasSubstr("connect-src 'self';"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_THAT(policy, Not(HasSubstr("http")));
  EXPECT_EQ(Get(world, "/", kBrowser).headers.at("x-content-type-options"), "nosniff");
}

TEST(Console, EveryFileThatThePageNamesIsThere) {
  World world;
  for (const std::string& path : AllMatches(FileText("index.html"), "\"(/console/[^\"]*)\"")) {
    const Answer file = Get(world, path, "");
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_FALSE(file.body.empty());
  }
  for (const ConsoleFile& file : ConsoleFiles()) {
    for (const std::string& name : AllMatches(file.bytes, "from '\\./([^']*)'")) {
      EXPECT_EQ(Get(world, "/console/" + name, "").headers.at("content-type"),
                "text/javascript; charset=utf-8")
          << file.name << " imports " << name;
    }
  }
  EXPECT_EQ(Get(world, "/console/nothing.js", "").status, 404);
  EXPECT_EQ(Get(world, "/console/../index.html", "").status, 404);
}

TEST(Console, EveryIdThatItsScriptsNameIsInThePageOnce) {
  const std::string_view page = FileText("index.html");
  for (const ConsoleFile& file : ConsoleFiles()) {
    if (!file.name.ends_with(".js")) continue;
    for (const std::string& id : AllMatches(file.bytes, "\\$\\('([^']*)'\\)")) {
      const std::string attribute = fmt::format("id=\"{}\"", id);
      const size_t at = page.find(attribute);
      EXPECT_NE(at, std::string_view::npos) << file.name << ": " << id;
      EXPECT_EQ(page.find(attribute, at + 1), std::string_view::npos) << id;
    }
  }
}

TEST(Console, NeedsNothingFromElsewhereAndRunsNothingInline) {
  for (const ConsoleFile& file : ConsoleFiles()) {
    // Names of namespaces are no addresses: nothing is fetched from them.
    const auto addresses = AllMatches(file.bytes, "(https?://[^'\"`$ )]+)");
    for (const std::string& address : addresses)
      EXPECT_EQ(address, "http://www.w3.org/2000/svg") << file.name;
    EXPECT_EQ(file.bytes.find("innerHTML ="), std::string_view::npos) << file.name;
    EXPECT_EQ(file.bytes.find("eval("), std::string_view::npos) << file.name;
  }
  const std::string_view page = FileText("index.html");
  EXPECT_TRUE(AllMatches(page, "<script(?! (?:type=\"module\" )?src=)([^>]*)>").empty());
  EXPECT_TRUE(AllMatches(page, " (on[a-z]+|style)=\"").empty());
}

TEST(Console, IsSmall) {
  size_t all = 0;
  for (const ConsoleFile& file : ConsoleFiles()) all += file.bytes.size();
  EXPECT_LT(all, 300U << 10);
}

TEST(Console, IsSentAgainOnlyWhenItChanged) {
  World world;
  const Answer first = Get(world, "/", kBrowser);
  const std::string etag = first.headers.at("etag");
  EXPECT_EQ(first.headers.at("cache-control"), "no-cache");
  const Answer same = Get(world, "/", fmt::format("{}if-none-match: {}\r\n", kBrowser, etag));
  EXPECT_EQ(same.status, 304);
  EXPECT_FALSE(same.headers.contains("content-length"));
  EXPECT_EQ(Get(world, "/", fmt::format("{}if-none-match: W/\"older\"\r\n", kBrowser)).status, 200);
}

TEST(Console, IsZippedForThoseWhoTakeIt) {
  World world;
  const Answer plain = Get(world, "/console/console.css", "");
  const Answer zipped = Get(world, "/console/console.css", "accept-encoding: gzip, deflate, br\r\n");
  EXPECT_EQ(zipped.headers.at("content-encoding"), "gzip");
  EXPECT_LT(zipped.body.size(), plain.body.size() / 2);
  EXPECT_EQ(zipped.body.substr(0, 2), "\x1f\x8b");
  EXPECT_FALSE(plain.headers.contains("content-encoding"));
  EXPECT_FALSE(Get(world, "/console/console.css", "accept-encoding: gzip;q=0\r\n")
                   .headers.contains("content-encoding"));
}

}  // namespace
}  // namespace penstock::gateway

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "app/commands/errors_page.h"
#include "base/result.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The names of the enumerators in base/reason.h.
std::vector<std::string> Names() {
  const std::string header = ReadAll(fs::path(PENSTOCK_SOURCE_DIR) / "base/reason.h");
  std::vector<std::string> names;
  for (size_t at = 0; (at = header.find("\n  k", at)) != std::string::npos;) {
    const size_t end = header.find(" = ", at);
    names.push_back(header.substr(at + 3, end - at - 3));
    at = end;
  }
  std::erase(names, "kNone");
  return names;
}

TEST(Errors, ThePageIsWhatTheTableSays) {
  EXPECT_TRUE(ReadAll(fs::path(PENSTOCK_SOURCE_DIR) / "docs/errors.md") == ErrorsPage())
      << "to regenerate it: penstock errors --markdown > docs/errors.md";
}

TEST(Errors, EveryCodeIsUniqueAndHasAWholeParagraph) {
  std::set<Reason> seen;
  for (const ReasonText& text : Reasons()) {
    EXPECT_TRUE(seen.insert(text.reason).second) << ShortCode(text.reason);
    for (const std::string_view part : {text.title, text.what, text.why, text.fix}) {
      EXPECT_GT(part.size(), 10u) << ShortCode(text.reason);
    }
    EXPECT_TRUE(text.what.ends_with('.') && text.why.ends_with('.') && text.fix.ends_with('.'))
        << ShortCode(text.reason);
    EXPECT_EQ(FindReason(ShortCode(text.reason)), &text);
  }
  EXPECT_EQ(seen.size(), Names().size()) << "every enumerator has its row";
  EXPECT_EQ(FindReason("PS9999"), nullptr);
  EXPECT_EQ(FindReason("nonsense"), nullptr);
}

TEST(Errors, EveryCodeIsUsedSomewhere) {
  std::string sources;
  for (const char* floor : {"model", "engine", "fleet", "teams", "gateway", "app", "text", "runner"}) {
    for (const auto& at : fs::recursive_directory_iterator(fs::path(PENSTOCK_SOURCE_DIR) / floor)) {
      const std::string name = at.path().filename();
      if (name.ends_with(".cc") && !name.ends_with("_test.cc")) sources += ReadAll(at.path());
    }
  }
  for (const std::string& name : Names()) {
    EXPECT_TRUE(std::regex_search(sources, std::regex("Reason::" + name + "\\b"))) << name;
  }
}

TEST(Errors, AReasonGivesItsKindAndItsCode) {
  const Status failed = Fail(Reason::kPortInUse, "port {} is in use", 8700);
  EXPECT_EQ(failed.error().code, Code::kConflict);
  EXPECT_EQ(Worded(failed.error()), "[PS1001] port 8700 is in use");
  EXPECT_EQ(Worded(Error{Code::kIo, "no reason"}), "no reason");
}

}  // namespace
}  // namespace penstock

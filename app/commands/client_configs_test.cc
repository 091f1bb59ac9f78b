#include "app/commands/client_configs.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

TEST(ClientConfigs, NamesAreUniqueAndEveryTextIsFilledInWithoutASecret) {
  std::set<std::string_view> names;
  for (const auto& client : ClientConfigs()) {
    EXPECT_TRUE(names.insert(client.name).second) << client.name;
    EXPECT_EQ(FindClient(client.name), &client);
    const std::string text = ConfigText(client, "https://cloud.example/v1", "qwen3-4b");
    for (const char* const mark : {"@URL", "@MODEL@", "@JSON@", "@OPENAIMODEL@"}) {
      EXPECT_EQ(text.find(mark), std::string::npos) << client.name << ": " << text;
    }
    EXPECT_NE(text.find("https://cloud.example/v1"), std::string::npos) << text;
    EXPECT_NE(text.find("qwen3-4b"), std::string::npos) << text;
    EXPECT_NE(text.find("PENSTOCK_KEY"), std::string::npos) << text;
  }
  EXPECT_EQ(FindClient("nothing"), nullptr);
}

TEST(ClientConfigs, AModelsNameIsQuotedForItsLanguage) {
  const std::string shell = ConfigText(*FindClient("aider"), "http://h/v1", "two words");
  EXPECT_NE(shell.find("aider --model openai/'two words'"), std::string::npos) << shell;
  const std::string python = ConfigText(*FindClient("openai-python"), "http://h/v1", "a\"b");
  EXPECT_NE(python.find(R"(model="a\"b")"), std::string::npos) << python;
}

}  // namespace
}  // namespace penstock

// `penstock errors`: what each short code means.
#include "app/commands/errors_page.h"

#include "app/commands/commands.h"
#include "app/common/table.h"
#include "base/reason.h"

namespace penstock {
namespace {

constexpr std::string_view kGroups[] = {
    "", "Install and start", "Models", "Requests", "Teams and keys", "Store and backup", "Engines"};

size_t GroupOf(Reason reason) {
  return static_cast<size_t>(reason) / 1000;
}

Result<int> Explain(const std::string& short_code) {
  const ReasonText* const text = FindReason(short_code);
  if (text == nullptr) {
    return Fail(Code::kNotFound, "'{}' is no error code; `penstock errors` lists them", short_code);
  }
  fmt::print("{}: {}\n\n{}\n\nWhy: {}\n\nWhat to do: {}\n", ShortCode(text->reason), text->title, text->what,
             text->why, text->mend);
  return 0;
}

int List() {
  Table table({"CODE", "WHAT"});
  for (const ReasonText& text : Reasons()) table.Row({ShortCode(text.reason), std::string(text.title)});
  fmt::print("{}", table.Text());
  return 0;
}

}  // namespace

std::string ErrorsPage() {
  std::string page =
      "# Errors\n\n"
      "An error that a user meets carries a short code that never changes: the program prints it before the\n"
      "message (`penstock: [PS1001] …`), the API sends it as the response header `x-penstock-error`. "
      "`penstock "
      "errors\n"
      "PS1001` shows its paragraph in the terminal. This page is made by `penstock errors --markdown`.\n";
  size_t group = 0;
  for (const ReasonText& text : Reasons()) {
    if (GroupOf(text.reason) != group) {
      group = GroupOf(text.reason);
      page += fmt::format("\n## {}\n", kGroups[group]);
    }
    page += fmt::format("\n### {}: {}\n\n{} {}\n\n{}\n", ShortCode(text.reason), text.title, text.what,
                        text.why, text.mend);
  }
  return page;
}

void AddErrorsCommand(CLI::App& app, Cli& cli) {
  auto code = std::make_shared<std::string>();
  auto markdown = std::make_shared<bool>(false);
  CLI::App* errors = app.add_subcommand("errors", "Explain an error's short code, or list them all");
  errors->add_option("code", *code, "such as PS1001");
  errors->add_flag("--markdown", *markdown, "the reference page");
  errors->footer("Example:\n  penstock errors PS1001");
  errors->callback([&cli, code, markdown] {
    cli.run = [code, markdown](const LoadedConfig&) -> Result<int> {
      if (!code->empty()) return Explain(*code);
      if (!*markdown) return List();
      fmt::print("{}", ErrorsPage());
      return 0;
    };
  });
}

}  // namespace penstock

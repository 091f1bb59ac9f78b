#include "app/command_line/command_tree.h"

#include <fmt/ranges.h>

#include <sstream>

namespace penstock {
namespace {

OptionFacts FactsOf(const CLI::Option& option) {
  OptionFacts facts{.names = {},
                    .value = "",
                    .help = option.get_description(),
                    .group = option.get_group(),
                    .required = option.get_required(),
                    .repeats = option.get_expected_max() > 1};
  for (const auto& name : option.get_snames()) facts.names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) facts.names.push_back("--" + name);
  if (facts.names.empty()) facts.names.push_back(option.get_name(true));
  if (option.get_items_expected_max() > 0) facts.value = option.get_type_name();
  return facts;
}

void Read(const CLI::App& app, std::vector<std::string> words, std::vector<CommandFacts>& out) {
  words.push_back(app.get_name());
  CommandFacts facts{.words = words, .help = app.get_description(), .footer = app.get_footer()};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    (option->get_positional() ? facts.arguments : facts.options).push_back(FactsOf(*option));
  }
  const auto shown = app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  for (const CLI::App* sub : shown) facts.subcommands.push_back(sub->get_name());
  out.push_back(std::move(facts));
  for (const CLI::App* sub : shown) Read(*sub, words, out);
}

}  // namespace

std::string CommandFacts::Name(char between) const {
  return fmt::format("{}", fmt::join(words, std::string_view(&between, 1)));
}

std::vector<CommandFacts> ReadCommands(const CLI::App& app) {
  std::vector<CommandFacts> commands;
  Read(app, {}, commands);
  return commands;
}

std::vector<FooterPart> SplitFooter(const std::string& footer) {
  std::vector<FooterPart> parts;
  bool open = false;
  std::istringstream text(footer);
  for (std::string line; std::getline(text, line);) {
    if (line.empty()) {
      open = false;
      continue;
    }
    const bool listed = line.starts_with("  ");
    if (!open || (parts.back().heading.empty() && listed)) parts.emplace_back();
    if (!open && line.ends_with(':')) {
      parts.back().heading = line.substr(0, line.size() - 1);
    } else {
      parts.back().lines.push_back(listed ? line.substr(2) : line);
    }
    open = true;
  }
  return parts;
}

}  // namespace penstock

// The program's commands as plain data, read from the tree that parses them. Man pages, docs/commands.md and
// shell completions are generated from this data, so no command is listed by hand.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace penstock {

struct OptionFacts {
  std::vector<std::string> names;  // "-h", "--help"; for an argument: only its name
  std::string value;               // "FILE"; empty: a flag
  std::string help;
  std::string group;
  bool required = false;
  bool repeats = false;
};

struct CommandFacts {
  std::vector<std::string> words;  // "penstock", "model", "pull"
  std::string help;                // one line
  std::string footer;              // paragraphs; examples are paragraphs whose first line ends with ':'
  std::vector<OptionFacts> arguments{}, options{};
  std::vector<std::string> subcommands{};

  std::string Name(char between = ' ') const;  // "penstock model pull"
};

// Every command that --help shows, parents first, in the order of --help.
std::vector<CommandFacts> ReadCommands(const CLI::App& app);

// One paragraph of a footer: prose, or a heading ("Example") with lines to type.
struct FooterPart {
  std::string heading;  // empty: prose
  std::vector<std::string> lines;
};
std::vector<FooterPart> SplitFooter(const std::string& footer);

std::string ManPage(const std::vector<CommandFacts>& commands, const CommandFacts& command);
std::string ConfigManPage();                                          // penstock.toml(5)
std::string CommandsPage(const std::vector<CommandFacts>& commands);  // docs/commands.md

// A value of type MODEL, TEAM or SOURCE is completed with the output of `penstock names MODEL`; the shell
// itself completes FILE, PATH and DIR.
std::string BashCompletion(const std::vector<CommandFacts>& commands);
std::string ZshCompletion(const std::vector<CommandFacts>& commands);
std::string FishCompletion(const std::vector<CommandFacts>& commands);

}  // namespace penstock

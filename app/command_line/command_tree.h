// The program's commands as plain data, read from the very tree that parses them. What explains the program
// (man pages, docs/commands.md, the completions) is made from this and names no command itself.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace penstock {

struct OptionFacts {
  std::vector<std::string> names;  // "-h", "--help"; of an argument: its name alone
  std::string value;               // "FILE"; empty: a flag
  std::string help;
  std::string group;
  bool required = false;
  bool repeats = false;
};

struct CommandFacts {
  std::vector<std::string> words;  // "penstock", "model", "pull"
  std::string help;                // one line
  std::string footer;              // paragraphs; one whose first line ends with ':' lists examples
  std::vector<OptionFacts> arguments{}, options{};
  std::vector<std::string> subcommands{};

  std::string Name(char between = ' ') const;  // "penstock model pull"
};

// Every command that --help shows, parents first, in its order.
std::vector<CommandFacts> ReadCommands(const CLI::App& app);

// A footer's paragraph: prose, or a heading ("Example") with lines to type.
struct FooterPart {
  std::string heading;  // empty: prose
  std::vector<std::string> lines;
};
std::vector<FooterPart> SplitFooter(const std::string& footer);

std::string ManPage(const std::vector<CommandFacts>& commands, const CommandFacts& command);
std::string ConfigManPage();                                          // penstock.toml(5)
std::string CommandsPage(const std::vector<CommandFacts>& commands);  // docs/commands.md

// A value called MODEL, TEAM or SOURCE is completed by what `penstock names MODEL` prints; FILE, PATH and DIR
// by the shell.
std::string BashCompletion(const std::vector<CommandFacts>& commands);
std::string ZshCompletion(const std::vector<CommandFacts>& commands);
std::string FishCompletion(const std::vector<CommandFacts>& commands);

}  // namespace penstock

// Completion for three shells. All scripts work the same way: they follow the words typed so far to a
// command, then offer that command's subcommands and flags, or values for the flag before the cursor.
#include <fmt/ranges.h>

#include "app/command_line/command_tree.h"

namespace penstock {
namespace {

constexpr std::string_view kAsked = "MODEL|TEAM|SOURCE";  // types whose values `penstock names` lists

// "model pull": the words after the program's name; empty for the program itself.
std::string At(const CommandFacts& command) {
  return fmt::format("{}", fmt::join(command.words.begin() + 1, command.words.end(), " "));
}

// Quoted in a way that bash, zsh and fish all accept.
std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

// One case for each step down the tree: from "model", the word "pull" leads to "model pull".
std::string Steps(const std::vector<CommandFacts>& commands, std::string_view form) {
  std::string text;
  for (const auto& command : commands) {
    if (command.words.size() < 2) continue;
    const auto last = command.words.end() - 1;
    const std::string from = fmt::format("{}", fmt::join(command.words.begin() + 1, last, " "));
    text += fmt::format(fmt::runtime(form), fmt::arg("from", from), fmt::arg("word", *last),
                        fmt::arg("to", At(command)));
  }
  return text;
}

// One case for each flag that takes a value, and for each command whose first argument has a type.
std::string Values(const std::vector<CommandFacts>& commands, std::string_view form) {
  std::string text;
  const auto add = [&](const std::string& at, const std::string& before, const std::string& value) {
    text += fmt::format(fmt::runtime(form), fmt::arg("at", at), fmt::arg("before", before),
                        fmt::arg("value", value));
  };
  for (const auto& command : commands) {
    const bool root = command.words.size() == 1;
    for (const auto& option : command.options) {
      for (const auto& name : option.names) {
        if (!option.value.empty()) add(root ? "*" : Quoted(At(command)), name, option.value);
      }
    }
    if (!command.arguments.empty() && command.arguments.front().value != "TEXT")
      add(Quoted(At(command)), command.words.back(), command.arguments.front().value);
  }
  return text;
}

std::string FlagWords(const CommandFacts& command) {
  std::string words;
  for (const auto& option : command.options) {
    for (const auto& name : option.names) words += (words.empty() ? "" : " ") + name;
  }
  return words;
}

const CommandFacts& Named(const std::vector<CommandFacts>& commands, const CommandFacts& parent,
                          const std::string& word) {
  const std::string name = parent.Name() + " " + word;
  return *std::ranges::find(commands, name, [](const CommandFacts& c) { return c.Name(); });
}

// "'pull:Get a model' …", as zsh's _describe reads them.
std::string ZshCommands(const std::vector<CommandFacts>& commands, const CommandFacts& command) {
  std::string words;
  for (const auto& sub : command.subcommands)
    words += " " + Quoted(sub + ":" + Named(commands, command, sub).help);
  return words;
}

std::string ZshFlags(const CommandFacts& command) {
  std::string words;
  for (const auto& option : command.options) {
    for (const auto& name : option.names) words += " " + Quoted(name + ":" + option.help);
  }
  return words;
}

std::string FishOption(const CommandFacts& command, const OptionFacts& option) {
  std::string line = "complete -c penstock";
  if (command.words.size() > 1) line += fmt::format(" -n \"__penstock_at '{}'\"", At(command));
  for (const auto& name : option.names)
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  if (option.value == "FILE" || option.value == "PATH") {
    line += " -r -F";
  } else if (option.value == "DIR") {
    line += " -x -a '(__fish_complete_directories)'";
  } else if (!option.value.empty() && kAsked.contains(option.value)) {
    line += fmt::format(" -x -a '(penstock names {} 2>/dev/null)'", option.value);
  } else if (!option.value.empty()) {
    line += " -x";
  }
  return line + " -d " + Quoted(option.help) + "\n";
}

}  // namespace

std::string BashCompletion(const std::vector<CommandFacts>& commands) {
  std::string offers;
  for (const auto& command : commands) {
    offers += fmt::format("    {}) words={} flags={} ;;\n", Quoted(At(command)),
                          Quoted(fmt::format("{}", fmt::join(command.subcommands, " "))),
                          Quoted(FlagWords(command)));
  }
  return fmt::format(
      R"sh(# bash completion for penstock: made by `penstock completion bash`.
_penstock() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}"
  local at="" words="" flags="" value="" i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$at/${{COMP_WORDS[i]}}" in
{steps}    esac
  done
  case "$at" in
{offers}  esac
  case "$at/$before" in
{values}  esac
  [[ "$current" == -* && "$before" != -* ]] && value=""
  COMPREPLY=()
  case "$value" in
    {asked}) words="$("${{COMP_WORDS[0]}}" names "$value" 2>/dev/null)" ;;
    FILE | PATH) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    DIR) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    ?*) return ;;
  esac
  [[ "$current" == -* ]] && words="$flags"
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _penstock penstock
)sh",
      fmt::arg("steps", Steps(commands, "      '{from}/{word}') at='{to}' ;;\n")), fmt::arg("offers", offers),
      fmt::arg("values", Values(commands, "    {at}/{before}) value='{value}' ;;\n")),
      fmt::arg("asked", kAsked));
}

std::string ZshCompletion(const std::vector<CommandFacts>& commands) {
  std::string offers;
  for (const auto& command : commands) {
    offers += fmt::format("    {}) commands=({}) flags=({}) ;;\n", Quoted(At(command)),
                          ZshCommands(commands, command), ZshFlags(command));
  }
  return fmt::format(
      R"sh(#compdef penstock
# zsh completion for penstock: made by `penstock completion zsh`.
_penstock() {{
  local at="" value="" word
  local -a commands flags found
  for word in ${{words[2,CURRENT-1]}}; do
    case "$at/$word" in
{steps}    esac
  done
  case "$at" in
{offers}  esac
  case "$at/$words[CURRENT-1]" in
{values}  esac
  [[ $words[CURRENT] == -* && $words[CURRENT-1] != -* ]] && value=""
  case "$value" in
    {asked}) found=(${{(f)"$($words[1] names $value 2>/dev/null)"}}); compadd -a found; return ;;
    FILE|PATH) _files; return ;;
    DIR) _files -/; return ;;
    ?*) return ;;
  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe -o option flags
  else
    _describe command commands
  fi
}}
if [[ $funcstack[1] == _penstock ]]; then _penstock "$@"; else compdef _penstock penstock; fi
)sh",
      fmt::arg("steps", Steps(commands, "      '{from}/{word}') at='{to}' ;;\n")), fmt::arg("offers", offers),
      fmt::arg("values", Values(commands, "    {at}/{before}) value='{value}' ;;\n")),
      fmt::arg("asked", kAsked));
}

std::string FishCompletion(const std::vector<CommandFacts>& commands) {
  std::string offers;
  for (const auto& command : commands) {
    const std::string here = fmt::format("complete -c penstock -n \"__penstock_at '{}'\"", At(command));
    for (const auto& sub : command.subcommands)
      offers += fmt::format("{} -a {} -d {}\n", here, sub, Quoted(Named(commands, command, sub).help));
    if (!command.arguments.empty()) {
      const std::string& value = command.arguments.front().value;
      const std::string first = fmt::format("complete -c penstock -n \"__penstock_first '{}'\"", At(command));
      if (kAsked.contains(value))
        offers += fmt::format("{} -a '(penstock names {} 2>/dev/null)'\n", first, value);
      if (value == "PATH" || value == "FILE") offers += first + " -F\n";
    }
    for (const auto& option : command.options) offers += FishOption(command, option);
  }
  return fmt::format(
      R"sh(# fish completion for penstock: made by `penstock completion fish`.
function __penstock_at
    set -l at ''
    for word in (commandline -opc)[2..-1]
        switch "$at/$word"
{steps}        end
    end
    test "$at" = "$argv[1]"
end
function __penstock_first
    __penstock_at $argv[1]; and test (commandline -opc)[-1] = (string split ' ' -- $argv[1])[-1]
end
complete -c penstock -f
{offers})sh",
      fmt::arg("steps", Steps(commands, "            case '{from}/{word}'\n                set at '{to}'\n")),
      fmt::arg("offers", offers));
}

}  // namespace penstock

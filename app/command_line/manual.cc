// The manual in two formats: roff for man, Markdown for docs/commands.md.
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <boost/algorithm/string/replace.hpp>

#include <cctype>
#include <cstdlib>

#include "app/command_line/command_tree.h"
#include "app/settings/config.h"
#include "app/settings/table.h"
#include "base/clock.h"

namespace penstock {
namespace {

// ---- roff ------------------------------------------------------------------------------------------

// Text that roff prints unchanged: escapes backslashes, hyphens (so that they can be copied) and lines that
// begin with a control character.
std::string Roff(std::string_view text) {
  std::string out;
  bool code = false;  // between `backquotes`: bold
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const bool begins = at == 0 || text[at - 1] == '\n';
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '`') {
      out += code ? "\\fR" : "\\fB";
      code = !code;
    } else if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '~') {
      out += "\\(ti";
    } else if (c == '^') {
      out += "\\(ha";
    } else {
      out += c;
    }
  }
  return out;
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string RoffTerm(const OptionFacts& option) {
  std::string term;
  for (const auto& name : option.names)
    term += fmt::format("{}\\fB{}\\fR", term.empty() ? "" : ", ", Roff(name));
  if (!option.value.empty() && option.names.front().starts_with('-'))
    term += fmt::format(" \\fI{}\\fR", Roff(option.value));
  return fmt::format(".TP\n{}\n{}\n", term, Roff(option.help));
}

// One argument in the synopsis: "MODEL", "[prompt ...]".
std::string Usage(const OptionFacts& argument) {
  const std::string name = argument.names.front() + (argument.repeats ? " ..." : "");
  return argument.required ? name : "[" + name + "]";
}

std::string Synopsis(const CommandFacts& command) {
  std::string line = command.Name();
  if (!command.options.empty()) line += " [OPTIONS]";
  for (const auto& argument : command.arguments) line += " " + Usage(argument);
  if (!command.subcommands.empty()) line += " COMMAND";
  return line;
}

std::string RoffOptions(std::string_view title, const std::vector<OptionFacts>& options,
                        std::string_view group) {
  std::string text;
  for (const auto& option : options) {
    if (group.empty() || option.group == group) text += RoffTerm(option);
  }
  return text.empty() ? "" : fmt::format(".SH {}\n{}", title, text);
}

// The sections with examples; RoffDescription prints the prose.
std::string RoffExamples(const CommandFacts& command) {
  std::string text;
  for (const auto& part : SplitFooter(command.footer)) {
    if (part.heading.empty()) continue;
    text += fmt::format(".SH {}\n.nf\n", Upper(part.heading));
    for (const auto& line : part.lines) text += Roff(line) + "\n";
    text += ".fi\n";
  }
  return text;
}

std::string RoffDescription(const CommandFacts& command) {
  std::string text = Roff(command.help + (command.help.ends_with('.') ? "" : ".")) + "\n";
  for (const auto& part : SplitFooter(command.footer)) {
    if (!part.heading.empty()) continue;
    text += ".PP\n";
    for (const auto& line : part.lines) text += Roff(line) + "\n";
  }
  return text;
}

// As `man -k` lists it: "penstock - turns …".
std::string Lower(std::string text) {
  if (text.starts_with("Penstock ")) text.erase(0, 9);
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  while (text.ends_with('.')) text.pop_back();
  return text;
}

// Today's date, or SOURCE_DATE_EPOCH when a package is built.
std::string Title(std::string_view name, char section) {
  const char* const fixed = std::getenv("SOURCE_DATE_EPOCH");
  const time_t when = fixed != nullptr ? std::atol(fixed) : SystemClock().Wall() / kSecond;
  return fmt::format(".TH {} {} \"{:%Y-%m-%d}\" \"Penstock {}\" \"Penstock manual\"\n", Upper(Roff(name)),
                     section, fmt::gmtime(when), PENSTOCK_VERSION);
}

// ---- Markdown --------------------------------------------------------------------------------------

std::string MarkdownOptions(const std::vector<OptionFacts>& options, std::string_view group) {
  std::string text;
  for (const auto& option : options) {
    if (!group.empty() && option.group != group) continue;
    const bool argument = !option.names.front().starts_with('-');
    std::string value = option.value.empty() || argument ? "" : " " + option.value;
    boost::algorithm::replace_all(value, "|", "\\|");  // in a table's cell
    text += fmt::format("| `{}{}` | {} |\n", fmt::join(option.names, "`, `"), value, option.help);
  }
  return text;
}

std::string MarkdownTable(const std::string& rows) {
  return rows.empty() ? "" : fmt::format("| | |\n|---|---|\n{}\n", rows);
}

// Whether the command does nothing itself: its subcommands have their own sections.
bool OnlyGroups(const CommandFacts& command) {
  const bool only_help = command.options.size() == 1 && command.arguments.empty();
  return command.words.size() > 1 && !command.subcommands.empty() && only_help;
}

std::string MarkdownCommand(const CommandFacts& command) {
  std::string text =
      fmt::format("## {}\n\n{}\n\n", command.Name(), command.help + (command.help.ends_with('.') ? "" : "."));
  text += fmt::format("    {}\n\n", Synopsis(command));
  text += MarkdownTable(MarkdownOptions(command.arguments, "") + MarkdownOptions(command.options, "Options"));
  for (const auto& part : SplitFooter(command.footer)) {
    if (part.heading.empty()) {
      text += fmt::format("{}\n\n", fmt::join(part.lines, "\n"));
    } else {
      text += fmt::format("{}:\n\n```sh example\n{}\n```\n\n", part.heading, fmt::join(part.lines, "\n"));
    }
  }
  return text;
}

}  // namespace

std::string ManPage(const std::vector<CommandFacts>& commands, const CommandFacts& command) {
  const bool root = command.words.size() == 1;
  std::string page = Title(command.Name('-'), '1');
  page += fmt::format(".SH NAME\n{} \\- {}\n", Roff(command.Name('-')), Roff(Lower(command.help)));
  page += fmt::format(".SH SYNOPSIS\n\\fB{}\\fR\n", Roff(Synopsis(command)));
  page += ".SH DESCRIPTION\n" + RoffDescription(command);
  page += RoffOptions("ARGUMENTS", command.arguments, "");
  page += RoffOptions("OPTIONS", command.options, "Options");
  std::string also;
  if (root) {
    page += RoffOptions("SETTINGS", command.options, "Settings");
    page +=
        ".PP\nThese work with every command, before or after its name; \\fBpenstock.toml\\fR(5) lists all "
        "settings.\n";
    also = "\\fBpenstock.toml\\fR(5)";
  } else {
    page +=
        ".PP\nSettings such as \\fB\\-\\-data\\fR and \\fB\\-\\-url\\fR work with every command: see "
        "\\fBpenstock\\fR(1).\n";
    also = "\\fBpenstock\\fR(1)";
  }
  page += command.subcommands.empty() ? "" : ".SH COMMANDS\n";
  for (const auto& other : commands) {
    if (other.words.size() != command.words.size() + 1 || !other.Name().starts_with(command.Name() + " "))
      continue;
    page += fmt::format(".TP\n\\fB{}\\fR\n{}\n", Roff(other.words.back()), Roff(other.help));
    also += fmt::format(",\n\\fB{}\\fR(1)", Roff(other.Name('-')));
  }
  return page + RoffExamples(command) + ".SH SEE ALSO\n" + also + "\n";
}

std::string ConfigManPage() {
  std::string page = Title("penstock.toml", '5');
  page +=
      ".SH NAME\npenstock.toml \\- settings of penstock\n"
      ".SH DESCRIPTION\n"
      "Each setting can be given in three places; a later one overrides an earlier one: the file (that of "
      "\\fB\\-\\-config\\fR or\n"
      "\\fBPENSTOCK_CONFIG\\fR, else \\fI./penstock.toml\\fR, else \\fI/etc/penstock/penstock.toml\\fR), "
      "the\n"
      "environment, and flags.\n"
      "\\fBgateway.max_body\\fR is \\fBmax_body\\fR under \\fB[gateway]\\fR in the file,\n"
      "\\fBPENSTOCK_GATEWAY_MAX_BODY\\fR in the environment and \\fB\\-\\-gateway\\-max\\-body\\fR as a "
      "flag.\n"
      "\\fBpenstock config\\fR shows the current values and where each one came from.\n"
      ".PP\nBYTES take KiB, MiB, GiB (or KB, MB, GB); TIME takes ms, s, m, h.\n"
      ".SH SETTINGS\n";
  const Config defaults;
  for (const auto& setting : Settings()) {
    const std::string shown = setting.name == "data" ? "" : setting.show(defaults);
    page += fmt::format(".TP\n\\fB{}\\fR = \\fI{}\\fR\n{}{}\n", Roff(setting.name), Roff(setting.value),
                        Roff(setting.help), shown.empty() ? "" : Roff(fmt::format(" (default: {})", shown)));
  }
  return page +
         ".SH EXAMPLE\n.nf\ndata = \"/srv/penstock\"\nlisten = \"0.0.0.0:8700\"\n\n[engine]\nmemory = "
         "\"48GiB\"\n.fi\n.SH SEE ALSO\n\\fBpenstock\\fR(1)\n";
}

std::string CommandsPage(const std::vector<CommandFacts>& commands) {
  std::string page =
      "# Commands\n\n"
      "Each command with its arguments, options and examples, as `--help` prints them. This page is "
      "generated\n"
      "by `penstock man --markdown`; `penstock man model pull` prints the man page of one command.\n\n";
  for (const auto& command : commands) {
    if (OnlyGroups(command)) continue;
    page += MarkdownCommand(command);
    if (command.words.size() > 1) continue;
    page +=
        "These settings work with every command, before or after its name; "
        "[configuration.md](configuration.md) lists all settings.\n\n";
    page += MarkdownTable(MarkdownOptions(command.options, "Settings"));
  }
  page.pop_back();
  return page;
}

}  // namespace penstock

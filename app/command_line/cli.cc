#include "app/command_line/cli.h"
#include "app/settings/units.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/nearest.h"

namespace penstock {
namespace {

// The innermost command on the command line.
const CLI::App& Chosen(const CLI::App& app) {
  const auto named = app.get_subcommands();
  return named.empty() ? app : Chosen(*named.back());
}

// "penstock model pull".
std::string NameOf(const CLI::App& command) {
  return command.get_parent() == nullptr ? command.get_name()
                                         : NameOf(*command.get_parent()) + " " + command.get_name();
}

std::vector<std::string> CommandsOf(const CLI::App& command) {
  std::vector<std::string> names;
  const auto shown = command.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  for (const CLI::App* sub : shown) names.push_back(sub->get_name());
  return names;
}

// The command's own options and those of its parents.
std::vector<std::string> OptionsOf(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* of = &command; of != nullptr; of = of->get_parent()) {
    for (const CLI::Option* option : of->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

// What users of other programs type, and what it is called here.
std::string_view NameHere(const CLI::App& command, std::string_view word) {
  struct Known {
    std::string_view theirs, ours;
  };
  static constexpr std::array kTop = {Known{"serve", "penstock up"},
                                      Known{"start", "penstock up"},
                                      Known{"run", "penstock chat MODEL"},
                                      Known{"list", "penstock model ls"},
                                      Known{"ls", "penstock model ls"},
                                      Known{"models", "penstock model ls"},
                                      Known{"ps", "penstock status"},
                                      Known{"pull", "penstock model pull"},
                                      Known{"rm", "penstock model rm"},
                                      Known{"create", "penstock key create"},
                                      Known{"import", "penstock model import"},
                                      Known{"logs", "penstock log"},
                                      Known{"teams", "penstock team ls"},
                                      Known{"keys", "penstock key ls"},
                                      Known{"engines", "penstock engine ls"},
                                      Known{"show", "penstock model show"},
                                      Known{"load", "penstock model load"},
                                      Known{"unload", "penstock model unload"}};
  static constexpr std::array kWithin = {
      Known{"list", "ls"},        Known{"show", "ls"},       Known{"delete", "rm"},
      Known{"remove", "rm"},      Known{"add", "create"},    Known{"new", "create"},
      Known{"download", "pull"},  Known{"delete", "revoke"}, Known{"remove", "revoke"},
      Known{"undrain", "resume"}, Known{"stop", "drain"}};
  const auto commands = CommandsOf(command);
  const bool top = command.get_parent() == nullptr;
  for (const Known& known : top ? std::span<const Known>(kTop) : std::span<const Known>(kWithin)) {
    if (known.theirs == word && (top || std::ranges::find(commands, known.ours) != commands.end()))
      return known.ours;
  }
  return {};
}

std::string Unknown(const CLI::App& command, const std::string& word) {
  const std::string name = NameOf(command);
  if (word.starts_with('-')) {
    const std::string option = word.substr(0, word.find('='));
    return fmt::format("{} has no option '{}'{}", name, option, DidYouMean(option, OptionsOf(command)));
  }
  const auto commands = CommandsOf(command);
  if (commands.empty()) return fmt::format("{}: unexpected argument '{}'", name, word);
  if (const std::string_view ours = NameHere(command, word); !ours.empty())
    return fmt::format("{} has no command '{}' (did you mean '{}'?)", name, word, ours);
  return fmt::format("{} has no command '{}'{}", name, word, DidYouMean(word, commands));
}

// The option's name, with which CLI11's messages begin: "--data: 1 required DIR missing".
std::string_view NameIn(std::string_view what) {
  return what.substr(0, what.find(':'));
}

template <typename T>
std::string Complaint(const Result<T>& parsed) {
  return parsed.has_value() ? "" : parsed.error().message;
}

}  // namespace

CLI::Validator OneOf(std::vector<std::string> values) {
  return {[values = std::move(values)](const std::string& text) -> std::string {
            if (std::ranges::find(values, text) != values.end()) return "";
            return fmt::format("must be one of {}, not '{}'", fmt::join(values, ", "), text);
          },
          ""};
}

CLI::Validator Count() {
  return {[](const std::string& text) -> std::string {
            int64_t value = 0;
            if (CLI::detail::lexical_cast(text, value) && value > 0) return "";
            return fmt::format("must be a whole number above 0, not '{}'", text);
          },
          ""};
}

CLI::Validator NotNegative() {
  return {[](const std::string& text) -> std::string {
            double value = 0;
            if (CLI::detail::lexical_cast(text, value) && value >= 0) return "";
            return fmt::format("must be a number of 0 or more, not '{}'", text);
          },
          ""};
}

CLI::Validator Duration() {
  return {[](const std::string& text) { return Complaint(ParseDuration(text)); }, ""};
}

CLI::Validator Size() {
  return {[](const std::string& text) { return Complaint(ParseBytes(text)); }, ""};
}

std::string MistakeText(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = Chosen(app);
  const auto left = app.remaining(true);
  const auto commands = CommandsOf(command);
  const auto kind = static_cast<CLI::ExitCodes>(error.get_exit_code());
  std::string text = error.what();
  if (kind == CLI::ExitCodes::ExtrasError || (kind == CLI::ExitCodes::RequiredError && !commands.empty())) {
    text = left.empty() ? fmt::format("missing command; commands are: {}", fmt::join(commands, ", "))
                        : Unknown(command, left.front());
  } else if (kind == CLI::ExitCodes::ArgumentMismatch) {
    text = fmt::format("{} needs a value", NameIn(text));
  } else if (kind == CLI::ExitCodes::ValidationError) {
    text.replace(NameIn(text).size(), 1, "");  // "--by must be one of …"
  } else if (kind == CLI::ExitCodes::RequiredError) {
    text = fmt::format("{}: {}", NameOf(command), text);
  }
  return fmt::format("{}\nSee `{} --help`.", text, NameOf(command));
}

}  // namespace penstock

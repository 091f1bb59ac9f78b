// The command line: each group of commands registers itself here; main parses, loads the configuration and
// runs what was chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct Cli {
  ConfigInput input;
  // Set by the command that was chosen; returns the exit status. An Error is printed, and ends with 1.
  std::function<Result<int>(const LoadedConfig&)> run;
};

// What an option takes: one of some words; a number; a time such as 30s; a size such as 2GiB.
CLI::Validator OneOf(std::vector<std::string> values);
CLI::Validator Count();  // above 0
CLI::Validator NotNegative();
CLI::Validator Duration();
CLI::Validator Size();

// What is wrong with a command line that could not be parsed, and which --help tells more: two lines.
std::string MistakeText(const CLI::App& app, const CLI::ParseError& error);

void AddUpCommand(CLI::App& app, Cli& cli);
void AddHiddenCommands(CLI::App& app, Cli& cli);  // gateway, engine, inspect: the supervisor's children
void AddManualCommands(CLI::App& app, Cli& cli);  // man, completion, names: hidden too
void AddLoginCommands(CLI::App& app, Cli& cli);   // login, logout
void AddStatusCommand(CLI::App& app, Cli& cli);
void AddModelCommands(CLI::App& app, Cli& cli);
void AddChatCommand(CLI::App& app, Cli& cli);
void AddTeamCommands(CLI::App& app, Cli& cli);  // team, key
void AddUsageCommand(CLI::App& app, Cli& cli);
void AddDoctorCommand(CLI::App& app, Cli& cli);
void AddLogCommand(CLI::App& app, Cli& cli);
void AddErrorsCommand(CLI::App& app, Cli& cli);
void AddEngineCommands(CLI::App& app, Cli& cli);  // engine, restart
void AddBackupCommands(CLI::App& app, Cli& cli);  // backup, restore
void AddConfigCommand(CLI::App& app, Cli& cli);

}  // namespace penstock

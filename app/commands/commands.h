// Each function registers commands. main parses the command line, loads the settings and runs the chosen
// command.
#pragma once

#include "app/command_line/cli.h"

namespace penstock {

void AddUpCommand(CLI::App& app, Cli& cli);
void AddHiddenCommands(CLI::App& app, Cli& cli);  // gateway, engine, inspect: the supervisor's children
void AddManualCommands(CLI::App& app, Cli& cli);  // man, completion, and names, which is hidden
void AddLoginCommands(CLI::App& app, Cli& cli);   // login, logout
void AddStatusCommand(CLI::App& app, Cli& cli);
void AddModelCommands(CLI::App& app, Cli& cli);
void AddChatCommand(CLI::App& app, Cli& cli);
void AddTeamCommands(CLI::App& app, Cli& cli);  // team, key
void AddConnectCommand(CLI::App& app, Cli& cli);
void AddUsageCommand(CLI::App& app, Cli& cli);
void AddDoctorCommand(CLI::App& app, Cli& cli);
void AddLogCommand(CLI::App& app, Cli& cli);
void AddErrorsCommand(CLI::App& app, Cli& cli);
void AddEngineCommands(CLI::App& app, Cli& cli);  // engine, restart
void AddBackupCommands(CLI::App& app, Cli& cli);  // backup, restore
void AddConfigCommand(CLI::App& app, Cli& cli);

}  // namespace penstock

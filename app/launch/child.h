// What all child processes of the supervisor share: their hidden options, arguments and log files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "app/common/data_dir.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// The hidden options of the commands `gateway`, `engine` and `await`.
struct ChildOptions {
  int listen_fd = -1;
  std::string socket, name, place, note;
  uint64_t memory = 0, machine_memory = 0;
  pid_t replaces = 0;
};

// COMMAND with all settings of this process as flags, so that the child does not read the configuration file
// or the environment.
std::vector<std::string> ChildArgs(std::string command, const LoadedConfig& loaded);

// The file that a child logs to; empty: it logs to the terminal. Creates the folder.
std::string LogFile(const DataDir& data, const Config& config, std::string_view name);

// The environment variable that holds the key of an engine's external server. Secrets are never in a command
// line.
std::string KeyVariable(std::string_view engine);

// Prints the error; returns the exit status. If a restart cannot fix the error, the status makes the
// supervisor end as well.
int FailChild(const Error& error);

}  // namespace penstock

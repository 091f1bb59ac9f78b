// What the supervisor's child processes have in common: their hidden options, their arguments, their log
// file.
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

// COMMAND and the settings of this process, so that the child reads no file and no environment for them.
std::vector<std::string> ChildArgs(std::string command, const LoadedConfig& loaded);

// The file that a child logs to; empty: it logs to the terminal. Creates the folder.
std::string LogFile(const DataDir& data, const Config& config, std::string_view name);

// The environment variable that holds the key of an engine's external server: a secret is in no command line.
std::string KeyVariable(std::string_view engine);

// Prints the error; returns the exit status. After an error that another try cannot fix the supervisor ends
// too.
int FailChild(const Error& error);

}  // namespace penstock

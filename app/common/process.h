// Runs another program to its end, within limits, and keeps its output.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct ProcessLimits {
  Nanos time = 0;             // wall clock, then SIGKILL; 0: none
  uint64_t memory_bytes = 0;  // address space (RLIMIT_AS); 0: none
  uint64_t cpu_seconds = 0;   // RLIMIT_CPU; 0: none
};

struct ProcessResult {
  int status = -1;  // exit status; -1: ended by a signal
  int signal = 0;
  bool timed_out = false;
  std::string output;  // stdout
  std::string errors;  // stderr; the last 64 KB of each
};

// `command[0]` is searched in PATH; "/proc/self/exe" runs this program. The child dies with this process.
// Errors: kNotFound (no such program), kIo.
Result<ProcessResult> RunProcess(const std::vector<std::string>& command, const ProcessLimits& limits);

}  // namespace penstock

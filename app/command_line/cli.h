// The command line: what a command registers, and how mistakes in a command line are explained.
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

}  // namespace penstock

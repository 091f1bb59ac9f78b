// The command line: what a command registers, and how errors in a command line are reported.
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
  // Set by the chosen command; returns the exit status. An Error is printed, and the exit status is 1.
  std::function<Result<int>(const LoadedConfig&)> run;
};

// Checks of option values: one of some words; a number; a time such as 30s; a size such as 2GiB.
CLI::Validator OneOf(std::vector<std::string> values);
CLI::Validator Count();  // above 0
CLI::Validator NotNegative();
CLI::Validator Duration();
CLI::Validator Size();

// Two lines: what is wrong with a command line that could not be parsed, and which --help explains more.
std::string MistakeText(const CLI::App& app, const CLI::ParseError& error);

}  // namespace penstock

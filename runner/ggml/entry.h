// The plug-in's two functions. Program and plug-in share C++ types, so both carry a version that CMake makes
// of those headers and the compiler; it is compared before anything else is called.
#pragma once

#include <string_view>

namespace penstock {
struct Error;
struct GgmlOptions;
class Runner;
}  // namespace penstock

namespace penstock::ggml {

constexpr std::string_view kAbi = PENSTOCK_RUNNER_ABI " " __VERSION__;

using AbiFunction = const char*();
// Null: `error` says why. The caller owns the runner.
using MakeFunction = Runner*(const GgmlOptions* options, Error* error);

constexpr const char* kAbiSymbol = "penstock_ggml_abi";
constexpr const char* kMakeSymbol = "penstock_ggml_make";

}  // namespace penstock::ggml

// The ggml runner: libllama under our own planner, on every chip that ggml has a backend for.
//
// It lives in a shared library of its own, libpenstock_ggml.so (runner/ggml/), which is built where libllama
// is found and loaded when it is asked for: the program itself needs nothing of it. The plug-in opens
// libllama in turn, from a folder that is named when it is asked for, and takes the one release that it was
// built for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runner/runner.h"

namespace penstock {

struct GgmlOptions {
  std::string device = {};     // "CPU", "Vulkan0", "CUDA0", …; empty: the first GPU, else the CPU
  int32_t layers = 1000;       // that a GPU computes, the CPU the others
  int32_t max_sequences = 64;  // running at once, of one model; at most kGgmlSequences
  int threads = 0;             // ≤ 0: one per usable CPU
  // Of this machine's memory, for what paused sequences of a model had computed. 0: 512 MiB for a GPU; none
  // for the CPU, whose KV is this machine's memory too.
  int64_t pause_bytes = 0;
  // Folders in which libllama.so may lie, with its backends beside it; the first that has one. Empty: the
  // folder `ggml` beside the plug-in.
  std::vector<std::string> libraries = {};
};

// libllama keeps at most 256 sequences; as many as run are kept for prompts that may come again.
constexpr int32_t kGgmlSequences = 128;

// Steps run on the caller's thread: Submit returns when the step is done.
// Errors: kUnsupported: the plug-in or libllama is not there, or is of another version; kInvalid: no such
// device (names those there are). A process keeps the libllama that it loaded first.
Result<std::unique_ptr<Runner>> MakeGgmlRunner(const GgmlOptions& options);

// Where the plug-in lies: beside this program, in ../lib/penstock, or in the build's runner/ggml. Empty:
// nowhere.
std::string GgmlPluginPath();

}  // namespace penstock

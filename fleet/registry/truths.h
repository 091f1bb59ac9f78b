// Truths: for each model, the right answers to its canary prompts, kept across restarts.
//
// No outside source knows them. So the first engine's answers are taken as right, and every engine's answers
// are compared with them from then on. That finds a chip that becomes wrong, and one that differs from the
// others. Two cases change a truth: an engine of our own numeric contract (its kernels are tested bit by bit
// against a readable reference) replaces the answers of one without; and where more engines agree among
// themselves than with the truth, their answers become the truth.
//
// Threads: one. Pure: reading and writing the file is left to the caller (ReadTruths, WriteTruths).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fleet/registry/canary.h"

namespace penstock {

struct Truth {
  std::string file;      // identity of the model's file (FileIdentity)
  std::string contract;  // of the engine that answered
  std::vector<CanaryAnswer> answers;
};

class Truths {
 public:
  // `json`: what Json returned before; empty: nothing is known. Text that cannot be read counts as none; the
  // log says so.
  explicit Truths(std::string_view json = {});

  // Null: no answers are known for this file and these prompts.
  const Truth* Find(std::string_view model, std::string_view file, size_t prompts) const;
  void Keep(const std::string& model, Truth truth);
  std::string Json() const;

 private:
  std::map<std::string, Truth, std::less<>> truths_;
};

// The content of the file, empty if there is none; and the file replaced whole. Failures go to the log.
std::string ReadTruths(const std::string& path);
void WriteTruths(const std::string& path, std::string_view json);

// Path, size and time: "/models/a.gguf 4096 1700000000". Another size or time means another file.
std::string FileIdentity(const std::string& path);

}  // namespace penstock

// Truths: for each model, the right answers to its canary prompts, kept across restarts.
//
// Nobody outside knows them, so they are what an engine answered first, and from then on what every engine is
// held to: a chip that turns wrong is caught, and one that is wrong beside others. Two cases change a truth:
// an engine whose contract is our own (its kernels are held to a readable reference, bit by bit) answers for
// one that promises nothing; and where more engines agree among themselves than with the truth, theirs is.
//
// Threads: one. The file is JSON, replaced whole.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fleet/registry/canary.h"

namespace penstock {

struct Truth {
  std::string file;      // the model's, with what tells another apart: path, size, time
  std::string contract;  // of the engine that answered
  std::vector<CanaryAnswer> answers;
};

class Truths {
 public:
  // `path` empty: nothing is kept. A file that cannot be read is as good as none; why goes to the log.
  explicit Truths(std::string path);

  // Null: nothing is known, or of another file or other prompts.
  const Truth* Find(std::string_view model, std::string_view file, size_t prompts) const;
  void Keep(const std::string& model, Truth truth);

 private:
  void Read();
  void Write() const;

  std::string path_;
  std::map<std::string, Truth, std::less<>> truths_;
};

// "/models/a.gguf 4096 1700000000": another size or time is another file.
std::string FileIdentity(const std::string& path);

}  // namespace penstock

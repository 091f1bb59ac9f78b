// A model's GGUF files: one, or the parts of a split one ("m-00001-of-00003.gguf", …), as llama-gguf-split
// writes them. The first part has the metadata; the tensors are spread over all of them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/files/file.h"
#include "model/files/gguf.h"

namespace penstock {

// The paths of all parts in order if `path` is any part of a split model; otherwise `path` alone. A file that
// is not GGUF is returned alone too: reading it says what is wrong.
// Errors: kNotFound names the part that is missing; kCorrupt: a part whose name is not that of a part.
Result<std::vector<std::string>> GgufPartsOf(const std::string& path);

// The name of part `index` (from 0) of `count` under a common stem.
std::string GgufPartName(std::string_view stem, size_t index, size_t count);

class GgufFiles {
 public:
  // `path`: the file, or any part. Errors: as GgufPartsOf and Gguf::Parse; parts that do not belong together.
  static Result<GgufFiles> Open(const std::string& path);

  const Gguf& metadata() const { return parts_.front(); }
  std::span<const Gguf> parts() const { return parts_; }
  // Views in `parts()` point into these.
  std::vector<MappedFile>& files() { return files_; }
  int64_t bytes() const;
  // A tensor's rows, whatever its format; 0: there is no such tensor.
  int64_t RowsOf(std::string_view tensor) const;

 private:
  Status Add(const std::string& path);
  Status CheckParts() const;

  std::vector<MappedFile> files_;
  std::vector<Gguf> parts_;
};

// Every token needs a row in the embedding, and every row a token.
// Errors: kCorrupt: their numbers differ.
Status CheckVocabularySize(const GgufFiles& files);

}  // namespace penstock

// ModelStore: the models of a data directory, as plain folders.
//
//   models/NAME/model.gguf       or the parts of a split one (model-00001-of-00003.gguf, …), or the files of
//   a
//                                Hugging Face folder
//   models/NAME/manifest.json    what it is, where it came from, the SHA-256 of each file
//   models/pins.json             by name, the SHA-256 of the first pull; `model rm` does not delete it
//   models/.partial/             downloads and models in preparation; never served
//
// A folder appears under its name in one rename, when its files are complete, checked and inspected.
// Threads: one; processes: any number (a rename decides).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/common/data_dir.h"
#include "app/models/inspect.h"
#include "base/result.h"
#include "fleet/installed_model.h"

namespace penstock {

struct ModelFile {
  std::string name, sha256{};
  std::string from{};  // where an import takes it from
  uint64_t size = 0;
};

struct Manifest {
  std::string name;
  bool folder = false;  // a Hugging Face folder
  std::vector<ModelFile> files{};
  std::string source;   // where the bytes came from, as shown to users
  std::string licence;  // as in the catalogue, else as the file states it
  std::string note;
  int64_t installed = 0;              // Unix seconds
  int64_t context = 0, kv_bytes = 0;  // limits chosen at import; 0: none
  ModelFacts facts;

  uint64_t Bytes() const;
};

// Where a new model came from, and its name.
struct NewModel {
  std::string name{}, source{}, licence{}, note{};
  int64_t context = 0, kv_bytes = 0;
};

class ModelStore {
 public:
  // any_kind: models that the native runner does not support are installed as well.
  explicit ModelStore(const DataDir& data, bool any_kind = false)
      : root_(data.Models()), data_(data), any_kind_(any_kind) {}

  std::string PartialFolder() const { return root_ + "/.partial"; }

  // By name, without damaged manifests and those of a later format.
  std::vector<Manifest> List() const;
  // Errors: kNotFound (lists the installed models), kCorrupt.
  Result<Manifest> Find(const std::string& name) const;
  // The GGUF file (of a split model the first part) or the folder.
  std::string PathOf(const Manifest& manifest) const;
  std::vector<InstalledModel> Installed() const;

  // Errors: kInvalid (a name that is not safe in URLs and paths), kConflict (the model exists).
  Status CheckNewName(const std::string& name) const;
  // Takes the finished, checked file at `path` (inside PartialFolder()) as model.gguf.
  Result<Manifest> InstallFile(const NewModel& model, const std::string& path, const std::string& sha256);
  // Reflinks, else hard-links, else copies a GGUF file, all parts of a split one (`path`: any of them), or a
  // Hugging Face folder (without weights that its index does not name).
  Result<Manifest> Import(const NewModel& model, const std::string& path,
                          const std::function<void(uint64_t done, uint64_t total)>& progress);
  Status Remove(const std::string& name);
  // Deletes what ended processes had prepared. Unfinished downloads stay, because they can be resumed.
  void RemoveAbandoned() const;
  // Checks every file against its SHA-256. Errors: kCorrupt names the file.
  Status Verify(const Manifest& manifest, const std::function<void(uint64_t, uint64_t)>& progress) const;

  // ---- pins ----
  std::string PinOf(const std::string& name) const;  // empty: none
  Status Pin(const std::string& name, const std::string& sha256);

 private:
  Result<Manifest> Place(const NewModel& model, const std::string& folder, Manifest manifest);
  std::string root_;
  DataDir data_;
  bool any_kind_ = false;
};

// Places the file `from` at `to`, which must not exist, with the first method that works. A reflink shares
// the bytes until one side writes; a hard link shares the file; a copy shares nothing.
Status TakeFile(const std::string& from, const std::string& to, uint64_t size, bool may_link = true);

// Errors: kTooLarge if weights of this size can never fit into this machine's memory.
Status CheckFitsMemory(std::string_view name, uint64_t bytes);

}  // namespace penstock

// ModelStore: the models of a data directory, as plain folders.
//
//   models/NAME/model.gguf       or the files of a Hugging Face folder
//   models/NAME/manifest.json    what it is, where it came from, the SHA-256 of each file
//   models/pins.json             by name, the SHA-256 that the first pull got: outlives `model rm`
//   models/.partial/             what is being fetched or prepared; never served
//
// A folder appears under its name in one rename, when its files are whole, checked and inspected.
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
  std::string name, sha256;
  uint64_t size = 0;
};

struct Manifest {
  std::string name;
  bool folder = false;  // a Hugging Face folder
  std::vector<ModelFile> files{};
  std::string source;   // where the bytes came from, for people
  std::string licence;  // the catalogue's word, else the file's own
  std::string note;
  int64_t installed = 0;              // Unix seconds
  int64_t context = 0, kv_bytes = 0;  // caps chosen at import; 0: none
  ModelFacts facts;

  uint64_t Bytes() const;
};

// Where something came from, and what it is to be called.
struct NewModel {
  std::string name{}, source{}, licence{}, note{};
  int64_t context = 0, kv_bytes = 0;
};

class ModelStore {
 public:
  // any_kind: models that the native runner does not compute are installed, too.
  explicit ModelStore(const DataDir& data, bool any_kind = false)
      : root_(data.Models()), data_(data), any_kind_(any_kind) {}

  std::string PartialFolder() const { return root_ + "/.partial"; }

  std::vector<Manifest> List()
      const;  // by name; damaged manifests, and those of a later format, are left out
  // Errors: kNotFound (says which models there are), kCorrupt.
  Result<Manifest> Find(const std::string& name) const;
  // The GGUF file or the folder.
  std::string PathOf(const Manifest& manifest) const;
  std::vector<InstalledModel> Installed() const;

  // Errors: kInvalid (a name that no URL or folder should hold), kConflict (there is one).
  Status CheckNewName(const std::string& name) const;
  // Takes the finished, checked file at `path` (inside PartialFolder()) as model.gguf.
  Result<Manifest> InstallFile(const NewModel& model, const std::string& path, const std::string& sha256);
  // Reflinks, else hard-links, else copies a GGUF file or a Hugging Face folder.
  Result<Manifest> Import(const NewModel& model, const std::string& path,
                          const std::function<void(uint64_t done, uint64_t total)>& progress);
  Status Remove(const std::string& name);
  // Deletes what processes that are gone had prepared. Unfinished downloads stay: they are gone on with.
  void RemoveAbandoned() const;
  // Every file against its SHA-256. Errors: kCorrupt names the file.
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

// Puts the file at `from` at `to`, which is not there yet. A reflink shares the bytes until one side writes;
// a hard link shares the file; a copy shares nothing: the first that works.
Status TakeFile(const std::string& from, const std::string& to, uint64_t size, bool may_link = true);

// Errors: kTooLarge if weights of so many bytes cannot fit this machine's memory at all.
Status CheckFitsMemory(std::string_view name, uint64_t bytes);

}  // namespace penstock

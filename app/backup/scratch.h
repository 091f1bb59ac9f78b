// Scratch: a folder that is filled beside its place and renamed to it when it is complete.
//
// A run that is killed leaves its folder behind. Each running one holds a lock on its folder, so the next run
// knows which ones nobody fills any more.
#pragma once

#include <string>
#include <string_view>

#include "app/common/data_dir.h"

namespace penstock {

class Scratch {
 public:
  explicit Scratch(const std::string& place);
  ~Scratch();  // deletes the folder, unless it was moved
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  Status Create();
  // Renames the folder in one step, and syncs that to the disk.
  Status MoveTo(const std::string& place) const;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;  // PLACE.partial.PID
  Fd lock_;
};

Status SyncFolder(const std::string& path);

// Whether a file name is that of a Scratch folder.
bool IsPartial(std::string_view name);
// Deletes the folders that killed runs left for `place`. Those that are being filled stay.
void RemovePartials(const std::string& place);
// The same for every place in a folder.
void RemovePartialsIn(const std::string& folder);

}  // namespace penstock

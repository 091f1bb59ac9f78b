// Backup: copies the state of a data directory into a folder with a manifest, and restores it from there.
//
//   manifest.json            format, program, time, the store's version and counts, SHA-256 of every file
//   penstock.db, journal     the store as of one moment (teams/snapshot.h)
//   operator.key, tls/       the operator key, and the certificate of --tls-self-signed
//   penstock.toml            the configuration file, if one was read
//   models/pins.json         and models/NAME/manifest.json; the weights only with --models
//
// A backup can be made while the cloud runs. It is written under a temporary name, read back and checked, and
// then renamed in one step, so a folder under the final name is complete. All files are readable only by
// their owner. Restoring checks everything before it changes anything, and renames a complete directory in
// one step.
#pragma once

#include <string>
#include <vector>

#include "app/common/data_dir.h"
#include "app/models/model_store.h"
#include "teams/snapshot.h"

namespace penstock {

struct Backup {
  std::string program;  // the Penstock that made it: "0.1.0"
  int64_t created = 0;  // Unix seconds
  int64_t store_version = 0;
  StoreCounts counts;
  bool weights = false;  // the models' weights are in it
  struct Model {
    std::string name, source;
  };
  std::vector<Model> models;
  std::vector<ModelFile> files;  // names are paths inside the folder

  uint64_t Bytes() const;
};

struct BackupOptions {
  std::string to;
  std::string config_file;  // empty: none
  bool weights = false;
};
// Errors: kConflict (the folder exists), kNotFound (no store), kIo (names the cause: disk space,
// permissions).
Result<Backup> MakeBackup(const DataDir& data, const BackupOptions& options);

// Checks a whole backup. Errors: kNotFound (not a backup), kCorrupt (names the file and the defect),
// kUnsupported (a later format or store than this program supports: names the version that made it).
Result<Backup> CheckBackup(const std::string& path);

// Errors: those of CheckBackup; kConflict (the directory is in use or not empty).
Result<Backup> RestoreBackup(const std::string& path, const std::string& data);

struct FoundBackup {
  std::string path;
  Backup backup;
};
// The complete backups of a folder, oldest first; their files are not checked.
std::vector<FoundBackup> BackupsIn(const std::string& folder);

}  // namespace penstock

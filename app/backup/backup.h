// Backup: the state of a data directory as a folder that says what it holds, and the way back from it.
//
//   manifest.json            format, program, time, the store's version and counts, SHA-256 of every file
//   penstock.db, journal     the store as of one moment (teams/snapshot.h)
//   operator.key, tls/        the operator's key, and the certificate of --tls-self-signed
//   penstock.toml            the settings' file, where one was read
//   models/pins.json         models/NAME/manifest.json; with their weights only where that was asked for
//
// A backup is made beside a cloud that runs or not, under a scratch name, read back and checked, and then put
// in its place in one step: what stands under its name is whole. Everything is readable for its owner only.
// Restoring checks everything before it touches anything, and places a whole directory in one step.
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
// Errors: kConflict (something is there), kNotFound (no store), kIo (names what is missing: room, rights).
Result<Backup> MakeBackup(const DataDir& data, const BackupOptions& options);

// Reads a backup through. Errors: kNotFound (no backup), kCorrupt (names the file and the defect),
// kUnsupported (a later format or store than this program knows: says who made it).
Result<Backup> CheckBackup(const std::string& path);

// Errors: those of CheckBackup; kConflict (the directory is in use or not empty).
Result<Backup> RestoreBackup(const std::string& path, const std::string& data);

// Brings the data directory's store to this program's version, after a backup of it in DATA/backups, of which
// the last three are kept. Errors: kUnsupported: it is of a later version; names who made it and the way
// back. REQUIRES: no cloud runs on it.
Status UpgradeData(const DataDir& data);

}  // namespace penstock

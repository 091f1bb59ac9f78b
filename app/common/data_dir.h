// DataDir: the one directory that holds all state, and the lock that lets one cloud run on it.
//
//   penstock.db, journal     the gateway's store (teams/)
//   canaries.json            what engines are held to (fleet/registry/truths.h)
//   operator.key             0600: the key of the person who runs this
//   models/NAME/             model.gguf or a Hugging Face folder, and manifest.json
//   models/.partial/         downloads under way
//   logs/                    gateway.log, engine-NAME.log
//   backups/                 what was here before each upgrade (app/backup/backup.h)
//   engine.sock              where engines dial in
//   ggml/                    libllama for the ggml runner, where somebody put it (packaging/get-ggml)
//   machine.json             what this machine's memory and CPU were measured to do
//   lock                     held while `penstock up` runs; names its process
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

// Owns a file descriptor. Move-only.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { Close(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Close();

 private:
  int fd_ = -1;
};

class DataDir {
 public:
  // Creates the directory (0700) where it is missing. Errors: kIo, with the way out.
  static Result<DataDir> Open(std::string path);

  const std::string& path() const { return path_; }
  std::string Models() const { return path_ + "/models"; }
  std::string Logs() const { return path_ + "/logs"; }
  std::string Backups() const { return path_ + "/backups"; }
  std::string OperatorKeyFile() const { return path_ + "/operator.key"; }
  // Unix sockets take 107 bytes of path: a deeper directory gets one under /tmp.
  Result<std::string> EngineSocket() const;

  // Held until the result is destroyed or the process ends, however it ends: a stale lock cannot be.
  // Errors: kConflict names the process that has it.
  Result<Fd> Lock() const;
  struct LockState {
    bool held = false;
    int process = 0;  // that the file names: who holds it, or held it last; 0: nobody yet
  };
  LockState LookAtLock() const;
  // The process that holds the lock; 0: none.
  int LockedBy() const;

  // A service's directory belongs to a user of its own, and root works in it too.
  bool BelongsToAnother() const;
  // What root made under models/ is given to that user, who could not read it otherwise.
  void GiveToOwner() const;
  // Errors: kForbidden where root would run a cloud in another user's directory.
  Status RequireOwner() const;

 private:
  explicit DataDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Readable by its owner only, from its first byte on; replaces what was there in one step.
Status WriteSecretFile(const std::string& path, std::string_view text);
// Replaces `path` in one step: readers see the old or the new text.
Status WriteFileAtomically(const std::string& path, std::string_view text, unsigned mode = 0644);
// Without trailing white space. Errors: kNotFound, kIo.
Result<std::string> ReadTextFile(const std::string& path);

// What is free for an unprivileged writer at `path` or its nearest existing parent.
Result<uint64_t> FreeDiskBytes(const std::string& path);
// Errors: kIo, naming how much is missing and where.
Status RequireDisk(const std::string& path, uint64_t bytes, std::string_view what);

}  // namespace penstock

// DataDir: the one directory that holds all state, and the lock that lets one cloud run on it.
//
//   penstock.db, journal     the gateway's store (teams/)
//   canaries.json            the expected answers of the engines' canary checks (fleet/registry/truths.h)
//   operator.key             0600: the operator key
//   models/NAME/             model.gguf or a Hugging Face folder, and manifest.json
//   models/.partial/         unfinished downloads
//   logs/                    gateway.log, engine-NAME.log
//   backups/                 the state before each upgrade (app/backup/backup.h)
//   engine.sock              where engines connect
//   ggml/                    libllama for the ggml runner, if it was installed there (packaging/get-ggml)
//   machine.json             the measured speed of this machine's memory and CPU
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
  // Creates the directory (0700) if it is missing. Errors: kIo; the message says what to do.
  static Result<DataDir> Open(std::string path);

  const std::string& path() const { return path_; }
  std::string Models() const { return path_ + "/models"; }
  std::string Logs() const { return path_ + "/logs"; }
  std::string Backups() const { return path_ + "/backups"; }
  std::string OperatorKeyFile() const { return path_ + "/operator.key"; }
  // The path of a Unix socket has at most 107 bytes: for a longer directory the socket is under /tmp.
  Result<std::string> EngineSocket() const;

  // Held until the result is destroyed or the process ends in any way, so no stale lock can remain.
  // Errors: kConflict names the process that has it.
  Result<Fd> Lock() const;
  struct LockState {
    bool held = false;
    int process = 0;  // the process that the file names: it holds the lock or held it last; 0: none yet
  };
  LockState LookAtLock() const;
  // The process that holds the lock; 0: none.
  int LockedBy() const;

  // Whether it belongs to another user: a service's directory belongs to the service's user, and root also
  // works in it.
  bool BelongsToAnother() const;
  // Gives the files that root created under models/ to that user, who could not read them otherwise.
  void GiveToOwner() const;
  // Errors: kForbidden if root would run a cloud in another user's directory.
  Status RequireOwner() const;

 private:
  explicit DataDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The file is readable only by its owner at all times; replaces an existing file in one step.
Status WriteSecretFile(const std::string& path, std::string_view text);
// Replaces `path` in one step: readers see the old or the new text.
Status WriteFileAtomically(const std::string& path, std::string_view text, unsigned mode = 0644);
// Without trailing white space. Errors: kNotFound, kIo.
Result<std::string> ReadTextFile(const std::string& path);

// The space that is free for an unprivileged writer at `path` or its nearest existing parent.
Result<uint64_t> FreeDiskBytes(const std::string& path);
// Errors: kIo, naming how much is missing and where.
Status RequireDisk(const std::string& path, uint64_t bytes, std::string_view what);

}  // namespace penstock

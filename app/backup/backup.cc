#include "app/backup/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/backup/scratch.h"
#include "app/common/json_get.h"
#include "app/common/sha256.h"
#include "app/common/table.h"
#include "base/clock.h"

namespace penstock {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

constexpr int64_t kFormat = 1;
constexpr std::string_view kManifest = "manifest.json";

// ---- the manifest ----------------------------------------------------------------------------------

json::object ToJson(const Backup& backup) {
  json::array models, files;
  for (const auto& model : backup.models) {
    models.push_back(json::object{{"name", model.name}, {"source", model.source}});
  }
  for (const auto& file : backup.files) {
    files.push_back(json::object{{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}});
  }
  const StoreCounts& counts = backup.counts;
  return {{"what", "a backup of Penstock: `penstock restore FOLDER --data DIR` restores it"},
          {"format", kFormat},
          {"program", backup.program},
          {"created", backup.created},
          {"store_version", backup.store_version},
          {"counts", json::object{{"teams", counts.teams},
                                  {"keys", counts.keys},
                                  {"requests", counts.requests},
                                  {"open", counts.open},
                                  {"input_tokens", counts.input},
                                  {"output_tokens", counts.output}}},
          {"weights", backup.weights},
          {"models", models},
          {"files", files}};
}

Backup FromJson(const json::object& object) {
  const auto& counts = GetObject(object, "counts");
  Backup backup{.program = GetText(object, "program"),
                .created = GetInt(object, "created"),
                .store_version = GetInt(object, "store_version"),
                .counts = {.teams = GetInt(counts, "teams"),
                           .keys = GetInt(counts, "keys"),
                           .requests = GetInt(counts, "requests"),
                           .open = GetInt(counts, "open"),
                           .input = GetInt(counts, "input_tokens"),
                           .output = GetInt(counts, "output_tokens")},
                .weights = GetBool(object, "weights"),
                .models = {},
                .files = {}};
  for (const auto& value : GetArray(object, "models")) {
    if (!value.is_object()) continue;
    const auto& model = value.get_object();
    backup.models.push_back({.name = GetText(model, "name"), .source = GetText(model, "source")});
  }
  for (const auto& value : GetArray(object, "files")) {
    if (!value.is_object()) continue;
    const auto& file = value.get_object();
    backup.files.push_back({.name = GetText(file, "name"),
                            .sha256 = GetText(file, "sha256"),
                            .size = static_cast<uint64_t>(GetInt(file, "size"))});
  }
  return backup;
}

// A backup may come from an untrusted source: its names must stay inside its folder.
bool StaysInside(const std::string& name) {
  const fs::path path(name);
  return !name.empty() && path.is_relative() && path == path.lexically_normal() && *path.begin() != "..";
}

// Errors: kNotFound, kCorrupt, kUnsupported.
Result<Backup> ReadManifest(const std::string& path) {
  const std::string file = path + "/" + std::string(kManifest);
  const auto text = ReadTextFile(file);
  if (!text.has_value() && text.error().code == Code::kNotFound) {
    return Fail(Reason::kNotABackup, "{} is not a backup: there is no {}. `penstock backup` makes one", path,
                file);
  }
  if (!text.has_value()) return std::unexpected(text.error());
  PENSTOCK_ASSIGN(const json::object object, ParseJsonObject(*text, file));
  Backup backup = FromJson(object);
  const int64_t format = GetInt(object, "format");
  if (format < 1 || backup.files.empty()) {
    return Fail(Reason::kBackupDamaged,
                "{} is damaged or does not belong to a backup: format or files are missing", file);
  }
  if (format > kFormat || backup.store_version > kSchemaVersion) {
    return Fail(
        Reason::kBackupNewer,
        "{} was made by Penstock {} (its format is {}, its store has version {}; this Penstock {} supports "
        "{} and {}): restore it with that version, or a later one",
        path, backup.program, format, backup.store_version, PENSTOCK_VERSION, kFormat, kSchemaVersion);
  }
  for (const auto& name : backup.files) {
    if (!StaysInside(name.name))
      return Fail(Reason::kBackupDamaged, "{} names a file outside the backup's folder: '{}'", file,
                  name.name);
  }
  return backup;
}

// ---- files -----------------------------------------------------------------------------------------

std::string Absolute(const std::string& path) {
  std::string absolute = fs::absolute(path).lexically_normal();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

uint64_t SizeOf(const std::string& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

Status SyncFile(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file && fsync(file.get()) == 0 ? Status{} : FailErrno(Code::kIo, path);
}

// Copies a small file; does nothing if it does not exist.
Status CopyText(const std::string& from, const std::string& to) {
  std::error_code error;
  if (!fs::exists(from, error)) return {};
  fs::create_directories(fs::path(to).parent_path(), error);
  fs::copy_file(from, to, error);
  if (!error) fs::permissions(to, fs::perms::owner_read | fs::perms::owner_write, error);
  return error ? Fail(Code::kIo, "cannot copy {} to {}: {}", from, to, error.message()) : Status{};
}

// Every file under `folder` with its size and SHA-256; all are synced to the disk.
Result<std::vector<ModelFile>> SealFiles(const std::string& folder) {
  std::vector<ModelFile> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->is_regular_file()) continue;
    const std::string path = at->path();
    PENSTOCK_TRY(SyncFile(path));
    PENSTOCK_ASSIGN(std::string sha256, Sha256OfFile(path));
    files.push_back({.name = fs::relative(path, folder), .sha256 = std::move(sha256), .size = SizeOf(path)});
  }
  if (error) return Fail(Code::kIo, "{}: {}", folder, error.message());
  std::ranges::sort(files, {}, &ModelFile::name);
  return files;
}

// Errors: kCorrupt: names the file's defect.
Status CheckFile(const std::string& folder, const ModelFile& file) {
  const std::string path = folder + "/" + file.name;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) {
    return Fail(Reason::kBackupDamaged, "the backup is damaged: {} is missing", path);
  }
  if (const uint64_t size = SizeOf(path); size != file.size) {
    return Fail(Reason::kBackupDamaged, "the backup is damaged: {} has {} bytes instead of {}", path, size,
                file.size);
  }
  PENSTOCK_ASSIGN(const std::string sha256, Sha256OfFile(path));
  if (sha256 == file.sha256) return {};
  return Fail(Reason::kBackupDamaged,
              "the backup is damaged: the bytes of {} have changed (SHA-256 {} instead of {})", path, sha256,
              file.sha256);
}

bool IsWeight(const ModelFile& file) {
  return file.name.starts_with("models/") && !file.name.ends_with(".json");
}

// ---- making ----------------------------------------------------------------------------------------

Status CopyModels(const DataDir& data, const std::string& to, Backup& backup) {
  const ModelStore store(data);
  PENSTOCK_TRY(CopyText(data.Models() + "/pins.json", to + "/models/pins.json"));
  for (const Manifest& manifest : store.List()) {
    const std::string from = data.Models() + "/" + manifest.name, folder = to + "/models/" + manifest.name;
    backup.models.push_back({.name = manifest.name, .source = manifest.source});
    PENSTOCK_TRY(CopyText(from + "/" + std::string(kManifest), folder + "/" + std::string(kManifest)));
    for (const ModelFile& file : manifest.files) {
      if (backup.weights) PENSTOCK_TRY(TakeFile(from + "/" + file.name, folder + "/" + file.name, file.size));
    }
  }
  return {};
}

// The most that a backup may need, without models: their weights are linked if the file system supports it.
uint64_t StoreBytes(const DataDir& data) {
  return SizeOf(data.path() + "/penstock.db") + SizeOf(data.path() + "/penstock.db-wal") + (4U << 20);
}

Result<Backup> Fill(const DataDir& data, const BackupOptions& options, const std::string& folder) {
  Backup backup{.program = PENSTOCK_VERSION,
                .created = SystemClock().Wall() / kSecond,
                .store_version = 0,
                .counts = {},
                .weights = options.weights,
                .models = {},
                .files = {}};
  PENSTOCK_TRY(CopyStore(data.path(), folder));
  // The self-signed certificate is included, so that clients that trust its fingerprint accept the restored
  // cloud.
  for (const std::string_view secret : {"operator.key", "tls/cert.pem", "tls/key.pem"}) {
    PENSTOCK_TRY(CopyText(fmt::format("{}/{}", data.path(), secret), fmt::format("{}/{}", folder, secret)));
  }
  if (!options.config_file.empty()) PENSTOCK_TRY(CopyText(options.config_file, folder + "/penstock.toml"));
  PENSTOCK_TRY(CopyModels(data, folder, backup));
  PENSTOCK_ASSIGN(backup.counts, CheckStore(folder));
  PENSTOCK_ASSIGN(const StoreVersion version, StoreVersionOf(folder));
  backup.store_version = version.version;
  PENSTOCK_ASSIGN(backup.files, SealFiles(folder));
  return backup;
}

}  // namespace

uint64_t Backup::Bytes() const {
  uint64_t total = 0;
  for (const auto& file : files) total += file.size;
  return total;
}

Result<Backup> MakeBackup(const DataDir& data, const BackupOptions& options) {
  const std::string place = Absolute(options.to);
  std::error_code error;
  if (fs::exists(fs::symlink_status(place, error))) {
    return Fail(Reason::kBackupExists, "{} already exists: name a folder that does not exist yet", place);
  }
  PENSTOCK_TRY(RequireDisk(fs::path(place).parent_path(), StoreBytes(data), "a backup of the store"));
  RemovePartials(place);
  Scratch scratch(place);
  PENSTOCK_TRY(scratch.Create());
  PENSTOCK_ASSIGN(const Backup backup, Fill(data, options, scratch.path()));
  PENSTOCK_TRY(WriteSecretFile(scratch.path() + "/" + std::string(kManifest), PrettyJson(ToJson(backup))));
  PENSTOCK_TRY(CheckBackup(scratch.path()));
  PENSTOCK_TRY(SyncFolder(scratch.path()));
  PENSTOCK_TRY(scratch.MoveTo(place));
  return backup;
}

// ---- checking and restoring ------------------------------------------------------------------------

Result<Backup> CheckBackup(const std::string& path) {
  PENSTOCK_ASSIGN(Backup backup, ReadManifest(path));
  for (const ModelFile& file : backup.files) PENSTOCK_TRY(CheckFile(path, file));
  PENSTOCK_ASSIGN(const StoreCounts counts, CheckStore(path));
  if (counts != backup.counts) {
    return Fail(Reason::kBackupDamaged, "the backup is damaged: {}/penstock.db does not match {}", path,
                kManifest);
  }
  return backup;
}

namespace {

Status CheckEmpty(const std::string& place) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(place, error))) return {};
  if (!fs::is_directory(fs::symlink_status(place, error)))
    return Fail(Reason::kRestoreNotEmpty, "{} is not a directory: name another with --data", place);
  if (fs::is_empty(place, error)) return {};
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(place));
  if (const int pid = data.LockedBy(); pid != 0) {
    return Fail(
        Code::kConflict,
        "a cloud runs on {} (process {}): stop it and move the directory away, or restore into another one "
        "with --data",
        place, pid);
  }
  return Fail(
      Code::kConflict,
      "{} is not empty, and restoring never overwrites anything: restore into another directory with --data, "
      "or move this one away first: mv {} {}.old",
      place, place, place);
}

// Whether the file is restored. Without weights, a model's manifest is not restored, but its pin is.
bool Belongs(const Backup& backup, const ModelFile& file) {
  return backup.weights || !file.name.starts_with("models/") || file.name == "models/pins.json";
}

Status Place(const Backup& backup, const std::string& from, const std::string& to) {
  for (const ModelFile& file : backup.files) {
    if (!Belongs(backup, file)) continue;
    const std::string target = to + "/" + file.name;
    std::error_code error;
    fs::create_directories(fs::path(target).parent_path(), error);
    PENSTOCK_TRY(IsWeight(file) ? TakeFile(from + "/" + file.name, target, file.size)
                                : CopyText(from + "/" + file.name, target));
    PENSTOCK_TRY(SyncFile(target));
    PENSTOCK_TRY(CheckFile(to, file));
  }
  return {};
}

}  // namespace

Result<Backup> RestoreBackup(const std::string& path, const std::string& data) {
  const std::string place = Absolute(data);
  PENSTOCK_TRY(ReadManifest(path));  // first, so that a mistyped name of the backup is reported
  PENSTOCK_TRY(CheckEmpty(place));
  PENSTOCK_ASSIGN(const Backup backup, CheckBackup(path));
  uint64_t bytes = 0;
  for (const ModelFile& file : backup.files) bytes += IsWeight(file) ? 0 : file.size;
  PENSTOCK_TRY(RequireDisk(fs::path(place).parent_path(), bytes, "the restored data"));
  RemovePartials(place);
  Scratch scratch(place);
  PENSTOCK_TRY(scratch.Create());
  PENSTOCK_TRY(Place(backup, path, scratch.path()));
  PENSTOCK_TRY(SyncFolder(scratch.path()));
  PENSTOCK_TRY(scratch.MoveTo(place));
  return backup;
}

// ---- finding ---------------------------------------------------------------------------------------

std::vector<FoundBackup> BackupsIn(const std::string& folder) {
  std::vector<FoundBackup> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (IsPartial(at->path().filename().string())) continue;
    const auto text = ReadTextFile(at->path() / kManifest);
    const auto object = text.has_value() ? ParseJsonObject(*text, "") : std::unexpected(text.error());
    if (object.has_value()) found.push_back({.path = at->path(), .backup = FromJson(*object)});
  }
  std::ranges::sort(found, {},
                    [](const FoundBackup& one) { return std::pair(one.backup.created, one.path); });
  return found;
}

}  // namespace penstock

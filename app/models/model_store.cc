#include "app/models/model_store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>

#include "app/common/json_get.h"
#include "app/common/sha256.h"
#include "base/clock.h"
#include "base/nearest.h"
#include "chip/cpu.h"
#include "model/files/gguf_files.h"
#include "model/files/safetensors.h"
#include "teams/names.h"

namespace penstock {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

constexpr std::string_view kManifest = "manifest.json";
constexpr int64_t kManifestFormat = 1;  // a manifest without one is of format 1 too

// ---- the manifest as JSON --------------------------------------------------------------------------

json::object ToJson(const Manifest& manifest) {
  json::array files;
  for (const auto& file : manifest.files) {
    files.push_back(json::object{{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}});
  }
  return {{"format", kManifestFormat},
          {"name", manifest.name},
          {"folder", manifest.folder},
          {"source", manifest.source},
          {"licence", manifest.licence},
          {"note", manifest.note},
          {"installed", manifest.installed},
          {"context", manifest.context},
          {"kv_bytes", manifest.kv_bytes},
          {"facts", FactsToJson(manifest.facts)},
          {"files", files}};
}

Manifest FromJson(const json::object& object) {
  Manifest manifest{.name = GetText(object, "name"),
                    .folder = GetBool(object, "folder"),
                    .files = {},
                    .source = GetText(object, "source"),
                    .licence = GetText(object, "licence"),
                    .note = GetText(object, "note"),
                    .installed = GetInt(object, "installed"),
                    .context = GetInt(object, "context"),
                    .kv_bytes = GetInt(object, "kv_bytes"),
                    .facts = FactsFromJson(GetObject(object, "facts"))};
  for (const auto& file : GetArray(object, "files")) {
    if (!file.is_object()) continue;
    manifest.files.push_back({.name = GetText(file.get_object(), "name"),
                              .sha256 = GetText(file.get_object(), "sha256"),
                              .size = static_cast<uint64_t>(GetInt(file.get_object(), "size"))});
  }
  return manifest;
}

// ---- files -----------------------------------------------------------------------------------------

Status CopyBytes(int from, int to, uint64_t size, const std::string& name) {
  for (uint64_t done = 0; done < size;) {
    const ssize_t sent = sendfile(to, from, nullptr, std::min<uint64_t>(size - done, 1 << 26));
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return FailErrno(Code::kIo, "cannot copy " + name);
    if (sent == 0) return Fail(Code::kIo, "{} became shorter while it was copied", name);
    done += static_cast<uint64_t>(sent);
  }
  return {};
}

// The files of a Hugging Face folder that a model needs: weights, configuration, tokenizer, template; no
// subfolders.
bool BelongsToModel(const fs::path& file) {
  const std::string extension = file.extension();
  return extension == ".safetensors" || extension == ".json" || extension == ".jinja" ||
         extension == ".model" || extension == ".txt";
}

Result<std::vector<ModelFile>> FilesToImport(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return Fail(Code::kNotFound, "no such file or folder: {}", path);
  if (fs::is_regular_file(status)) {
    PENSTOCK_ASSIGN(const auto parts, GgufPartsOf(path));
    std::vector<ModelFile> files;
    for (size_t i = 0; i < parts.size(); ++i) {
      files.push_back({.name = parts.size() == 1 ? "model.gguf" : GgufPartName("model", i, parts.size()),
                       .from = parts[i],
                       .size = fs::file_size(parts[i], error)});
    }
    return files;
  }
  if (!fs::is_directory(status)) return Fail(Reason::kNotAModel, "{} is neither a file nor a folder", path);
  std::vector<ModelFile> files;
  const auto shards = SafetensorsShards(path);
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    std::error_code unknown;
    const std::string name = at->path().filename();
    const bool other = shards.has_value() && name.ends_with(".safetensors") &&
                       std::ranges::find(*shards, name) == shards->end();
    if (at->is_regular_file(unknown) && BelongsToModel(at->path()) && name != kManifest && !other) {
      files.push_back({.name = at->path().filename(), .from = at->path(), .size = at->file_size(unknown)});
    }
  }
  if (error) return Fail(Code::kIo, "{}: {}", path, error.message());
  if (std::ranges::none_of(files, [](const ModelFile& f) { return f.name == "config.json"; })) {
    return Fail(Reason::kNotAModel,
                "{} is not a Hugging Face model folder: it has no config.json. Give the model's folder, or a "
                "GGUF file",
                path);
  }
  std::ranges::sort(files, {}, &ModelFile::name);
  return files;
}

int64_t UnixNow() {
  return SystemClock().Wall() / kSecond;
}

}  // namespace

Status TakeFile(const std::string& from, const std::string& to, uint64_t size, bool may_link) {
  const Fd source(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) return FailErrno(Code::kIo, from);
  {
    const Fd target(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!target) return FailErrno(Code::kIo, to);
    if (ioctl(target.get(), FICLONE, source.get()) == 0) return {};
  }
  unlink(to.c_str());
  const std::string resolved = fs::path(from).lexically_normal();
  if (may_link && linkat(AT_FDCWD, resolved.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
  PENSTOCK_TRY(RequireDisk(to, size, "a copy of " + from));
  const Fd target(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!target) return FailErrno(Code::kIo, to);
  PENSTOCK_TRY(CopyBytes(source.get(), target.get(), size, from));
  return fsync(target.get()) == 0 ? Status{} : FailErrno(Code::kIo, to);
}

uint64_t Manifest::Bytes() const {
  uint64_t total = 0;
  for (const auto& file : files) total += file.size;
  return total;
}

// ---- reading ---------------------------------------------------------------------------------------

std::vector<Manifest> ModelStore::List() const {
  std::vector<Manifest> all;
  std::error_code error;
  for (fs::directory_iterator at(root_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    if (name.starts_with('.')) continue;
    const auto text = ReadTextFile(at->path() / kManifest);
    if (!text.has_value()) continue;
    const auto object = ParseJsonObject(*text, name);
    if (object.has_value() && GetInt(*object, "format") <= kManifestFormat) all.push_back(FromJson(*object));
  }
  std::ranges::sort(all, {}, &Manifest::name);
  return all;
}

Result<Manifest> ModelStore::Find(const std::string& name) const {
  auto all = List();
  for (auto& manifest : all) {
    if (manifest.name == name) return std::move(manifest);
  }
  std::vector<std::string> names;
  for (const auto& manifest : all) names.push_back(manifest.name);
  if (names.empty()) {
    return Fail(Reason::kModelNotInstalled,
                "no model '{}': no model is installed yet. `penstock model pull` lists the catalogue", name);
  }
  return Fail(Reason::kModelNotInstalled, "no model '{}' is installed{}; installed: {}", name,
              DidYouMean(name, names), fmt::join(names, ", "));
}

std::string ModelStore::PathOf(const Manifest& manifest) const {
  const std::string folder = root_ + "/" + manifest.name;
  if (manifest.folder) return folder;
  return folder + "/" + (manifest.files.empty() ? "model.gguf" : manifest.files.front().name);
}

std::vector<InstalledModel> ModelStore::Installed() const {
  std::vector<InstalledModel> models;
  for (const auto& manifest : List()) {
    models.push_back({.name = manifest.name,
                      .path = PathOf(manifest),
                      .created = manifest.installed,
                      .context = static_cast<uint32_t>(manifest.context),
                      .kv_bytes = static_cast<uint64_t>(manifest.kv_bytes)});
  }
  return models;
}

// ---- placing ---------------------------------------------------------------------------------------

Status ModelStore::CheckNewName(const std::string& name) const {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' || c == ':';
  };
  if (name.empty() || name.size() > 80 || !std::ranges::all_of(name, allowed) ||
      std::isalnum(static_cast<unsigned char>(name.front())) == 0 || name == "pins.json") {
    return Fail(Reason::kModelName,
                "'{}' cannot be a model's name: a name has at most 80 letters, digits and . - _ : and begins "
                "with a letter or digit. Choose one with --name",
                name);
  }
  const std::string folded = FoldedName(name);
  for (const Manifest& other : List()) {
    if (other.name == name || FoldedName(other.name) != folded) continue;
    return Fail(Reason::kModelExists,
                "a model '{}' already exists, and upper and lower case count as equal: choose another --name",
                other.name);
  }
  std::error_code error;
  if (fs::exists(root_ + "/" + name, error)) {
    return Fail(Reason::kModelExists,
                "a model '{}' already exists: run `penstock model rm {}` first, or choose another --name",
                name, name);
  }
  return {};
}

Result<Manifest> ModelStore::Place(const NewModel& model, const std::string& folder, Manifest manifest) {
  const std::string inspected = manifest.folder ? folder : folder + "/" + manifest.files.front().name;
  auto facts = InspectInChild(inspected);
  if (facts.has_value() && !facts->unserved.empty() && !any_kind_) {
    facts = Fail(Reason::kModelUnsupported, "{}; the ggml runner may serve it (engine.runner = ggml)",
                 facts->unserved);
  }
  if (!facts.has_value()) {
    std::string words = facts.error().message;
    if (const size_t at = words.find(inspected); at != std::string::npos) {
      words.replace(at, inspected.size(), model.source);  // the scratch path means nothing to the user
    }
    return std::unexpected(Reworded(facts.error(), std::move(words)));
  }
  manifest.name = model.name;
  manifest.source = model.source;
  manifest.licence = model.licence.empty() ? facts->licence : model.licence;
  manifest.note = model.note;
  manifest.installed = UnixNow();
  manifest.context = model.context;
  manifest.kv_bytes = model.kv_bytes;
  manifest.facts = *std::move(facts);
  PENSTOCK_TRY(WriteFileAtomically(folder + "/" + std::string(kManifest), PrettyJson(ToJson(manifest))));
  const std::string place = root_ + "/" + model.name;
  if (rename(folder.c_str(), place.c_str()) != 0) {
    if (errno == EEXIST || errno == ENOTEMPTY) return std::unexpected(CheckNewName(model.name).error());
    return FailErrno(Code::kIo, place);
  }
  data_.GiveToOwner();
  return manifest;
}

namespace {

// A folder under .partial/ that is deleted at the end unless it was moved away.
class Scratch {
 public:
  explicit Scratch(std::string path) : path_(std::move(path)) {
    std::error_code error;
    fs::remove_all(path_, error);
    fs::create_directories(path_, error);
  }
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Result<Manifest> ModelStore::InstallFile(const NewModel& model, const std::string& path,
                                         const std::string& sha256) {
  PENSTOCK_TRY(CheckNewName(model.name));
  const Scratch scratch(fmt::format("{}/{}.{}", PartialFolder(), model.name, getpid()));
  const std::string target = scratch.path() + "/model.gguf";
  if (rename(path.c_str(), target.c_str()) != 0) return FailErrno(Code::kIo, target);
  std::error_code error;
  const uint64_t size = fs::file_size(target, error);
  Manifest manifest;
  manifest.files = {{.name = "model.gguf", .sha256 = sha256, .size = size}};
  return Place(model, scratch.path(), std::move(manifest));
}

Result<Manifest> ModelStore::Import(const NewModel& model, const std::string& path,
                                    const std::function<void(uint64_t, uint64_t)>& progress) {
  RemoveAbandoned();
  PENSTOCK_TRY(CheckNewName(model.name));
  PENSTOCK_ASSIGN(auto files, FilesToImport(path));
  std::error_code error;
  Manifest manifest;
  manifest.folder = fs::is_directory(path, error);
  manifest.files = std::move(files);
  PENSTOCK_TRY(CheckFitsMemory(model.name, manifest.Bytes()));
  const Scratch scratch(fmt::format("{}/{}.{}", PartialFolder(), model.name, getpid()));
  uint64_t before = 0;
  for (auto& file : manifest.files) {
    const std::string target = scratch.path() + "/" + file.name;
    PENSTOCK_TRY(TakeFile(file.from, target, file.size,
                          !data_.BelongsToAnother()));  // with a link, the original would change owner too
    PENSTOCK_ASSIGN(file.sha256, Sha256OfFile(target, [&](uint64_t done) {
                      if (progress) progress(before + done, manifest.Bytes());
                    }));
    before += file.size;
  }
  return Place(model, scratch.path(), std::move(manifest));
}

Status ModelStore::Remove(const std::string& name) {
  PENSTOCK_TRY(Find(name));
  std::error_code error;
  const std::string gone = fmt::format("{}/removed.{}.{}", PartialFolder(), name, getpid());
  fs::create_directories(PartialFolder(), error);
  fs::rename(root_ + "/" + name, gone, error);
  if (error) return Fail(Code::kIo, "cannot remove {}: {}", name, error.message());
  fs::remove_all(gone, error);
  return {};
}

void ModelStore::RemoveAbandoned() const {
  std::error_code error;
  for (fs::directory_iterator at(PartialFolder(), error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    int pid = 0;
    const char* const last = name.data() + name.size();
    const auto [parsed, bad] = std::from_chars(name.data() + name.rfind('.') + 1, last, pid);
    if (bad != std::errc() || parsed != last || kill(pid, 0) == 0 || errno != ESRCH) continue;
    std::error_code ignored;
    fs::remove_all(at->path(), ignored);
  }
}

Status ModelStore::Verify(const Manifest& manifest,
                          const std::function<void(uint64_t, uint64_t)>& progress) const {
  uint64_t before = 0;
  for (const auto& file : manifest.files) {
    const std::string path = root_ + "/" + manifest.name + "/" + file.name;
    PENSTOCK_ASSIGN(const std::string got, Sha256OfFile(path, [&](uint64_t done) {
                      if (progress) progress(before + done, manifest.Bytes());
                    }));
    if (got != file.sha256) {
      return Fail(Reason::kModelChanged, "{}: its bytes have changed (SHA-256 {}, at installation {})", path,
                  got, file.sha256);
    }
    before += file.size;
  }
  return {};
}

// ---- pins ------------------------------------------------------------------------------------------

std::string ModelStore::PinOf(const std::string& name) const {
  const auto text = ReadTextFile(root_ + "/pins.json");
  if (!text.has_value()) return "";
  const auto pins = ParseJsonObject(*text, "pins.json");
  return pins.has_value() ? GetText(*pins, name) : "";
}

Status ModelStore::Pin(const std::string& name, const std::string& sha256) {
  const std::string path = root_ + "/pins.json";
  json::object pins;
  if (const auto text = ReadTextFile(path); text.has_value()) {
    PENSTOCK_ASSIGN(pins, ParseJsonObject(*text, path));
  }
  pins[name] = sha256;
  PENSTOCK_TRY(WriteFileAtomically(path, PrettyJson(pins)));
  data_.GiveToOwner();
  return {};
}

// ---- memory ----------------------------------------------------------------------------------------

Status CheckFitsMemory(std::string_view name, uint64_t bytes) {
  const auto memory = static_cast<uint64_t>(chip::QueryMemory().total);
  if (memory == 0 || bytes <= memory / 10 * 9) return {};
  return Fail(
      Reason::kModelTooLarge,
      "{} is too large for this machine: its weights need {:.1f} GB, the machine has {:.1f} GB of memory. "
      "Choose a smaller model or quantisation",
      name, static_cast<double>(bytes) / 1e9, static_cast<double>(memory) / 1e9);
}

}  // namespace penstock

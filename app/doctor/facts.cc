#include "app/doctor/facts.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>

#include "app/client/cloud.h"
#include "app/client/guarantees.h"
#include "app/common/json_get.h"
#include "app/common/process.h"
#include "app/common/table.h"
#include "app/launch/engines.h"
#include "app/launch/listen.h"
#include "app/models/model_store.h"
#include "engine/abilities.h"
#include "teams/names.h"
#include "teams/snapshot.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

// "always [madvise] never" → "madvise".
std::string HugePages() {
  const auto text = ReadTextFile("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t begin = text.has_value() ? text->find('[') : std::string::npos;
  return begin == std::string::npos ? "" : text->substr(begin + 1, text->find(']') - begin - 1);
}

DoctorFacts::Machine LookAtMachineItself(const Config& config, const DataDir& data, bool measure) {
  // While a cloud runs, a measurement would be wrong and would disturb it.
  if (measure) MeasureSpeed(data);
  return {.cpu = chip::CpuModel(),
          .cores = static_cast<int>(chip::UsableCpus().size()),
          .cores_online = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)),
          .features = chip::DetectCpuFeatures(),
          .memory_there = static_cast<uint64_t>(chip::QueryMemory("/proc", "/nonexistent").total),
          .fit = LookAtMachine(config, data),
          .huge_pages = HugePages(),
          .accelerators = FindAccelerators()};
}

DoctorFacts::Engines LookAtEngines(const Config& config) {
  DoctorFacts::Engines engines;
  const auto plans = PlanEngines({.config = config, .file = "", .source = {}}, LookAtPremises());
  if (!plans.has_value()) {
    engines.error = plans.error().message;
    return engines;
  }
  engines.warnings = plans->warnings;
  for (const auto& plan : plans->engines) {
    const std::string place = plan.Place();
    const Config& own = plan.loaded.config;
    const bool attached = own.Attached();
    const uint64_t memory = own.engine.memory_bytes > 0 ? own.engine.memory_bytes : plan.machine_memory;
    engines.words.push_back(fmt::format(
        "{}: {}{}{}{}{}. Guarantees: {}", plan.name,
        attached ? "attached to an external server" : own.runner + " runner", place.empty() ? "" : ", ",
        place, memory > 0 ? ", memory " + HumanBytes(memory) : "",
        own.engine.takes.empty() ? "" : fmt::format(", models {}", fmt::join(own.engine.takes, ", ")),
        GuaranteeText(GuaranteesOf(attached ? AttachedAbilities() : OurAbilities()))));
  }
  return engines;
}

// The running cloud already uses its memory and cores, so it is asked for its engines. Empty if it does not
// answer; another finding reports why.
DoctorFacts::Engines AskEngines(const Config& config) {
  DoctorFacts::Engines engines;
  const auto cloud = Cloud::OpenLocal(config);
  const auto answer = cloud ? cloud->Get("/admin/v1/engines") : std::unexpected(cloud.error());
  if (!answer) return engines;
  for (const auto& value : GetArray(*answer, "data")) {
    const auto& engine = value.as_object();
    const std::string place = GetText(engine, "place");
    engines.words.push_back(fmt::format(
        "{} is {}: {} runner, {}{}{}. Guarantees: {}", GetText(engine, "name"), GetText(engine, "state"),
        GetText(engine, "runner"), GetText(engine, "kernel"), place.empty() ? "" : ", ", place,
        GuaranteeText(GuaranteesFrom(GetObject(engine, "guarantees")))));
  }
  return engines;
}

DoctorFacts::Clock LookAtClock(const DataDir& data) {
  DoctorFacts::Clock clock{.now = SystemClock().Wall() / kSecond};
  timex times{};
  clock.synchronised = adjtimex(&times) >= 0 && (times.status & STA_UNSYNC) == 0;
  std::error_code error;
  for (fs::directory_iterator at(data.path(), error), end; !error && at != end; at.increment(error)) {
    struct stat info{};
    if (stat(at->path().c_str(), &info) != 0 || info.st_mtime <= clock.newest_write) continue;
    clock.newest_write = info.st_mtime;
    clock.newest_file = at->path();
  }
  return clock;
}

uint64_t BytesIn(const std::string& folder, std::string* largest = nullptr) {
  uint64_t total = 0, most = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code unknown;
    const uint64_t size = at->is_regular_file(unknown) ? at->file_size(unknown) : 0;
    if (unknown) continue;
    total += size;
    if (largest != nullptr && size > most) *largest = at->path();
    most = std::max(most, size);
  }
  return total;
}

DoctorFacts::Disk LookAtDisk(const DataDir& data) {
  DoctorFacts::Disk disk{.path = data.path()};
  struct statvfs info{};
  if (statvfs(data.path().c_str(), &info) != 0) {
    disk.error = FailErrno(Code::kIo, data.path()).error().message;
    return disk;
  }
  disk.free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  disk.free_files = info.f_files == 0 ? UINT64_MAX : info.f_favail;  // some file systems do not count files
  disk.partial = BytesIn(data.Models() + "/.partial");
  disk.logs = BytesIn(data.Logs(), &disk.largest_log);
  return disk;
}

DoctorFacts::Cloud LookAtCloud(const Config& config, const DataDir& data) {
  const Endpoint endpoint = LocalEndpoint(config);
  DoctorFacts::Cloud cloud{.listen = config.gateway.listen, .url = endpoint.url};
  const DataDir::LockState lock = data.LookAtLock();
  cloud.locked = lock.held;
  cloud.lock_process = lock.process;
  cloud.lock_process_lives = lock.process > 0 && (kill(lock.process, 0) == 0 || errno != ESRCH);
  cloud.runs = CloudRuns(config);
  if (cloud.runs) {
    cloud.not_ready = WhyNotReady(endpoint);
  } else if (const auto listener = Listen(config.gateway.listen); !listener.has_value()) {
    cloud.listen_error = listener.error().message;
  }
  return cloud;
}

std::vector<DoctorFacts::Path> LookAtPaths(const DataDir& data) {
  std::vector<std::string> names = {data.path(), data.OperatorKeyFile()};
  std::error_code error;
  for (fs::directory_iterator at(data.path(), error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    const bool ours = name.ends_with(".key") || name.starts_with("penstock.db") || name == "journal";
    if (ours && at->path() != data.OperatorKeyFile()) names.push_back(at->path());
  }
  std::vector<DoctorFacts::Path> paths;
  for (const auto& name : names) {
    struct stat info{};
    if (stat(name.c_str(), &info) != 0) continue;
    paths.push_back({.path = name,
                     .mode = info.st_mode & 07777U,
                     .owner = info.st_uid,
                     .writable = access(name.c_str(), W_OK) == 0});
  }
  return paths;
}

std::vector<DoctorFacts::Model> LookAtModels(const ModelStore& store, const FitMachine& machine,
                                             const GatherOptions& options) {
  FitMachine without_disk = machine;  // the models are already on the disk
  without_disk.disk_free.reset();
  std::vector<DoctorFacts::Model> models;
  for (const auto& manifest : store.List()) {
    DoctorFacts::Model model{.name = manifest.name, .source = manifest.source, .bytes = manifest.Bytes()};
    FitModel fit{.bytes = model.bytes};
    if (const auto shape = ShapeOfModel(store.PathOf(manifest)); shape.has_value()) fit.shape = *shape;
    model.fit = JudgeFit(fit, without_disk);
    model.read = !options.quick;
    if (model.read) {
      const auto verified = store.Verify(manifest, [&](uint64_t done, uint64_t total) {
        if (options.progress) options.progress(manifest.name, done, total);
      });
      if (!verified.has_value()) model.defect = verified.error().message;
    }
    models.push_back(std::move(model));
  }
  return models;
}

std::vector<std::string> UnreadableModels(const ModelStore& store, const DataDir& data) {
  const auto known = store.List();
  std::vector<std::string> unreadable;
  std::error_code error;
  for (fs::directory_iterator at(data.Models(), error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    const bool listed = std::ranges::any_of(known, [&](const Manifest& m) { return m.name == name; });
    if (at->is_directory() && !name.starts_with('.') && !listed) unreadable.push_back(at->path());
  }
  return unreadable;
}

// Names that differ only by case: an older Penstock allowed them.
std::vector<std::string> NamesAlike(const ModelStore& store, const DataDir& data) {
  std::vector<std::string> found;
  if (const auto teams = TeamsAlike(data.path())) {
    for (const auto& alike : *teams) {
      std::vector<std::string> named;
      for (const Team& team : alike) named.push_back(fmt::format("'{}' (id {})", team.name, team.id));
      found.push_back(fmt::format("the teams {}", fmt::join(named, " and ")));
    }
  }
  std::map<std::string, std::vector<std::string>> models;
  for (const Manifest& manifest : store.List())
    models[FoldedName(manifest.name)].push_back("'" + manifest.name + "'");
  for (const auto& [_, alike] : models) {
    if (alike.size() > 1) found.push_back(fmt::format("the models {}", fmt::join(alike, " and ")));
  }
  return found;
}

}  // namespace

DoctorFacts GatherFacts(const Config& config, const DataDir& data, const GatherOptions& options) {
  DoctorFacts facts;
  facts.cloud = LookAtCloud(config, data);
  facts.machine = LookAtMachineItself(config, data, !options.quick && !facts.cloud.runs);
  facts.engines = facts.cloud.runs ? AskEngines(config) : LookAtEngines(config);
  facts.clock = LookAtClock(data);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) facts.open_files = files.rlim_max;
  facts.max_connections = static_cast<int64_t>(config.gateway.max_connections);
  facts.disk = LookAtDisk(data);
  facts.paths = LookAtPaths(data);
  facts.user = geteuid();
  const ModelStore store(data);
  facts.models = LookAtModels(store, facts.machine.fit, options);
  facts.unreadable_models = UnreadableModels(store, data);
  facts.names_alike = NamesAlike(store, data);
  facts.python = config.pull.python;
  const auto pip = RunProcess({config.pull.python, "-m", "pip", "--version"}, {.time = 20 * kSecond});
  facts.pip = pip.has_value() && pip->status == 0;
  return facts;
}

}  // namespace penstock

#include "app/doctor/findings.h"

#include <algorithm>

#include "app/common/table.h"
#include "app/models/catalogue.h"

namespace penstock {
namespace {

using Level = Finding::Level;
using Findings = std::vector<Finding>;

// ---- the machine -----------------------------------------------------------------------------------

void JudgeChip(const DoctorFacts::Machine& machine, Findings& out) {
  const auto& features = machine.features;
  std::string words = fmt::format("{} cores of {}", machine.cores, machine.cpu);
  if (machine.cores < machine.cores_online)
    words = fmt::format("{} of {} cores of {}", machine.cores, machine.cores_online, machine.cpu);
  if (!features.avx2) {
    out.push_back({"chip", Level::kNote,
                   words + ", without AVX2: only the slow reference kernels run here. Use a newer machine"});
    return;
  }
  words += features.avx512_vnni ? ", AVX2, AVX-512 VNNI" : ", AVX2";
  if (features.amx_int8) words += ", AMX (not used)";
  out.push_back({"chip", Level::kGood, words});
}

void JudgeMemory(const DoctorFacts::Machine& machine, Findings& out) {
  const FitMachine& fit = machine.fit;
  std::string words = HumanBytes(fit.memory);
  if (fit.memory < machine.memory_there)
    words += fmt::format(" (a control group's limit; the machine has {})", HumanBytes(machine.memory_there));
  words += fmt::format(", {} free", HumanBytes(fit.memory_free));
  out.push_back({"memory", Level::kGood, words});
  if (machine.huge_pages == "never") {
    out.push_back({"memory", Level::kNote, "huge pages are disabled: reading weights is slower",
                   "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"});
  }
}

void JudgeSpeed(const DoctorFacts::Machine& machine, Findings& out) {
  const FitMachine& fit = machine.fit;
  if (fit.bandwidth <= 0) {
    out.push_back({"speed", Level::kNote, "not measured: not enough free memory", "penstock doctor"});
    return;
  }
  std::string words =
      fmt::format("memory reads {}/s; {:.0f} billion int8 and {:.0f} billion f32 operations/s",
                  HumanBytes(static_cast<uint64_t>(fit.bandwidth)), fit.int8_ops / 1e9, fit.f32_flops / 1e9);
  if (const auto* best = LargestThatFits(fit)) {
    words += fmt::format(". Largest model at reading speed or faster: {} (about {:.0f} tokens/s)", best->name,
                         JudgeFit(best->ForFit(), fit).alone);
  }
  out.push_back({"speed", Level::kGood, words});
}

void JudgeAccelerators(const DoctorFacts::Machine& machine, Findings& out) {
  for (const Accelerator& device : machine.accelerators) {
    std::string words = device.vendor;
    if (!device.name.empty())
      words = device.name.contains(device.vendor) ? device.name : words + " " + device.name;
    if (device.memory > 0) words += ", " + HumanBytes(device.memory);
    if (!device.address.empty()) words += ", at " + device.address;
    words += device.gpu
                 ? ": not used unless libllama runs on it (penstock up --engine-runner ggml), which we "
                   "have not tested on a real GPU"
                 : ": not used, no runner was tested on it";
    out.push_back({device.gpu ? "gpu" : "npu", Level::kGood, words});
  }
}

void JudgeEngines(const DoctorFacts::Engines& engines, Findings& out) {
  for (const auto& words : engines.words) out.push_back({"engine", Level::kGood, words});
  for (const auto& words : engines.warnings) out.push_back({"engine", Level::kNote, words});
  if (!engines.error.empty()) out.push_back({"engine", Level::kBad, engines.error, "penstock config"});
}

// ---- possible problems -----------------------------------------------------------------------------

void JudgeClock(const DoctorFacts::Clock& clock, Findings& out) {
  constexpr int64_t k2025 = 1'735'689'600, kSlack = 300;
  const std::string shown = HumanTime(static_cast<double>(clock.now)), fix = "sudo timedatectl set-ntp true";
  if (clock.now < k2025) {
    out.push_back({"clock", Level::kBad,
                   shown + " is wrong: keys would never expire, and usage would be in the wrong hours", fix});
  } else if (clock.newest_write > clock.now + kSlack) {
    out.push_back({"clock", Level::kBad,
                   fmt::format("{}, but {} was written at {}: the clock is slow, or was fast then", shown,
                               clock.newest_file, HumanTime(static_cast<double>(clock.newest_write))),
                   fix});
  } else if (!clock.synchronised) {
    out.push_back({"clock", Level::kNote, shown + ", not synchronised", fix});
  } else {
    out.push_back({"clock", Level::kGood, shown + ", synchronised"});
  }
}

void JudgeOpenFiles(const DoctorFacts& facts, Findings& out) {
  constexpr uint64_t kOther = 256, kFewest = 1024;  // for logs, store, engines; the minimum for real use
  const auto wanted = static_cast<uint64_t>(facts.max_connections) + kOther;
  std::string words =
      fmt::format("{} open files are allowed",
                  HumanCount(static_cast<int64_t>(std::min<uint64_t>(facts.open_files, INT64_MAX))));
  if (facts.open_files >= wanted) {
    out.push_back({"files", Level::kGood, words});
    return;
  }
  const uint64_t possible = facts.open_files > kOther ? facts.open_files - kOther : 1;
  words += fmt::format(": enough for {} connections, {} are configured",
                       HumanCount(static_cast<int64_t>(possible)), HumanCount(facts.max_connections));
  out.push_back({"files", facts.open_files < kFewest ? Level::kBad : Level::kNote, words,
                 fmt::format("penstock up --gateway-max-connections {}", possible)});
}

std::string FreeSomeDisk(const DoctorFacts& facts) {
  constexpr uint64_t kMuch = 100'000'000;
  if (facts.disk.partial > kMuch) return fmt::format("rm -rf {}/models/.partial", facts.disk.path);
  if (facts.disk.logs > kMuch) return "rm " + facts.disk.largest_log;
  const auto largest = std::ranges::max_element(facts.models, {}, &DoctorFacts::Model::bytes);
  if (largest != facts.models.end()) return "penstock model rm " + largest->name;
  return "penstock up --data DIR";
}

void JudgeDisk(const DoctorFacts& facts, Findings& out) {
  const auto& disk = facts.disk;
  if (!disk.error.empty()) {
    out.push_back({"disk", Level::kBad, disk.error, "penstock up --data DIR"});
    return;
  }
  std::string words = fmt::format("{} free at {}", HumanBytes(disk.free), disk.path);
  if (disk.partial > 0) words += fmt::format("; unfinished downloads use {}", HumanBytes(disk.partial));
  if (disk.free < (1ULL << 30)) {
    out.push_back({"disk", Level::kBad, words + ": usage records need more space", FreeSomeDisk(facts)});
  } else if (disk.free_files < 1000) {
    out.push_back({"disk", Level::kBad,
                   fmt::format("only {} more files fit on {}", disk.free_files, disk.path),
                   "penstock up --data DIR"});
  } else {
    out.push_back({"disk", Level::kGood, words});
  }
  if (disk.logs > (1ULL << 30)) {
    out.push_back({"logs", Level::kNote,
                   fmt::format("use {}; each log keeps one old file", HumanBytes(disk.logs)),
                   "truncate -s 0 " + disk.largest_log});
  }
}

void JudgeCloud(const DoctorFacts& facts, Findings& out) {
  const auto& cloud = facts.cloud;
  if (cloud.runs) {
    out.push_back(cloud.not_ready.empty()
                      ? Finding{"cloud", Level::kGood, fmt::format("runs at {}", cloud.url)}
                      : Finding{"cloud", Level::kBad,
                                fmt::format("runs at {}, but is not ready: {}", cloud.url, cloud.not_ready),
                                "penstock status"});
    return;
  }
  if (cloud.locked && cloud.lock_process_lives) {
    out.push_back(
        {"lock", Level::kBad,
         fmt::format("process {} uses {} but does not answer at {} (if it has another address, run this "
                     "command with the same --listen)",
                     cloud.lock_process, facts.disk.path, cloud.url),
         fmt::format("kill {}", cloud.lock_process)});
  } else if (cloud.locked) {
    out.push_back({"lock", Level::kBad,
                   fmt::format("{}/lock is held, but process {}, which took it, has ended", facts.disk.path,
                               cloud.lock_process),
                   fmt::format("fuser -k {}/lock", facts.disk.path)});
  } else if (cloud.lock_process > 0 && !cloud.lock_process_lives) {
    out.push_back(
        {"lock", Level::kGood,
         fmt::format("left by process {}, which has ended: the next start replaces it", cloud.lock_process)});
  }
  if (!cloud.listen_error.empty()) {
    const size_t colon = cloud.listen.rfind(':');
    out.push_back({"port", Level::kBad, cloud.listen_error,
                   fmt::format("penstock up --listen {}:0", cloud.listen.substr(0, colon))});
  } else if (!cloud.locked) {
    out.push_back({"port", Level::kGood, fmt::format("{} is free; the cloud is not running", cloud.listen)});
  }
}

void JudgePaths(const DoctorFacts& facts, Findings& out) {
  bool good = true;
  // If only the owner may enter the folder, loose modes of the files in it do no harm.
  const bool reachable = !facts.paths.empty() && (facts.paths.front().mode & 011) != 0;
  for (const auto& path : facts.paths) {
    const bool folder = &path == facts.paths.data(), secret = path.path.ends_with(".key");
    const char* subject = secret ? "key" : folder ? "data" : "store";
    if (secret && (path.mode & 077) != 0) {
      out.push_back({subject, Level::kBad, "other users can read " + path.path, "chmod 600 " + path.path});
    } else if ((path.mode & 022) != 0 && (folder || reachable)) {
      out.push_back({subject, Level::kBad, "other users can change " + path.path, "chmod go-w " + path.path});
    } else if (!path.writable || (facts.user != 0 && path.owner != facts.user)) {
      out.push_back({subject, Level::kBad,
                     fmt::format("{} belongs to another user (id {})", path.path, path.owner),
                     fmt::format("sudo chown -R {} {}", facts.user, facts.paths.front().path)});
    } else {
      continue;
    }
    good = false;
  }
  if (!good) return;
  const bool key =
      std::ranges::any_of(facts.paths, [](const auto& p) { return p.path.ends_with("operator.key"); });
  out.push_back({"key", Level::kGood,
                 key ? "operator.key is readable only by its owner"
                     : "no operator key yet: the first `penstock up` creates it"});
}

// The command that installs this model again from its source.
std::string GetAgain(const DoctorFacts::Model& model) {
  const std::string remove = fmt::format("penstock model rm {} && penstock model ", model.name);
  if (FindKnownModel(model.name) != nullptr && !model.source.starts_with('/'))
    return remove + "pull " + model.name;
  const char* how = model.source.starts_with("http") ? "pull" : "import";
  return fmt::format("{}{} {} --name {}", remove, how, model.source, model.name);
}

void JudgeModels(const DoctorFacts& facts, Findings& out) {
  for (const auto& model : facts.models) {
    const std::string size = fmt::format("{}, {}", model.name, HumanBytes(model.bytes));
    if (!model.defect.empty()) {
      out.push_back({"model", Level::kBad, model.defect, GetAgain(model)});
    } else if (model.fit.fits == Fits::kNo) {
      out.push_back(
          {"model", Level::kBad,
           fmt::format("{}, cannot be loaded: an engine can use {} here", size, HumanBytes(model.fit.usable)),
           "penstock model rm " + model.name});
    } else if (model.fit.fits == Fits::kNotNow && !facts.cloud.runs) {
      out.push_back({"model", Level::kNote,
                     fmt::format("{}, does not fit into the memory that is free now ({})", size,
                                 HumanBytes(facts.machine.fit.memory_free)),
                     "ps -eo rss,comm --sort=-rss | head"});
    } else {
      out.push_back({"model", Level::kGood,
                     size + (model.read ? ": the SHA-256 of every file is correct" : " (not read)")});
    }
  }
  for (const auto& folder : facts.unreadable_models) {
    out.push_back({"model", Level::kBad, folder + " has no readable manifest.json and is not served",
                   "rm -r " + folder});
  }
  if (facts.models.empty() && facts.unreadable_models.empty())
    out.push_back(
        {"model", Level::kGood, "none installed yet; `penstock model ls --catalogue` shows what fits"});
}

}  // namespace

std::vector<Finding> JudgeFacts(const DoctorFacts& facts) {
  Findings out;
  JudgeChip(facts.machine, out);
  JudgeMemory(facts.machine, out);
  JudgeSpeed(facts.machine, out);
  JudgeAccelerators(facts.machine, out);
  JudgeEngines(facts.engines, out);
  JudgeClock(facts.clock, out);
  JudgeOpenFiles(facts, out);
  JudgeDisk(facts, out);
  JudgeCloud(facts, out);
  JudgePaths(facts, out);
  for (const auto& alike : facts.names_alike) {
    out.push_back({"names", Level::kNote,
                   alike + " differ only by case: name teams by their id, which every command takes", ""});
  }
  if (facts.pip) {
    out.push_back({"pip", Level::kGood, "available, for models that come as Python wheels"});
  } else {
    out.push_back({"pip", Level::kNote,
                   fmt::format("{} has no pip: models in Python wheels cannot be installed", facts.python),
                   "sudo apt-get install -y python3-pip"});
  }
  JudgeModels(facts, out);
  return out;
}

}  // namespace penstock

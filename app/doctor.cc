// `penstock doctor`: looks at the machine and the data directory, and names one command that mends each
// finding.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "app/cli.h"
#include "app/cloud.h"
#include "app/data_dir.h"
#include "app/json_get.h"
#include "app/listen.h"
#include "app/model_store.h"
#include "app/process.h"
#include "app/progress.h"
#include "app/table.h"
#include "chip/cpu.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

struct Finding {
  std::string subject;
  bool good = true;
  std::string words;
  std::string mend;  // one command; empty where good
};

Finding Chip() {
  const auto features = chip::DetectCpuFeatures();
  std::string isa = features.avx2 ? "AVX2" : "no AVX2";
  if (features.avx512_vnni) isa += ", AVX-512 VNNI";
  if (features.amx_int8) isa += ", AMX";
  return {"chip", features.avx2,
          fmt::format("{} cores of {}, {}", chip::UsableCpus().size(), chip::CpuModel(), isa),
          features.avx2 ? "" : "use a machine with AVX2: here only the slow reference kernels run"};
}

Finding Memory(const ModelStore& store) {
  uint64_t largest = 0;
  std::string name;
  for (const auto& manifest : store.List()) {
    if (manifest.Bytes() > largest) {
      largest = manifest.Bytes();
      name = manifest.name;
    }
  }
  const auto memory = static_cast<uint64_t>(chip::QueryMemory().total);
  const bool good = largest <= memory / 10 * 9;
  return {"memory", good,
          fmt::format(
              "{}{}", HumanBytes(memory),
              largest == 0 ? "" : fmt::format("; the largest model, {}, is {}", name, HumanBytes(largest))),
          good ? "" : "penstock model rm " + name};
}

Finding Disk(const DataDir& data) {
  const auto free = FreeDiskBytes(data.path());
  if (!free.has_value()) return {"disk", false, free.error().message, "penstock up --data DIR"};
  const bool good = *free > (1ULL << 30);
  return {"disk", good, fmt::format("{} free at {}", HumanBytes(*free), data.path()),
          good ? "" : fmt::format("rm -rf {}/models/.partial", data.path())};
}

Finding Port(const Config& config, const DataDir& data) {
  if (CloudRuns(config)) {
    const std::string why = WhyNotReady(config.BaseUrl());
    return {"cloud", why.empty(),
            fmt::format("runs at {}{}", config.BaseUrl(), why.empty() ? "" : ", not ready: " + why),
            why.empty() ? "" : "penstock status"};
  }
  if (const int pid = data.LockedBy(); pid != 0) {
    return {"cloud", false,
            fmt::format("process {} has {} but does not answer at {}", pid, data.path(), config.BaseUrl()),
            fmt::format("kill {}", pid)};
  }
  const auto listener = Listen(config.listen);
  if (!listener.has_value())
    return {"port", false, listener.error().message, "penstock up --listen 127.0.0.1:0"};
  return {"port", true, fmt::format("{} is free; the cloud does not run", config.listen), ""};
}

Finding Secrets(const DataDir& data) {
  struct stat info{};
  const std::string path = data.OperatorKeyFile();
  if (stat(path.c_str(), &info) != 0)
    return {"key", true, "no operator key yet: the first `penstock up` makes it", ""};
  const bool good = (info.st_mode & 077) == 0;
  return {"key", good,
          fmt::format("{} {}", path, good ? "is readable for its owner only" : "can be read by others"),
          good ? "" : "chmod 600 " + path};
}

Finding Python(const Config& config) {
  const auto pip = RunProcess({config.python, "-m", "pip", "--version"}, {.time = 20 * kSecond});
  const bool good = pip.has_value() && pip->status == 0;
  return {"pip", good,
          good ? "there, for models that come as Python wheels"
               : "not there: models cannot come as Python wheels",
          good ? "" : "apt-get install -y python3-pip"};
}

std::vector<Finding> Models(const ModelStore& store, bool quick) {
  std::vector<Finding> findings;
  for (const auto& manifest : store.List()) {
    if (quick) {
      findings.push_back(
          {"model", true, fmt::format("{}, {} (not read)", manifest.name, HumanBytes(manifest.Bytes())), ""});
      continue;
    }
    Progress progress("reading " + manifest.name);
    const auto verified =
        store.Verify(manifest, [&](uint64_t done, uint64_t total) { progress.Update(done, total); });
    progress.Finish();
    findings.push_back({"model", verified.has_value(),
                        verified.has_value() ? fmt::format("{}: every file has its SHA-256", manifest.name)
                                             : verified.error().message,
                        verified.has_value() ? ""
                                             : fmt::format("penstock model rm {} && penstock model pull {}",
                                                           manifest.name, manifest.name)});
  }
  if (findings.empty()) findings.push_back({"model", true, "none installed yet: penstock model pull", ""});
  return findings;
}

Result<int> Doctor(const Config& config, bool quick, bool as_json) {
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  const ModelStore store(data);
  std::vector<Finding> findings = {Chip(),        Memory(store), Disk(data), Port(config, data),
                                   Secrets(data), Python(config)};
  for (auto& finding : Models(store, quick)) findings.push_back(std::move(finding));
  bool good = true;
  boost::json::array all;
  for (const auto& finding : findings) {
    good = good && finding.good;
    all.push_back(boost::json::object{{"subject", finding.subject},
                                      {"good", finding.good},
                                      {"words", finding.words},
                                      {"mend", finding.mend}});
    if (as_json) continue;
    fmt::print("{}  {:7} {}\n", finding.good ? "ok " : "BAD", finding.subject, finding.words);
    if (!finding.mend.empty()) fmt::print("             mend it: {}\n", finding.mend);
  }
  if (as_json) fmt::print("{}", PrettyJson(boost::json::object{{"good", good}, {"data", all}}));
  return good ? 0 : 1;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Cli& cli) {
  auto quick = std::make_shared<bool>(false), as_json = std::make_shared<bool>(false);
  CLI::App* doctor = app.add_subcommand("doctor", "Look for what is wrong here, and say what mends it");
  doctor->add_flag("--quick", *quick, "do not read the models through");
  doctor->add_flag("--json", *as_json, "as JSON");
  doctor->footer("Ends with status 1 where something is wrong.\n\nExample:\n  penstock doctor");
  doctor->callback([&cli, quick, as_json] {
    cli.run = [quick, as_json](const LoadedConfig& loaded) {
      return Doctor(loaded.config, *quick, *as_json);
    };
  });
}

}  // namespace penstock

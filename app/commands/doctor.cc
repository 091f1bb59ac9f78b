// `penstock doctor`: checks the machine and the data directory, and prints a command that fixes each problem.
#include <algorithm>
#include <optional>

#include "app/commands/commands.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/progress.h"
#include "app/doctor/facts.h"
#include "app/doctor/findings.h"

namespace penstock {
namespace {

using Level = Finding::Level;

const char* LevelName(Level level) {
  return level == Level::kGood ? "ok" : level == Level::kNote ? "note" : "BAD";
}

// Shows one progress line for each model.
class ReadingProgress {
 public:
  void operator()(const std::string& model, uint64_t done, uint64_t total) {
    if (model != model_) progress_.emplace("reading " + model);
    model_ = model;
    progress_->Update(done, total);
  }
  void Finish() { progress_.reset(); }

 private:
  std::string model_;
  std::optional<Progress> progress_;
};

void Print(const std::vector<Finding>& findings, size_t bad) {
  const bool notes = std::ranges::count(findings, Level::kNote, &Finding::level) > 0;
  for (const auto& finding : findings) {
    fmt::print("{:<4} {:<7} {}\n", LevelName(finding.level), finding.subject, finding.words);
    if (!finding.fix.empty()) fmt::print("             -> {}\n", finding.fix);
  }
  if (bad == 0) {
    fmt::print("\nNo problems found.{}\n", notes ? " The notes are not urgent." : "");
  } else {
    fmt::print("\n{} found: the line after each BAD shows how to fix it.\n",
               bad == 1 ? "1 problem" : fmt::format("{} problems", bad));
  }
}

boost::json::object ToJson(const DoctorFacts::Machine& machine) {
  boost::json::array accelerators;
  for (const auto& device : machine.accelerators) {
    accelerators.push_back(boost::json::object{{"vendor", device.vendor},
                                               {"name", device.name},
                                               {"address", device.address},
                                               {"memory", device.memory},
                                               {"tool", device.tool}});
  }
  return {{"cpu", machine.cpu},
          {"cores", machine.cores},
          {"avx2", machine.features.avx2},
          {"avx512_vnni", machine.features.avx512_vnni},
          {"amx_int8", machine.features.amx_int8},
          {"memory", machine.fit.memory},
          {"memory_free", machine.fit.memory_free},
          {"memory_of_machine", machine.memory_there},
          {"read_bytes_per_second", machine.fit.bandwidth},
          {"int8_operations_per_second", machine.fit.int8_ops},
          {"f32_operations_per_second", machine.fit.f32_flops},
          {"accelerators", accelerators}};
}

void PrintJson(const DoctorFacts& facts, const std::vector<Finding>& findings, bool good) {
  boost::json::array all;
  for (const auto& finding : findings) {
    all.push_back(boost::json::object{{"subject", finding.subject},
                                      {"good", finding.level != Level::kBad},
                                      {"level", LevelName(finding.level)},
                                      {"words", finding.words},
                                      {"fix", finding.fix},
                                      {"mend", finding.fix}});  // its name until 0.1.0
  }
  fmt::print("{}", PrettyJson(boost::json::object{
                       {"good", good}, {"machine", ToJson(facts.machine)}, {"data", all}}));
}

Result<int> Doctor(const Config& config, bool quick, bool as_json) {
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  ReadingProgress reading;
  const DoctorFacts facts = GatherFacts(config, data, {.quick = quick, .progress = std::ref(reading)});
  reading.Finish();
  const auto findings = JudgeFacts(facts);
  const auto bad = static_cast<size_t>(std::ranges::count(findings, Level::kBad, &Finding::level));
  if (as_json) {
    PrintJson(facts, findings, bad == 0);
  } else {
    Print(findings, bad);
  }
  return bad == 0 ? 0 : 1;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Cli& cli) {
  auto quick = std::make_shared<bool>(false), as_json = std::make_shared<bool>(false);
  CLI::App* doctor = app.add_subcommand("doctor", "Check this machine and show how to fix each problem");
  doctor->add_flag("--quick", *quick, "neither read the model files nor measure the machine again");
  doctor->add_flag("--json", *as_json, "print JSON");
  doctor->footer("The exit status is 1 if there is a problem.\n\nExample:\n  penstock doctor");
  doctor->callback([&cli, quick, as_json] {
    cli.run = [quick, as_json](const LoadedConfig& loaded) {
      return Doctor(loaded.config, *quick, *as_json);
    };
  });
}

}  // namespace penstock

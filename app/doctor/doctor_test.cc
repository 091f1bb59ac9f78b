#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "app/doctor/findings.h"

namespace penstock {
namespace {

using Level = Finding::Level;
using ::testing::HasSubstr;

constexpr uint64_t kGB = 1'000'000'000;
constexpr int64_t kNow = 1'780'000'000;

DoctorFacts Healthy() {
  DoctorFacts facts;
  facts.machine = {.cpu = "Some CPU",
                   .cores = 8,
                   .cores_online = 8,
                   .features = {.avx2 = true, .avx512_vnni = true},
                   .memory_there = 32 * kGB,
                   .fit = {.memory = 32 * kGB,
                           .memory_free = 30 * kGB,
                           .bandwidth = 100e9,
                           .int8_ops = 3000e9,
                           .f32_flops = 800e9},
                   .huge_pages = "madvise"};
  facts.clock = {.now = kNow, .newest_write = kNow - 10, .newest_file = "/d/lock"};
  facts.open_files = 1 << 20;
  facts.max_connections = 20'000;
  facts.disk = {.path = "/d",
                .error = "",
                .free = 100 * kGB,
                .free_files = 1 << 20,
                .largest_log = "/d/logs/gateway.log"};
  facts.cloud = {.listen = "127.0.0.1:8700", .url = "http://127.0.0.1:8700"};
  facts.paths = {{.path = "/d", .mode = 0700, .owner = 1000},
                 {.path = "/d/operator.key", .mode = 0600, .owner = 1000},
                 {.path = "/d/penstock.db", .mode = 0644, .owner = 1000}};
  facts.user = 1000;
  facts.models = {{.name = "qwen3-8b",
                   .source = "Qwen/Qwen3-8B-GGUF Qwen3-8B-Q4_K_M.gguf at c0ffee",
                   .bytes = 5 * kGB,
                   .fit = {.fits = Fits::kYes},
                   .read = true}};
  facts.python = "python3";
  return facts;
}

TEST(Doctor, EnginesAreShownAndAnImpossiblePlanIsBad) {
  DoctorFacts facts = Healthy();
  facts.engines.words = {"left: native runner, cores 0-3"};
  facts.engines.warnings = {"engines left, right share core 3"};
  facts.engines.error = "engines.right.numa: this machine has no NUMA node 7";
  std::vector<Level> levels;
  for (const Finding& finding : JudgeFacts(facts)) {
    if (finding.subject == "engine") levels.push_back(finding.level);
  }
  EXPECT_EQ(levels, (std::vector{Level::kGood, Level::kNote, Level::kBad}));
}

TEST(Doctor, AHealthyMachineNeedsNoFix) {
  for (const Finding& finding : JudgeFacts(Healthy())) {
    EXPECT_EQ(finding.level, Level::kGood) << finding.subject << ": " << finding.words;
    EXPECT_EQ(finding.fix, "") << finding.subject;
  }
}

struct Row {
  const char* what;
  void (*harm)(DoctorFacts&);
  const char* subject;
  Level level;
  const char* words;
  const char* fix;  // the whole command; empty: none helps
};

constexpr const char* kNtp = "sudo timedatectl set-ntp true";

const Row kRows[] = {
    {"an old CPU", [](DoctorFacts& f) { f.machine.features = {}; }, "chip", Level::kNote, "without AVX2", ""},
    {"a control group", [](DoctorFacts& f) { f.machine.fit.memory = 8 * kGB; }, "memory", Level::kGood,
     "8.0 GB (a control group's limit; the machine has 32.0 GB)", ""},
    {"no huge pages", [](DoctorFacts& f) { f.machine.huge_pages = "never"; }, "memory", Level::kNote,
     "huge pages are disabled", "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"},
    {"not measured", [](DoctorFacts& f) { f.machine.fit.bandwidth = 0; }, "speed", Level::kNote,
     "not measured", "penstock doctor"},
    {"a GPU",
     [](DoctorFacts& f) {
       f.machine.accelerators = {{.vendor = "NVIDIA",
                                  .name = "NVIDIA H100",
                                  .address = "0000:45:00.0",
                                  .memory = 85 * kGB,
                                  .tool = "nvidia-smi"}};
     },
     "gpu", Level::kGood, "NVIDIA H100, 85.0 GB, at 0000:45:00.0: not used", ""},
    {"an NPU",
     [](DoctorFacts& f) {
       f.machine.accelerators = {
           {.vendor = "Huawei", .name = "", .address = "0000:c1:00.0", .tool = "", .gpu = false}};
     },
     "npu", Level::kGood, "Huawei, at 0000:c1:00.0: not used", ""},
    {"a clock of 1970", [](DoctorFacts& f) { f.clock.now = 100, f.clock.newest_write = 50; }, "clock",
     Level::kBad, "is wrong", kNtp},
    {"records of the future", [](DoctorFacts& f) { f.clock.newest_write = kNow + 3600; }, "clock",
     Level::kBad, "/d/lock was written at", kNtp},
    {"a free-running clock", [](DoctorFacts& f) { f.clock.synchronised = false; }, "clock", Level::kNote,
     "not synchronised", kNtp},
    {"few open files", [](DoctorFacts& f) { f.open_files = 4096; }, "files", Level::kNote,
     "enough for 3,840 connections, 20,000 are configured", "penstock up --gateway-max-connections 3840"},
    {"far too few", [](DoctorFacts& f) { f.open_files = 512; }, "files", Level::kBad,
     "enough for 256 connections", "penstock up --gateway-max-connections 256"},
    {"a full disk of downloads", [](DoctorFacts& f) { f.disk.free = 1000, f.disk.partial = 3 * kGB; }, "disk",
     Level::kBad, "unfinished downloads use 3.0 GB", "rm -rf /d/models/.partial"},
    {"a full disk of logs", [](DoctorFacts& f) { f.disk.free = 1000, f.disk.logs = kGB; }, "disk",
     Level::kBad, "usage records need more space", "rm /d/logs/gateway.log"},
    {"a full disk of models", [](DoctorFacts& f) { f.disk.free = 1000; }, "disk", Level::kBad,
     "1.0 kB free at /d", "penstock model rm qwen3-8b"},
    {"a disk out of inodes", [](DoctorFacts& f) { f.disk.free_files = 3; }, "disk", Level::kBad,
     "only 3 more files fit", "penstock up --data DIR"},
    {"a disk that errs", [](DoctorFacts& f) { f.disk.error = "/d: Input/output error"; }, "disk", Level::kBad,
     "Input/output error", "penstock up --data DIR"},
    {"large logs", [](DoctorFacts& f) { f.disk.logs = 5 * kGB; }, "logs", Level::kNote, "use 5.0 GB",
     "truncate -s 0 /d/logs/gateway.log"},
    {"a cloud that is not ready",
     [](DoctorFacts& f) { f.cloud.runs = f.cloud.locked = true, f.cloud.not_ready = "no engine"; }, "cloud",
     Level::kBad, "is not ready: no engine", "penstock status"},
    {"a holder that does not answer",
     [](DoctorFacts& f) { f.cloud.locked = f.cloud.lock_process_lives = true, f.cloud.lock_process = 812; },
     "lock", Level::kBad, "process 812 uses /d but does not answer", "kill 812"},
    {"a lock whose process has ended",
     [](DoctorFacts& f) { f.cloud.locked = true, f.cloud.lock_process = 812; }, "lock", Level::kBad,
     "process 812, which took it, has ended", "fuser -k /d/lock"},
    {"a lock left behind", [](DoctorFacts& f) { f.cloud.lock_process = 812; }, "lock", Level::kGood,
     "the next start replaces it", ""},
    {"a port in use", [](DoctorFacts& f) { f.cloud.listen_error = "port 8700 is in use by nc (process 7)"; },
     "port", Level::kBad, "nc (process 7)", "penstock up --listen 127.0.0.1:0"},
    {"a key for all to read", [](DoctorFacts& f) { f.paths[1].mode = 0644; }, "key", Level::kBad,
     "other users can read /d/operator.key", "chmod 600 /d/operator.key"},
    {"a folder for all to change", [](DoctorFacts& f) { f.paths[0].mode = 0777; }, "data", Level::kBad,
     "other users can change /d", "chmod go-w /d"},
    {"a store for all to change", [](DoctorFacts& f) { f.paths[0].mode = 0755, f.paths[2].mode = 0664; },
     "store", Level::kBad, "other users can change /d", "chmod go-w /d/penstock.db"},
    {"a loose file in a closed folder", [](DoctorFacts& f) { f.paths[2].mode = 0666; }, "key", Level::kGood,
     "readable only by its owner", ""},
    {"another user's store", [](DoctorFacts& f) { f.paths[2].owner = 0; }, "store", Level::kBad,
     "belongs to another user (id 0)", "sudo chown -R 1000 /d"},
    {"no pip", [](DoctorFacts& f) { f.pip = false; }, "pip", Level::kNote, "python3 has no pip",
     "sudo apt-get install -y python3-pip"},
    {"changed bytes", [](DoctorFacts& f) { f.models[0].defect = "model.gguf: its bytes have changed"; },
     "model", Level::kBad, "its bytes have changed",
     "penstock model rm qwen3-8b && penstock model pull qwen3-8b"},
    {"changed bytes of an import",
     [](DoctorFacts& f) {
       f.models[0] = {
           .name = "mine", .source = "/home/a/mine.gguf", .defect = "model.gguf: its bytes have changed"};
     },
     "model", Level::kBad, "its bytes have changed",
     "penstock model rm mine && penstock model import /home/a/mine.gguf --name mine"},
    {"a model that is too large",
     [](DoctorFacts& f) { f.models[0].fit = {.fits = Fits::kNo, .usable = 3 * kGB}; }, "model", Level::kBad,
     "cannot be loaded: an engine can use 3.0 GB here", "penstock model rm qwen3-8b"},
    {"memory in use", [](DoctorFacts& f) { f.models[0].fit.fits = Fits::kNotNow; }, "model", Level::kNote,
     "does not fit into the memory that is free now", "ps -eo rss,comm --sort=-rss | head"},
    {"a folder without a manifest", [](DoctorFacts& f) { f.unreadable_models = {"/d/models/x"}; }, "model",
     Level::kBad, "no readable manifest.json", "rm -r /d/models/x"},
};

TEST(Doctor, EachProblemHasOneFindingAndTheCommandThatFixesIt) {
  for (const Row& row : kRows) {
    DoctorFacts facts = Healthy();
    row.harm(facts);
    int seen = 0;
    for (const Finding& finding : JudgeFacts(facts)) {
      const bool this_one = finding.subject == row.subject && finding.words.contains(row.words);
      if (!this_one) EXPECT_EQ(finding.level, Level::kGood) << row.what << " → " << finding.words;
      if (!this_one) continue;
      ++seen;
      EXPECT_EQ(finding.level, row.level) << row.what;
      EXPECT_EQ(finding.fix, row.fix) << row.what;
    }
    EXPECT_EQ(seen, 1) << row.what;
  }
}

TEST(Doctor, ARunningCloudsOwnLockAndPortAreNoProblem) {
  DoctorFacts facts = Healthy();
  facts.cloud.runs = facts.cloud.locked = facts.cloud.lock_process_lives = true;
  facts.cloud.lock_process = 812;
  facts.models[0].fit.fits = Fits::kNotNow;  // because the cloud itself uses the memory
  for (const Finding& finding : JudgeFacts(facts)) EXPECT_EQ(finding.level, Level::kGood) << finding.words;
}

// ---- gathering, on this machine and in a simulated data directory -----------------------------------

class GatherTest : public testing::Test {
 protected:
  GatherTest() {
    char folder[] = "/tmp/penstock-doctor-XXXXXX";
    folder_ = mkdtemp(folder);
    config_.data = folder_;
    config_.gateway.listen = "127.0.0.1:0";
    config_.pull.python = "/bin/false";
  }
  ~GatherTest() override { std::filesystem::remove_all(folder_); }
  DoctorFacts Gather() const { return GatherFacts(config_, *DataDir::Open(folder_), {.quick = true}); }

  std::string folder_;
  Config config_;
};

TEST_F(GatherTest, ThisMachineHasCoresMemoryAndAClock) {
  const DoctorFacts facts = Gather();
  EXPECT_GE(facts.machine.cores, 1);
  EXPECT_GE(facts.machine.cores_online, facts.machine.cores);
  EXPECT_GE(facts.machine.memory_there, facts.machine.fit.memory);
  EXPECT_GT(facts.machine.fit.memory_free, 0U);
  EXPECT_GT(facts.clock.now, 1'700'000'000);
  EXPECT_GT(facts.open_files, 0U);
  EXPECT_FALSE(facts.pip);
}

TEST_F(GatherTest, AMeasurementIsRememberedForThisCpuOnly) {
  const auto data = *DataDir::Open(folder_);
  const MachineSpeed speed = MeasureSpeed(data);
  EXPECT_GT(speed.bandwidth, 1e8);
  EXPECT_NEAR(RememberedSpeed(data).bandwidth, speed.bandwidth, 1);
  std::ofstream(folder_ + "/machine.json")
      << R"({"cpu": "another", "read_bytes_per_second": 1, "measured": 1})";
  EXPECT_EQ(RememberedSpeed(data).measured, 0);
  std::ofstream(folder_ + "/machine.json") << "garbage";
  EXPECT_EQ(RememberedSpeed(data).measured, 0);
}

TEST_F(GatherTest, TheStateOfTheDataDirectoryIsRead) {
  const auto data = *DataDir::Open(folder_);
  std::filesystem::create_directories(folder_ + "/models/broken");
  std::filesystem::create_directories(folder_ + "/models/.partial");
  std::filesystem::create_directories(folder_ + "/logs");
  std::ofstream(folder_ + "/models/.partial/x.part") << std::string(1000, 'x');
  std::ofstream(folder_ + "/logs/a.log") << "short";
  std::ofstream(folder_ + "/logs/b.log") << "rather longer";
  std::ofstream(folder_ + "/operator.key") << "sk";
  std::filesystem::permissions(folder_ + "/operator.key", std::filesystem::perms(0644));
  const auto lock = data.Lock();
  const DoctorFacts facts = Gather();
  EXPECT_EQ(facts.disk.partial, 1000U);
  EXPECT_EQ(facts.disk.logs, 18U);
  EXPECT_EQ(facts.disk.largest_log, folder_ + "/logs/b.log");
  EXPECT_EQ(facts.unreadable_models, std::vector<std::string>{folder_ + "/models/broken"});
  ASSERT_EQ(facts.paths.size(), 2U);
  EXPECT_EQ(facts.paths[1].mode, 0644U);
  EXPECT_TRUE(facts.cloud.locked && facts.cloud.lock_process_lives);
  EXPECT_EQ(facts.cloud.lock_process, getpid());
  EXPECT_EQ(facts.cloud.listen_error, "");
}

TEST_F(GatherTest, NamesThatDifferOnlyByCaseAreTold) {
  for (const char* name : {"tiny", "Tiny", "other"}) {
    std::filesystem::create_directories(folder_ + "/models/" + name);
    std::ofstream(fmt::format("{}/models/{}/manifest.json", folder_, name))
        << fmt::format(R"({{"format":1,"name":"{}","files":[]}})", name);
  }
  DoctorFacts facts = Gather();
  ASSERT_EQ(facts.names_alike.size(), 1U);
  EXPECT_EQ(facts.names_alike[0], "the models 'Tiny' and 'tiny'");
}

}  // namespace
}  // namespace penstock

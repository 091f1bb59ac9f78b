// What `penstock doctor` checks, as plain data. The facts are gathered here and judged in
// app/doctor/findings.h, so that each finding can be tested without breaking a machine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/common/data_dir.h"
#include "app/machine/accelerators.h"
#include "app/machine/fit.h"
#include "app/machine/machine.h"
#include "app/settings/config.h"
#include "chip/cpu.h"

namespace penstock {

struct DoctorFacts {
  struct Machine {
    std::string cpu;
    int cores = 0, cores_online = 0;  // that this process may use; that the machine has
    chip::CpuFeatures features{};
    uint64_t memory_there = 0;  // RAM; less may be usable (a cgroup's limit): FitMachine::memory
    FitMachine fit{};
    std::string huge_pages;  // "madvise", "always", "never"; empty: not known
    std::vector<Accelerator> accelerators{};
  } machine;

  struct Engines {
    std::vector<std::string> words{};  // for each engine: its runner, its place, and what it guarantees
    std::vector<std::string> warnings{};
    std::string error{};  // why `up` would not start
  } engines;

  struct Clock {
    int64_t now = 0;  // Unix seconds
    bool synchronised = true;
    int64_t newest_write = 0;  // the latest time of a file in the data directory
    std::string newest_file{};
  } clock;

  uint64_t open_files = 0;  // that a process here may have at most
  int64_t max_connections = 0;

  struct Disk {
    std::string path, error{};
    uint64_t free = 0, free_files = 0;
    uint64_t partial = 0, logs = 0;  // bytes of unfinished downloads, of logs
    std::string largest_log{};
  } disk;

  struct Cloud {
    std::string listen, url;
    bool runs = false;
    std::string not_ready{};  // why; empty: ready, or it does not run
    bool locked = false;      // a process holds the lock of the data directory
    int lock_process = 0;     // the process that the lock file names
    bool lock_process_lives = false;
    std::string listen_error{};  // why it could not listen; empty: it could
  } cloud;

  struct Path {
    std::string path;
    unsigned mode = 0, owner = 0;
    bool writable = true;
  };
  std::vector<Path>
      paths{};  // the data directory first, then its secret files and those that must be writable
  unsigned user = 0;

  struct Model {
    std::string name, source;
    uint64_t bytes = 0;
    Fit fit{};
    bool read = false;     // every byte was read and compared
    std::string defect{};  // what is wrong with its files; empty: nothing
  };
  std::vector<Model> models{};
  std::vector<std::string> unreadable_models{};  // folders whose manifest is missing or damaged

  std::vector<std::string> names_alike{};  // "the teams 'red' (id 1) and 'Red' (id 4)"; likewise models

  std::string python;
  bool pip = true;
};

struct GatherOptions {
  bool quick = false;  // does not read the models' files, and does not measure the speed again
  // Called while models are read.
  std::function<void(const std::string& model, uint64_t done, uint64_t total)> progress{};
};
DoctorFacts GatherFacts(const Config& config, const DataDir& data, const GatherOptions& options);

}  // namespace penstock

#include "app/machine/cpu_group.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "app/common/data_dir.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPrefix = "penstock-";

// In one write, as the kernel requires.
Status Write(const std::string& path, const std::string& text) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd && write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return Fail(Code::kUnsupported, "cannot write {} ({})", path, strerror(errno));
}

Status MakeFolder(const std::string& path) {
  std::error_code error;
  fs::create_directory(path, error);
  if (error) return Fail(Code::kUnsupported, "cannot create {} ({})", path, error.message());
  return {};
}

bool Lists(const std::string& path, std::string_view word) {
  std::ifstream file(path);
  for (std::string one; file >> one;) {
    if (one == word) return true;
  }
  return false;
}

// This process's group in the hierarchy of a version 1 controller, or of version 2 (`controller` is "").
std::optional<std::string> OwnGroup(const std::string& proc, std::string_view controller) {
  std::ifstream file(proc + "/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::istringstream names(line.substr(first + 1, second - first - 1));
    bool matches = controller.empty() && second == first + 1;
    for (std::string name; std::getline(names, name, ',');) matches |= name == controller;
    if (matches) return line.substr(second + 1);
  }
  return std::nullopt;
}

// In a container, the group's path may not exist below the mount; then the mount's root is the group.
std::string Under(const std::string& mount, const std::string& group) {
  std::error_code ignored;
  return group != "/" && fs::exists(mount + group, ignored) ? mount + group : mount;
}

}  // namespace

CpuGroups::CpuGroups(std::string proc, std::string cgroup)
    : proc_(std::move(proc)), cgroup_(std::move(cgroup)) {}

CpuGroups::~CpuGroups() {
  for (const auto& folder : made_) rmdir(folder.c_str());
  if (home_.empty()) return;
  (void)Write(base_ + "/cgroup.subtree_control", "-cpu");
  (void)Write(base_ + "/cgroup.procs", "0");
  rmdir(home_.c_str());
}

Status CpuGroups::Open() {
  std::error_code ignored;
  if (const auto own = OwnGroup(proc_, "cpu"); own && fs::exists(cgroup_ + "/cpu", ignored)) {
    base_ = Under(cgroup_ + "/cpu", *own);
  } else if (const auto unified = OwnGroup(proc_, "")) {
    PENSTOCK_TRY(OpenVersion2(Under(cgroup_, *unified)));
  } else {
    return Fail(Code::kUnsupported, "no control groups are mounted at {}", cgroup_);
  }
  Sweep();
  return {};
}

Status CpuGroups::OpenVersion2(const std::string& own) {
  if (!Lists(own + "/cgroup.controllers", "cpu")) {
    return Fail(Code::kUnsupported, "the control group {} does not have the cpu controller", own);
  }
  const std::string control = own + "/cgroup.subtree_control";
  if (!Lists(control, "cpu") && !Write(control, "+cpu").has_value()) {
    const std::string home = fmt::format("{}/{}{}", own, kPrefix, getpid());
    PENSTOCK_TRY(MakeFolder(home));
    if (const Status moved = Write(home + "/cgroup.procs", "0"); !moved.has_value()) {
      rmdir(home.c_str());
      return moved;
    }
    if (const Status enabled = Write(control, "+cpu"); !enabled.has_value()) {
      (void)Write(own + "/cgroup.procs", "0");
      rmdir(home.c_str());
      return Fail(Code::kUnsupported, "{}; other processes also run in that group", enabled.error().message);
    }
    home_ = home;
  }
  base_ = own;
  version2_ = true;
  return {};
}

// Removes penstock-PID… groups of processes that have ended. A group that has processes cannot be removed.
void CpuGroups::Sweep() const {
  std::error_code error;
  for (fs::directory_iterator at(base_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    int pid = 0;
    if (!name.starts_with(kPrefix)) continue;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), pid);
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) rmdir(at->path().c_str());
  }
}

Result<std::string> CpuGroups::Make(const std::string& name, double cores) {
  if (base_.empty()) PENSTOCK_TRY(Open());
  const std::string folder = fmt::format("{}/{}{}-{}", base_, kPrefix, getpid(), name);
  PENSTOCK_TRY(MakeFolder(folder));
  made_.push_back(folder);
  // A short period keeps streams smooth; the kernel requires a quota of at least 1 ms per period.
  const int period = cores >= 0.05 ? 20'000 : 100'000;
  const auto quota = static_cast<int64_t>(cores * period);
  if (version2_) {
    PENSTOCK_TRY(Write(folder + "/cpu.max", fmt::format("{} {}", quota, period)));
  } else {
    PENSTOCK_TRY(Write(folder + "/cpu.cfs_period_us", std::to_string(period)));
    PENSTOCK_TRY(Write(folder + "/cpu.cfs_quota_us", std::to_string(quota)));
  }
  return folder + "/cgroup.procs";
}

}  // namespace penstock

// CpuGroups: control groups (cgroups(7)) that hold processes to a share of CPU time.
//
// Version 1: a group under the one that we run in, of the `cpu` controller. Version 2: the same in the one
// hierarchy; as a group may not have both processes and limited children, we first move into a child of our
// own. Needs the right to write there: root's, or a group that systemd delegated (Delegate=cpu).
//
// Owns: the groups; they are removed with it, when their processes have ended. What an earlier process that
// was killed left behind is removed, too.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace penstock {

class CpuGroups {
 public:
  // Roots for tests.
  explicit CpuGroups(std::string proc = "/proc", std::string cgroup = "/sys/fs/cgroup");
  ~CpuGroups();
  CpuGroups(CpuGroups&&) = delete;

  // The file of a new group's processes: whoever writes "0" there joins it. `cores`: of CPU time.
  // Errors: kUnsupported, with the reason.
  Result<std::string> Make(const std::string& name, double cores);

 private:
  Status Open();
  Status OpenVersion2(const std::string& own);
  void Sweep() const;

  const std::string proc_, cgroup_;
  std::string base_;  // the group that ours are made in; empty: not opened yet
  std::string home_;  // version 2: where we moved ourselves; empty: we did not
  bool version2_ = false;
  std::vector<std::string> made_;
};

}  // namespace penstock

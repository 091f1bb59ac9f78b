// CpuGroups: control groups (cgroups(7)) that limit processes to a share of CPU time.
//
// Version 1: a group of the `cpu` controller, below the group of this process. Version 2: the same in the
// single hierarchy; because a group may not have both processes and limited children, this process first
// moves to a child group of its own. Needs permission to write there: as root, or in a group that systemd
// delegated (Delegate=cpu).
//
// Owns: the groups. Its destructor removes them; their processes must have ended. Groups that an earlier,
// killed process left behind are removed as well.
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

  // Returns the file of a new group's processes: a process that writes "0" to it joins. `cores`: of CPU time.
  // Errors: kUnsupported, with the reason.
  Result<std::string> Make(const std::string& name, double cores);

 private:
  Status Open();
  Status OpenVersion2(const std::string& own);
  void Sweep() const;

  const std::string proc_, cgroup_;
  std::string base_;  // the parent of our groups; empty: not opened yet
  std::string home_;  // version 2: the group to which this process moved; empty: it did not
  bool version2_ = false;
  std::vector<std::string> made_;
};

}  // namespace penstock

// The test binary is also the program of its child processes: the supervisor and the model inspection start
// /proc/self/exe.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>

#include "app/launch/supervisor.h"
#include "app/models/inspect.h"

namespace {

// Writes its pid to `file`, then does what `mode` names. "wait" waits for SIGTERM; "stubborn" ignores
// SIGTERM; "useless" refuses to start; "once" refuses from its second start on. "cores" and "memory" write
// their CPU affinity or memory policy to a file and wait for SIGTERM.
int RunChild(const std::string& mode, const std::string& file) {
  sigset_t terminate;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  sigprocmask(SIG_BLOCK, &terminate, nullptr);
  const bool again = access(file.c_str(), F_OK) == 0;
  std::ofstream(file, std::ios::app) << getpid() << std::endl;
  if (mode == "cores") {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    int core = 0;
    while (!CPU_ISSET(static_cast<size_t>(core), &set)) ++core;
    std::ofstream(file + ".part") << CPU_COUNT(&set) << " " << core;
    rename((file + ".part").c_str(), (file + ".cores").c_str());
  }
  if (mode == "memory") {
    int policy = -1;
    unsigned long nodes[16] = {};
    syscall(SYS_get_mempolicy, &policy, nodes, 1024UL, nullptr, 0UL);
    std::ofstream(file + ".part") << policy << " " << nodes[0];
    rename((file + ".part").c_str(), (file + ".memory").c_str());
  }
  if (mode == "useless" || (mode == "once" && again)) {
    fmt::print(stderr, "the store is damaged\n");
    return penstock::kExitDoNotRetry;
  }
  int signal = 0;
  sigwait(&terminate, &signal);
  while (mode == "stubborn") pause();
  usleep(20'000);  // so that the files' times show which of two processes ended first
  std::ofstream(file + ".ended") << "1";
  return 0;
}

// Returns 0 when a process other than `old` wrote its pid to `file`; returns 1 if the file is "never".
int Await(const std::string& file, const std::string& old) {
  if (file == "never") return 1;
  for (;; usleep(10'000)) {
    std::ifstream pids(file);
    std::string last, pid;
    while (pids >> pid) last = pid;
    if (!last.empty() && last != old) return 0;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--child") return RunChild(argv[2], argv[3]);
  if (argc == 4 && std::string_view(argv[1]) == "--await") return Await(argv[2], argv[3]);
  if (argc == 3 && std::string_view(argv[1]) == "inspect") return penstock::RunInspectCommand(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

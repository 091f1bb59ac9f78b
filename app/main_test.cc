// The test binary is also its own children: the supervisor and the inspection start /proc/self/exe.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>

#include "app/inspect.h"
#include "app/supervisor.h"

namespace {

// Writes its pid to `file`, then waits for SIGTERM ("wait"), waits through it ("stubborn"), or ends at once.
int RunChild(const std::string& mode, const std::string& file) {
  sigset_t terminate;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  sigprocmask(SIG_BLOCK, &terminate, nullptr);
  std::ofstream(file, std::ios::app) << getpid() << std::endl;
  if (mode == "useless") {
    fmt::print(stderr, "the store is damaged\n");
    return penstock::kExitDoNotRetry;
  }
  int signal = 0;
  sigwait(&terminate, &signal);
  while (mode == "stubborn") pause();
  usleep(20'000);  // so that the order of two ends shows in the files' times
  std::ofstream(file + ".ended") << "1";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--child") return RunChild(argv[2], argv[3]);
  if (argc == 3 && std::string_view(argv[1]) == "inspect") return penstock::RunInspectCommand(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#include "app/common/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "app/common/data_dir.h"

namespace penstock {
namespace {

struct Pipe {
  Fd read, write;
};

Result<Pipe> OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FailErrno(Code::kIo, "pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void Limit(__rlimit_resource what, uint64_t most) {
  const rlimit limit{.rlim_cur = most, .rlim_max = most};
  if (most != 0) setrlimit(what, &limit);
}

// Runs between fork and exec, so it must not allocate. `failed` receives errno of a failed exec.
[[noreturn]] void Become(char* const* argv, const ProcessLimits& limits, int out, int err, int failed) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
  Limit(RLIMIT_AS, limits.memory_bytes);  // a sanitizer's shadow alone is terabytes of address space
#endif
  Limit(RLIMIT_CPU, limits.cpu_seconds);
  Limit(RLIMIT_CORE, 0);
  execvp(argv[0], argv);
  const int error = errno;
  [[maybe_unused]] const ssize_t wrote = write(failed, &error, sizeof error);
  _exit(127);
}

void KeepTail(std::string& text) {
  constexpr size_t kMost = 64 << 10;
  if (text.size() > 2 * kMost) text.erase(0, text.size() - kMost);
}

// Reads both pipes until they close or time is up; false: time is up.
bool Collect(int out, int err, Nanos deadline, ProcessResult& result) {
  pollfd waits[2] = {{.fd = out, .events = POLLIN, .revents = 0},
                     {.fd = err, .events = POLLIN, .revents = 0}};
  std::string* into[2] = {&result.output, &result.errors};
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    const Nanos left = deadline == 0 ? kSecond : deadline - SystemClock().Monotonic();
    if (left <= 0) return false;
    if (poll(waits, 2, static_cast<int>(std::min<Nanos>(left, kSecond) / kMillisecond) + 1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      char block[16384];
      const ssize_t got = read(waits[i].fd, block, sizeof block);
      if (got > 0) {
        into[i]->append(block, static_cast<size_t>(got));
        KeepTail(*into[i]);
      } else if (got == 0 || errno != EINTR) {
        waits[i].fd = -1;
      }
    }
  }
  return true;
}

}  // namespace

Result<ProcessResult> RunProcess(const std::vector<std::string>& command, const ProcessLimits& limits) {
  PENSTOCK_ASSIGN(Pipe out, OpenPipe());
  PENSTOCK_ASSIGN(Pipe err, OpenPipe());
  PENSTOCK_ASSIGN(Pipe failed, OpenPipe());
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return FailErrno(Code::kIo, "fork");
  if (pid == 0) Become(argv.data(), limits, out.write.get(), err.write.get(), failed.write.get());
  out.write.Close();
  err.write.Close();
  failed.write.Close();

  ProcessResult result;
  const Nanos deadline = limits.time == 0 ? 0 : SystemClock().Monotonic() + limits.time;
  result.timed_out = !Collect(out.read.get(), err.read.get(), deadline, result);
  if (result.timed_out) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (int error = 0; read(failed.read.get(), &error, sizeof error) == sizeof error) {
    errno = error;
    return FailErrno(error == ENOENT ? Code::kNotFound : Code::kIo, "cannot run " + command[0]);
  }
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

}  // namespace penstock

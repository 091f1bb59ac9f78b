#include "app/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <deque>
#include <fstream>

#include "app/data_dir.h"

namespace penstock {
namespace {

Nanos Now() {
  return SystemClock().Monotonic();
}

void Say(std::string_view line) {
  fmt::print(stderr, "penstock: {}\n", line);
}

struct Child {
  ChildSpec spec;
  pid_t pid = 0;  // 0: not running
  Nanos started = 0, start_at = 0, kill_at = 0;
  Backoff backoff{};
};

// Processes that the kernel killed for memory since boot, over the whole machine.
uint64_t OutOfMemoryKills() {
  std::ifstream file("/proc/vmstat");
  std::string name;
  uint64_t value = 0;
  while (file >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return 0;
}

std::vector<std::string> LastLines(const std::string& path, size_t count) {
  std::ifstream file(path, std::ios::ate);
  if (!file) return {};
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - 8192));
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
    if (lines.size() > count) lines.pop_front();
  }
  return {lines.begin(), lines.end()};
}

// Between fork and exec only: no memory is allocated here.
[[noreturn]] void Become(const ChildSpec& spec, char* const* argv, int log_fd, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it died before the line above
  setpgid(0, 0);                      // Ctrl-C is for the supervisor alone
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (log_fd >= 0) {
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
  }
  if (spec.keep_fd >= 0) fcntl(spec.keep_fd, F_SETFD, 0);
  if (const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); score >= 0) {
    char digits[8] = {};
    int at = 7;
    for (int left = spec.oom_score; at > 0 && (left > 0 || at == 7); left /= 10) {
      digits[--at] = static_cast<char>('0' + left % 10);
    }
    [[maybe_unused]] const ssize_t wrote = write(score, digits + at, static_cast<size_t>(7 - at));
    close(score);
  }
  execv("/proc/self/exe", argv);
  _exit(127);
}

class Supervisor {
 public:
  explicit Supervisor(std::vector<ChildSpec> specs) : kills_(OutOfMemoryKills()) {
    for (auto& spec : specs) children_.push_back({.spec = std::move(spec)});
  }

  Result<int> Run() {
    PENSTOCK_TRY(TakeSignals());
    for (;;) {
      PENSTOCK_TRY(StartWhatIsDue());
      if (stopping_) StopNext();
      if (stopping_ && std::ranges::all_of(children_, [](const Child& c) { return c.pid == 0; }))
        return status_;
      WaitForSignal();
      HandleSignals();
      Reap();
    }
  }

 private:
  Status TakeSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = Fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!signals_) return FailErrno(Code::kIo, "signalfd");
    return {};
  }

  Status StartWhatIsDue() {
    for (auto& child : children_) {
      if (child.pid == 0 && !(stopping_ && !NeededToDrain(child)) && Now() >= child.start_at) {
        PENSTOCK_TRY(Start(child));
      }
    }
    return {};
  }

  // While the gateway drains, an engine that dies is still started again, so that what runs can finish.
  bool NeededToDrain(const Child& child) const {
    return stopping_ && !killing_ && &child != &children_.front() && children_.front().pid != 0;
  }

  Status Start(Child& child) {
    std::vector<std::string> args = {"penstock"};
    args.insert(args.end(), child.spec.args.begin(), child.spec.args.end());
    std::vector<char*> argv;
    for (auto& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    Fd log;
    if (!child.spec.log.empty()) {
      log = Fd(open(child.spec.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    }
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) return FailErrno(Code::kIo, "cannot start " + child.spec.name);
    if (pid == 0) Become(child.spec, argv.data(), log.get(), parent);
    child.pid = pid;
    child.started = Now();
    child.kill_at = 0;
    return {};
  }

  // The first child in order that still runs is asked to end; the next one is asked when it has.
  void StopNext() {
    for (auto& child : children_) {
      if (child.pid == 0) continue;
      if (killing_ || (child.kill_at != 0 && Now() >= child.kill_at)) {
        kill(child.pid, SIGKILL);
        if (!killing_) return;
      } else {
        if (child.kill_at == 0) {
          child.kill_at = Now() + child.spec.stop_within;
          kill(child.pid, SIGTERM);
        }
        return;
      }
    }
  }

  void WaitForSignal() const {
    Nanos until = Now() + 60 * kSecond;
    for (const auto& child : children_) {
      if (child.pid == 0 && !stopping_) until = std::min(until, child.start_at);
      if (child.pid != 0 && child.kill_at != 0) until = std::min(until, child.kill_at);
    }
    const Nanos left = std::max<Nanos>(0, until - Now());
    pollfd wait{.fd = signals_.get(), .events = POLLIN, .revents = 0};
    poll(&wait, 1, static_cast<int>((left + kMillisecond - 1) / kMillisecond));
  }

  void HandleSignals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) continue;
      if (!stopping_) {
        stopping_ = true;
        Say("stopping: what runs is finished first (again to stop at once)");
      } else {
        killing_ = true;
      }
    }
  }

  void Reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto child = std::ranges::find(children_, pid, &Child::pid);
      if (child != children_.end()) Ended(*child, status);
    }
  }

  void Ended(Child& child, int status) {
    const uint64_t kills = OutOfMemoryKills();
    const bool memory = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && kills > kills_;
    kills_ = kills;
    child.pid = 0;
    const bool asked = child.kill_at != 0 || killing_;
    if (asked && (killing_ || (WIFEXITED(status) && WEXITSTATUS(status) == 0))) return;
    const Nanos wait = child.backoff.AfterDeath(Now() - child.started);
    child.start_at = Now() + wait;
    const std::string why = DescribeExit(status, memory);
    const bool useless = WIFEXITED(status) && WEXITSTATUS(status) == kExitDoNotRetry;
    if (!useless) {
      Say(fmt::format("{} ended: {}{}", child.spec.name, why,
                      stopping_ ? "" : fmt::format("; starting it again in {} ms", wait / kMillisecond)));
    }
    const bool own_words = WIFEXITED(status) && WEXITSTATUS(status) != 0;
    if (own_words && !child.spec.log.empty()) {
      for (const auto& line : LastLines(child.spec.log, 3)) Say("  " + line);
    }
    if (useless) {
      stopping_ = true;
      status_ = 1;
    }
  }

  std::vector<Child> children_;
  Fd signals_;
  uint64_t kills_;
  bool stopping_ = false, killing_ = false;
  int status_ = 0;
};

}  // namespace

Nanos Backoff::AfterDeath(Nanos lived) {
  if (lived >= 10 * kSecond) next_ = kFirst;
  for (Nanos paid = 3 * kSecond; paid <= lived && next_ > kFirst; paid += 3 * kSecond) next_ /= 2;
  next_ = std::max(next_, kFirst);
  const Nanos wait = next_;
  next_ = std::min(next_ * 2, kMost);
  return wait;
}

std::string DescribeExit(int wait_status, bool out_of_memory) {
  if (WIFEXITED(wait_status)) return fmt::format("exit status {}", WEXITSTATUS(wait_status));
  if (!WIFSIGNALED(wait_status)) return "unknown";
  const int signal = WTERMSIG(wait_status);
  const char* name = sigabbrev_np(signal);
  std::string text = fmt::format("killed by SIG{}", name != nullptr ? name : std::to_string(signal));
  if (out_of_memory) text += " (out of memory: use a smaller model, or set engine.memory)";
  return text;
}

Result<int> Supervise(std::vector<ChildSpec> children) {
  return Supervisor(std::move(children)).Run();
}

}  // namespace penstock

#include "app/launch/supervisor.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstring>
#include <deque>
#include <fstream>

#include "app/common/data_dir.h"

namespace penstock {
namespace {

Nanos Now() {
  return SystemClock().Monotonic();
}

// Writing to a closed terminal fails; that must not stop the supervisor (fmt::print would throw).
void Say(std::string_view line) {
  const std::string text = fmt::format("penstock: {}\n", line);
  [[maybe_unused]] const ssize_t wrote = write(STDERR_FILENO, text.data(), text.size());
}

const std::string kUseLess = "use a smaller model, or set engine.memory";

struct Child {
  ChildSpec spec;
  pid_t pid = 0;  // 0: not running
  Nanos started = 0, start_at = 0, kill_at = 0;
  bool rolling = false;  // asked to end so that it starts again
  bool rolled = false;   // was restarted: if a new binary refuses to start, the other children must go on
  Backoff backoff{};
};

// How many processes the kernel has killed for memory since boot, on the whole machine.
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

// Everything that a child needs between fork and exec, where it must not allocate memory.
struct Birth {
  const ChildSpec* spec;
  char* const* argv;
  const char* program;
  int log_fd, group_fd;
  cpu_set_t cores;
  pid_t parent;
};

[[noreturn]] void Refuse(const char* words) {
  [[maybe_unused]] const ssize_t wrote = write(STDERR_FILENO, words, strlen(words));
  _exit(kExitDoNotRetry);
}

void TakePlace(const Birth& birth) {
  const ChildSpec& spec = *birth.spec;
  if (birth.group_fd >= 0 && write(birth.group_fd, "0", 1) != 1) Refuse("cannot join its control group\n");
  if (!spec.cores.empty() && sched_setaffinity(0, sizeof birth.cores, &birth.cores) != 0) {
    Refuse("cannot be bound to its cores\n");
  }
  if (spec.numa < 0) return;
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  unsigned long nodes[1024 / kBits] = {};
  nodes[static_cast<size_t>(spec.numa) / kBits % std::size(nodes)] |=
      1UL << (static_cast<size_t>(spec.numa) % kBits);
  if (syscall(SYS_set_mempolicy, MPOL_BIND, nodes, 1024UL) != 0)
    Refuse("cannot bind its memory to its NUMA node\n");
}

[[noreturn]] void Become(const Birth& birth) {
  const ChildSpec& spec = *birth.spec;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != birth.parent) _exit(1);  // the supervisor died before the line above
  setpgid(0, 0);                            // so that Ctrl-C reaches only the supervisor
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (birth.log_fd >= 0) {
    dup2(birth.log_fd, STDOUT_FILENO);
    dup2(birth.log_fd, STDERR_FILENO);
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
  TakePlace(birth);
  execv(birth.program, birth.argv);
  execv("/proc/self/exe", birth.argv);
  _exit(127);
}

class Supervisor {
 public:
  explicit Supervisor(std::vector<ChildSpec> specs)
      : program_(ProgramPath()), terminal_(isatty(STDERR_FILENO) != 0), kills_(OutOfMemoryKills()) {
    for (auto& spec : specs) children_.push_back({.spec = std::move(spec)});
  }

  Result<int> Run() {
    PENSTOCK_TRY(TakeSignals());
    for (;;) {
      PENSTOCK_TRY(StartWhatIsDue());
      if (stopping_) StopNext();
      KillOverdue();
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

  // While the gateway drains, an engine that dies is still restarted, so that running requests can finish.
  bool NeededToDrain(const Child& child) const {
    return stopping_ && !killing_ && &child != &children_.front() && children_.front().pid != 0;
  }

  Status Start(Child& child) {
    PENSTOCK_ASSIGN(child.pid, Fork(child.spec));
    child.started = Now();
    child.kill_at = 0;
    if (child.rolling) PENSTOCK_TRY(Await(child));
    return {};
  }

  Result<pid_t> Fork(const ChildSpec& spec) const {
    std::vector<std::string> args = {"penstock"};
    args.insert(args.end(), spec.args.begin(), spec.args.end());
    std::vector<char*> argv;
    for (auto& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    Fd log, group;
    if (!spec.log.empty()) {
      log = Fd(open(spec.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    }
    if (!spec.group.empty()) {
      group = Fd(open(spec.group.c_str(), O_WRONLY | O_CLOEXEC));
      if (!group) return FailErrno(Code::kIo, "cannot start " + spec.name + ": " + spec.group);
    }
    Birth birth{.spec = &spec,
                .argv = argv.data(),
                .program = program_.c_str(),
                .log_fd = log.get(),
                .group_fd = group.get(),
                .cores = {},
                .parent = getpid()};
    CPU_ZERO(&birth.cores);
    for (const int core : spec.cores) CPU_SET(static_cast<size_t>(core), &birth.cores);
    const pid_t pid = fork();
    if (pid < 0) return FailErrno(Code::kIo, "cannot start " + spec.name);
    if (pid == 0) Become(birth);
    return pid;
  }

  // Asks the first child that still runs to end; the next one is asked when it has ended.
  void StopNext() {
    for (auto& child : children_) {
      if (child.pid == 0) continue;
      if (killing_) {
        kill(child.pid, SIGKILL);
      } else {
        const bool asked = child.kill_at != 0 && !child.rolling;
        if (!asked) Ask(child, child.spec.stop_within);
        child.rolling = false;
        return;
      }
    }
  }

  static void Ask(Child& child, Nanos within) {
    if (child.kill_at == 0) kill(child.pid, SIGTERM);  // a second SIGTERM would end it immediately
    child.kill_at = Now() + within;
  }

  void KillOverdue() {
    for (auto& child : children_) {
      if (child.pid == 0 || child.kill_at == 0 || Now() < child.kill_at) continue;
      if (child.rolling)
        Say(fmt::format("{} did not end within {} s and is killed", child.spec.name,
                        child.spec.drain_within / kSecond));
      kill(child.pid, SIGKILL);
      child.kill_at = Now() + kSecond;
    }
  }

  // ---- a rolling restart ----

  void BeginRoll() {
    if (!roll_.empty()) return Say("a restart is already running");
    for (size_t i = 1; i < children_.size(); ++i) roll_.push_back(i);
    roll_.push_back(0);
    RollOn();
  }

  void RollOn() {
    Child& child = children_[roll_.front()];
    replaced_ = child.pid;
    child.rolling = true;
    if (child.pid == 0) {  // it has ended and waits for its restart
      child.start_at = Now();
      return;
    }
    Say(fmt::format("restarting {}: its running requests move or finish first", child.spec.name));
    Ask(child, child.spec.drain_within);
  }

  // The child has been started again.
  Status Await(Child& child) {
    child.rolling = false;
    child.rolled = true;
    if (child.spec.await.empty()) {
      RolledOne();
      return {};
    }
    ChildSpec helper{.name = "await " + child.spec.name, .args = child.spec.await};
    helper.args.push_back(std::to_string(replaced_));
    PENSTOCK_ASSIGN(helper_, Fork(helper));
    return {};
  }

  void Awaited(int status) {
    helper_ = 0;
    if (roll_.empty()) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return RolledOne();
    Say(fmt::format("{} did not become ready: the restart stops here, {} others are not restarted",
                    children_[roll_.front()].spec.name, roll_.size() - 1));
    roll_.clear();
  }

  void RolledOne() {
    Say(fmt::format("{} is back", children_[roll_.front()].spec.name));
    roll_.pop_front();
    if (!roll_.empty()) return RollOn();
    Say("all processes were restarted");
  }

  void AbandonRoll() {
    roll_.clear();
    if (helper_ != 0) kill(helper_, SIGKILL);
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
      if (info.ssi_signo == SIGHUP && !TerminalIsGone()) {
        if (!stopping_) BeginRoll();
      } else if (!stopping_) {
        stopping_ = true;
        AbandonRoll();
        Say("stopping: running requests finish first (a second signal stops immediately)");
      } else {
        killing_ = true;
      }
    }
  }

  // Closing a terminal also sends SIGHUP: then it means stop.
  bool TerminalIsGone() const {
    termios settings{};
    return terminal_ && tcgetattr(STDERR_FILENO, &settings) != 0;
  }

  void Reap() {
    int status = 0;
    rusage used{};
    for (pid_t pid = 0; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;) {
      const auto child = std::ranges::find(children_, pid, &Child::pid);
      if (child != children_.end()) Ended(*child, status, static_cast<uint64_t>(used.ru_maxrss) * 1024);
      if (pid == helper_) Awaited(status);
    }
  }

  void Ended(Child& child, int status, uint64_t peak) {
    const uint64_t kills = OutOfMemoryKills();
    const bool memory = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && kills > kills_;
    kills_ = kills;
    child.pid = 0;
    const bool asked = child.kill_at != 0 || killing_;
    child.start_at = Now();
    if (asked && (killing_ || child.rolling || (WIFEXITED(status) && WEXITSTATUS(status) == 0))) return;
    const Nanos wait = child.backoff.AfterDeath(Now() - child.started);
    child.start_at = Now() + wait;
    std::string why = DescribeExit(status, memory);
    if (memory)
      why += ": " + (child.spec.out_of_memory ? child.spec.out_of_memory(child.spec, peak) : kUseLess);
    const bool refuses = WIFEXITED(status) && WEXITSTATUS(status) == kExitDoNotRetry;
    const bool useless = refuses && !child.rolled;
    if (refuses && helper_ != 0 && &child == &children_[roll_.front()]) kill(helper_, SIGKILL);
    if (!useless) {
      Say(fmt::format("{} ended: {}{}", child.spec.name, why,
                      stopping_ ? "" : fmt::format("; restarting it in {} ms", wait / kMillisecond)));
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

  const std::string program_;
  const bool terminal_;  // at the start
  std::vector<Child> children_;
  std::deque<size_t> roll_;  // children still to be restarted; the first is being restarted
  pid_t replaced_ = 0;       // its old process
  pid_t helper_ = 0;         // waits until its new one is ready; 0: none
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
  if (out_of_memory) text += " (out of memory)";
  return text;
}

std::string ProgramPath() {
  char path[PATH_MAX] = {};
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
  return size > 0 && access(path, X_OK) == 0 ? path : "/proc/self/exe";
}

Result<int> Supervise(std::vector<ChildSpec> children) {
  return Supervisor(std::move(children)).Run();
}

}  // namespace penstock

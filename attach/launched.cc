#include "attach/launched.h"

#include <netinet/in.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace penstock {
namespace {

constexpr Nanos kFirstBackOff = 500 * kMillisecond, kLastBackOff = 30 * kSecond;
constexpr Nanos kLivedLong = 60 * kSecond, kLookEvery = 200 * kMillisecond, kTermWithin = 5 * kSecond;

}  // namespace

Launched::Launched(boost::asio::io_context& io, std::string command, uint16_t port)
    : timer_(io), command_(std::move(command)), back_off_(kFirstBackOff) {
  spdlog::info("starting the upstream on port {}: {}", port, command_);
  Start();
  Look();
}

Launched::~Launched() {
  timer_.cancel();
  if (pid_ <= 0) return;
  kill(-pid_, SIGTERM);
  const Nanos until = SystemClock().Monotonic() + kTermWithin;
  while (waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (SystemClock().Monotonic() > until) {
      kill(-pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill(-pid_, SIGKILL);  // what it left behind
}

void Launched::Start() {
  started_ = SystemClock().Monotonic();
  ++starts_;
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ != 0) {
    if (pid_ > 0) setpgid(pid_, pid_);
    return;
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // exec, so that the shell is not between us and what we are to end.
  const std::string line = "exec " + command_;
  execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
  _exit(127);
}

void Launched::Look() {
  const Nanos now = SystemClock().Monotonic();
  int status = 0;
  if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
    kill(-pid_, SIGKILL);
    pid_ = -1;
    if (now - started_ > kLivedLong) back_off_ = kFirstBackOff;
    again_at_ = now + back_off_;
    spdlog::error("the upstream ended ({} {}); it restarts in {:.1f} s",
                  WIFSIGNALED(status) ? "by signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                  static_cast<double>(back_off_) / kSecond);
    back_off_ = std::min(2 * back_off_, kLastBackOff);
  } else if (pid_ <= 0 && now >= again_at_) {
    Start();
  }
  timer_.expires_after(std::chrono::nanoseconds(kLookEvery));
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Look();
  });
}

Result<std::string> FillPort(std::string_view launch, uint16_t port) {
  constexpr std::string_view kPort = "{port}";
  std::string command(launch);
  size_t at = command.find(kPort);
  if (at == std::string::npos) {
    return Fail(Code::kInvalid,
                "engine.launch must contain {{port}} where the server expects its port, as in "
                "\"vllm serve MODEL --port {{port}}\"");
  }
  for (; at != std::string::npos; at = command.find(kPort, at))
    command.replace(at, kPort.size(), std::to_string(port));
  return command;
}

Result<uint16_t> FreePort() {
  const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = probe >= 0 && bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  if (probe >= 0) close(probe);
  if (!bound) return FailErrno(Code::kIo, "no free port can be found");
  return ntohs(address.sin_port);
}

}  // namespace penstock

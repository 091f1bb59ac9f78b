#include "text/renderer.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "text/c_abi.h"

namespace penstock {
namespace {

// The protocol: both ends are the same program, so these structs are sent as they are in memory.
struct Question {  // followed by `source_size` and `context_size` bytes
  uint64_t id = 0;
  uint64_t source_size = 0;  // 0: the process has this template
  uint64_t context_size = 0;
  bool render = false;  // false: only compile
};
struct Answer {  // followed by `size` bytes: the rendered text, or the error message
  penstock_text_status status = PENSTOCK_TEXT_OK;
  uint64_t size = 0;
};
constexpr uint64_t kLargestAnswer = 256 << 20;  // the library itself stops at 64 MiB
constexpr int kSocket = 3;                      // in the renderer's process
constexpr unsigned kGiveUpSeconds = 10;         // it ends itself then, in case its parent cannot
constexpr int kLowPriority = 5;                 // a process cannot go back from it
constexpr int kPollMs = 20;                     // between two checks of the process's CPU time

penstock_text_view View(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view Bytes(const auto& plain) {
  return {reinterpret_cast<const char*>(&plain), sizeof plain};
}

// Reads a whole message, mostly in one piece: each message costs one wake-up of its reader.
class Inbox {
 public:
  // Fills `into`. `receive(at, most)` gets some bytes; ≤ 0 ends it. False: it ended before.
  template <class Receive>
  bool Take(char* into, size_t size, Receive receive) {
    while (size > 0) {
      if (begin_ == end_) {
        const ssize_t got = receive(buffer_, sizeof buffer_);
        if (got <= 0) return false;
        begin_ = 0;
        end_ = static_cast<size_t>(got);
      }
      const size_t now = std::min(size, end_ - begin_);
      std::memcpy(into, buffer_ + begin_, now);
      begin_ += now;
      into += now;
      size -= now;
    }
    return true;
  }

 private:
  char buffer_[64 << 10];
  size_t begin_ = 0, end_ = 0;
};

// ---- in the renderer's process ----

bool ReadAll(void* into, size_t size) {
  static Inbox inbox;
  return inbox.Take(static_cast<char*>(into), size, [](char* at, size_t most) {
    ssize_t got = 0;
    do got = read(kSocket, at, most);
    while (got < 0 && errno == EINTR);
    return got;
  });
}

bool WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(kSocket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool SendAnswer(penstock_text_status status, penstock_text_bytes text) {
  const Answer answer{.status = status, .size = text.size};
  std::string message(Bytes(answer));
  message.append(reinterpret_cast<const char*>(text.data), text.size);
  penstock_text_free_bytes(text);
  return WriteAll(message);
}

// Answers one question; false: the parent has closed the socket.
bool Serve(std::map<uint64_t, penstock_template*>& templates) {
  Question question;
  if (!ReadAll(&question, sizeof question)) return false;
  std::string source(question.source_size, '\0'), context(question.context_size, '\0');
  if (!ReadAll(source.data(), source.size()) || !ReadAll(context.data(), context.size())) return false;
  alarm(kGiveUpSeconds);
  penstock_text_bytes text{}, error{};
  penstock_template*& compiled = templates[question.id];
  penstock_text_status status = PENSTOCK_TEXT_OK;
  if (compiled == nullptr) status = penstock_template_compile(View(source), &compiled, &error);
  if (status == PENSTOCK_TEXT_OK && question.render) {
    status = penstock_template_render(compiled, View(context), &text, &error);
  }
  const bool sent = SendAnswer(status, status == PENSTOCK_TEXT_OK ? text : error);
  alarm(0);
  return sent;
}

void Limit(__rlimit_resource what, uint64_t most) {
  rlimit limit{};
  getrlimit(what, &limit);
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, most);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(what, &limit);
}

[[noreturn]] void ServeParent() {
  prctl(PR_SET_NAME, "templates");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    (void)std::signal(signal, SIG_IGN);  // only the parent ends this process
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
  Limit(RLIMIT_AS, kRenderMemoryLimit);  // a sanitizer's shadow memory alone needs terabytes of address space
#endif
  Limit(RLIMIT_CORE, 0);
  std::map<uint64_t, penstock_template*> templates;
  while (Serve(templates)) {
  }
  _exit(0);
}

[[gnu::constructor]] void BecomeRenderer(int argc, char** argv) {
  if (argc == 1 && std::strcmp(argv[0], kRendererName) == 0) ServeParent();
}

// ---- in the parent ----

Nanos CpuTimeOf(pid_t process) {
  clockid_t clock{};
  timespec time{};
  if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return time.tv_sec * kSecond + time.tv_nsec;
}

// Moves bytes over the socket until a call's limits are reached.
class Transfer {
 public:
  Transfer(int socket, pid_t process)
      : socket_(socket), process_(process), deadline_(SystemClock().Monotonic() + kRenderTimeLimit) {}

  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if ((errno != EAGAIN && errno != EINTR) || !Wait(POLLOUT)) {
        return false;
      }
    }
    return true;
  }
  bool Receive(char* into, size_t size) {
    return inbox_.Take(into, size, [this](char* at, size_t most) {
      while (true) {
        const ssize_t got = recv(socket_, at, most, MSG_DONTWAIT);
        if (got >= 0 || (errno != EAGAIN && errno != EINTR) || !Wait(POLLIN)) return got;
      }
    });
  }
  // Why the last transfer failed: true: a time limit; false: the process has ended.
  bool out_of_time() const { return out_of_time_; }
  bool gave_way() const { return gave_way_; }

 private:
  bool Wait(short event) {
    while (true) {
      pollfd wait{.fd = socket_, .events = event, .revents = 0};
      if (poll(&wait, 1, kPollMs) > 0) return true;
      const Nanos cpu = CpuTimeOf(process_);
      if (cpu_begin_ < 0) cpu_begin_ = cpu;
      const Nanos used = cpu - cpu_begin_;
      out_of_time_ = SystemClock().Monotonic() >= deadline_ || used >= kRenderCpuLimit;
      if (out_of_time_) return false;
      if (used >= kRenderFullSpeed && !gave_way_) {
        setpriority(PRIO_PROCESS, static_cast<id_t>(process_), kLowPriority);
        gave_way_ = true;
      }
    }
  }

  const int socket_;
  const pid_t process_;
  const Nanos deadline_;
  Nanos cpu_begin_ = -1;  // from the first check on; most calls have ended before
  Inbox inbox_;
  bool out_of_time_ = false, gave_way_ = false;
};

// Renderers that wait for work.
class IdleRenderers {
 public:
  static IdleRenderers& Instance() {
    static IdleRenderers idle;
    return idle;
  }
  Result<std::unique_ptr<Renderer>> Take() {
    while (auto renderer = TakeIdle()) {
      if (!renderer->ended()) return renderer;  // it may have been killed
    }
    return Renderer::Start();
  }
  void GiveBack(std::unique_ptr<Renderer> renderer) {
    if (!renderer->reusable()) return;
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMostIdle) idle_.push_back(std::move(renderer));
  }

 private:
  static constexpr size_t kMostIdle = 4;

  std::unique_ptr<Renderer> TakeIdle() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return nullptr;
    auto renderer = std::move(idle_.back());
    idle_.pop_back();
    return renderer;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Renderer>> idle_;  // guarded by mutex_; the last used is taken first
};

}  // namespace

Result<std::unique_ptr<Renderer>> Renderer::Start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno(Code::kIo, "cannot start a process for chat templates: socketpair");
  }
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&files, standard, "/dev/null", O_RDWR, 0);
  }
  posix_spawn_file_actions_adddup2(&files, ends[1], kSocket);
  posix_spawn_file_actions_addclosefrom_np(&files, kSocket + 1);
  char* const argv[] = {const_cast<char*>(kRendererName), nullptr};
  pid_t process = 0;
  const int error = posix_spawn(&process, "/proc/self/exe", &files, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&files);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    errno = error;
    return FailErrno(Code::kIo, "cannot start a process for chat templates");
  }
  return std::unique_ptr<Renderer>(new Renderer(ends[0], process));
}

Renderer::~Renderer() {
  if (alive_) End();
  close(socket_);
}

bool Renderer::ended() const {
  pollfd socket{.fd = socket_, .events = POLLIN, .revents = 0};
  return poll(&socket, 1, 0) > 0;  // between calls it sends nothing
}

void Renderer::End() {
  alive_ = false;
  kill(process_, SIGKILL);
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Status Renderer::Compile(const TemplateSource& source) {
  PENSTOCK_TRY(Call(source, false, ""));
  return {};
}

Result<std::string> Renderer::Render(const TemplateSource& source, std::string_view context_json) {
  return Call(source, true, context_json);
}

Result<std::string> Renderer::Call(const TemplateSource& source, bool render, std::string_view context_json) {
  const bool known = known_.contains(source.id);
  const Question question{.id = source.id,
                          .source_size = known ? 0 : source.text.size(),
                          .context_size = context_json.size(),
                          .render = render};
  Transfer transfer(socket_, process_);
  Answer answer;
  std::string message(Bytes(question));
  if (!known) message += source.text;
  message += context_json;
  if (!transfer.Send(message) || !transfer.Receive(reinterpret_cast<char*>(&answer), sizeof answer) ||
      answer.size > kLargestAnswer) {
    return Lost(transfer.out_of_time());
  }
  std::string text(answer.size, '\0');
  if (!transfer.Receive(text.data(), text.size())) return Lost(transfer.out_of_time());
  gave_way_ = transfer.gave_way();
  if (answer.status == PENSTOCK_TEXT_OK) {
    known_.insert(source.id);
    return text;
  }
  return std::unexpected(
      Error{answer.status == PENSTOCK_TEXT_INVALID ? Code::kInvalid : Code::kInternal, std::move(text)});
}

std::unexpected<Error> Renderer::Lost(bool out_of_time) {
  End();
  if (out_of_time) {
    return Fail(Code::kInvalid,
                "the chat template ran for more than {:.1f} s; send a shorter conversation, or ask the "
                "operator for a model with another template",
                static_cast<double>(kRenderCpuLimit) / kSecond);
  }
  return Fail(Code::kInvalid,
              "the chat template used more than {} MiB of memory; send a shorter conversation, or ask the "
              "operator for a model with another template",
              kRenderMemoryLimit >> 20);
}

Status CompileInRenderer(const TemplateSource& source) {
  PENSTOCK_ASSIGN(auto renderer, IdleRenderers::Instance().Take());
  Status compiled = renderer->Compile(source);
  IdleRenderers::Instance().GiveBack(std::move(renderer));
  return compiled;
}

Result<std::string> RenderInRenderer(const TemplateSource& source, std::string_view context_json) {
  PENSTOCK_ASSIGN(auto renderer, IdleRenderers::Instance().Take());
  auto text = renderer->Render(source, context_json);
  IdleRenderers::Instance().GiveBack(std::move(renderer));
  return text;
}

}  // namespace penstock

#include "text/render_process.h"

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
#include "text/render_protocol.h"

namespace penstock {
namespace {

constexpr int kSocket = 3;               // in the renderer's process
constexpr unsigned kGiveUpSeconds = 10;  // it ends itself then, in case its parent cannot
constexpr int kLowPriority = 5;          // a process cannot go back from it
constexpr int kPollMs = 20;              // between two checks of the process's CPU time

penstock_text_view View(std::string_view text) {
  return {text.data(), text.size()};
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

// The parent may send many questions at once. Their answers are sent together, before the process would wait
// and before the template changes: so the first that the parent has no answer to is of the template that
// runs.
class Parent {
 public:
  void Begin(uint64_t id) {
    if (std::exchange(running_, id) != id) SendAnswers();
  }
  bool Read(char* into, size_t size) {
    return inbox_.Take(into, size, [this](char* at, size_t most) -> ssize_t {
      if (!SendAnswers()) return -1;
      alarm(0);
      ssize_t got = 0;
      do got = read(kSocket, at, most);
      while (got < 0 && errno == EINTR);
      alarm(kGiveUpSeconds);
      return got;
    });
  }
  bool Read(std::string& into) { return Read(into.data(), into.size()); }

  void Answer(penstock_text_status status, penstock_text_bytes text) {
    answers_ += BytesOf(RenderAnswer{.status = status, .size = text.size});
    answers_.append(reinterpret_cast<const char*>(text.data), text.size);
    penstock_text_free_bytes(text);
  }

 private:
  bool SendAnswers() {
    for (std::string_view left = answers_; !left.empty();) {
      const ssize_t sent = send(kSocket, left.data(), left.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      left.remove_prefix(static_cast<size_t>(sent));
    }
    answers_ = std::string();
    return true;
  }

  Inbox inbox_;
  std::string answers_;
  uint64_t running_ = 0;  // the template's id
};

struct KnownTemplate {
  std::string source;
  penstock_template* compiled = nullptr;
};

// Answers one question; false: the parent has closed the socket.
bool Serve(Parent& parent, std::map<uint64_t, KnownTemplate>& templates) {
  RenderQuestion question;
  if (!parent.Read(reinterpret_cast<char*>(&question), sizeof question)) return false;
  KnownTemplate& known = templates[question.id];
  std::string source(question.source_size, '\0'), context(question.context_size, '\0');
  if (!parent.Read(source) || !parent.Read(context)) return false;
  parent.Begin(question.id);
  if (!source.empty()) known.source = std::move(source);
  penstock_text_bytes text{}, error{};
  penstock_text_status status = PENSTOCK_TEXT_OK;
  if (known.compiled == nullptr) {
    status = penstock_template_compile(View(known.source), &known.compiled, &error);
  }
  if (status == PENSTOCK_TEXT_OK && question.render) {
    status = penstock_template_render(known.compiled, View(context), &text, &error);
  }
  parent.Answer(status, status == PENSTOCK_TEXT_OK ? text : error);
  return true;
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
  Parent parent;
  std::map<uint64_t, KnownTemplate> templates;
  while (Serve(parent, templates)) {
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
  Result<std::unique_ptr<RenderProcess>> Take() {
    while (auto renderer = TakeIdle()) {
      if (!renderer->ended()) return renderer;  // it may have been killed
    }
    return RenderProcess::Start();
  }
  void GiveBack(std::unique_ptr<RenderProcess> renderer) {
    if (!renderer->reusable()) return;
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMostIdle) idle_.push_back(std::move(renderer));
  }

 private:
  static constexpr size_t kMostIdle = 4;

  std::unique_ptr<RenderProcess> TakeIdle() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return nullptr;
    auto renderer = std::move(idle_.back());
    idle_.pop_back();
    return renderer;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<RenderProcess>> idle_;  // guarded by mutex_; the last used is taken first
};

}  // namespace

Result<std::unique_ptr<RenderProcess>> RenderProcess::Start() {
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
  return std::unique_ptr<RenderProcess>(new RenderProcess(ends[0], process));
}

RenderProcess::~RenderProcess() {
  if (alive_) End();
  close(socket_);
}

bool RenderProcess::ended() const {
  pollfd socket{.fd = socket_, .events = POLLIN, .revents = 0};
  return poll(&socket, 1, 0) > 0;  // between calls it sends nothing
}

void RenderProcess::End() {
  Kill();
  while (alive_ && waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  alive_ = false;
}

void RenderProcess::Kill() {
  if (alive_) kill(process_, SIGKILL);
}

bool RenderProcess::Gone() {
  if (alive_ && waitpid(process_, nullptr, WNOHANG) != 0) alive_ = false;
  return !alive_;
}

Nanos RenderProcess::cpu_time() const {
  return CpuTimeOf(process_);
}

Status RenderProcess::Compile(const TemplateSource& source) {
  PENSTOCK_TRY(Call(source, false, ""));
  return {};
}

Result<std::string> RenderProcess::Render(const TemplateSource& source, std::string_view context_json) {
  return Call(source, true, context_json);
}

Result<std::string> RenderProcess::Call(const TemplateSource& source, bool render,
                                        std::string_view context_json) {
  const bool known = known_.contains(source.id);
  const RenderQuestion question{.id = source.id,
                                .source_size = known ? 0 : source.text.size(),
                                .context_size = context_json.size(),
                                .render = render};
  Transfer transfer(socket_, process_);
  RenderAnswer answer;
  std::string message(BytesOf(question));
  if (!known) message += source.text;
  message += context_json;
  if (!transfer.Send(message) || !transfer.Receive(reinterpret_cast<char*>(&answer), sizeof answer) ||
      answer.size > kLargestRenderAnswer) {
    return Lost(transfer.out_of_time());
  }
  std::string text(answer.size, '\0');
  if (!transfer.Receive(text.data(), text.size())) return Lost(transfer.out_of_time());
  gave_way_ = transfer.gave_way();
  known_.insert(source.id);
  return ToResult(answer.status, std::move(text));
}

std::unexpected<Error> RenderProcess::Lost(bool out_of_time) {
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

Result<std::unique_ptr<RenderProcess>> TakeRenderProcess() {
  return IdleRenderers::Instance().Take();
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

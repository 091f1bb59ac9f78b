// RenderProcess: a process in which chat templates are compiled and rendered, and nothing else happens.
//
// A chat template is a program that comes with a model's file. Counting its instructions does not limit it:
// one filter, operator or comparison can run for minutes or fill the memory. So templates run in a process
// with limits that the operating system enforces, and a call that exceeds a limit ends that process, not
// ours. Idle renderers wait for the next call, so a call costs two messages and not the start of a process.
//
// The process runs the same program: a program that links this file and is started with argv[0] ==
// kRendererName serves its parent and never reaches main.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

// What one call may use. The limit on time is for a machine so busy that the process gets little of it;
// import, which ends at the first call that exceeds a limit, refuses a file within 5 s even there.
constexpr Nanos kRenderCpuLimit = 1500 * kMillisecond;
constexpr Nanos kRenderTimeLimit = 4 * kSecond;
constexpr Nanos kRenderFullSpeed = 100 * kMillisecond;  // CPU time after which a call gives way to other work
constexpr uint64_t kRenderMemoryLimit = 768ULL << 20;   // bytes of address space; not under sanitizers
constexpr const char* kRendererName = "penstock-templates";

// A template for renderers. An `id` is never used for another source.
struct TemplateSource {
  uint64_t id = 0;
  std::string text;
};

// Threads: one call at a time.
class RenderProcess {
 public:
  static constexpr size_t kMostTemplates = 64;  // that one process keeps

  // Errors: kIo: the process cannot be started.
  static Result<std::unique_ptr<RenderProcess>> Start();
  ~RenderProcess();
  RenderProcess(const RenderProcess&) = delete;
  RenderProcess& operator=(const RenderProcess&) = delete;

  // Errors: kInvalid: the template does not compile, refuses the conversation, fails or exceeds a limit.
  Status Compile(const TemplateSource& source);
  Result<std::string> Render(const TemplateSource& source, std::string_view context_json);

  // For an owner that moves the bytes itself (text/render_calls.h).
  int socket() const { return socket_; }
  Nanos cpu_time() const;
  void Kill();  // does not wait until the process is gone
  bool Gone();  // whether it is; then its resources are free

  // False after a call that exceeded a limit or gave way, and if it has compiled as many templates as it can
  // keep.
  bool reusable() const { return alive_ && !gave_way_ && known_.size() < kMostTemplates; }
  // Whether the process has ended. REQUIRES: no call is running.
  bool ended() const;

 private:
  RenderProcess(int socket, pid_t process) : socket_(socket), process_(process) {}
  Result<std::string> Call(const TemplateSource& source, bool render, std::string_view context_json);
  std::unexpected<Error> Lost(bool out_of_time);
  void End();

  const int socket_;
  const pid_t process_;
  bool alive_ = true, gave_way_ = false;
  std::set<uint64_t> known_;  // ids of the templates that the process has
};

// An idle renderer, or a new one, for an owner that keeps it.
Result<std::unique_ptr<RenderProcess>> TakeRenderProcess();

// Compiles or renders with a renderer that no other call uses meanwhile. Threads: any number at once; each
// call uses its own process.
Status CompileInRenderer(const TemplateSource& source);
Result<std::string> RenderInRenderer(const TemplateSource& source, std::string_view context_json);

}  // namespace penstock

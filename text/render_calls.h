// RenderCalls: the calls in flight to one renderer process, for a thread that must not wait for it.
//
// Many calls share the process, so the calls that wait at the same moment cost one message each way together.
// The price is that a template which runs long delays the calls behind it. So the process is ended when one
// call uses too much of it: that call must be made again with a process of its own (RenderInRenderer), the
// others are sent to the next process, and for a while calls with that template are not taken at all.
//
// No I/O and no clock: the owner moves the bytes and ends the process. Threads: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "text/render_process.h"

namespace penstock {

class RenderCalls {
 public:
  static constexpr Nanos kCpuLimit = 40 * kMillisecond;  // of one call
  static constexpr Nanos kTimeLimit = 1 * kSecond;       // of one call, on a machine that is very busy
  static constexpr Nanos kAvoid = 60 * kSecond;          // a template that exceeded a limit

  // The text or the template's error; nothing: make the call with a process of its own.
  using Done = std::function<void(std::optional<Result<std::string>>)>;

  // Whether a call with this template may be added.
  bool Takes(const TemplateSource& source, Nanos now) const;
  // `source` lives until `done`, which is called by the methods below. REQUIRES: Takes(source).
  void Add(const TemplateSource& source, std::string context_json, Done done);
  bool empty() const { return calls_.empty(); }

  // What must be sent to the process next, in order.
  std::string TakeUnsent() { return std::exchange(unsent_, {}); }
  bool unsent() const { return !unsent_.empty(); }
  // The process has sent `bytes`. False: it sent nonsense, so it must be ended.
  bool Received(std::string_view bytes);
  // Whether the process must be ended: the oldest call exceeded a limit, or the process has compiled as many
  // templates as it can keep. `cpu`: the process's CPU time. Call it every 20 ms or so while calls are in
  // flight.
  bool MustEnd(Nanos now, Nanos cpu);
  // The process has ended, or was ended. What was in flight must be sent to the next one.
  void Ended(Nanos now);
  // No process can be started.
  void GiveUp();

 private:
  struct Call {
    uint64_t number = 0;
    const TemplateSource* source = nullptr;
    std::string context;
    Done done;
  };
  void Send(const Call& call);

  std::deque<Call> calls_;  // oldest first
  uint64_t last_number_ = 0;
  std::string unsent_, received_;
  std::set<uint64_t> known_;           // ids of the templates that the process was sent
  std::map<uint64_t, Nanos> avoided_;  // ids of templates, until when
  struct Watched {
    uint64_t call = 0;
    Nanos since = 0, cpu = 0;
  } watched_;  // the oldest call when MustEnd first saw it
};

}  // namespace penstock

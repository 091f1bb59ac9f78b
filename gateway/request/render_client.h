// RenderClient: renders chat templates for the io thread, in a process of its own that the thread never waits
// for. The rules are text/render_calls.h's; this file moves the bytes, keeps the time and replaces the
// process. Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "text/render_calls.h"

namespace penstock::gateway {

class RenderClient {
 public:
  RenderClient(boost::asio::io_context& io, const Clock& clock)
      : io_(io), clock_(clock), socket_(io), timer_(io) {}
  ~RenderClient() { Detach(); }

  // As in RenderCalls. `done` is called later, on the io thread; it is dropped if this ends first.
  bool Takes(const TemplateSource& source) const { return calls_.Takes(source, clock_.Monotonic()); }
  void Add(const TemplateSource& source, std::string context_json, RenderCalls::Done done);

 private:
  static constexpr std::chrono::milliseconds kWatch{20};

  void SendSoon();
  void Send();
  bool StartProcess();
  void AwaitAnswers();
  void Receive();
  void Watch();
  void EndProcess();
  void Detach();

  boost::asio::io_context& io_;
  const Clock& clock_;
  RenderCalls calls_;
  std::unique_ptr<RenderProcess> process_;
  std::vector<std::unique_ptr<RenderProcess>> ending_;  // killed, and not gone yet
  boost::asio::posix::stream_descriptor socket_;        // of process_, which owns it
  boost::asio::steady_timer timer_;
  std::string sending_;  // what the socket did not take yet
  bool will_send_ = false, awaits_room_ = false, watching_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // false for handlers that outlive this
};

}  // namespace penstock::gateway

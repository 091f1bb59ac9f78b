// Connection: the engine's end of its line to the gateway. Dials, greets, keeps the heart beating, and
// dials again; hands the engine's thread what came and takes what is to go.
//
// After the line is lost it is dialled again only when Redial is called: when the engine has let go of
// the work that came over the old one, whose request ids mean nothing on the new one.
//
// Threads: Take, Send, Redial, WaitWritable and Flush are called by the engine's thread; everything else
//          happens on the io_context's one thread. The two share what `mutex_` guards.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "engine/frame.h"
#include "engine/wire.pb.h"

namespace penstock {

class Connection {
 public:
  struct Event {
    enum class Kind : uint8_t { kMessage, kLost, kDrain, kWake };
    Kind kind = Kind::kMessage;
    wire::ToEngine message;
  };

  // `hello` is sent on every connection, with the models that were sent until then, and a heartbeat.
  Connection(boost::asio::io_context& io, std::string socket, wire::Hello hello);

  void Start();
  // The engine is to end: tells the gateway, so that nothing new is sent, and waits for its Drain. Without a
  // gateway, or one that does not answer in time, it drains at once. Threads: any.
  void Leave();
  // Take gets a kDrain, as if the gateway had said so. Threads: any.
  void Drain();
  // Take gets a kWake. Threads: any.
  void Wake();

  // SIGTERM and SIGINT are a wish to leave; a second one ends the process at once. Before io runs.
  void LeaveOnSignals();

  // What came since the last call; with `wait`, blocks until there is something.
  std::vector<Event> Take(bool wait);
  // Queues a message; forgotten when the line is down, but for models and load, which the next Hello and
  // heartbeat tell.
  void Send(const wire::FromEngine& message);
  // Blocks while the gateway reads too slowly.
  void WaitWritable();
  void Redial();
  // The engine's thread computes a step from now on; or does no longer. Heartbeats tell for how long.
  void StepBegins();
  void StepEnds() { step_since_ = 0; }
  // For how long the step under way has run; 0: none is. Threads: any.
  Nanos Stepping() const;
  // Since when the line is down, Clock::Monotonic; 0: it is up. Threads: any.
  Nanos DownSince() const { return down_since_; }
  // Blocks until all is written, the line is lost, or `limit` has passed.
  void Flush(Nanos limit);

 private:
  void Dial();
  void DialLater();
  void Greet();
  void Read();
  void Parse();
  void Write();
  void Beat();
  void Lose(std::string_view why);
  void Push(Event event);
  void Remember(const wire::FromEngine& message) REQUIRES(mutex_);
  void Append(const wire::FromEngine& message) REQUIRES(mutex_);
  void AppendHeartbeat() REQUIRES(mutex_);
  void WriteSoon() REQUIRES(mutex_);

  boost::asio::io_context& io_;
  const std::string path_;

  // The io thread's.
  boost::asio::local::stream_protocol::socket socket_;
  boost::asio::steady_timer redial_, beat_, leave_;
  boost::asio::signal_set signals_;
  FrameReader reader_;
  std::string writing_;
  Nanos back_off_;
  std::atomic<Nanos> step_since_ = 0, down_since_ = 0;
  bool warned_ = false;  // about a gateway that is not there: once

  const std::string name_;  // the engine's

  Mutex mutex_;
  std::condition_variable came_, went_;
  std::vector<Event> inbox_ GUARDED_BY(mutex_);
  std::string outbox_ GUARDED_BY(mutex_);
  bool open_ GUARDED_BY(mutex_) = false;
  bool write_posted_ GUARDED_BY(mutex_) = false;
  bool leaving_ GUARDED_BY(mutex_) = false;
  wire::Hello hello_ GUARDED_BY(mutex_);
  wire::Heartbeat heartbeat_ GUARDED_BY(mutex_);
};

}  // namespace penstock

// Connection: the engine's side of its connection to the gateway. It connects, sends the hello and
// heartbeats, and reconnects; it passes received messages to the engine's thread and sends that thread's
// messages.
//
// After the connection is lost, it reconnects only when Redial is called: when the engine has dropped the
// requests of the old connection, whose ids mean nothing on the new one.
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
  // The engine should stop: tells the gateway, so that it sends no new requests, and waits for its Drain.
  // Without a gateway, or if it does not reply in time, the engine drains at once. Threads: any.
  void Leave();
  // Take gets a kDrain, as if the gateway had sent Drain. Threads: any.
  void Drain();
  // Take gets a kWake. Threads: any.
  void Wake();

  // SIGTERM and SIGINT call Leave; a second one ends the process at once. REQUIRES: io does not run yet.
  void LeaveOnSignals();

  // Events since the last call; with `wait`, blocks until there is one.
  std::vector<Event> Take(bool wait);
  // Queues a message. Without a connection it is dropped, but models and load are remembered and sent with
  // the next Hello and heartbeat.
  void Send(const wire::FromEngine& message);
  // Blocks while the gateway reads too slowly.
  void WaitWritable();
  void Redial();
  // A step of the engine's thread begins, or has ended. Heartbeats report how long it has run.
  void StepBegins();
  void StepEnds() { step_since_ = 0; }
  // How long the current step has run; 0: no step is running. Threads: any.
  Nanos Stepping() const;
  // When the connection was lost, Clock::Monotonic; 0: it is connected. Threads: any.
  Nanos DownSince() const { return down_since_; }
  // Blocks until everything is written, the connection is lost, or `limit` has passed.
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
  bool warned_ = false;  // that no gateway is there

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

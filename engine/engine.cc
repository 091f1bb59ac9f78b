#include "engine/engine.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>

#include "engine/abilities.h"
#include "engine/connection.h"
#include "engine/loop.h"
#include "engine/memory.h"

namespace penstock {
namespace {

constexpr Nanos kFlushLimit = 2 * kSecond;
constexpr int kExitHung = 70;  // EX_SOFTWARE
constexpr Nanos kAbandonedStep = 5 * kSecond;

// Ends the process when its parent has died, when a step exceeds the limit, or when a step still runs after
// the gateway, which knows how long steps take here, has closed the connection.
class Watch {
 public:
  Watch(boost::asio::io_context& io, const Connection& connection, Nanos step_timeout)
      : timer_(io), connection_(connection), parent_(getppid()), step_timeout_(step_timeout) {
    // The kernel ends this process with its parent, even during a step that never ends.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Look();
  }

 private:
  void Look() {
    if (getppid() != parent_) {
      spdlog::warn("the parent process has died; this engine exits");
      _exit(0);
    }
    const Nanos down = connection_.DownSince(), stepping = connection_.Stepping();
    const bool abandoned = down != 0 && SystemClock().Monotonic() - down > kAbandonedStep;
    if (stepping > (abandoned ? kAbandonedStep : step_timeout_)) {
      spdlog::error("a step has run for {} s; this engine exits to be restarted", stepping / kSecond);
      _exit(kExitHung);
    }
    timer_.expires_after(std::chrono::seconds(1));
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) Look();
    });
  }

  boost::asio::steady_timer timer_;
  const Connection& connection_;
  const pid_t parent_;
  const Nanos step_timeout_;
};

wire::Hello MakeHello(const Runner& runner, const EngineOptions& options) {
  wire::Hello hello;
  hello.set_engine(options.name);
  hello.set_runner(std::string(runner.Name()));
  hello.set_chip(options.chip);
  hello.set_kernel(options.kernel);
  hello.set_pid(static_cast<uint64_t>(getpid()));
  hello.set_memory_bytes(options.memory_bytes);
  hello.set_max_sequences(options.max_sequences);
  hello.set_contract(runner.Chip().contract);
  hello.set_state(runner.Chip().state);
  *hello.mutable_abilities() = OurAbilities();
  for (const auto& model : options.takes) hello.add_takes(model);
  hello.set_place(options.place);
  hello.set_note(options.note);
  return hello;
}

void RunLoop(EngineLoop& loop, Connection& connection) {
  bool idle = true;
  while (true) {
    for (const Connection::Event& event : connection.Take(idle)) {
      switch (event.kind) {
        case Connection::Event::Kind::kMessage:
          loop.Handle(event.message);
          break;
        case Connection::Event::Kind::kLost:
          loop.Disconnected();
          connection.Redial();
          break;
        case Connection::Event::Kind::kDrain:
          loop.Drain();
          break;
        case Connection::Event::Kind::kWake:
          break;
      }
    }
    connection.StepBegins();
    idle = !loop.Step();
    connection.StepEnds();
    if (loop.drained()) return;
    connection.WaitWritable();
  }
}

}  // namespace

Result<int> RunEngine(std::unique_ptr<Runner> runner, EngineOptions options) {
  const ChipInfo chip = runner->Chip();
  if (options.chip.empty()) options.chip = chip.name;
  if (options.kernel.empty()) options.kernel = chip.kernel;
  if (options.memory_bytes == 0 && chip.memory_bytes <= 0) options.memory_bytes = options.machine_memory;
  if (options.memory_bytes == 0) options.memory_bytes = DefaultEngineMemory(chip.memory_bytes);
  boost::asio::io_context io(1);
  Connection connection(io, options.socket, MakeHello(*runner, options));
  EngineLoop loop(
      *runner, options, [&](const wire::FromEngine& message) { connection.Send(message); },
      [&] { connection.Wake(); });
  const Watch watch(io, connection, options.step_timeout);
  connection.LeaveOnSignals();
  connection.Start();
  std::thread io_thread([&] { io.run(); });
  RunLoop(loop, connection);
  connection.Flush(kFlushLimit);
  io.stop();
  io_thread.join();
  return 0;
}

}  // namespace penstock

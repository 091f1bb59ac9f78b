#include "attach/attach.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <thread>

#include "attach/driver.h"
#include "attach/launched.h"
#include "engine/abilities.h"
#include "engine/connection.h"

namespace penstock {
namespace {

namespace asio = boost::asio;

constexpr Nanos kFlushLimit = 2 * kSecond;

wire::Hello MakeHello(const AttachOptions& options, const Url& url) {
  wire::Hello hello;
  hello.set_engine(options.name);
  hello.set_runner("attached");
  hello.set_chip(url.Authority());
  hello.set_kernel("openai");
  hello.set_pid(static_cast<uint64_t>(getpid()));
  hello.set_max_sequences(options.max_sequences);
  hello.set_external(options.external);
  for (const std::string& model : options.takes) hello.add_takes(model);
  for (const auto& [ours, theirs] : options.names) {
    if (options.takes.empty()) hello.add_takes(ours);
  }
  *hello.mutable_abilities() = AttachedAbilities();
  return hello;
}

// Passes the gateway's commands to the io thread; reads a model's vocabulary on this one, because it takes a
// second.
class Obeying {
 public:
  Obeying(asio::io_context& io, Connection& connection, Driver& driver)
      : io_(io), connection_(connection), driver_(driver) {}

  void Run() {
    while (!drained_) {
      for (const Connection::Event& event : connection_.Take(true)) {
        switch (event.kind) {
          case Connection::Event::Kind::kMessage:
            Obey(event.message);
            break;
          case Connection::Event::Kind::kLost:
            asio::post(io_, [this] {
              driver_.Disconnected();
              connection_.Redial();
            });
            break;
          case Connection::Event::Kind::kDrain:
            Drain();
            break;
          case Connection::Event::Kind::kWake:
            break;
        }
      }
    }
  }

 private:
  void Obey(const wire::ToEngine& command) {
    if (command.has_batch()) {
      for (const wire::ToEngine& one : command.batch().messages()) {
        if (!one.has_batch()) Obey(one);  // a batch holds no batches: no depth to guard
      }
    } else if (command.has_load()) {
      auto words = std::make_shared<Result<ModelWords>>(ReadModelWords(command.load().path()));
      asio::post(io_, [this, load = command.load(), words] { driver_.Load(load, std::move(*words)); });
    } else if (command.has_drain()) {
      Drain();
    } else {
      asio::post(io_, [this, command] { driver_.Handle(command); });
    }
  }

  void Drain() {
    if (std::exchange(draining_, true)) return;
    asio::post(io_, [this] {
      driver_.Drain([this] {
        drained_ = true;
        connection_.Drain();  // wakes Run
      });
    });
  }

  asio::io_context& io_;
  Connection& connection_;
  Driver& driver_;
  bool draining_ = false;
  std::atomic<bool> drained_ = false;
};

}  // namespace

Result<int> RunAttached(AttachOptions options) {
  std::string command;
  uint16_t port = 0;
  if (!options.launch.empty()) {
    PENSTOCK_ASSIGN(port, FreePort());
    PENSTOCK_ASSIGN(command, FillPort(options.launch, port));
    if (options.url.empty()) options.url = fmt::format("http://127.0.0.1:{}", port);
  }
  PENSTOCK_ASSIGN(Url url, ParseUrl(options.url));
  std::shared_ptr<Trust> trust;
  if (url.tls) {
    PENSTOCK_ASSIGN(trust, Trust::In(options.authorities));
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // an engine ends with its supervisor
  asio::io_context io(1);
  const auto work = asio::make_work_guard(io);
  Connection connection(io, options.socket, MakeHello(options, url));
  DriverOptions driving;
  driving.name = options.name;
  driving.names = options.names;
  driving.concurrency.most = options.max_sequences;
  std::optional<Launched> launched;
  if (!command.empty()) launched.emplace(io, command, port);
  std::optional<Driver> driver;
  driver.emplace(io, std::make_shared<Upstream>(std::move(url), options.key, std::move(trust)),
                 std::move(driving), [&](const wire::FromEngine& message) { connection.Send(message); });
  connection.LeaveOnSignals();
  connection.Start();
  std::thread io_thread([&] { io.run(); });
  Obeying(io, connection, *driver).Run();
  connection.Flush(kFlushLimit);
  io.stop();
  io_thread.join();
  driver.reset();
  return 0;
}

}  // namespace penstock

// LogControl: how much the gateway and the engines say in their logs, changed while they run. A change can
// return by itself after a while, so that a busy cloud is not left at a verbose level.
//
// Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string_view>

#include "base/clock.h"
#include "base/log_level.h"

namespace penstock::gateway {

class LogControl {
 public:
  // `level`: where each starts, and returns to. `apply` is called with each change.
  using Apply = std::function<void(LogLevel)>;
  LogControl(boost::asio::io_context& io, const Clock& clock, LogLevel level, Apply gateway, Apply engines);

  struct Part {
    LogLevel level;
    Nanos left = 0;  // until it returns; 0: it stays
  };
  // After `lasting` it returns to where it began; 0: never.
  void SetGateway(LogLevel level, Nanos lasting) { Set(gateway_, level, lasting); }
  void SetEngines(LogLevel level, Nanos lasting) { Set(engines_, level, lasting); }
  Part gateway() const { return View(gateway_); }
  Part engines() const { return View(engines_); }

 private:
  struct State {
    LogLevel level;
    Apply apply;
    boost::asio::steady_timer timer;
    Nanos until = 0;  // monotonic
  };
  void Set(State& state, LogLevel level, Nanos lasting);
  Part View(const State& state) const;

  const Clock& clock_;
  const LogLevel first_;
  State gateway_, engines_;
};

}  // namespace penstock::gateway

#include "gateway/observe/log_control.h"

#include <algorithm>
#include <chrono>

namespace penstock::gateway {

LogControl::LogControl(boost::asio::io_context& io, const Clock& clock, LogLevel level, Apply gateway,
                       Apply engines)
    : clock_(clock),
      first_(level),
      gateway_{level, std::move(gateway), boost::asio::steady_timer(io)},
      engines_{level, std::move(engines), boost::asio::steady_timer(io)} {
  gateway_.apply(level);
}

void LogControl::Set(State& state, LogLevel level, Nanos lasting) {
  state.timer.cancel();
  state.level = level;
  state.until = lasting > 0 ? clock_.Monotonic() + lasting : 0;
  state.apply(level);
  if (lasting <= 0) return;
  state.timer.expires_after(std::chrono::nanoseconds(lasting));
  state.timer.async_wait([this, &state](const boost::system::error_code& error) {
    if (!error) Set(state, first_, 0);
  });
}

LogControl::Part LogControl::View(const State& state) const {
  const Nanos left = state.until == 0 ? 0 : std::max<Nanos>(state.until - clock_.Monotonic(), 1);
  return {.level = state.level, .left = left};
}

}  // namespace penstock::gateway

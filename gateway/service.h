// Service: everything that a request's story needs, in one place. Plain references; the parts outlive it.
// Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <random>

#include "base/clock.h"
#include "fleet/fleet.h"
#include "gateway/request/models.h"
#include "gateway/gateway.h"
#include "gateway/request/idempotency.h"
#include "gateway/admin/live.h"
#include "gateway/observe/log.h"
#include "gateway/observe/log_control.h"
#include "gateway/observe/metrics.h"
#include "teams/teams.h"

namespace penstock::gateway {

struct Service {
  boost::asio::io_context& io;
  boost::asio::thread_pool& pool;  // long prompts are tokenised here
  const Clock& clock;
  const GatewayOptions& options;
  Accounts& accounts;
  Fleet& fleet;
  Models& models;
  Metrics& metrics;
  Log& log;

  IdempotencyKeys idempotency{};
  LogControl log_control{io, clock, options.log_level, [this](LogLevel level) { log.SetLevel(level); },
                         [this](LogLevel level) { fleet.SetLogLevel(LogLevelName(level)); }};
  std::mt19937_64 seeds{std::random_device()()};
  Nanos started = 0;              // monotonic
  std::string tls_fingerprint{};  // of the certificate; empty: plain HTTP
  bool draining = false;          // no new work
  size_t open_requests = 0;
  LiveRequests live{};                 // those that were admitted
  Rate token_rate{}, computed_rate{};  // of all engines
  std::function<size_t()> connections{};

  // Empty: a request would be answered. Else why not.
  std::string NotReady() const;
};

}  // namespace penstock::gateway

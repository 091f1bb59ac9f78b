// Gateway: the process that speaks HTTP. Bytes → ChatRequest → Generation → SSE.
//
// One io thread runs HTTP, the fleet and the accounts; prompts are rendered and tokenised on a small pool.
// When the io thread makes no progress for `watchdog`, the process logs why and ends, to be started again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log_level.h"
#include "base/result.h"
#include "fleet/installed_model.h"
#include "gateway/request/token_limits.h"

namespace penstock {

struct GatewayOptions {
  std::string data_dir;
  int listen_fd = -1;  // a bound, listening TCP socket: the supervisor's; -1: bind `listen`
  std::string listen = "127.0.0.1:8700";
  std::string tls_certificate, tls_key;  // PEM files; empty: plain HTTP
  std::string engine_socket;             // Unix socket path where engines dial in
  bool open_metrics = true;  // /metrics names every team: other machines need a key that may read the status
  size_t max_body_bytes = 16 << 20;
  size_t max_header_bytes = 32 << 10;
  size_t body_memory = 512 << 20, body_memory_per_key = 128 << 20;  // bytes that request bodies may hold
  size_t max_connections = 20000;
  size_t max_waiting = 4096;
  TokensByModel default_max_tokens{.general = 4096}, max_tokens{};  // of an answer
  std::string control_tokens = "text";                              // in messages: "text" or "parse"
  Nanos keep_alive_timeout = 75 * kSecond;  // from a response to the first byte of the next request
  Nanos header_timeout = 30 * kSecond;      // from accept, or from that byte, to a whole header
  Nanos body_timeout = 60 * kSecond;
  Nanos write_timeout = 120 * kSecond;  // a client that reads nothing for so long is disconnected
  Nanos queue_timeout = 600 * kSecond;
  Nanos drain_timeout = 600 * kSecond;  // a graceful stop waits so long for what runs
  Nanos watchdog = 10 * kSecond;        // 0: none
  Nanos canary_period = 60 * kSecond, engine_timeout = 3 * kSecond;  // as in PoolOptions
  LogLevel log_level = LogLevel::info;                               // at the start
  std::vector<std::string> hosts;         // names under which a loopback listener answers without a key
  std::vector<std::string> cors_origins;  // of pages that may read answers; "*": any
  Nanos hsts = 365 * 86'400 * kSecond;    // how long browsers insist on TLS; 0: not said
  std::vector<InstalledModel> models;
  // Sets `name` to `value` in the options of the running gateway; app/settings/table.h: ChangeSetting. Empty:
  // no setting can be changed.
  std::function<Status(GatewayOptions& running, std::string_view name, std::string_view value)> change;
  // Reads the data directory again (after `model pull` or `import`); called on the io thread.
  std::function<std::vector<InstalledModel>()> rescan;
};

// Runs until SIGTERM or SIGINT, then stops gracefully: refuses new work, finishes what runs. Returns the
// process's exit status; errors before serving are returned as Error.
Result<int> RunGateway(GatewayOptions options);

}  // namespace penstock

// Generation: one request for text, from its validated form to its last byte and its bill.
//
//   admit → encode → open the ticket → submit to the fleet → (durable) → tokens → accepted → billed → … → end
//
// The first byte waits until the open record is durable, so every id that a client has seen can be asked
// for after a crash. Tokens are billed when the client's socket accepted them, before the next event is
// written; the rule for the prompt is in teams/teams.h. The engine may be 256 tokens a choice ahead of that,
// so a slow reader pauses its own generation only. Threads: the io thread, except for encoding prompts.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <random>
#include <string>

#include "base/clock.h"
#include "fleet/fleet.h"
#include "gateway/http/call.h"
#include "gateway/http/reply.h"
#include "gateway/observe/gateway_status.h"
#include "gateway/observe/log.h"
#include "gateway/observe/metrics.h"
#include "gateway/request/answer.h"
#include "gateway/request/chat_request.h"
#include "gateway/request/idempotency.h"
#include "gateway/request/models.h"
#include "gateway/request/prompt_encoder.h"
#include "gateway/request/prompt_workers.h"
#include "gateway/request/token_limits.h"
#include "teams/teams.h"

namespace penstock::gateway {

// What generations need of the gateway. Everything outlives them.
struct GenerationContext {
  boost::asio::io_context& io;
  PromptWorkers& workers;
  PromptEncoder& encoder;
  const Clock& clock;
  Accounts& accounts;
  Fleet& fleet;
  const Models& models;
  Metrics& metrics;
  Log& log;
  GatewayStatus& status;
  size_t max_waiting = 4096;                     // jobs in the fleet's queue
  Nanos queue_timeout = 600 * kSecond;           // how long a job may wait for an engine
  TokensByModel default_tokens{}, max_tokens{};  // of each choice
  ControlTokens control_tokens = ControlTokens::kText;

  IdempotencyKeys idempotency{};
  std::mt19937_64 seeds{std::random_device()()};
};

struct GenerationRequest {
  ChatRequest chat;
  Principal principal;
  std::string idempotency_key;
  std::string_view endpoint;  // "chat", "completions": for metrics and the log
  size_t body_bytes = 0;
  BodyMemory::Charge memory{};  // for the body, until it is encoded
  // The dialect: makes its writer, once the request's id is known, and gives errors their form.
  std::function<std::unique_ptr<Renderer>(const ChatRequest&, std::string_view id, const Tokenizer&)>
      renderer;
  ErrorRenderer render_error = nullptr;
};

// Answers `reply` now or later, with an error if need be.
void BeginGeneration(GenerationContext& context, GenerationRequest request, std::shared_ptr<Reply> reply);

}  // namespace penstock::gateway

// Generation: one generation from its validated request to its last byte and its bill.
//
//   encode → submit to the fleet → open the ticket → (durable) → tokens → accepted → billed → … → end
//
// The first byte waits until the open record is durable, so every id that a client has seen can be asked
// for after a crash. A token is billed when the client's socket took it, before the next event is written.
// The engine may be 256 tokens a choice ahead of that, so a slow reader pauses its own generation only.
// Threads: the io thread, but for encoding long prompts.
#pragma once

#include <memory>
#include <string>

#include "gateway/request/answer.h"
#include "gateway/request/chat_request.h"
#include "gateway/http/reply.h"
#include "gateway/service.h"

namespace penstock::gateway {

// Bodies up to this are parsed and tokenised where they arrive; longer ones on the pool, so that they hold
// nobody up.
constexpr size_t kInlineBody = 8 << 10;

struct GenerationRequest {
  ChatRequest chat;
  Principal principal;
  std::string idempotency_key;
  std::string_view endpoint;  // "chat", "completions": for metrics and the log
  size_t body_bytes = 0;
  // Makes the dialect's writer, once the request's id is known.
  std::function<std::unique_ptr<Renderer>(const ChatRequest&, std::string_view id)> renderer;
};

// Answers `reply` now or later, with an error if need be.
void BeginGeneration(Service& service, GenerationRequest request, std::shared_ptr<Reply> reply);

}  // namespace penstock::gateway

// Delivery: turns what engines emit for one request into what its client gets: pieces of a stream as they
// come, or the whole answer at the end. Knows no sockets, engines or bills.
// Threads: one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/wire.pb.h"
#include "gateway/request/answer.h"
#include "gateway/request/chat_request.h"
#include "gateway/request/reasoning.h"

namespace penstock::gateway {

class Delivery {
 public:
  // `prompts`: each has request.choices choices. `echoes`: what the choices of each prompt begin with; empty:
  // nothing.
  Delivery(const ChatRequest& request, size_t prompts, ReasoningSplitter::State start,
           const std::vector<std::string>& echoes, std::unique_ptr<Renderer> renderer);

  Renderer& renderer() { return *renderer_; }

  size_t choices() const { return choices_.size(); }
  // The choice exists and has not ended.
  bool IsOpen(uint32_t choice) const { return choice < choices_.size() && !choices_[choice].ended; }
  bool done() const { return open_ == 0; }
  // Tokens of the choice count as reasoning now.
  bool IsReasoning(uint32_t choice) const { return choices_[choice].splitter.thinking(); }
  // "stop", or "length" if a choice was cut: how the request ended.
  std::string_view outcome() const { return cut_ ? "length" : "stop"; }

  // Takes a piece of an open choice; finish != NONE ends it. Of a stream, appends to `out` what the client
  // gets now: perhaps nothing.
  void Add(uint32_t choice, std::string_view text, const Logprobs& logprobs, wire::Finish finish,
           std::string& out);
  // After the last choice's end: the end of a stream.
  void EndStream(const AnswerUsage& usage, std::string& out) { renderer_->StreamEnd(usage, out); }
  // After the last choice's end: the whole answer of a request that does not stream.
  void Whole(const AnswerUsage& usage, std::string& out);

 private:
  struct Choice {
    ReasoningSplitter splitter;
    ChoiceAnswer answer;  // of a stream: only its echo, until that was written
    bool begun = false, ended = false;
  };
  void Split(Choice& choice, std::string_view text, bool ends);
  void Stream(uint32_t index, const Logprobs& logprobs, wire::Finish finish, std::string& out);

  const bool stream_;
  const std::unique_ptr<Renderer> renderer_;
  std::vector<Choice> choices_;
  size_t open_;
  bool cut_ = false;
  std::string reasoning_, answer_;  // scratch: what the piece is parted into
};

}  // namespace penstock::gateway

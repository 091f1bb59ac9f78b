// Answer: what a request's client gets, as plain data, and how a dialect writes it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/wire.pb.h"
#include "gateway/common/api_error.h"
#include "text/text.h"

namespace penstock::gateway {

using Logprobs = google::protobuf::RepeatedPtrField<wire::Logprob>;

// Of the whole request, all choices together.
struct AnswerUsage {
  int64_t prompt = 0, cached = 0, completion = 0, reasoning = 0;
};

// A piece of one choice; views are valid during the call.
struct Delta {
  uint32_t choice = 0;
  std::string_view text, reasoning;
  const Logprobs* logprobs = nullptr;  // nullptr or empty: none in this piece
  bool first = false;                  // the choice's first piece
};

struct ChoiceAnswer {
  std::string text, reasoning;
  Logprobs logprobs;
  std::string_view finish;  // "stop", "length"
};

// Writes one request's answer in its dialect, appending to `out`. Threads: one.
class Renderer {
 public:
  virtual ~Renderer() = default;
  virtual std::string_view content_type(bool stream) const = 0;
  // What computes the answer: called before anything is written, and again when another engine continues it.
  virtual void SetFingerprint(std::string_view fingerprint) = 0;
  virtual void Piece(const Delta& delta, std::string& out) = 0;
  virtual void ChoiceEnd(uint32_t choice, std::string_view finish, std::string& out) = 0;
  virtual void StreamEnd(const AnswerUsage& usage, std::string& out) = 0;
  virtual void StreamError(const ApiError& error, std::string& out) = 0;
  // Something that clients ignore: it shows that the request is alive.
  virtual void KeepAlive(std::string_view note, std::string& out) = 0;
  virtual void Whole(const std::vector<ChoiceAnswer>& choices, const AnswerUsage& usage,
                     std::string& out) = 0;
};

// What every chunk of an answer repeats.
struct AnswerHead {
  std::string id;  // "chatcmpl-…"
  std::string model;
  int64_t created = 0;                   // Unix seconds
  const Tokenizer* tokenizer = nullptr;  // names control tokens in log-probabilities; outlives the answer
};

}  // namespace penstock::gateway

// Output: turns the tokens of one choice into text for the client.
//
//   token → bytes → whole UTF-8 characters → stop strings → text
//
// Text is held back while it could still be part of a character or the beginning of a stop string;
// tokens never are: each is counted and reported in the step that made it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pieces.h"
#include "engine/wire.pb.h"
#include "runner/step.h"

namespace penstock {

// Cuts bytes into whole characters; invalid bytes become U+FFFD, as in the WHATWG's decoder.
class Utf8Stream {
 public:
  // Appends to `text` the characters that `bytes` completes.
  void Push(std::string_view bytes, std::string& text);
  // No more bytes come: an unfinished character becomes U+FFFD.
  void Flush(std::string& text);

 private:
  std::string held_;  // the beginning of a character: < 4 bytes
};

// Finds the stop string that is complete first; of those complete at once, the one that began first. So
// it does not matter how the text is cut into tokens.
class StopStrings {
 public:
  StopStrings(const std::vector<std::string>* stops, bool include) : stops_(stops), include_(include) {}

  // Appends to `out` the text, including what was held back, that can no longer be part of a stop string.
  // Returns the index of the stop string that matched; then nothing more may be pushed.
  std::optional<size_t> Push(std::string_view text, std::string& out);
  // No more text comes: appends what was held back.
  void Flush(std::string& out);

 private:
  const std::vector<std::string>* stops_;  // not owned; outlives this
  bool include_;                           // the match is part of the text
  std::string held_;
};

// Shared by all choices of a request.
struct OutputRules {
  std::shared_ptr<const Pieces> pieces;
  std::vector<std::string> stops;  // none empty
  std::vector<Token> stop_tokens;  // none with ignore_eos
  bool include_stop = false;
  bool logprobs = false;
  uint32_t max_tokens = 1;
};

class Output {
 public:
  explicit Output(const OutputRules* rules) : rules_(rules), stops_(&rules->stops, rules->include_stop) {}

  // Fills in ids, text, logprobs, emitted and, if the choice ends with this token, finish and stop.
  void Take(const Sampled& sampled, wire::TokenEvent& event);
  // Text without ids that counts as `tokens`. Fills in text, emitted and, if a stop string ends the choice,
  // finish and stop. It does not apply max_tokens: the caller does.
  void TakeText(std::string_view text, uint32_t tokens, wire::TokenEvent& event);
  // Continues after tokens that another engine emitted, as if they had been taken here.
  void Replay(std::span<const Token> emitted);
  // Ends the choice early, with the text that was held back.
  void End(wire::Finish finish, wire::TokenEvent& event);

  uint32_t emitted() const { return emitted_; }

 private:
  void AddLogprobs(const Sampled& sampled, wire::TokenEvent& event) const;
  bool IsStop(std::string_view control) const;

  const OutputRules* rules_;  // not owned; outlives this
  Utf8Stream utf8_;
  StopStrings stops_;
  uint32_t emitted_ = 0;
};

}  // namespace penstock

// Output: what one choice says. Tokens go in; text that a client may see comes out.
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

// Cuts bytes into whole characters; what can be no character becomes U+FFFD, as in the WHATWG's decoder.
class Utf8Stream {
 public:
  // Appends to `text` what is whole after `bytes`.
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

  // Appends to `out` what of `text`, and of text held back before, no stop string can claim any more.
  // Returns the index of the stop string that matched: nothing may be pushed after that.
  std::optional<size_t> Push(std::string_view text, std::string& out);
  // No more text comes: what was held back is text.
  void Flush(std::string& out);

 private:
  const std::vector<std::string>* stops_;  // not owned; outlives this
  bool include_;                           // the match is part of the text
  std::string held_;
};

// What is the same for all choices of a request.
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
  // Text that came without ids: it counts as `tokens`. Fills in text, emitted and, if a stop string ends the
  // choice, finish and stop; how long it may be is for whoever counts better to say.
  void TakeText(std::string_view text, uint32_t tokens, wire::TokenEvent& event);
  // As if it had taken these and told of them: another engine did.
  void Replay(std::span<const Token> emitted);
  // Ends it before its time: what was held back is text.
  void End(wire::Finish finish, wire::TokenEvent& event);

  uint32_t emitted() const { return emitted_; }

 private:
  void AddLogprobs(const Sampled& sampled, wire::TokenEvent& event) const;

  const OutputRules* rules_;  // not owned; outlives this
  Utf8Stream utf8_;
  StopStrings stops_;
  uint32_t emitted_ = 0;
};

}  // namespace penstock

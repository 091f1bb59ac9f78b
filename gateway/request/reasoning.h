// ReasoningSplitter: separates a model's reasoning (<think>…</think>) from its answer.
//
// Where the text starts comes from the rendered prompt, not from a request's flag: Qwen3's template may
// close the thinking itself, R1's and Qwen3-Thinking's open it, and else the model may.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::gateway {

class ReasoningSplitter {
 public:
  enum class State : uint8_t { kOff, kMayOpen, kThinking, kAnswering };
  // kOff when `thinks` is false: the model's template knows no <think>.
  static State StartState(bool thinks, std::string_view rendered_prompt);

  explicit ReasoningSplitter(State start = State::kOff) : state_(start) {}

  // What of `text` (and of what was held back) is reasoning and what is answer; the beginning of a tag is
  // held back until it is one or is not. Both are set; with kOff `answer` is `text`.
  void Feed(std::string_view text, std::string& reasoning, std::string& answer);
  // The end: what is held back goes where it belongs.
  void End(std::string& reasoning, std::string& answer);

  // Before the answer begins: tokens count as reasoning.
  bool thinking() const { return state_ == State::kThinking; }
  bool off() const { return state_ == State::kOff; }

 private:
  bool Step(std::string& reasoning, std::string& answer);

  State state_;
  bool trim_ = true;  // line breaks between a tag and what follows belong to neither
  std::string held_;
};

}  // namespace penstock::gateway

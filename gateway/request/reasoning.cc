#include "gateway/request/reasoning.h"

#include <algorithm>

namespace penstock::gateway {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

std::string_view TrimRight(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

// Bytes at the end of `text` that might be the beginning of `tag`.
size_t TailOfTag(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == tag.substr(0, n)) return n;
  }
  return 0;
}

void DropLineBreaks(std::string& text) {
  text.erase(0, std::min(text.find_first_not_of('\n'), text.size()));
}

}  // namespace

ReasoningSplitter::State ReasoningSplitter::StartState(bool thinks, std::string_view rendered_prompt) {
  if (!thinks) return State::kOff;
  const std::string_view prompt = TrimRight(rendered_prompt);
  if (prompt.ends_with(kOpen)) return State::kThinking;
  return prompt.ends_with(kClose) ? State::kOff : State::kMayOpen;
}

void ReasoningSplitter::Feed(std::string_view text, std::string& reasoning, std::string& answer) {
  reasoning.clear();
  if (state_ == State::kOff) {
    answer.assign(text);
    return;
  }
  answer.clear();
  held_ += text;
  while (!held_.empty() && Step(reasoning, answer)) {
  }
}

// True if the state changed and what is left may be looked at again.
bool ReasoningSplitter::Step(std::string& reasoning, std::string& answer) {
  if (state_ == State::kMayOpen) {
    const size_t start = held_.find_first_not_of(" \n");
    if (start == std::string::npos) return false;
    const std::string_view word = std::string_view(held_).substr(start);
    if (word.starts_with(kOpen)) {
      held_.erase(0, start + kOpen.size());
      state_ = State::kThinking;
      return true;
    }
    if (kOpen.starts_with(word)) return false;
    state_ = State::kAnswering;
    trim_ = false;
    return true;
  }
  if (trim_) DropLineBreaks(held_);
  trim_ = trim_ && held_.empty();
  if (state_ == State::kAnswering) {
    answer += held_;
    held_.clear();
    return false;
  }
  const size_t close = held_.find(kClose);
  if (close != std::string::npos) {
    reasoning += TrimRight(std::string_view(held_).substr(0, close));
    held_.erase(0, close + kClose.size());
    state_ = State::kAnswering;
    trim_ = true;
    return true;
  }
  // Line breaks before the closing tag belong to it, so they wait with it.
  const size_t tag = TailOfTag(held_, kClose);
  const std::string_view sure = TrimRight(std::string_view(held_).substr(0, held_.size() - tag));
  const size_t take = sure.size();
  reasoning.append(sure);
  held_.erase(0, take);
  return false;
}

void ReasoningSplitter::End(std::string& reasoning, std::string& answer) {
  reasoning.clear();
  answer.clear();
  (state_ == State::kThinking ? reasoning : answer) = std::move(held_);
  held_.clear();
}

}  // namespace penstock::gateway

#include "engine/output.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Lead {
  size_t length = 0;                // of the whole character; 0: cannot begin one
  uint8_t low = 0x80, high = 0xBF;  // what the second byte may be (Unicode 15, table 3-7)
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {.length = 1};
  if (byte >= 0xC2 && byte <= 0xDF) return {.length = 2};
  if (byte == 0xE0) return {.length = 3, .low = 0xA0};
  if (byte == 0xED) return {.length = 3, .high = 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {.length = 3};
  if (byte == 0xF0) return {.length = 4, .low = 0x90};
  if (byte >= 0xF1 && byte <= 0xF3) return {.length = 4};
  if (byte == 0xF4) return {.length = 4, .high = 0x8F};
  return {};
}

// How many of the first bytes of `text` can be the beginning of one character, and whether that is whole.
struct Character {
  size_t bytes = 0;
  bool whole = false;
};

Character FirstCharacter(std::string_view text) {
  const Lead lead = LeadOf(static_cast<uint8_t>(text[0]));
  if (lead.length == 0) return {.bytes = 0};
  size_t bytes = 1;
  for (; bytes < lead.length && bytes < text.size(); ++bytes) {
    const auto byte = static_cast<uint8_t>(text[bytes]);
    const uint8_t low = bytes == 1 ? lead.low : 0x80, high = bytes == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
  }
  return {.bytes = bytes, .whole = bytes == lead.length};
}

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

}  // namespace

void Utf8Stream::Push(std::string_view bytes, std::string& text) {
  if (held_.empty() && IsAscii(bytes)) {
    text += bytes;
    return;
  }
  held_ += bytes;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Character first = FirstCharacter(rest);
    if (!first.whole && first.bytes == rest.size()) break;
    text += first.whole ? rest.substr(0, first.bytes) : kReplacement;
    rest.remove_prefix(std::max<size_t>(first.bytes, 1));
  }
  held_.erase(0, held_.size() - rest.size());
}

void Utf8Stream::Flush(std::string& text) {
  if (!held_.empty()) text += kReplacement;
  held_.clear();
}

std::optional<size_t> StopStrings::Push(std::string_view text, std::string& out) {
  if (stops_->empty()) {
    out += text;
    return std::nullopt;
  }
  held_ += text;
  std::optional<size_t> found;
  size_t begin = 0, end = std::string::npos;
  for (size_t i = 0; i < stops_->size(); ++i) {
    const std::string& stop = (*stops_)[i];
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at + stop.size() > end || (at + stop.size() == end && at >= begin))
      continue;
    found = i;
    begin = at;
    end = at + stop.size();
  }
  if (found) {
    out.append(held_, 0, include_ ? end : begin);
    held_.clear();
    return found;
  }
  // Held back: the longest end of the text with which some stop string begins.
  size_t keep = 0;
  for (const std::string& stop : *stops_) {
    for (size_t size = std::min(stop.size() - 1, held_.size()); size > keep; --size) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) keep = size;
    }
  }
  out.append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return std::nullopt;
}

void StopStrings::Flush(std::string& out) {
  out += held_;
  held_.clear();
}

void Output::Take(const Sampled& sampled, wire::TokenEvent& event) {
  event.set_new_tokens(1);
  event.add_ids(sampled.token);
  event.set_emitted(++emitted_);
  if (rules_->logprobs) AddLogprobs(sampled, event);
  if (std::ranges::find(rules_->stop_tokens, sampled.token) != rules_->stop_tokens.end()) {
    event.set_stop(fmt::format("{}", sampled.token));
    return End(wire::STOP, event);
  }
  if (const std::string_view control = rules_->pieces->ControlText(sampled.token); IsStop(control)) {
    event.set_stop(std::string(control));
    End(wire::STOP, event);
    if (rules_->include_stop) event.mutable_text()->append(control);
    return;
  }
  std::string text;
  utf8_.Push(rules_->pieces->Bytes(sampled.token), text);
  if (const auto stop = stops_.Push(text, *event.mutable_text())) {
    event.set_stop(rules_->stops[*stop]);
    event.set_finish(wire::STOP);
  } else if (emitted_ >= rules_->max_tokens) {
    End(wire::LENGTH, event);
  }
}

// A control token has no text in the answer, so StopStrings does not see it.
bool Output::IsStop(std::string_view control) const {
  return !control.empty() && std::ranges::find(rules_->stops, control) != rules_->stops.end();
}

void Output::TakeText(std::string_view text, uint32_t tokens, wire::TokenEvent& event) {
  emitted_ += tokens;
  event.set_new_tokens(event.new_tokens() + tokens);
  event.set_emitted(emitted_);
  std::string whole;
  utf8_.Push(text, whole);
  if (const auto stop = stops_.Push(whole, *event.mutable_text())) {
    event.set_stop(rules_->stops[*stop]);
    event.set_finish(wire::STOP);
  }
}

void Output::Replay(std::span<const Token> emitted) {
  std::string text, told;
  for (const Token token : emitted) {
    text.clear();
    utf8_.Push(rules_->pieces->Bytes(token), text);
    stops_.Push(text, told);
  }
  emitted_ += static_cast<uint32_t>(emitted.size());
}

void Output::End(wire::Finish finish, wire::TokenEvent& event) {
  stops_.Flush(*event.mutable_text());
  utf8_.Flush(*event.mutable_text());
  event.set_emitted(emitted_);
  event.set_finish(finish);
}

void Output::AddLogprobs(const Sampled& sampled, wire::TokenEvent& event) const {
  wire::Logprob* chosen = event.add_logprobs();
  chosen->set_token(sampled.token);
  chosen->set_logprob(sampled.logprob);
  chosen->set_text(std::string(rules_->pieces->Bytes(sampled.token)));
  for (const TokenLogprob& top : sampled.top) {
    wire::Logprob* other = chosen->add_top();
    other->set_token(top.token);
    other->set_logprob(top.logprob);
    other->set_text(std::string(rules_->pieces->Bytes(top.token)));
  }
}

}  // namespace penstock

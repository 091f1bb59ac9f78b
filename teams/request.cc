#include "teams/request.h"

#include <algorithm>
#include <charconv>

namespace penstock {

Usage UsageOf(const Counters& counters) {
  return {.input = counters.input,
          .cached = counters.input > 0 ? counters.cached : 0,
          .billed = counters.billed,
          .reported = counters.reported};
}

RequestRecord RecordOf(const RequestEntry& request) {
  RequestRecord record;
  record.id = request.text_id;
  record.team = request.team;
  record.key = request.key;
  record.team_name = request.team_name;
  record.key_name = request.key_name;
  record.model = request.model;
  record.state = request.ended == 0 ? "running" : "ended";
  record.outcome = request.outcome;
  record.detail = request.detail;
  record.usage = UsageOf(request.counters);
  record.prompt = request.prompt;
  record.emitted = request.counters.emitted;
  record.computed = request.counters.computed;
  record.chip_ns = request.counters.chip_ns;
  record.opened = request.opened;
  record.ended = request.ended;
  record.trail = request.trail;
  return record;
}

static void AppendClean(std::string& out, std::string_view text) {
  for (const char c : text) out += c == '\t' || c == '\n' ? ' ' : c;
}

std::string FormatTrail(const std::vector<RequestRecord::Event>& trail) {
  std::string text;
  text.reserve(trail.size() * 48);
  for (const auto& event : trail) {
    fmt::format_to(std::back_inserter(text), FMT_STRING("{}\t"), event.at);
    AppendClean(text, event.kind);
    text += '\t';
    AppendClean(text, event.why);
    text += '\n';
  }
  return text;
}

static std::string_view TakeUntil(std::string_view& text, char end) {
  const std::string_view part = text.substr(0, text.find(end));
  text.remove_prefix(std::min(text.size(), part.size() + 1));
  return part;
}

std::vector<RequestRecord::Event> ParseTrail(std::string_view text) {
  std::vector<RequestRecord::Event> trail;
  while (!text.empty()) {
    std::string_view line = TakeUntil(text, '\n');
    const std::string_view at = TakeUntil(line, '\t');
    RequestRecord::Event event;
    if (std::from_chars(at.data(), at.data() + at.size(), event.at).ec != std::errc()) continue;
    event.kind = TakeUntil(line, '\t');
    event.why = line;
    trail.push_back(std::move(event));
  }
  return trail;
}

}  // namespace penstock

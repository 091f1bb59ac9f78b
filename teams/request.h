// RequestEntry: one request as the accounts hold it, from Open until its end is durable.
//
// Threads: the owner's thread alone writes it until End; from then on it is constant and the store's
//          thread reads it too.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "teams/id.h"
#include "teams/journal.h"
#include "teams/teams.h"

namespace penstock {

struct RequestEntry {
  // constant from the start
  RequestId id;
  std::string text_id;
  TeamId team = 0;
  KeyId key = 0;
  std::string team_name, key_name, model;
  int64_t prompt = 0;
  Nanos opened = 0;
  uint32_t slot = 0;

  // constant from End
  Counters counters;
  Nanos ended = 0;  // 0: it runs
  std::string outcome, detail;
  std::vector<RequestRecord::Event> trail;
  size_t dropped_events = 0;

  // the owner's thread only
  std::optional<Status> durable;  // whether the open record could be written
  std::vector<std::function<void(Status)>> waiting;
  std::optional<int64_t> limit;  // see Ticket::limit
  std::function<void(int64_t)> on_limit;

  // guarded by the store's mutex: where its open record is queued
  uint64_t queued_group = 0;
  size_t queued_at = 0;
};
using RequestEntryPtr = std::shared_ptr<RequestEntry>;

// What of a request's counters is billed.
Usage UsageOf(const Counters& counters);
RequestRecord RecordOf(const RequestEntry& request);

// The trail as text, one event a line: wall nanoseconds, kind, why, separated by tabs.
std::string FormatTrail(const std::vector<RequestRecord::Event>& trail);
std::vector<RequestRecord::Event> ParseTrail(
    std::string_view text);  // lines that are not events are left out

}  // namespace penstock

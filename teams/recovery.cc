#include "teams/recovery.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/check.h"
#include "teams/store.h"

namespace penstock {
namespace {

constexpr std::string_view kOutcome = "gateway_restarted";

RequestEntry FromJournal(const JournalEntry& entry) {
  RequestEntry request;
  request.id = entry.id;
  request.team = entry.team;
  request.key = entry.key;
  request.model = entry.model;
  request.prompt = entry.prompt;
  request.opened = entry.opened;
  request.counters = entry.counters;
  request.detail = "the gateway ended while this request ran; billed is what the client had taken by then";
  return request;
}

// REQUIRES: `row` selects sequence, nonce, team, key, model, opened, prompt.
RequestEntry FromRow(const Statement& row) {
  RequestEntry request;
  request.id = {row.Int(0), static_cast<uint64_t>(row.Int(1))};
  request.team = row.Int(2);
  request.key = row.Int(3);
  request.model = row.Text(4);
  request.opened = row.Int(5);
  request.prompt = row.Int(6);
  request.detail =
      "the gateway ended while this request ran and its counters were lost; nothing more is billed";
  return request;
}

// False: its end was durable already, only its slot was not yet free.
Result<bool> EndOne(Database& database, RequestWriter& writer, RequestEntry& request, Nanos now) {
  request.ended = now;
  request.outcome = kOutcome;
  request.trail = {{request.opened, "opened", ""}, {now, "ended", request.detail}};
  PENSTOCK_TRY(writer.End(request));
  return database.Changes() == 1;
}

Result<std::vector<RequestEntry>> OpenRows(Database& database) {
  PENSTOCK_ASSIGN(Statement open, database.Prepare("SELECT sequence, nonce, team, key, model, opened, prompt"
                                                   " FROM requests WHERE ended=0"));
  std::vector<RequestEntry> requests;
  while (true) {
    PENSTOCK_ASSIGN(const bool row, open.Step());
    if (!row) return requests;
    requests.push_back(FromRow(open));
  }
}

Result<Recovered> EndAll(Database& database, const JournalContents& journal, Nanos now) {
  PENSTOCK_ASSIGN(RequestWriter writer, RequestWriter::Prepare(database));
  Recovered recovered;
  // Open rows first name what the store knows whole (a long model name); the journal adds the counters.
  PENSTOCK_ASSIGN(std::vector<RequestEntry> rows, OpenRows(database));
  boost::unordered_flat_map<int64_t, RequestEntry*> by_sequence;
  for (RequestEntry& row : rows) by_sequence[row.id.sequence] = &row;

  for (const JournalEntry& entry : journal.open) {
    RequestEntry request = FromJournal(entry);
    if (const auto row = by_sequence.find(entry.id.sequence); row != by_sequence.end()) {
      request.model = row->second->model;
      by_sequence.erase(row);
    }
    PENSTOCK_ASSIGN(const bool ended, EndOne(database, writer, request, now));
    recovered.from_journal += ended ? 1 : 0;
  }
  for (const auto& [sequence, row] : by_sequence) {
    PENSTOCK_ASSIGN(const bool ended, EndOne(database, writer, *row, now));
    PENSTOCK_CHECK(ended);
    ++recovered.without_slot;
  }
  PENSTOCK_TRY(writer.WriteUsage());
  return recovered;
}

}  // namespace

Result<Recovered> EndLeftovers(Database& database, const JournalContents& journal, Nanos now) {
  PENSTOCK_TRY(database.Execute("BEGIN IMMEDIATE"));
  auto recovered = EndAll(database, journal, now);
  const Status finished = database.Execute(recovered ? "COMMIT" : "ROLLBACK");
  if (recovered && !finished) return std::unexpected(finished.error());
  return recovered;
}

}  // namespace penstock

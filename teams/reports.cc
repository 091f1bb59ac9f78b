#include "teams/reports.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "teams/schema.h"

namespace penstock {
namespace {

constexpr Nanos kHour = 3600 * kSecond;
constexpr Nanos kForever = std::numeric_limits<int64_t>::max() / 2;  // the year 2116

// A span of time over which usage is summed.
struct Span {
  Nanos since = 0, until = 0;
  bool Has(Nanos at) const { return at >= since && at < until; }
};

// When the hour or day of a moment began.
Nanos BeginOf(const UsageQuery& query, Nanos at) {
  return (at + query.zone) / query.bucket * query.bucket - query.zone;
}

// The spans of a query: one, or an hour or a day each.
Result<std::vector<Span>> SpansOf(const UsageQuery& query, Span all) {
  if (query.bucket == 0) return std::vector{all};
  const Nanos begin = BeginOf(query, all.since);
  const int64_t count = (all.until - begin) / query.bucket;
  if (count > Reports::kMostBuckets) {
    return Fail(Code::kInvalid, "{} {}s are more than the {} of one answer: ask from a later time on{}",
                count, query.bucket == kHour ? "hour" : "day", Reports::kMostBuckets,
                query.bucket == kHour ? ", or by day" : "");
  }
  std::vector<Span> spans;
  for (Nanos at = begin; at < all.until; at += query.bucket) {
    spans.push_back({.since = std::max(at, all.since), .until = std::min(at + query.bucket, all.until)});
  }
  return spans;
}

}  // namespace

// Sums by (span, team, key, model).
class Reports::Tally {
 public:
  explicit Tally(const UsageQuery& query) : query_(query) {}

  // What is added from here on is of this span.
  void Begin(Span span) { span_ = span; }

  void Add(TeamId team, KeyId key, std::string_view model, const UsageRow& sums) {
    if (query_.team && *query_.team != team) return;
    if (query_.key && *query_.key != key) return;
    if (query_.model && *query_.model != model) return;
    UsageRow& row = rows_[{span_.since, team, query_.by_key ? key : 0, std::string(model)}];
    if (query_.bucket != 0) {
      row.since = span_.since;
      row.until = span_.until;
    }
    row.requests += sums.requests;
    row.input += sums.input;
    row.cached_input += sums.cached_input;
    row.output += sums.output;
    row.reported += sums.reported;
    row.chip_ns += sums.chip_ns;
  }

  // Adds the rows of a query of the form: team, key, model, requests, input, cached, output, chip_ns,
  // reported.
  Status AddAll(Statement& statement, int64_t from, int64_t to) {
    if (from >= to) return {};
    statement.Bind(from, to);
    while (true) {
      PENSTOCK_ASSIGN(const bool row, statement.Step());
      if (!row) return {};
      UsageRow sums;
      sums.requests = statement.Int(3);
      sums.input = statement.Int(4);
      sums.cached_input = statement.Int(5);
      sums.output = statement.Int(6);
      sums.chip_ns = statement.Int(7);
      sums.reported = statement.Int(8);
      Add(statement.Int(0), statement.Int(1), statement.Text(2), sums);
    }
  }

  std::vector<UsageSums> Rows() const {
    std::vector<UsageSums> rows;
    for (const auto& [at, sums] : rows_) {
      UsageSums& sum = rows.emplace_back(UsageSums{std::get<1>(at), std::get<2>(at), sums});
      sum.row.model = std::get<3>(at);
    }
    return rows;
  }

 private:
  const UsageQuery& query_;
  Span span_;
  std::map<std::tuple<Nanos, TeamId, KeyId, std::string>, UsageRow> rows_;
};

Result<Reports> Reports::Open(const std::string& path) {
  Reports reports;
  PENSTOCK_ASSIGN(reports.database_, Database::Open(path, Database::Mode::kReadOnly));
  PENSTOCK_TRY(ConfigureReader(reports.database_));
  PENSTOCK_ASSIGN(reports.find_, reports.database_.Prepare(
                                     "SELECT nonce, team, key, model, opened, ended, outcome, detail, prompt,"
                                     " cached, billed, emitted, computed, chip_ns, trail, reported, input"
                                     " FROM requests WHERE sequence=?1"));
  PENSTOCK_ASSIGN(reports.ended_,
                  reports.database_.Prepare("SELECT 1 FROM requests WHERE sequence=?1 AND ended<>0"));
  PENSTOCK_ASSIGN(reports.hours_,
                  reports.database_.Prepare("SELECT team, key, model, sum(requests), sum(input), sum(cached),"
                                            " sum(output), sum(chip_ns), sum(reported) FROM usage"
                                            " WHERE hour>=?1 AND hour<?2 GROUP BY team, key, model"));
  PENSTOCK_ASSIGN(reports.rows_,
                  reports.database_.Prepare("SELECT team, key, model, count(*), sum(input), sum(cached),"
                                            " sum(billed), sum(chip_ns), sum(reported) FROM requests"
                                            " WHERE opened>=?1 AND opened<?2 AND ended<>0"
                                            " GROUP BY team, key, model"));
  PENSTOCK_ASSIGN(reports.first_,
                  reports.database_.Prepare("SELECT opened FROM requests ORDER BY opened LIMIT 1"));
  return reports;
}

Result<RequestRecord> Reports::Find(const RequestId& id) {
  find_.Bind(id.sequence);
  PENSTOCK_ASSIGN(const bool row, find_.Step());
  if (!row || find_.Int(0) != static_cast<int64_t>(id.nonce)) {
    find_.Reset();
    return Fail(Code::kNotFound, "no request {}", FormatId(id));
  }
  RequestRecord record;
  record.id = FormatId(id);
  record.team = find_.Int(1);
  record.key = find_.Int(2);
  record.model = find_.Text(3);
  record.opened = find_.Int(4);
  record.ended = find_.Int(5);
  record.state = record.ended == 0 ? "running" : "ended";
  record.outcome = find_.Text(6);
  record.detail = find_.Text(7);
  record.prompt = find_.Int(8);
  record.usage = {
      .input = find_.Int(16), .cached = find_.Int(9), .billed = find_.Int(10), .reported = find_.Int(15)};
  record.emitted = find_.Int(11);
  record.computed = find_.Int(12);
  record.chip_ns = find_.Int(13);
  record.trail = ParseTrail(find_.Text(14));
  find_.Reset();
  return record;
}

// Whole hours come from `usage`, the broken hours at both ends from the requests themselves.
Status Reports::AddStored(Nanos since, Nanos until, Tally& tally) {
  const int64_t first_hour = (since + kHour - 1) / kHour;
  const int64_t last_hour = std::max(until / kHour, first_hour);
  const Nanos head_end = std::min(first_hour * kHour, until),
              tail_start = std::max(until / kHour * kHour, head_end);
  PENSTOCK_TRY(tally.AddAll(hours_, first_hour, last_hour));
  PENSTOCK_TRY(tally.AddAll(rows_, since, head_end));
  if (until == kForever) return {};
  return tally.AddAll(rows_, tail_start, until);
}

// When the first request was opened; the end of all time if none was.
Result<Nanos> Reports::FirstUse(std::span<const RequestEntryPtr> ending) {
  PENSTOCK_ASSIGN(const bool any, first_.Step());
  Nanos first = any ? first_.Int(0) : kForever;
  first_.Reset();
  for (const RequestEntryPtr& request : ending) first = std::min(first, request->opened);
  return first;
}

Result<std::vector<UsageSums>> Reports::ReadUsage(const UsageQuery& query,
                                                  std::span<const RequestEntryPtr> ending) {
  Span all{.since = std::clamp<Nanos>(query.since, 0, kForever)};
  all.until = query.until == 0 ? kForever : std::clamp(query.until, all.since, kForever);
  if (query.bucket != 0) {  // no bucket before the first use
    PENSTOCK_ASSIGN(const Nanos first, FirstUse(ending));
    all.since = std::clamp(BeginOf(query, first), all.since, all.until);
  }
  PENSTOCK_ASSIGN(const std::vector<Span> spans, SpansOf(query, all));
  Tally tally(query);
  for (const Span& span : spans) {
    tally.Begin(span);
    PENSTOCK_TRY(AddStored(span.since, span.until, tally));
  }
  for (const RequestEntryPtr& request : ending) {
    const auto span = std::ranges::find_if(spans, [&](const Span& s) { return s.Has(request->opened); });
    if (span == spans.end()) continue;
    PENSTOCK_ASSIGN(const bool stored, ended_.Bind(request->id.sequence).Step());
    ended_.Reset();
    if (stored) continue;
    const penstock::Usage used = UsageOf(request->counters);
    UsageRow one;
    one.requests = 1;
    one.input = used.input;
    one.cached_input = used.cached;
    one.output = used.billed;
    one.reported = used.reported;
    one.chip_ns = request->counters.chip_ns;
    tally.Begin(*span);
    tally.Add(request->team, request->key, request->model, one);
  }
  return tally.Rows();
}

Result<std::vector<UsageSums>> Reports::Usage(const UsageQuery& query,
                                              std::span<const RequestEntryPtr> ending) {
  PENSTOCK_TRY(database_.Execute("BEGIN"));
  auto rows = ReadUsage(query, ending);
  PENSTOCK_TRY(database_.Execute("COMMIT"));
  return rows;
}

std::vector<UsageRow> NameRows(std::vector<UsageSums> sums, const Directory& directory) {
  std::vector<UsageRow> rows;
  for (UsageSums& sum : sums) {
    UsageRow& row = rows.emplace_back(std::move(sum.row));
    row.team = directory.TeamName(sum.team);
    if (sum.key != 0) row.key = directory.KeyName(sum.key);
  }
  std::ranges::sort(rows, {},
                    [](const UsageRow& row) { return std::tie(row.since, row.team, row.model, row.key); });
  return rows;
}

void NameRecord(RequestRecord& record, const Directory& directory) {
  record.team_name = directory.TeamName(record.team);
  record.key_name = directory.KeyName(record.key);
}

}  // namespace penstock

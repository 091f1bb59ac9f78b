// Usage and single requests, as far as a key may see them.
#include <charconv>
#include <limits>

#include "fleet/registry/guarantees.h"
#include "gateway/admin/records.h"
#include "gateway/admin/routes.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

double Millis(int64_t nanos) {
  return static_cast<double>(nanos) / kMillisecond;
}

// A time in the query string: Unix seconds. Absent: `otherwise`.
Result<Nanos> TimeOf(const HttpRequest& request, std::string_view name, Nanos otherwise) {
  const std::string text = QueryValue(request, name);
  if (text.empty()) return otherwise;
  int64_t seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  constexpr int64_t kMost = std::numeric_limits<Nanos>::max() / kSecond;
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || seconds < 0 || seconds > kMost) {
    return Fail(Code::kInvalid, "'{}' must be Unix seconds", name);
  }
  return seconds * kSecond;
}

// by=hour or by=day: how long each sum is; "": one sum.
Result<Nanos> BucketOf(const HttpRequest& request) {
  const std::string by = QueryValue(request, "by");
  if (by.empty()) return 0;
  if (by == "hour") return 3600 * kSecond;
  if (by == "day") return 24 * 3600 * kSecond;
  return Fail(Code::kInvalid, "'by' must be hour or day, not '{}'", by);
}

// utc_offset: seconds east of UTC, of the clock by which hours and days begin.
Result<Nanos> ZoneOf(const HttpRequest& request) {
  const std::string text = QueryValue(request, "utc_offset");
  int64_t seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  constexpr int64_t kMost = 18 * 3600;
  if (text.empty()) return 0;
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || seconds < -kMost ||
      seconds > kMost) {
    return Fail(Code::kInvalid, "'utc_offset' must be seconds east of UTC, such as 28800");
  }
  return seconds * kSecond;
}

// What a scope covers, before the query narrows it.
UsageQuery Covered(const Scope& scope) {
  UsageQuery query;
  if (scope.reach == Reach::kSubtree) query.team = scope.own_team;
  if (scope.reach == Reach::kOwn) query.key = scope.own_key;
  return query;
}

Result<UsageQuery> ReadQuery(const Accounts& accounts, const Clock& clock, const Call& call) {
  UsageQuery query = Covered(call.scope);
  PENSTOCK_ASSIGN(query.since, TimeOf(call.request, "since", 0));
  PENSTOCK_ASSIGN(query.until, TimeOf(call.request, "until", clock.Wall()));
  if (const std::string team = QueryValue(call.request, "team"); !team.empty()) {
    PENSTOCK_ASSIGN(query.team, FindTeam(accounts, call.scope, team));
  }
  if (const std::string model = QueryValue(call.request, "model"); !model.empty()) query.model = model;
  if (const std::string key = QueryValue(call.request, "key"); !key.empty()) {
    PENSTOCK_ASSIGN(const Key found, accounts.FindKey(key, call.scope));
    query.key = found.seat;
  }
  const std::string by_key = QueryValue(call.request, "by_key");
  PENSTOCK_ASSIGN(query.bucket, BucketOf(call.request));
  PENSTOCK_ASSIGN(query.zone, ZoneOf(call.request));
  query.by_key = !by_key.empty() && by_key != "0" && by_key != "false";
  return query;
}

void AppendRow(const UsageRow& row, const UsageQuery& query, JsonWriter& writer) {
  writer.Object();
  if (query.bucket != 0) writer.Field("since", row.since / kSecond).Field("until", row.until / kSecond);
  writer.Field("team", row.team).Field("model", row.model);
  if (query.by_key) writer.Field("key", row.key);
  writer.Field("requests", row.requests)
      .Field("input_tokens", row.input)
      .Field("cached_input_tokens", row.cached_input)
      .Field("output_tokens", row.output)
      .Field("reported_tokens", row.reported)
      .Field("exact_usage", ExactWord(row.reported == 0))
      .FieldNumber("chip_ms", Millis(row.chip_ns))
      .EndObject();
}

std::string RequestJson(const RequestRecord& record) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("id", record.id).Field("object", "request").Field("team", record.team_name);
  writer.Field("key", record.key_name).Field("model", record.model).Field("state", record.state);
  writer.Field("outcome", record.outcome).Field("detail", record.detail);
  writer.Key("usage").Object().Field("prompt_tokens", record.usage.input);
  writer.Field("completion_tokens", record.usage.billed);
  writer.Field("total_tokens", record.usage.input + record.usage.billed);
  writer.Key("prompt_tokens_details")
      .Object()
      .Field("cached_tokens", record.usage.cached)
      .EndObject()
      .EndObject();
  writer.Field("prompt_size", record.prompt).Field("reported_tokens", record.usage.reported);
  writer.Field("exact_usage", ExactWord(record.usage.reported == 0));
  writer.Field("emitted_tokens", record.emitted).Field("computed_tokens", record.computed);
  writer.FieldNumber("chip_ms", Millis(record.chip_ns));
  writer.FieldNumber("opened", FractionalSeconds(record.opened));
  writer.FieldNumber("ended", FractionalSeconds(record.ended)).Key("trail").Array();
  for (const RequestRecord::Event& event : record.trail) {
    writer.Object().FieldNumber("at", FractionalSeconds(event.at)).Field("kind", event.kind);
    writer.Field("why", event.why).EndObject();
  }
  writer.EndArray().EndObject();
  return out;
}

std::string UsageJson(const UsageQuery& query, const std::vector<UsageRow>& rows) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("since", query.since / kSecond).Field("until", query.until / kSecond);
  writer.Key("data").Array();
  for (const UsageRow& row : rows) AppendRow(row, query, writer);
  writer.EndArray().EndObject();
  return out;
}

// The store is read on a thread of its own, so both pages take the call away and answer later.
void SendUsage(const Accounts& accounts, const Clock& clock, Call& call) {
  const auto query = ReadQuery(accounts, clock, call);
  if (!query) return call.SendError(query.error());
  const TeamId asker = call.principal.team;
  accounts.UsageOf(*query, asker,
                   [query = *query, call = std::make_shared<Call>(std::move(call))](
                       const Result<std::vector<UsageRow>>& rows) {
                     if (!rows) return call->SendError(rows.error());
                     call->SendJson(UsageJson(query, *rows));
                   });
}

// A request by the id in the path, if the call's scope covers it; ids of answers ("chatcmpl-…") are
// understood too.
void SendRequest(const Accounts& accounts, Call& call) {
  std::string_view argument = call.argument;
  for (const std::string_view prefix : {"chatcmpl-", "cmpl-"}) {
    if (argument.starts_with(prefix)) argument.remove_prefix(prefix.size());
  }
  const std::string id(argument);
  accounts.Find(
      id, [id, call = std::make_shared<Call>(std::move(call))](const Result<RequestRecord>& record) {
        const bool unknown =
            !record && (record.error().code == Code::kNotFound || record.error().code == Code::kInvalid);
        const bool theirs = record && !call->scope.Covers(record->team, record->key);
        if (unknown || theirs) {  // another key's request looks as if it did not exist
          return call->SendError(Error{CodeOf(Reason::kRequestUnknown),
                                       fmt::format("there is no request '{}' that this key may see; one that "
                                                   "was refused before it ran leaves no record",
                                                   id),
                                       Reason::kRequestUnknown});
        }
        if (!record) return call->SendError(record.error());
        call->SendJson(RequestJson(*record));
      });
}

}  // namespace

std::vector<Route> UsageRoutes(const Accounts& accounts, const Clock& clock) {
  using enum Capability;
  const auto usage = [&](Call& call) { SendUsage(accounts, clock, call); };
  const auto request = [&accounts](Call& call) { SendRequest(accounts, call); };
  return {
      {Method::kGet, "/v1/requests/{}", kReadRequests, request},
      {Method::kGet, "/v1/usage", kReadUsage, usage},
      {Method::kGet, "/admin/v1/usage", kReadUsage, usage},
      {Method::kGet, "/admin/v1/requests/{}", kReadRequests, request},
  };
}

}  // namespace penstock::gateway

// For tests: a fleet, accounts and a tokenizer that do what the test says. Touched on the io thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "engine/wire_error.h"
#include "fleet/fleet.h"
#include "teams/teams.h"
#include "text/text.h"

namespace penstock::gateway::testing {

class FakeFleet final : public Fleet {
 public:
  struct Sent {
    Job job;
    std::shared_ptr<JobSink> sink;
    bool cancelled = false;
    std::map<uint32_t, uint32_t> granted;  // by choice
  };
  explicit FakeFleet(boost::asio::io_context& io) : io_(io) {}

  Status Listen(const std::string&) override { return {}; }
  void Serve(ServedModel model) override { served.insert(model.name); }
  void Withdraw(const std::string& name) override { served.erase(name); }
  void SetCanaries(const std::string&, std::vector<CanaryPrompt>) override {}
  Status MayRun(std::string_view, std::string_view, bool external_allowed) override {
    if (only_external && !external_allowed) return Fail(Reason::kExternalForbidden, "outside only");
    return {};
  }
  Status HasRoom(size_t) override { return refuse ? Status(std::unexpected(*refuse)) : Status(); }
  Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) override {
    const JobId id = ++last;
    Sent& sent = jobs[id];
    sent.job = std::move(job);
    sent.sink = std::move(sink);
    if (on_submit) boost::asio::post(io_, [this, id] { on_submit(id); });
    return id;
  }
  void Cancel(JobId job) override {
    jobs[job].cancelled = true;
    jobs[job].sink = nullptr;
  }
  void Grant(JobId job, uint32_t choice, uint32_t tokens) override { jobs[job].granted[choice] += tokens; }
  void Limit(JobId job, uint64_t tokens) override { jobs[job].job.submit.set_limit(tokens); }
  bool Ready(std::string_view model) const override {
    return served.contains(std::string(model)) && !broken_models.contains(std::string(model));
  }
  bool AnyReady() const override { return !served.empty(); }
  bool WantsText() const override { return false; }
  std::vector<EngineView> Engines() const override {
    EngineView engine;
    engine.name = "cpu0";
    engine.runner = "fake";
    engine.connected = true;
    engine.draining = draining;
    for (const std::string& name : served) {
      wire::ModelState& state = engine.models.emplace_back();
      state.set_name(name);
      state.set_state(wire::ModelState::READY);
      state.set_context(context);
      state.set_kernel("avx2");
      const auto broken = broken_models.find(name);
      if (broken == broken_models.end()) continue;
      state.set_state(wire::ModelState::FAILED);
      SetError({Code::kUnavailable, broken->second, Reason::kModelFailedToLoad}, state);
    }
    std::vector<EngineView> engines = more_engines;
    engines.insert(engines.begin(), std::move(engine));
    return engines;
  }
  Status SetDraining(std::string_view engine, bool on) override {
    if (engine != "cpu0") return Fail(Code::kNotFound, "no engine '{}'; there are: cpu0", engine);
    draining = on;
    return {};
  }
  Status Restart(std::string_view) override { return {}; }
  std::vector<TeamQueueView> Queue() const override { return queue; }
  size_t Waiting() const override { return 3; }
  size_t Running() const override { return jobs.size(); }
  FleetStats Stats() const override { return stats; }
  void SetMaxWaiting(size_t jobs) override { max_waiting = jobs; }
  void SetLogLevel(std::string_view word) override { log_levels.emplace_back(word); }
  void Drain(std::function<void()>) override {}

  // One event of `choice`: `tokens` new ones.
  void Emit(JobId id, std::string_view text, uint32_t tokens = 1, wire::Finish finish = wire::NONE,
            uint32_t choice = 0) {
    const auto sink = jobs[id].sink;
    if (!sink) return;
    wire::TokenEvent event;
    event.set_request(id);
    event.set_choice(choice);
    event.set_new_tokens(tokens);
    event.set_text(std::string(text));
    event.set_finish(finish);
    if (finish != wire::NONE) jobs[id].sink = nullptr;
    sink->OnPlaced({.engine = "cpu0",
                    .model = jobs[id].job.submit.model(),
                    .path = "/models/m",
                    .contract = "fake",
                    .kernel = "avx2",
                    .exact_usage = exact_usage});
    sink->OnTokens(event);
  }
  // Answers every job at once with these pieces, one token each, then the end.
  void AnswerWith(std::vector<std::string> pieces) {
    on_submit = [this, pieces = std::move(pieces)](JobId id) {
      for (uint32_t choice = 0; choice < jobs[id].job.submit.choices(); ++choice) {
        const auto sink = jobs[id].sink;
        for (const std::string& piece : pieces) Emit(id, piece, 1, wire::NONE, choice);
        jobs[id].sink = sink;
        Emit(id, "", 0, wire::STOP, choice);
        if (choice + 1 < jobs[id].job.submit.choices()) jobs[id].sink = sink;
      }
    };
  }

  std::map<JobId, Sent> jobs;
  JobId last = 0;
  std::set<std::string> served;
  std::map<std::string, std::string> broken_models;  // and why
  std::vector<TeamQueueView> queue;
  std::optional<Error> refuse;  // the queue is full
  bool only_external = false;   // every model is served outside the organisation only
  bool draining = false;
  std::function<void(JobId)> on_submit;
  uint32_t context = 1000;
  std::vector<EngineView> more_engines;
  bool exact_usage = true;
  FleetStats stats;
  std::vector<std::string> log_levels;  // that engines were told
  size_t max_waiting = 0;               // the last change

 private:
  boost::asio::io_context& io_;
};

struct FakeRecord {
  RequestRecord record;
  std::vector<int64_t> billed;  // each call that bills output
  std::optional<int64_t> limit;
  std::function<void(int64_t)> on_limit;

  int64_t SetLimit(int64_t tokens) {
    limit = std::min(limit.value_or(tokens), std::max(tokens, record.emitted));
    if (const auto changed = on_limit) changed(*limit);
    return *limit;
  }
};

class FakeAccounts final : public Accounts {
 public:
  Result<Principal> Authenticate(std::string_view bearer) const override {
    const auto found = principals.find(std::string(bearer));
    if (found == principals.end()) {
      return Fail(Code::kUnauthenticated, "the key is not known; ask your operator for one");
    }
    return found->second;
  }
  void CreateTeam(std::string_view name, Done<Result<Team>> done) override {
    for (const Team& team : teams) {
      if (team.name == name) return done(Fail(Code::kConflict, "there is a team '{}' already", name));
    }
    done(teams.emplace_back(
        Team{.id = static_cast<TeamId>(teams.size() + 1), .name = std::string(name), .created = kSecond}));
  }
  std::vector<Team> Teams() const override { return teams; }
  void RenameTeam(TeamId id, std::string_view name, Done<Result<Team>> done) override {
    ChangeTeam(id, [&](Team& team) { team.name = name; }, done);
  }
  void RemoveTeam(TeamId id, Done<Result<Team>> done) override {
    ChangeTeam(id, [](Team& team) { team.removed = kSecond; }, done);
  }
  void SetExternal(TeamId id, bool external, Done<Result<Team>> done) override {
    ChangeTeam(id, [&](Team& team) { team.external = external; }, done);
  }
  void ChangeTeam(TeamId id, const std::function<void(Team&)>& change, const Done<Result<Team>>& done) {
    for (Team& team : teams) {
      if (team.id != id) continue;
      change(team);
      return done(team);
    }
    done(Fail(Code::kNotFound, "no team {}", id));
  }
  void CreateKey(const NewKey& key, Done<Result<CreatedKey>> done) override {
    CreatedKey created;
    created.key.id = static_cast<KeyId>(keys.size() + 1);
    for (const Team& team : teams) {
      if (team.name == key.team) created.key.team = team.id;
    }
    created.key.team_name = key.team;
    created.key.name = key.name;
    created.key.prefix = "sk-penstock-aa";
    created.key.role = key.role;
    created.key.models = key.models;
    created.key.expires = key.expires;
    created.secret = "sk-penstock-aabbcc";
    keys.push_back(created.key);
    done(created);
  }
  std::vector<Key> Keys(std::optional<TeamId>) const override { return keys; }
  void RotateKey(KeyId key, Nanos overlap, Done<Result<CreatedKey>> done) override {
    rotated_overlap = overlap;
    done(CreatedKey{.key = keys.at(static_cast<size_t>(key) - 1), .secret = "sk-penstock-new"});
  }
  void RevokeKey(KeyId key, Done<Status> done) override {
    keys.at(static_cast<size_t>(key) - 1).revoked = kSecond;
    done({});
  }
  bool IsRevoked(KeyId key) const override { return revoked.contains(key); }
  Result<Key> GetKey(KeyId id) const override {
    for (const Key& key : keys) {
      if (key.id == id) return key;
    }
    return Fail(Code::kNotFound, "there is no key {}", id);
  }
  void CreateLogin(KeyId, std::string_view, Done<Result<CreatedKey>> done) override {
    done(Fail(Code::kUnsupported, "no logins here"));
  }
  Result<Key> FindKey(std::string_view id, const Scope&) const override {
    for (const Key& key : keys) {
      if (std::to_string(key.id) == id || key.prefix == id) return key;
    }
    return Fail(Code::kNotFound, "there is no key '{}'", id);
  }
  Result<std::unique_ptr<Ticket>> Open(const Principal& principal, std::string_view model,
                                       int64_t prompt_tokens, std::optional<int64_t> limit) override;
  Result<int64_t> SetLimit(std::string_view id, int64_t tokens) override {
    const auto found = records.find(std::string(id));
    if (found == records.end()) return Fail(Code::kNotFound, "none");
    return found->second.SetLimit(tokens);
  }
  void Find(std::string_view id, Done<Result<RequestRecord>> done) const override {
    const auto found = records.find(std::string(id));
    if (found == records.end()) return done(Fail(Code::kNotFound, "none"));
    done(found->second.record);
  }
  void UsageOf(const UsageQuery& query, TeamId, Done<Result<std::vector<UsageRow>>> done) const override {
    last_query = query;
    UsageRow row;
    row.team = "search";
    row.model = "tiny";
    row.key = "ci";
    row.requests = 2;
    row.input = 10;
    done(std::vector{row});
  }
  bool healthy() const override { return store_fault.empty(); }
  std::string fault() const override { return store_fault; }
  void Flush() override {}

  std::map<std::string, Principal> principals;
  std::set<KeyId> revoked;
  std::vector<Team> teams;
  std::vector<Key> keys;
  Nanos rotated_overlap = 0;
  mutable UsageQuery last_query;
  std::map<std::string, FakeRecord> records;
  std::string store_fault;
  std::optional<Error> durable_error;
  bool hold_durable = false;          // WhenDurable waits for the test
  std::optional<int64_t> next_limit;  // of the tickets to come
  std::optional<Error> refuse;        // Open fails
  std::vector<std::function<void(Status)>> held;
};

class FakeTicket final : public Ticket {
 public:
  FakeTicket(FakeAccounts& accounts, std::string id) : accounts_(accounts), id_(std::move(id)) {}
  ~FakeTicket() override { End("error", "dropped"); }
  const std::string& id() const override { return id_; }
  void WhenDurable(std::function<void(Status)> ready) override {
    if (accounts_.hold_durable) {
      accounts_.held.push_back(std::move(ready));
    } else if (accounts_.durable_error) {
      ready(std::unexpected(*accounts_.durable_error));
    } else {
      ready({});
    }
  }
  void Billed(int64_t tokens) override {
    if (tokens > 0) Mine().billed.push_back(tokens);
    Mine().record.usage.billed += tokens;
    Mine().record.usage.input = Mine().record.prompt;
  }
  void Reported(int64_t tokens) override { Mine().record.usage.reported += tokens; }
  void Emitted(int64_t tokens) override { Mine().record.emitted += tokens; }
  void Cached(int64_t tokens) override { Mine().record.usage.cached += tokens; }
  void Charged(Nanos chip_time, int64_t computed) override {
    Mine().record.chip_ns += chip_time;
    Mine().record.computed += computed;
  }
  void Event(std::string_view kind, std::string_view why) override {
    Mine().record.trail.push_back({.at = 0, .kind = std::string(kind), .why = std::string(why)});
  }
  Usage usage() const override { return Mine().record.usage; }
  TokenCounts counts() const override {
    return {Mine().record.prompt, Mine().record.usage.cached, Mine().record.emitted};
  }
  std::optional<int64_t> limit() const override { return Mine().limit; }
  int64_t SetLimit(int64_t tokens) override { return Mine().SetLimit(tokens); }
  void OnLimit(std::function<void(int64_t)> changed) override { Mine().on_limit = std::move(changed); }
  void End(std::string_view outcome, std::string_view detail) override {
    RequestRecord& record = Mine().record;
    if (record.state == "ended") return;
    record.state = "ended";
    record.outcome = outcome;
    record.detail = detail;
  }

 private:
  FakeRecord& Mine() const { return accounts_.records[id_]; }
  FakeAccounts& accounts_;
  std::string id_;
};

inline Result<std::unique_ptr<Ticket>> FakeAccounts::Open(const Principal& principal, std::string_view model,
                                                          int64_t prompt_tokens,
                                                          std::optional<int64_t> limit) {
  if (refuse) return std::unexpected(*refuse);
  const std::string id = fmt::format("req_{:06}", records.size() + 1);
  RequestRecord& record = records[id].record;
  record.id = id;
  record.team = principal.team;
  record.key = principal.key;
  record.team_name = principal.team_name;
  record.model = model;
  record.state = "running";
  record.prompt = prompt_tokens;
  records[id].limit = limit ? limit : next_limit;
  return std::make_unique<FakeTicket>(*this, id);
}

// One token a byte.
class ByteTokenizer final : public Tokenizer {
 public:
  Result<std::vector<Token>> Encode(std::string_view text, bool) const override {
    std::vector<Token> tokens;
    for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
    return tokens;
  }
  Result<std::vector<Token>> EncodeControls(std::string_view text, std::span<const Control>) const override {
    return Encode(text, true);
  }
  std::string_view Bytes(Token token) const override {
    static const std::string all = [] {
      std::string bytes;
      for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
      return bytes;
    }();
    return std::string_view(all).substr(static_cast<size_t>(token), 1);
  }
  std::string_view Piece(Token token) const override { return Bytes(token); }
  int32_t size() const override { return 256; }
  bool IsControl(Token) const override { return false; }
  std::string_view backend() const override { return "bytes"; }
};

// "role:content|" for each message, then `tail`; a content of "raise" is refused as templates refuse, one of
// "sleep" takes a second.
class PlainTemplate final : public ChatTemplate {
 public:
  explicit PlainTemplate(std::string tail) : tail_(std::move(tail)) {}
  Result<std::string> Render(std::string_view context) const override {
    const boost::json::value value = boost::json::parse({context.data(), context.size()});
    std::string out;
    for (const auto& message : value.at("messages").as_array()) {
      const std::string content(message.at("content").as_string());
      if (content == "sleep") std::this_thread::sleep_for(std::chrono::seconds(1));
      if (content == "raise") return Fail(Code::kInvalid, "conversation roles must alternate");
      out += std::string(message.at("role").as_string()) + ":" + content + "|";
    }
    return out + tail_;
  }

 private:
  std::string tail_;
};

}  // namespace penstock::gateway::testing

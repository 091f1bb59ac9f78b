#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <filesystem>
#include <limits>

#include "base/check.h"
#include "base/fair_workers.h"
#include "teams/directory.h"
#include "teams/journal.h"
#include "teams/lock.h"
#include "teams/recovery.h"
#include "teams/reports.h"
#include "teams/request.h"
#include "teams/schema.h"
#include "teams/store.h"
#include "teams/teams.h"

namespace penstock {
namespace {

// The write-ahead log is written once with zeros, which SQLite takes for an empty log: a commit that
// overwrites waits for its data only, one that appends waits for the file system's journal, too.
constexpr off_t kPrewrittenLog = 16 << 20;
constexpr FairWorkers::Owner kLookUps = -1;        // of single requests, whoever asks
constexpr size_t kMaxEvents = 128, kMaxWhy = 400;  // of one request's trail

// What tickets and the accounts share; it lives as long as the last of them.
struct Core : std::enable_shared_from_this<Core> {
  using Post = std::function<void(std::function<void()>)>;
  Core(DirectoryLock taken, const Clock& c, Post p)
      : lock(std::move(taken)), clock(c), post(std::move(p)), directory(c) {}

  DirectoryLock lock;
  const Clock& clock;
  const Post post;
  Directory directory;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Store> store;  // null once the accounts are gone: what is open then stays in the journal
  boost::unordered_flat_map<int64_t, RequestEntryPtr> requests;  // whose end is not durable yet, by sequence

  void OnGroup(const Store::Group& group);
  // Any thread: `then` runs on the owner's, unless all is over by then.
  void Later(std::function<void()> then) {
    post([weak = weak_from_this(), then = std::move(then)] {
      if (const auto alive = weak.lock()) then();
    });
  }
  void Write(Store::Work work, Store::Done done) {
    // The store ends before this does.
    store->Run(std::move(work), [this, done = std::move(done)](const Status& status) {
      Later([done, status] { done(status); });
    });
  }
};

Error Unwritable(std::string_view why) {
  return {Code::kUnavailable,
          fmt::format("no new request is taken while usage cannot be recorded ({}); try again later", why),
          Reason::kStoreUnwritable};
}

void Settle(RequestEntry& request, const Status& status) {
  request.durable = status;
  for (auto& ready : std::exchange(request.waiting, {})) ready(status);
}

void Core::OnGroup(const Store::Group& group) {
  for (const RequestEntryPtr& request : group.ended) {
    journal->Free(request->slot);
    requests.erase(request->id.sequence);
  }
  const Status status = group.status ? Status() : std::unexpected(Unwritable(group.status.error().message));
  for (const RequestEntryPtr& request : group.opened) Settle(*request, status);
}

int64_t LowerLimit(RequestEntry& request, int64_t tokens) {
  const int64_t before = request.limit.value_or(std::numeric_limits<int64_t>::max());
  const int64_t now = std::min(before, std::max(tokens, request.counters.emitted));
  if (now == before) return now;
  request.limit = now;
  if (const auto changed = request.on_limit) changed(now);  // a copy: it may end the request
  return now;
}

class TicketImpl final : public Ticket {
 public:
  TicketImpl(std::shared_ptr<Core> core, RequestEntryPtr request)
      : core_(std::move(core)), request_(std::move(request)) {}
  ~TicketImpl() override { End("error", "the request was given up before its end"); }

  const std::string& id() const override { return request_->text_id; }
  void WhenDurable(std::function<void(Status)> ready) override {
    if (request_->durable) return ready(*request_->durable);
    request_->waiting.push_back(std::move(ready));
  }
  void Billed(int64_t tokens) override {
    Counters& counters = request_->counters;
    const bool first = counters.input == 0 && request_->prompt > 0;
    if (ended() || (tokens == 0 && !first)) return;
    counters.input = request_->prompt;
    counters.billed += tokens;
    core_->journal->Store(request_->slot, counters);
  }
  void Reported(int64_t tokens) override { Count(&Counters::reported, tokens); }
  void Emitted(int64_t tokens) override { Count(&Counters::emitted, tokens); }
  void Cached(int64_t prompt_tokens) override { Count(&Counters::cached, prompt_tokens); }
  void Charged(Nanos chip_time, int64_t computed) override {
    Count(&Counters::chip_ns, chip_time);
    Count(&Counters::computed, computed);
  }
  void Event(std::string_view kind, std::string_view why) override;
  Usage usage() const override { return penstock::UsageOf(request_->counters); }
  TokenCounts counts() const override {
    return {request_->prompt, request_->counters.cached, request_->counters.emitted};
  }
  std::optional<int64_t> limit() const override { return request_->limit; }
  int64_t SetLimit(int64_t tokens) override { return LowerLimit(*request_, tokens); }
  void OnLimit(std::function<void(int64_t)> changed) override { request_->on_limit = std::move(changed); }
  void End(std::string_view outcome, std::string_view detail) override;

 private:
  bool ended() const { return request_->ended != 0; }
  void Count(int64_t Counters::* counter, int64_t by) {
    if (ended() || by == 0) return;
    request_->counters.*counter += by;
    core_->journal->Store(request_->slot, request_->counters);
  }

  const std::shared_ptr<Core> core_;
  const RequestEntryPtr request_;
};

void TicketImpl::Event(std::string_view kind, std::string_view why) {
  if (ended()) return;
  if (request_->trail.size() >= kMaxEvents) {
    ++request_->dropped_events;
    return;
  }
  request_->trail.push_back({core_->clock.Wall(), std::string(kind), std::string(why.substr(0, kMaxWhy))});
}

void TicketImpl::End(std::string_view outcome, std::string_view detail) {
  if (ended() || core_->store == nullptr) return;
  RequestEntry& request = *request_;
  const Nanos now = std::max<Nanos>(core_->clock.Wall(), 1);
  if (request.dropped_events > 0) {
    request.trail.push_back({now, "more", fmt::format("{} events are left out", request.dropped_events)});
  }
  request.trail.push_back({now, "ended", fmt::format("{}{}{}", outcome, detail.empty() ? "" : ": ", detail)});
  request.outcome = outcome;
  request.detail = detail;
  request.ended = now;
  request.on_limit = nullptr;
  core_->store->End(request_);
}

// Threads that read the store, each with a connection of its own: a long report leaves one to the others.
class Readers {
 public:
  static constexpr int kThreads = 2;

  explicit Readers(std::vector<Reports> reports) : idle_(std::move(reports)) {}
  void Add(FairWorkers::Owner owner, std::function<void(Reports&)> read) {
    workers_.Add(owner, [this, read = std::move(read)] {
      Reports reports = Take();
      read(reports);
      GiveBack(std::move(reports));
    });
  }

 private:
  Reports Take() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    Reports reports = std::move(idle_.back());
    idle_.pop_back();
    return reports;
  }
  void GiveBack(Reports reports) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    idle_.push_back(std::move(reports));
  }

  Mutex mutex_;
  std::vector<Reports> idle_ GUARDED_BY(mutex_);  // one for each thread
  FairWorkers workers_{{.name = "reports", .threads = kThreads, .most_of_one = 1, .niceness = 5}};
};

class AccountsImpl final : public Accounts {
 public:
  AccountsImpl(std::shared_ptr<Core> core, std::vector<Reports> reports)
      : core_(std::move(core)), readers_(std::make_unique<Readers>(std::move(reports))) {}
  ~AccountsImpl() override {
    readers_.reset();  // the writer is to be the last to close the file: it moves the log into it
    core_->store.reset();
  }

  Result<Principal> Authenticate(std::string_view bearer) const override {
    return directory().Authenticate(bearer);
  }
  void CreateTeam(std::string_view name, Done<Result<Team>> done) override {
    directory().CreateTeam(write_, name, std::move(done));
  }
  void SetExternal(TeamId team, bool external, Done<Result<Team>> done) override {
    directory().SetExternal(write_, team, external, std::move(done));
  }
  void RenameTeam(TeamId team, std::string_view name, Done<Result<Team>> done) override {
    directory().RenameTeam(write_, team, name, std::move(done));
  }
  void RemoveTeam(TeamId team, Done<Result<Team>> done) override {
    directory().RemoveTeam(write_, team, std::move(done));
  }
  std::vector<Team> Teams() const override { return directory().Teams(); }
  void CreateKey(const NewKey& key, Done<Result<CreatedKey>> done) override {
    directory().CreateKey(write_, key, std::move(done));
  }
  std::vector<Key> Keys(std::optional<TeamId> team) const override { return directory().Keys(team); }
  void RotateKey(KeyId key, Nanos overlap, Done<Result<CreatedKey>> done) override {
    directory().RotateKey(write_, key, overlap, std::move(done));
  }
  void CreateLogin(KeyId key, std::string_view name, Done<Result<CreatedKey>> done) override {
    directory().CreateLogin(write_, key, name, std::move(done));
  }
  void RevokeKey(KeyId key, Done<Status> done) override {
    directory().RevokeKey(write_, key, std::move(done));
  }
  bool IsRevoked(KeyId key) const override { return directory().IsRevoked(key); }
  Result<Key> GetKey(KeyId key) const override { return directory().GetKey(key); }
  Result<Key> FindKey(std::string_view text, const Scope& within) const override {
    return directory().FindKey(text, within);
  }

  Result<std::unique_ptr<Ticket>> Open(const Principal& principal, std::string_view model,
                                       int64_t prompt_tokens, std::optional<int64_t> limit) override;
  Result<int64_t> SetLimit(std::string_view request_id, int64_t tokens) override;
  void Find(std::string_view request_id, Done<Result<RequestRecord>> done) const override;
  void UsageOf(const UsageQuery& query, TeamId asker,
               Done<Result<std::vector<UsageRow>>> done) const override;

  bool healthy() const override { return core_->store->healthy(); }
  std::string fault() const override { return core_->store->fault(); }
  void Flush() override { core_->store->Flush(); }

  IdSource ids{0};

 private:
  Directory& directory() const { return core_->directory; }
  Store& store() const { return *core_->store; }

  const std::shared_ptr<Core> core_;
  const Directory::Write write_ = [core = core_.get()](Store::Work work, Store::Done done) {
    core->Write(std::move(work), std::move(done));
  };
  std::unique_ptr<Readers> readers_;
};

JournalEntry EntryOf(const RequestEntry& request) {
  return {request.id,     request.team,  request.key,     request.prompt,
          request.opened, request.model, request.counters};
}

Result<std::unique_ptr<Ticket>> AccountsImpl::Open(const Principal& principal, std::string_view model,
                                                   int64_t prompt_tokens, std::optional<int64_t> limit) {
  if (!healthy()) return std::unexpected(Unwritable(fault()));
  auto request = std::make_shared<RequestEntry>();
  request->opened = core_->clock.Wall();
  request->id = ids.Next(request->opened);
  request->text_id = FormatId(request->id);
  request->team = principal.team;
  request->key = principal.key;
  request->team_name = principal.team_name;
  request->key_name = principal.key_name;
  request->model = model;
  request->prompt = prompt_tokens;
  request->limit = limit;
  const auto slot = core_->journal->Take(EntryOf(*request));
  if (!slot) {
    return Fail(Reason::kTooManyOpen, "{} requests are open, the most that can be; try again soon",
                core_->journal->taken());
  }
  request->slot = *slot;
  core_->requests.emplace(request->id.sequence, request);
  store().Open(request);
  return std::make_unique<TicketImpl>(core_, std::move(request));
}

Result<int64_t> AccountsImpl::SetLimit(std::string_view request_id, int64_t tokens) {
  PENSTOCK_ASSIGN(const RequestId id, ParseId(request_id));
  const auto found = core_->requests.find(id.sequence);
  if (found == core_->requests.end() || found->second->id != id || found->second->ended != 0) {
    return Fail(Code::kNotFound, "no request {} runs", request_id);
  }
  return LowerLimit(*found->second, tokens);
}

void AccountsImpl::Find(std::string_view request_id, Done<Result<RequestRecord>> done) const {
  const auto id = ParseId(request_id);
  if (!id) return done(std::unexpected(id.error()));
  const auto found = core_->requests.find(id->sequence);
  if (found != core_->requests.end() && found->second->id == *id) return done(RecordOf(*found->second));
  readers_->Add(kLookUps, [core = core_.get(), id = *id, done = std::move(done)](Reports& reports) {
    core->Later([core, record = reports.Find(id), done]() mutable {
      if (record) NameRecord(*record, core->directory);
      done(std::move(record));
    });
  });
}

void AccountsImpl::UsageOf(const UsageQuery& query, TeamId asker,
                           Done<Result<std::vector<UsageRow>>> done) const {
  std::vector<RequestEntryPtr> ending;
  for (const auto& [sequence, request] : core_->requests) {
    if (request->ended != 0) ending.push_back(request);
  }
  readers_->Add(asker, [core = core_.get(), query, ending = std::move(ending),
                        done = std::move(done)](Reports& reports) {
    core->Later([core, sums = reports.Usage(query, ending), done]() mutable {
      if (!sums) return done(std::unexpected(sums.error()));
      done(NameRows(*std::move(sums), core->directory));
    });
  });
}

// Reads the journal for recovery. A damaged one is set aside: what it held is lost, the cloud starts.
Result<JournalContents> ReadOrSetAside(const std::string& path) {
  auto contents = ReadJournalFile(path);
  if (contents && contents->damaged > 0) {
    spdlog::error("{}: {} damaged slots; the counters of those requests are lost", path, contents->damaged);
  }
  if (contents || contents.error().code != Code::kCorrupt) return contents;
  const std::string aside = path + ".damaged";
  std::error_code error;
  std::filesystem::rename(path, aside, error);
  if (error) return Fail(Code::kIo, "cannot set {} aside: {}", path, error.message());
  spdlog::error("{}; kept as {}: the counters of requests that were open are lost", contents.error().message,
                aside);
  return JournalContents{};
}

// Makes the file 0600 if it is missing, before SQLite makes it wider, and at least `bytes` long: its end
// is zeros.
Status Prepare(const std::string& path, off_t bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return FailErrno(Code::kIo, "cannot open " + path);
  const std::vector<char> zeros(1 << 20);
  bool ok = true;
  for (off_t at = ::lseek(fd, 0, SEEK_END); ok && at < bytes; at += static_cast<off_t>(zeros.size())) {
    ok = ::pwrite(fd, zeros.data(), zeros.size(), at) == static_cast<ssize_t>(zeros.size());
  }
  ok = ok && ::fsync(fd) == 0;
  const Status status = ok ? Status() : FailErrno(Code::kIo, "cannot write " + path);
  ::close(fd);
  return status;
}

}  // namespace

Result<std::unique_ptr<Accounts>> OpenAccounts(AccountsOptions options, const Clock& clock) {
  PENSTOCK_CHECK(options.post != nullptr);
  PENSTOCK_ASSIGN(DirectoryLock lock, DirectoryLock::Take(options.data_dir));
  auto core = std::make_shared<Core>(std::move(lock), clock, options.post);

  const std::string path = options.data_dir + "/penstock.db", journal_path = options.data_dir + "/journal";
  PENSTOCK_TRY(Prepare(path, 0));
  PENSTOCK_TRY(Prepare(path + "-wal", kPrewrittenLog));
  PENSTOCK_ASSIGN(Database database, Database::Open(path, Database::Mode::kReadWrite));
  PENSTOCK_TRY(PrepareSchema(database));
  PENSTOCK_TRY(ConfigureWriter(database));
  PENSTOCK_TRY(core->directory.Load(database));

  PENSTOCK_ASSIGN(const JournalContents left, ReadOrSetAside(journal_path));
  PENSTOCK_ASSIGN(const Recovered recovered, EndLeftovers(database, left, clock.Wall()));
  if (recovered.from_journal + recovered.without_slot > 0) {
    spdlog::warn("ended {} requests that the last run left open, {} of them without counters",
                 recovered.from_journal + recovered.without_slot, recovered.without_slot);
  }
  PENSTOCK_ASSIGN(core->journal, Journal::Create(journal_path, options.journal_slots));
  PENSTOCK_ASSIGN(const int64_t last, database.QueryInt("SELECT coalesce(max(sequence), 0) FROM requests"));

  std::vector<Reports> reports;
  for (int i = 0; i < Readers::kThreads; ++i) {
    PENSTOCK_ASSIGN(Reports one, Reports::Open(path));
    reports.push_back(std::move(one));
  }
  const auto on_group = [post = options.post, weak = std::weak_ptr(core)](Store::Group group) {
    post([weak, group = std::make_shared<Store::Group>(std::move(group))] {
      if (const auto alive = weak.lock()) alive->OnGroup(*group);
    });
  };
  PENSTOCK_ASSIGN(core->store, Store::Start(std::move(database), on_group));
  auto accounts = std::make_unique<AccountsImpl>(core, std::move(reports));
  accounts->ids = IdSource(last);
  return accounts;
}

}  // namespace penstock

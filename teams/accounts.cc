#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <filesystem>

#include "base/check.h"
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
constexpr size_t kMaxEvents = 128, kMaxWhy = 400;  // of one request's trail

// What tickets and the accounts share; it lives as long as the last of them.
struct Core {
  explicit Core(DirectoryLock taken, const Clock& c) : lock(std::move(taken)), clock(c), directory(c) {}

  DirectoryLock lock;
  const Clock& clock;
  Directory directory;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Store> store;  // null once the accounts are gone: what is open then stays in the journal
  boost::unordered_flat_map<int64_t, RequestEntryPtr> requests;  // whose end is not durable yet, by sequence

  void OnGroup(const Store::Group& group);
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
  void Billed(int64_t tokens) override { Count(&Counters::billed, tokens); }
  void Reported(int64_t tokens) override { Count(&Counters::reported, tokens); }
  void Emitted(int64_t tokens) override { Count(&Counters::emitted, tokens); }
  void Cached(int64_t prompt_tokens) override { Count(&Counters::cached, prompt_tokens); }
  void Charged(Nanos chip_time, int64_t computed) override {
    Count(&Counters::chip_ns, chip_time);
    Count(&Counters::computed, computed);
  }
  void Event(std::string_view kind, std::string_view why) override;
  Usage usage() const override {
    const Counters& counters = request_->counters;
    return {request_->prompt, counters.cached, counters.billed, counters.reported};
  }
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
  core_->store->End(request_);
}

class AccountsImpl final : public Accounts {
 public:
  AccountsImpl(std::shared_ptr<Core> core, Reports reports)
      : core_(std::move(core)), reports_(std::move(reports)) {}
  ~AccountsImpl() override {
    reports_ = Reports();  // the writer is to be the last to close the file: it moves the log into it
    core_->store.reset();
  }

  Result<Principal> Authenticate(std::string_view bearer) const override {
    return directory().Authenticate(bearer);
  }
  Result<Team> CreateTeam(std::string_view name) override { return directory().CreateTeam(store(), name); }
  Result<Team> SetExternal(TeamId team, bool external) override {
    return directory().SetExternal(store(), team, external);
  }
  std::vector<Team> Teams() const override { return directory().Teams(); }
  Result<CreatedKey> CreateKey(const NewKey& key) override { return directory().CreateKey(store(), key); }
  std::vector<Key> Keys(std::optional<TeamId> team) const override { return directory().Keys(team); }
  Result<CreatedKey> RotateKey(KeyId key, Nanos overlap) override {
    return directory().RotateKey(store(), key, overlap);
  }
  Result<CreatedKey> CreateLogin(KeyId key, std::string_view name) override {
    return directory().CreateLogin(store(), key, name);
  }
  Status RevokeKey(KeyId key) override { return directory().RevokeKey(store(), key); }
  Result<Key> GetKey(KeyId key) const override { return directory().GetKey(key); }
  Result<Key> FindKey(std::string_view text, const Scope& within) const override {
    return directory().FindKey(text, within);
  }

  Result<std::unique_ptr<Ticket>> Open(const Principal& principal, std::string_view model,
                                       int64_t prompt_tokens) override;
  Result<RequestRecord> Find(std::string_view request_id) const override;
  Result<std::vector<UsageRow>> UsageOf(const UsageQuery& query) const override;

  bool healthy() const override { return core_->store->healthy(); }
  std::string fault() const override { return core_->store->fault(); }
  void Flush() override { core_->store->Flush(); }

  IdSource ids{0};

 private:
  Directory& directory() const { return core_->directory; }
  Store& store() const { return *core_->store; }

  const std::shared_ptr<Core> core_;
  mutable Reports reports_;
};

JournalEntry EntryOf(const RequestEntry& request) {
  return {request.id,     request.team,  request.key,     request.prompt,
          request.opened, request.model, request.counters};
}

Result<std::unique_ptr<Ticket>> AccountsImpl::Open(const Principal& principal, std::string_view model,
                                                   int64_t prompt_tokens) {
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

Result<RequestRecord> AccountsImpl::Find(std::string_view request_id) const {
  PENSTOCK_ASSIGN(const RequestId id, ParseId(request_id));
  const auto found = core_->requests.find(id.sequence);
  if (found != core_->requests.end() && found->second->id == id) return RecordOf(*found->second);
  return reports_.Find(id, directory());
}

Result<std::vector<UsageRow>> AccountsImpl::UsageOf(const UsageQuery& query) const {
  std::vector<RequestEntryPtr> ending;
  for (const auto& [sequence, request] : core_->requests) {
    if (request->ended != 0) ending.push_back(request);
  }
  return reports_.Usage(query, ending, directory());
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
  auto core = std::make_shared<Core>(std::move(lock), clock);

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

  PENSTOCK_ASSIGN(Reports reports, Reports::Open(path));
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

Result<std::optional<CreatedKey>> EnsureOperatorKey(Accounts& accounts, const Clock& clock) {
  const Nanos now = clock.Wall();
  for (const Key& key : accounts.Keys(std::nullopt)) {
    const bool works = key.revoked == 0 && (key.expires == 0 || key.expires > now);
    if (key.role == Role::kOperator && !key.login && works) return std::nullopt;
  }
  PENSTOCK_ASSIGN(CreatedKey created,
                  accounts.CreateKey(
                      {.team = "", .name = "operator", .role = Role::kOperator, .models = {}, .expires = 0}));
  return created;
}

}  // namespace penstock

// Teams, keys and usage: who may ask, and what was used. One SQLite store with one writer thread.
//
// Every request has a durable `open` record before its first byte reaches the client and an `end` record
// after its last. Between them its billed counters live in the journal (teams/journal.h), which survives a
// kill of this process; on the next start, what was open is ended from it.
//
// The billing rule: a request that delivered nothing is billed nothing. Output tokens are billed when the
// client's socket accepted them. The whole prompt is billed with the first output that the socket accepted;
// an answer that is sent whole, or that has no output tokens, bills it when the answer was accepted. So a
// request that was refused, timed out in the queue, was abandoned while it waited, met a fault of the store
// or a gateway that was killed before the first byte is billed nothing, whatever was computed for it. What
// was computed is always counted as chip time of its team: cancelling is no free computing.
//
// Nothing here waits for the disk: what is written completes once it is durable, what is read once a reader
// thread has read it.
//
// Threads: Directory and Accounts are used from one thread (the gateway's io thread). Completions are
//          handed to `post`, which must run them on that thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

using TeamId = int64_t;
using KeyId = int64_t;

enum class Role : uint8_t { kOperator, kFinance, kTeamLead, kDeveloper };
std::string_view RoleName(Role role);

struct Scope;  // teams/roles.h

// Whom a key speaks for. Plain data: a copy stays valid after the key is revoked.
struct Principal {
  KeyId key = 0;    // the key's identity (Key::seat): usage and requests are recorded under it
  TeamId team = 0;  // 0: the operator, no team
  std::string team_name, key_name;
  Role role = Role::kDeveloper;
  std::vector<std::string> models;  // that the key is scoped to; empty: all
  bool external = false;            // of its team; the operator's own text: true
  KeyId shown = 0;                  // the key whose secret was sent: the first one, its renewal, or a login
  // "qwen" allows its variants "qwen:q4" and so on; "qwen:q4" only itself.
  bool MayUse(std::string_view model) const;
};

struct Team {
  TeamId id = 0;
  std::string name;
  Nanos created = 0;      // wall
  bool external = false;  // its text may go to engines outside the organisation
  Nanos removed = 0;      // wall; 0: not. Its name stays taken, because usage records name it
};

struct Key {
  KeyId id = 0;
  TeamId team = 0;
  std::string team_name, name;
  std::string prefix;  // the first characters, enough to recognise it
  Role role = Role::kDeveloper;
  std::vector<std::string> models;
  Nanos created = 0, expires = 0;  // wall; expires 0: never
  Nanos revoked = 0;               // 0: not
  KeyId seat = 0;      // identity: the id of the first in a chain of renewed keys; `id` if it was not renewed
  KeyId parent = 0;    // that it renews or logs in for; 0: none
  bool login = false;  // made by `penstock login`: ends with its parent at the latest
};

struct NewKey {
  std::string team;  // by name; empty with kOperator
  std::string name;
  Role role = Role::kDeveloper;
  std::vector<std::string> models;
  Nanos expires = 0;
};

struct CreatedKey {
  Key key;
  std::string secret;  // "sk-penstock-…": shown once, stored as its SHA-256 only
};

// What is billed, in tokens (the billing rule above).
struct Usage {
  int64_t input = 0;   // the prompt, cached tokens included; 0 until output was accepted
  int64_t cached = 0;  // of `input`, from the prefix cache
  int64_t billed = 0;  // output tokens accepted by the client's socket
  // Of `billed`, those of answers in which an engine had a part that counts as its upstream does.
  int64_t reported = 0;
};

// The counters of one request, and its trace.
struct RequestRecord {
  std::string id;  // x-request-id
  TeamId team = 0;
  KeyId key = 0;
  std::string team_name, key_name, model;
  std::string state;    // "running", "ended"
  std::string outcome;  // "" while running; "stop", "length", "cancelled", "error", "gateway_restarted"
  std::string detail;   // why, for people
  Usage usage;
  int64_t prompt = 0;    // the prompt's size in tokens, billed or not
  int64_t emitted = 0;   // output tokens that engines handed over
  int64_t computed = 0;  // tokens computed, reruns included
  int64_t chip_ns = 0;
  Nanos opened = 0, ended = 0;  // wall
  struct Event {
    Nanos at = 0;  // wall
    std::string kind, why;
  };
  std::vector<Event> trail;  // queued, admitted, first_token, paused, …, ended
};

struct UsageRow {
  Nanos since = 0, until = 0;    // of its hour or day, cut to what was asked; 0 unless asked for by those
  std::string team, model, key;  // key empty unless asked for by key
  int64_t requests = 0, input = 0, cached_input = 0, output = 0;
  int64_t reported = 0;  // of `output`: see Usage
  int64_t chip_ns = 0;
};

struct UsageQuery {
  std::optional<TeamId> team;
  std::optional<KeyId> key;
  std::optional<std::string> model;
  Nanos since = 0, until = 0;  // wall; until 0: now
  bool by_key = false;
  Nanos bucket = 0;  // an hour or a day: sums for each in which something was used; 0: for all of the time
  Nanos zone = 0;    // of the clock by which they begin: east of UTC
};

// How many tokens a request has so far.
struct TokenCounts {
  int64_t prompt = 0, cached = 0;  // `cached`: of the prompt, from the prefix cache
  int64_t emitted = 0;             // output, over all choices together
};

// The right to run one request, and the duty to end it: the one place where its tokens are counted. A Ticket
// that is destroyed before its end ends itself as "error" with what was billed.
class Ticket {
 public:
  virtual ~Ticket() = default;
  virtual const std::string& id() const = 0;
  // Calls `ready` once the open record is durable (soon, or at once if it is), with an Error if the
  // store could not be written. The first byte to the client waits for it.
  virtual void WhenDurable(std::function<void(Status)> ready) = 0;
  // The client's socket accepted output that holds `tokens` more tokens, perhaps none. The first call bills
  // the prompt, too. Survives a kill from here on.
  virtual void Billed(int64_t tokens) = 0;
  virtual void Reported(int64_t tokens) = 0;  // of those billed: see Usage
  // The request takes `tokens` more output tokens from its engines. REQUIRES: within the limit.
  virtual void Emitted(int64_t tokens) = 0;
  virtual void Cached(int64_t prompt_tokens) = 0;
  virtual void Charged(Nanos chip_time, int64_t computed) = 0;
  virtual void Event(std::string_view kind, std::string_view why) = 0;
  virtual Usage usage() const = 0;
  virtual TokenCounts counts() const = 0;

  // The most output tokens that the request may have, over all choices together; none: as many as it asks
  // for.
  virtual std::optional<int64_t> limit() const = 0;
  // Lowers the limit while the request runs; never raises it, and never goes below what was emitted already.
  // Returns the limit that holds from now on: the request ends with "length" at exactly that token, if it
  // gets so far. REQUIRES: tokens >= 0.
  virtual int64_t SetLimit(int64_t tokens) = 0;
  // `changed` is called from within SetLimit, whoever calls that, until the request's end.
  virtual void OnLimit(std::function<void(int64_t limit)> changed) = 0;

  // Posts the end. Later calls on this ticket are ignored.
  virtual void End(std::string_view outcome, std::string_view detail) = 0;
};

// Called once: before the call returns if it is refused at once, else by `post`, and then after the change is
// durable. Not called when the accounts end before.
template <class T>
using Done = std::function<void(T)>;

class Accounts {
 public:
  virtual ~Accounts() = default;

  // ---- who ----
  // `bearer` is the secret itself. Errors: kUnauthenticated (missing, unknown, revoked, expired: each
  // says which and how to fix it). Memory only: never waits for the store.
  virtual Result<Principal> Authenticate(std::string_view bearer) const = 0;
  virtual void CreateTeam(std::string_view name, Done<Result<Team>> done) = 0;
  virtual std::vector<Team> Teams() const = 0;  // also those that were removed
  // Keys and usage records move to the new name with their team. Errors: kNotFound, kInvalid, kConflict.
  virtual void RenameTeam(TeamId team, std::string_view name, Done<Result<Team>> done) = 0;
  // Revokes all keys of the team from this call on; usage records stay. Errors: kNotFound.
  virtual void RemoveTeam(TeamId team, Done<Result<Team>> done) = 0;
  // From the next request on. Errors: kNotFound.
  virtual void SetExternal(TeamId team, bool external, Done<Result<Team>> done) = 0;
  virtual void CreateKey(const NewKey& key, Done<Result<CreatedKey>> done) = 0;
  virtual std::vector<Key> Keys(std::optional<TeamId> team) const = 0;
  // A new secret for the same identity; the old one, and the logins made from it, work for `overlap` longer.
  virtual void RotateKey(KeyId key, Nanos overlap, Done<Result<CreatedKey>> done) = 0;
  // Another secret for the same identity, which can be revoked separately. Errors: kForbidden from a login.
  virtual void CreateLogin(KeyId key, std::string_view name, Done<Result<CreatedKey>> done) = 0;
  // The key, and the logins made from it, are refused from this call on, and IsRevoked.
  virtual void RevokeKey(KeyId key, Done<Status> done) = 0;
  // Running requests ask: a revoked key ends them, an expired or rotated one lets them finish.
  virtual bool IsRevoked(KeyId key) const = 0;
  // Errors: kNotFound.
  virtual Result<Key> GetKey(KeyId key) const = 0;
  // One of those that `within` covers, by its id, its prefix exactly as it is shown, or its whole secret.
  // Errors: kNotFound (also for one that lies outside), kConflict (several have this prefix).
  virtual Result<Key> FindKey(std::string_view id_or_prefix, const Scope& within) const = 0;

  // ---- what ----
  // Opens a request: takes a journal slot and queues its open record. `limit`: see Ticket::limit. Errors:
  // kUnavailable when the store cannot be written (says why), kOverloaded when no journal slot is free.
  virtual Result<std::unique_ptr<Ticket>> Open(const Principal& principal, std::string_view model,
                                               int64_t prompt_tokens,
                                               std::optional<int64_t> limit = std::nullopt) = 0;
  // Ticket::SetLimit of a request that runs. Errors: kInvalid (no request id), kNotFound (it does not run).
  virtual Result<int64_t> SetLimit(std::string_view request_id, int64_t tokens) = 0;
  // A request of any state. Errors: kInvalid (no request id), kNotFound.
  virtual void Find(std::string_view request_id, Done<Result<RequestRecord>> done) const = 0;
  // Of ended requests, by the time at which they were opened. `asker`: whose reports wait for each other;
  // those of several teams take turns. Errors: kInvalid: too many buckets.
  virtual void UsageOf(const UsageQuery& query, TeamId asker,
                       Done<Result<std::vector<UsageRow>>> done) const = 0;

  virtual bool healthy() const = 0;       // the last group commit worked
  virtual std::string fault() const = 0;  // why not
  // Waits until everything posted is durable. For a graceful stop.
  virtual void Flush() = 0;
};

struct AccountsOptions {
  std::string data_dir;  // holds penstock.db and journal
  size_t journal_slots = 16384;
  // Runs a completion on the owner's thread, later. Called from another thread.
  std::function<void(std::function<void()>)> post;
};
// Opens or creates the store, upgrades nothing newer than itself, ends what a killed process left open.
// Errors: kCorrupt (damaged; says how to fix it), kConflict (another process has it), kUnsupported (made by
// a newer version).
Result<std::unique_ptr<Accounts>> OpenAccounts(AccountsOptions options, const Clock& clock);

}  // namespace penstock

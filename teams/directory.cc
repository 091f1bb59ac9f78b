#include "teams/directory.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "teams/names.h"

namespace penstock {
namespace {

std::string Date(Nanos wall) {
  const time_t seconds = wall / kSecond;
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc)};
}

std::string Lines(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, "\n"));
}

std::vector<std::string> SplitLines(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    items.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

Result<Role> StoredRole(std::string_view name) {
  if (const auto role = RoleOf(name)) return *role;
  return Fail(Code::kCorrupt, "the store names a role '{}' that this version does not know", name);
}

}  // namespace

bool Principal::MayUse(std::string_view model) const {
  const auto allowed = [&](std::string_view name) { return std::ranges::find(models, name) != models.end(); };
  return models.empty() || allowed(model) || allowed(model.substr(0, model.find(':')));
}

Status Directory::Load(Database& database) {
  PENSTOCK_ASSIGN(Statement teams,
                  database.Prepare("SELECT id, name, created, external, removed FROM teams"));
  while (true) {
    PENSTOCK_ASSIGN(const bool row, teams.Step());
    if (!row) break;
    teams_[teams.Int(0)] = {.id = teams.Int(0),
                            .name = std::string(teams.Text(1)),
                            .created = teams.Int(2),
                            .external = teams.Int(3) != 0,
                            .removed = teams.Int(4)};
  }
  PENSTOCK_ASSIGN(Statement keys,
                  database.Prepare("SELECT id, team, name, shown, digest, role, models, created,"
                                   " expires, revoked, parent, login FROM keys ORDER BY id"));
  while (true) {
    PENSTOCK_ASSIGN(const bool row, keys.Step());
    if (!row) break;
    Key key;
    key.id = keys.Int(0);
    key.team = keys.Int(1);
    key.team_name = TeamName(key.team);
    key.name = keys.Text(2);
    key.prefix = keys.Text(3);
    PENSTOCK_ASSIGN(key.role, StoredRole(keys.Text(5)));
    key.models = SplitLines(keys.Text(6));
    key.created = keys.Int(7);
    key.expires = keys.Int(8);
    key.revoked = keys.Int(9);
    key.parent = keys.Int(10);
    key.login = keys.Int(11) != 0;
    const std::string_view stored = keys.Text(4);
    Digest digest;
    if (stored.size() != digest.size())
      return Fail(Code::kCorrupt, "the store's key {} has no digest", key.id);
    std::memcpy(digest.data(), stored.data(), digest.size());
    Remember(key, digest);
  }
  return {};
}

// A parent is older than its children, so it is here before them.
void Directory::Remember(const Key& key, const Digest& digest) {
  const auto parent = keys_.find(key.parent);
  Key& kept = keys_[key.id] = key;
  kept.seat = parent == keys_.end() ? key.id : parent->second.seat;
  by_digest_[digest] = key.id;
}

std::string Directory::TeamName(TeamId team) const {
  const auto found = teams_.find(team);
  return found == teams_.end() ? "operator" : found->second.name;
}

std::string Directory::KeyName(KeyId key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? "" : found->second.name;
}

Result<Principal> Directory::Authenticate(std::string_view bearer) const {
  if (bearer.empty()) {
    return Fail(Reason::kNoKey,
                "no API key: send it as 'Authorization: Bearer {}...'; an operator makes one with "
                "'penstock key create --team TEAM'",
                kSecretPrefix);
  }
  const auto found = by_digest_.find(Sha256(bearer));
  if (found == by_digest_.end()) {
    if (!bearer.starts_with(kSecretPrefix)) {
      return Fail(Reason::kKeyUnknown, "this is no key of this cloud: those begin with {}", kSecretPrefix);
    }
    return Fail(Reason::kKeyUnknown,
                "key {}... is not known here; look for a typing mistake, or ask your operator for a key "
                "('penstock key ls' shows those that exist)",
                ShownPart(bearer));
  }
  const Key& key = keys_.at(found->second);
  const auto team = teams_.find(key.team);
  if (team != teams_.end() && team->second.removed != 0) {
    return Fail(Reason::kKeyRevoked,
                "team '{}' of key {}... was removed on {}; ask your operator for a key of another team",
                key.team_name, key.prefix, Date(team->second.removed));
  }
  if (key.revoked != 0) {
    return Fail(Reason::kKeyRevoked, "{} {}... was revoked on {}; {}", key.login ? "login" : "key",
                key.prefix, Date(key.revoked),
                key.login ? "log in again: penstock login" : "ask your team lead for a new one");
  }
  if (key.expires != 0 && key.expires <= clock_.Wall()) {
    if (key.login) {
      return Fail(Reason::kKeyExpired,
                  "login {}... ended on {} with its key; log in with the new one: penstock login", key.prefix,
                  Date(key.expires));
    }
    return Fail(Reason::kKeyExpired, "key {}... expired on {}; ask your team lead for a new one", key.prefix,
                Date(key.expires));
  }
  // A login speaks as its seat's key: usage by key shows one name, not one for each machine.
  const std::string& name = key.login ? keys_.at(key.parent).name : key.name;
  const bool external = team == teams_.end() || team->second.external;
  return Principal{key.seat, key.team, key.team_name, name, key.role, key.models, external, key.id};
}

Status Directory::Insert(Database& database, Key& key, const Digest& digest) {
  PENSTOCK_ASSIGN(
      Statement insert,
      database.Prepare("INSERT INTO keys(team, name, shown, digest, role, models, created, expires,"
                       " revoked, parent, login) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10)"));
  const std::string models = Lines(key.models);
  PENSTOCK_TRY(insert
                   .Bind(key.team, key.name, key.prefix, std::span<const uint8_t>(digest), RoleName(key.role),
                         models, key.created, key.expires, key.parent, int64_t{key.login})
                   .Run());
  key.id = database.LastInsertId();
  return {};
}

void Directory::Create(const Write& write, Key key, Store::Work also, Done<Result<CreatedKey>> done) {
  const std::string secret = NewSecret();
  const Digest digest = Sha256(secret);
  key.prefix = ShownPart(secret);
  key.created = clock_.Wall();
  const auto stored = std::make_shared<Key>(std::move(key));
  write(
      [stored, digest, also = std::move(also)](Database& database) -> Status {
        PENSTOCK_TRY(Insert(database, *stored, digest));
        return also ? also(database) : Status();
      },
      [this, stored, digest, secret, done = std::move(done)](const Status& written) {
        if (!written) return done(std::unexpected(written.error()));
        Remember(*stored, digest);
        done(CreatedKey{keys_[stored->id], secret});
      });
}

// Among the keys of a team that still work, a name stands for one of them, and those that renew it.
bool Directory::HasKeyNamed(TeamId team, std::string_view name) const {
  const std::string folded = FoldedName(name);
  return new_keys_.contains({team, folded}) || std::ranges::any_of(keys_, [&](const auto& entry) {
           const Key& key = entry.second;
           return key.team == team && !key.login && Works(key) && FoldedName(key.name) == folded;
         });
}

bool Directory::Works(const Key& key) const {
  return key.revoked == 0 && (key.expires == 0 || key.expires > clock_.Wall());
}

// "default", then "default 2", … for keys without a name.
Result<std::string> Directory::KeyNameFor(TeamId team, const std::string& wanted) const {
  if (wanted.empty()) {
    std::string name = "default";
    for (int i = 2; HasKeyNamed(team, name); ++i) name = fmt::format("default {}", i);
    return name;
  }
  PENSTOCK_ASSIGN(std::string name, CheckedName("key", wanted));
  if (!HasKeyNamed(team, name)) return name;
  return Fail(Code::kConflict,
              "a working key of {} has the name '{}' already (upper and lower case count as equal); choose "
              "another, or "
              "renew that key: penstock key rotate",
              TeamName(team), name);
}

Result<Key> Directory::NewKeyOf(const NewKey& wanted) const {
  Key key;
  for (const std::string& model : wanted.models) {
    if (model.empty() || model.find('\n') != std::string::npos)
      return Fail(Code::kInvalid, "a model name is empty");
  }
  if (wanted.team.empty() == IsOfATeam(wanted.role)) {
    return Fail(Code::kInvalid, "a key with the role {} is {}", RoleName(wanted.role),
                IsOfATeam(wanted.role) ? "of a team: name it" : "of no team: leave the team out");
  }
  const std::vector<Team> teams = Teams();
  const Team* const team = FindTeamIn(teams, wanted.team);
  if (!wanted.team.empty() && team == nullptr) {
    return Fail(Reason::kTeamUnknown, "no team '{0}'; make it with 'penstock team create {0}'", wanted.team);
  }
  if (team != nullptr) PENSTOCK_TRY(PresentTeam(team->id));
  key.expires = wanted.expires;
  if (key.expires != 0 && key.expires <= clock_.Wall()) {
    return Fail(Code::kInvalid, "the key would have expired on {}, which is past", Date(key.expires));
  }
  key.team = wanted.team.empty() ? 0 : team->id;
  key.team_name = TeamName(key.team);
  PENSTOCK_ASSIGN(key.name, KeyNameFor(key.team, wanted.name));
  key.role = wanted.role;
  key.models = wanted.models;
  return key;
}

void Directory::CreateKey(const Write& write, const NewKey& wanted, Done<Result<CreatedKey>> done) {
  auto key = NewKeyOf(wanted);
  if (!key) return done(std::unexpected(key.error()));
  const std::pair taken(key->team, FoldedName(key->name));
  new_keys_.insert(taken);
  Create(write, *std::move(key), {}, [this, taken, done = std::move(done)](Result<CreatedKey> created) {
    new_keys_.erase(taken);
    done(std::move(created));
  });
}

std::vector<Key> Directory::Keys(std::optional<TeamId> team) const {
  std::vector<Key> keys;
  for (const auto& [id, key] : keys_) {
    if (!team || key.team == *team) keys.push_back(key);
  }
  return keys;
}

Result<Key> Directory::GetKey(KeyId id) const {
  const auto found = keys_.find(id);
  if (found == keys_.end())
    return Fail(Reason::kNoSuchKey, "no key {}; 'penstock key ls' shows those that exist", id);
  return found->second;
}

std::vector<Key*> Directory::WithLogins(KeyId id) {
  std::vector<Key*> found;
  for (auto& [_, key] : keys_) {
    if (key.id == id || (key.login && key.parent == id)) found.push_back(&key);
  }
  return found;
}

// The new key lives as long as the old one was meant to, counted from now.
Result<Key> Directory::RenewalOf(KeyId id, Nanos overlap) const {
  PENSTOCK_ASSIGN(Key key, GetKey(id));
  if (key.revoked != 0)
    return Fail(Code::kConflict, "key {}... is revoked; create a new one instead", key.prefix);
  if (key.login) return Fail(Code::kConflict, "{}... is a login: log in again instead", key.prefix);
  if (!Works(key)) {
    return Fail(Code::kConflict,
                "key {}... expired on {}, so there is nothing to renew; create a new one instead", key.prefix,
                Date(key.expires));
  }
  if (overlap < 0) return Fail(Code::kInvalid, "an overlap cannot be negative");
  key.parent = id;
  key.expires = key.expires == 0 ? 0 : clock_.Wall() + (key.expires - key.created);
  return key;
}

void Directory::RotateKey(const Write& write, KeyId id, Nanos overlap, Done<Result<CreatedKey>> done) {
  auto renewal = RenewalOf(id, overlap);
  if (!renewal) return done(std::unexpected(renewal.error()));
  // From then on the old one has expired; an earlier end of its own stays.
  const Nanos last = clock_.Wall() + overlap;
  std::vector<std::pair<KeyId, Nanos>> ends;
  for (const Key* const key : WithLogins(id)) {
    ends.emplace_back(key->id, key->expires == 0 ? last : std::min(key->expires, last));
  }
  const auto also = [ends](Database& database) -> Status {
    PENSTOCK_ASSIGN(Statement update, database.Prepare("UPDATE keys SET expires=?2 WHERE id=?1"));
    for (const auto& [key, end] : ends) PENSTOCK_TRY(update.Bind(key, end).Run());
    return {};
  };
  Create(write, *std::move(renewal), also, [this, ends, done = std::move(done)](Result<CreatedKey> created) {
    if (created) {
      for (const auto& [key, end] : ends) keys_.at(key).expires = end;
    }
    done(std::move(created));
  });
}

Result<Key> Directory::LoginOf(KeyId id, std::string_view name) const {
  PENSTOCK_ASSIGN(Key key, GetKey(id));
  if (key.login) {
    return Fail(Code::kForbidden, "{}... is a login itself: log in with the key that your team lead gave you",
                key.prefix);
  }
  PENSTOCK_ASSIGN(key.name, CheckedName("login", name));
  key.parent = id;
  key.login = true;
  return key;
}

void Directory::CreateLogin(const Write& write, KeyId id, std::string_view name,
                            Done<Result<CreatedKey>> done) {
  auto key = LoginOf(id, name);
  if (!key) return done(std::unexpected(key.error()));
  Create(write, *std::move(key), {}, std::move(done));
}

// In memory first: a revoked key is refused from here on, even if the store cannot be written. A key that is
// revoked already may still be on its way to the disk, so it is written again: the answer means durable.
void Directory::RevokeKey(const Write& write, KeyId id, Done<Status> done) {
  const auto key = GetKey(id);
  if (!key) return done(std::unexpected(key.error()));
  const Nanos now = clock_.Wall();
  std::vector<std::pair<KeyId, Nanos>> ending;
  for (Key* const one : WithLogins(id)) {
    if (one->revoked == 0) one->revoked = now;
    ending.emplace_back(one->id, one->revoked);
  }
  write(
      [ending](Database& database) -> Status {
        PENSTOCK_ASSIGN(Statement update, database.Prepare("UPDATE keys SET revoked=?2 WHERE id=?1"));
        for (const auto& [one, revoked] : ending) PENSTOCK_TRY(update.Bind(one, revoked).Run());
        return {};
      },
      [prefix = key->prefix, done = std::move(done)](const Status& written) {
        if (written) return done({});
        done(Fail(
            written.error().code,
            "key {}... is refused from now on, but only until Penstock is restarted: {}; revoke it again "
            "then",
            prefix, written.error().message));
      });
}

bool Directory::IsRevoked(KeyId id) const {
  const auto found = keys_.find(id);
  return found != keys_.end() && found->second.revoked != 0;
}

Result<Key> Directory::FindKey(std::string_view text, const Scope& within) const {
  const auto covered = [&](const Key& key) { return within.Covers(key.team, key.seat); };
  // A whole number is an id and nothing else: a secret may well begin with the same digits.
  KeyId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size()) {
    const auto found = keys_.find(id);
    if (found != keys_.end() && covered(found->second)) return found->second;
    return Fail(Reason::kNoSuchKey, "no key {}; 'penstock key ls' shows those that exist", text);
  }

  // A whole secret, or exactly what is shown of it. Anything between the two could name another key than was
  // meant.
  std::string_view shown = text;
  while (shown.ends_with('.')) shown.remove_suffix(1);
  const auto secret = by_digest_.find(Sha256(text));
  std::vector<const Key*> matches;
  for (const auto& [_, key] : keys_) {
    const std::string_view prefix = key.prefix;
    const bool named = shown == prefix || shown == prefix.substr(kSecretPrefix.size()) ||
                       (secret != by_digest_.end() && secret->second == key.id);
    if (named && covered(key)) matches.push_back(&key);
  }
  if (matches.size() == 1) return *matches.front();
  if (matches.empty()) {
    return Fail(Reason::kNoSuchKey,
                "no key '{}'; give its id or its whole prefix, as 'penstock key ls' shows them",
                ShownPart(text));
  }
  return Fail(Reason::kKeyAmbiguous, "{} keys begin with '{}'; give its id", matches.size(), ShownPart(text));
}

}  // namespace penstock

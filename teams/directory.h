// Directory: teams and keys, in memory, as the store has them. Written through the store, read without it. A
// change is seen once it is durable; only a revocation is at once.
//
// Threads: one.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "teams/roles.h"
#include "teams/secret.h"
#include "teams/sqlite.h"
#include "teams/store.h"
#include "teams/teams.h"

namespace penstock {

class Directory {
 public:
  // Runs the work in a transaction on the store's thread, then the completion on the owner's.
  using Write = std::function<void(Store::Work, Store::Done)>;

  explicit Directory(const Clock& clock) : clock_(clock) {}
  Status Load(Database& database);

  // As Accounts has them.
  Result<Principal> Authenticate(std::string_view bearer) const;
  void CreateTeam(const Write& write, std::string_view name, Done<Result<Team>> done);
  std::vector<Team> Teams() const;
  void RenameTeam(const Write& write, TeamId team, std::string_view name, Done<Result<Team>> done);
  void RemoveTeam(const Write& write, TeamId team, Done<Result<Team>> done);
  void SetExternal(const Write& write, TeamId team, bool external, Done<Result<Team>> done);
  void CreateKey(const Write& write, const NewKey& key, Done<Result<CreatedKey>> done);
  std::vector<Key> Keys(std::optional<TeamId> team) const;
  void RotateKey(const Write& write, KeyId id, Nanos overlap, Done<Result<CreatedKey>> done);
  void CreateLogin(const Write& write, KeyId id, std::string_view name, Done<Result<CreatedKey>> done);
  void RevokeKey(const Write& write, KeyId id, Done<Status> done);
  Result<Key> GetKey(KeyId id) const;
  bool IsRevoked(KeyId key) const;
  Result<Key> FindKey(std::string_view id_or_prefix, const Scope& within) const;

  std::string TeamName(TeamId team) const;  // "operator" for 0
  std::string KeyName(KeyId key) const;

 private:
  Result<Team> PresentTeam(TeamId id) const;  // fails if it was removed
  Result<std::string> FreeTeamName(std::string_view given, TeamId except) const;
  static Status Insert(Database& database, Key& key, const Digest& digest);
  void Remember(const Key& key, const Digest& digest);
  bool Works(const Key& key) const;
  bool HasKeyNamed(TeamId team, std::string_view name) const;
  Result<std::string> KeyNameFor(TeamId team, const std::string& wanted) const;
  Result<Key> NewKeyOf(const NewKey& wanted) const;
  Result<Key> RenewalOf(KeyId id, Nanos overlap) const;
  Result<Key> LoginOf(KeyId id, std::string_view name) const;
  // A secret for `key`, stored with what `also` writes in the same commit.
  void Create(const Write& write, Key key, Store::Work also, Done<Result<CreatedKey>> done);
  // The key and the logins made from it.
  std::vector<Key*> WithLogins(KeyId id);

  const Clock& clock_;
  std::map<TeamId, Team> teams_;
  std::set<std::string> new_teams_;  // folded names that are being written
  std::set<std::pair<TeamId, std::string>> new_keys_;
  std::map<KeyId, Key> keys_;
  boost::unordered_flat_map<Digest, KeyId, DigestHash> by_digest_;
};

}  // namespace penstock

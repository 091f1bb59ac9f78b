// Directory: teams and keys, in memory, as the store has them. Written through the store, read without it.
//
// Threads: one.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <functional>
#include <map>
#include <optional>
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
  explicit Directory(const Clock& clock) : clock_(clock) {}
  Status Load(Database& database);

  // As Accounts has them.
  Result<Principal> Authenticate(std::string_view bearer) const;
  Result<Team> CreateTeam(Store& store, std::string_view name);
  std::vector<Team> Teams() const;
  Result<Team> SetExternal(Store& store, TeamId team, bool external);
  Result<CreatedKey> CreateKey(Store& store, const NewKey& key);
  std::vector<Key> Keys(std::optional<TeamId> team) const;
  Result<CreatedKey> RotateKey(Store& store, KeyId id, Nanos overlap);
  Result<CreatedKey> CreateLogin(Store& store, KeyId id, std::string_view name);
  Status RevokeKey(Store& store, KeyId id);
  Result<Key> GetKey(KeyId id) const;
  Result<Key> FindKey(std::string_view id_or_prefix, const Scope& within) const;

  std::string TeamName(TeamId team) const;  // "operator" for 0
  std::string KeyName(KeyId key) const;

 private:
  static Status Insert(Database& database, Key& key, const Digest& digest);
  void Remember(const Key& key, const Digest& digest);
  // A secret for `key`, stored with what `also` writes in the same commit.
  Result<CreatedKey> Create(Store& store, Key key, const std::function<Status(Database&)>& also);
  // The key and the logins made from it.
  std::vector<Key*> WithLogins(KeyId id);

  const Clock& clock_;
  std::map<TeamId, Team> teams_;
  std::map<KeyId, Key> keys_;
  boost::unordered_flat_map<Digest, KeyId, DigestHash> by_digest_;
};

}  // namespace penstock

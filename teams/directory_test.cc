#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "teams/roles.h"
#include "teams/secret.h"
#include "teams/sqlite.h"
#include "teams/testing.h"

namespace penstock {
namespace {

using testing::TempDir;
using testing::World;

bool Says(const Error& error, std::string_view text) {
  return error.message.find(text) != std::string::npos;
}

TEST(Directory, AKeySpeaksForItsPrincipal) {
  World world;
  (void)world.CreateTeam("red");
  const auto key = *world.CreateKey({"red", "ci", Role::kTeamLead, {"qwen", "smol"}, 0});
  EXPECT_EQ(key.secret.size(), kSecretPrefix.size() + kSecretLength);
  EXPECT_TRUE(key.secret.starts_with(key.key.prefix));
  const auto who = *world->Authenticate(key.secret);
  EXPECT_EQ(who.team_name, "red");
  EXPECT_EQ(who.key_name, "ci");
  EXPECT_EQ(who.role, Role::kTeamLead);
  EXPECT_TRUE(who.MayUse("smol"));
  EXPECT_TRUE(who.MayUse("smol:q4")) << "a variant";
  EXPECT_FALSE(who.MayUse("deepseek"));
  EXPECT_TRUE(world.NewPrincipal("blue").MayUse("deepseek")) << "no scope: all models";
}

TEST(Directory, EveryRefusalSaysWhatIsWrongAndTheWayOut) {
  World world;
  EXPECT_TRUE(Says(world->Authenticate("").error(), "Authorization: Bearer"));
  EXPECT_TRUE(Says(world->Authenticate("sk-proj-abc").error(), "begin with sk-penstock-"));
  const auto unknown = world->Authenticate("sk-penstock-0123456789secret").error();
  EXPECT_TRUE(Says(unknown, "sk-penstock-012345...")) << unknown.message;
  EXPECT_FALSE(Says(unknown, "secret")) << "no more of a secret than its beginning";
  for (const auto& error : {world->Authenticate("").error(), unknown}) {
    EXPECT_EQ(error.code, Code::kUnauthenticated);
  }

  (void)world.CreateTeam("red");
  const Nanos expires = world.clock.Wall() + 100 * kSecond;
  const auto expiring = *world.CreateKey({"red", "ci", Role::kDeveloper, {}, expires});
  EXPECT_TRUE(world->Authenticate(expiring.secret));
  world.clock.Advance(100 * kSecond);
  const auto expired = world->Authenticate(expiring.secret).error();
  EXPECT_TRUE(Says(expired, expiring.key.prefix)) << expired.message;
  EXPECT_TRUE(Says(expired, "expired on 2023-11-14 22:15 UTC")) << expired.message;
  EXPECT_TRUE(Says(expired, "ask your team lead for a new one")) << expired.message;

  const auto revoked = world.NewKey("blue");
  ASSERT_TRUE(world.RevokeKey(revoked.key.id));
  EXPECT_TRUE(Says(world->Authenticate(revoked.secret).error(), "was revoked on"));
  EXPECT_TRUE(world.RevokeKey(revoked.key.id)) << "once more does no harm";
}

TEST(Directory, ARevokedKeyIsRefusedAtOnceAndAfterARestart) {
  TempDir dir;
  std::string secret;
  {
    World world(dir.path);
    const auto key = world.NewKey("red");
    secret = key.secret;
    auto ticket = world.Open(*world->Authenticate(secret), "qwen", 1);
    ASSERT_TRUE(world.RevokeKey(key.key.id));
    EXPECT_FALSE(world->Authenticate(secret));
    ticket->End("stop", "");  // what runs may finish
    world->Flush();
  }
  World world(dir.path);
  EXPECT_FALSE(world->Authenticate(secret));
  EXPECT_NE(world->Keys(std::nullopt).at(0).revoked, 0);
}

TEST(Directory, RotationOverlaps) {
  World world;
  (void)world.CreateTeam("red");
  const Nanos day = 24 * 3600 * kSecond;
  const auto old = *world.CreateKey({"red", "ci", Role::kDeveloper, {"qwen"}, world.clock.Wall() + 30 * day});
  world.clock.Advance(20 * day);
  const auto renewed = *world.RotateKey(old.key.id, day);
  EXPECT_NE(renewed.secret, old.secret);
  EXPECT_EQ(renewed.key.models, old.key.models);
  EXPECT_EQ(renewed.key.expires - renewed.key.created, 30 * day) << "as long a life as the old one was given";
  EXPECT_TRUE(world->Authenticate(old.secret));
  EXPECT_TRUE(world->Authenticate(renewed.secret));
  world.clock.Advance(day);
  EXPECT_FALSE(world->Authenticate(old.secret));
  EXPECT_TRUE(world->Authenticate(renewed.secret));

  const auto at_once = *world.RotateKey(renewed.key.id, 0);
  EXPECT_FALSE(world->Authenticate(renewed.secret));
  EXPECT_TRUE(world->Authenticate(at_once.secret));
  ASSERT_TRUE(world.RevokeKey(at_once.key.id));
  EXPECT_EQ(world.RotateKey(at_once.key.id, 0).error().code, Code::kConflict);
}

TEST(Directory, AnOverlapNeverLengthensAKeysLife) {
  World world;
  (void)world.CreateTeam("red");
  const auto old = *world.CreateKey({"red", "ci", Role::kDeveloper, {}, world.clock.Wall() + kSecond});
  (void)world.RotateKey(old.key.id, 3600 * kSecond);
  world.clock.Advance(kSecond);
  EXPECT_FALSE(world->Authenticate(old.secret));
}

TEST(Directory, BadWishesAreRefusedByName) {
  World world;
  (void)world.CreateTeam("red");
  const auto create = [&](NewKey key) { return world.CreateKey(key).error(); };
  EXPECT_EQ(create({"green", "", Role::kDeveloper, {}, 0}).code, Code::kNotFound);
  EXPECT_TRUE(Says(create({"green", "", Role::kDeveloper, {}, 0}), "penstock team create green"));
  EXPECT_EQ(create({"", "", Role::kDeveloper, {}, 0}).code, Code::kInvalid) << "a developer is in a team";
  EXPECT_EQ(create({"red", "", Role::kOperator, {}, 0}).code, Code::kInvalid) << "an operator is not";
  EXPECT_EQ(create({"red", "a\nb", Role::kDeveloper, {}, 0}).code, Code::kInvalid);
  EXPECT_EQ(create({"red", "", Role::kDeveloper, {}, 1}).code, Code::kInvalid) << "expired before it lived";
  EXPECT_EQ(create({"red", "", Role::kDeveloper, {""}, 0}).code, Code::kInvalid);
  for (const char* name : {"", " red", "red ", "a\tb", "operator"})
    EXPECT_FALSE(world.CreateTeam(name)) << name;
  EXPECT_EQ(world.CreateTeam("red").error().code, Code::kConflict);
  EXPECT_EQ(world.RevokeKey(99).error().code, Code::kNotFound);
}

TEST(Directory, AKeyIsFoundByItsIdOrItsPrefix) {
  World world;
  const auto red = world.NewKey("red"), blue = world.NewKey("blue");
  constexpr Scope kAll{.reach = Reach::kAll};
  EXPECT_EQ(world->FindKey(std::to_string(blue.key.id), kAll)->id, blue.key.id);
  EXPECT_EQ(world->FindKey(red.key.prefix, kAll)->id, red.key.id);
  EXPECT_EQ(world->FindKey(red.key.prefix + "...", kAll)->id, red.key.id);
  EXPECT_EQ(world->FindKey(red.secret, kAll)->id, red.key.id);
  EXPECT_EQ(world->FindKey(red.key.prefix.substr(kSecretPrefix.size()), kAll)->id, red.key.id);
  EXPECT_EQ(world->FindKey("", kAll).error().code, Code::kNotFound);
  EXPECT_EQ(world->FindKey("sk-penstock-", kAll).error().code, Code::kNotFound);
  EXPECT_EQ(world->FindKey("nothing", kAll).error().code, Code::kNotFound);
  for (int id = 10; id < 100; ++id) {
    EXPECT_FALSE(world->FindKey(std::to_string(id), kAll))
        << "no secret is meant by a number, though it begin so";
  }

  const Scope reds{.reach = Reach::kSubtree, .own_team = red.key.team, .own_key = red.key.id};
  EXPECT_EQ(world->FindKey(red.key.prefix, reds)->id, red.key.id);
  const Error theirs = world->FindKey(blue.key.prefix, reds).error();
  const Error none = world->FindKey("sk-penstock-nobody", reds).error();
  EXPECT_EQ(theirs.code, none.code) << "another team's key and none at all look the same";
  EXPECT_EQ(world->FindKey(std::to_string(blue.key.id), reds).error().code, Code::kNotFound);
}

TEST(Directory, ALoginIsAnotherSecretOfTheSameSeat) {
  World world;
  (void)world.CreateTeam("red");
  const auto key = *world.CreateKey({"red", "ci", Role::kTeamLead, {"qwen"}, 0});
  const auto login = *world.CreateLogin(key.key.id, "login ann@laptop");
  const auto who = *world->Authenticate(login.secret), owner = *world->Authenticate(key.secret);
  EXPECT_EQ(who.key, owner.key) << "what is used is the key's";
  EXPECT_EQ(who.key_name, "ci");
  EXPECT_EQ(who.role, Role::kTeamLead);
  EXPECT_EQ(who.models, owner.models);
  EXPECT_EQ(who.shown, login.key.id);
  ASSERT_TRUE(world.RevokeKey(login.key.id));
  EXPECT_TRUE(Says(world->Authenticate(login.secret).error(), "penstock login"));
  EXPECT_TRUE(world->Authenticate(key.secret)) << "revoked apart from its key";
  EXPECT_EQ(world.CreateLogin(login.key.id, "again").error().code, Code::kForbidden);
  EXPECT_EQ(world.RotateKey(login.key.id, 0).error().code, Code::kConflict);
}

TEST(Directory, ALoginEndsWithTheKeyThatItWasMadeFrom) {
  TempDir dir;
  std::string revoked, rotated;
  {
    World world(dir.path);
    const auto red = world.NewKey("red"), blue = world.NewKey("blue");
    revoked = world.CreateLogin(red.key.id, "login")->secret;
    rotated = world.CreateLogin(blue.key.id, "login")->secret;
    ASSERT_TRUE(world.RevokeKey(red.key.id));
    EXPECT_FALSE(world->Authenticate(revoked));
    ASSERT_TRUE(world.RotateKey(blue.key.id, 100 * kSecond));
    EXPECT_TRUE(world->Authenticate(rotated)) << "for as long as the old secret";
    world.clock.Advance(100 * kSecond);
    EXPECT_FALSE(world->Authenticate(rotated));
  }
  World world(dir.path);
  EXPECT_FALSE(world->Authenticate(revoked));
  world.clock.Advance(100 * kSecond);
  EXPECT_FALSE(world->Authenticate(rotated));
}

TEST(Directory, ARenewedKeyKeepsItsSeatAndSoItsUsage) {
  TempDir dir;
  std::string secret;
  KeyId seat = 0;
  {
    World world(dir.path);
    const auto old = world.NewKey("red");
    seat = old.key.id;
    const auto renewed = *world.RotateKey(old.key.id, 0);
    const auto again = *world.RotateKey(renewed.key.id, 0);
    EXPECT_NE(again.key.id, seat);
    EXPECT_EQ(again.key.seat, seat);
    secret = again.secret;
    EXPECT_EQ(world->Authenticate(secret)->key, seat);
  }
  World world(dir.path);
  EXPECT_EQ(world->Authenticate(secret)->key, seat);
  EXPECT_NE(world->Authenticate(secret)->shown, seat);
}

// The disk is busy: another connection holds the write lock.
TEST(Directory, ChangesReturnAtOnceAndAnswerWhenTheyAreDurable) {
  World world;
  const CreatedKey key = world.NewKey("red");
  Database other = *Database::Open(world.dir() + "/penstock.db", Database::Mode::kReadWrite);
  ASSERT_TRUE(other.Execute("BEGIN IMMEDIATE"));
  std::optional<Result<Team>> blue, again;
  std::optional<Status> revoked;
  const Nanos begin = SystemClock().Monotonic();
  world->CreateTeam("blue", [&](Result<Team> team) { blue = std::move(team); });
  world->CreateTeam("blue", [&](Result<Team> team) { again = std::move(team); });
  world->RevokeKey(key.key.id, [&](Status status) { revoked = std::move(status); });
  EXPECT_LT(SystemClock().Monotonic() - begin, 500 * kMillisecond);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->error().reason, Reason::kTeamExists) << "the name is taken from the call on";
  world.RunAll();
  EXPECT_FALSE(blue || revoked);
  EXPECT_EQ(world->Teams().size(), 1u) << "seen once it is durable";
  EXPECT_EQ(world->Authenticate(key.secret).error().reason, Reason::kKeyRevoked)
      << "refused from the call on";
  ASSERT_TRUE(other.Execute("COMMIT"));
  world.RunUntil([&] { return blue && revoked; });
  EXPECT_TRUE(*blue) << blue->error().message;
  EXPECT_TRUE(*revoked);
  EXPECT_EQ(world->Teams().size(), 2u);
  EXPECT_EQ(*other.QueryInt("SELECT count(*) FROM teams WHERE name='blue'"), 1);
  EXPECT_EQ(*other.QueryInt("SELECT count(*) FROM keys WHERE revoked<>0"), 1);
}

TEST(Directory, ATeamsTextStaysInsideUntilSomebodyAllowsMore) {
  TempDir dir;
  std::string secret;
  TeamId team = 0;
  {
    World world(dir.path);
    secret = world.NewKey("red").secret;
    team = world->Authenticate(secret)->team;
    EXPECT_FALSE(world->Authenticate(secret)->external);
    ASSERT_TRUE(world.SetExternal(team, true));
    EXPECT_TRUE(world->Authenticate(secret)->external);
    EXPECT_EQ(world.SetExternal(999, true).error().code, Code::kNotFound);
    world->Flush();
  }
  World world(dir.path);
  EXPECT_TRUE(world->Authenticate(secret)->external);
  ASSERT_TRUE(world.SetExternal(team, false));
  EXPECT_FALSE(world->Teams().front().external);
}

TEST(Directory, ARenamedTeamKeepsItsKeysAndItsUsage) {
  TempDir dir;
  std::string secret;
  {
    World world(dir.path);
    secret = world.NewKey("red").secret;
    (void)world.CreateTeam("blue");
    const TeamId id = world->Authenticate(secret)->team;
    EXPECT_EQ(world.RenameTeam(id, "BLUE").error().code, Code::kConflict);
    EXPECT_EQ(world.RenameTeam(id, "").error().code, Code::kInvalid);
    EXPECT_EQ(world.RenameTeam(99, "x").error().code, Code::kNotFound);
    EXPECT_EQ(world.RenameTeam(id, "Red")->name, "Red") << "its own name in another case";
    world.Open(*world->Authenticate(secret), "qwen", 1)->End("stop", "");
    EXPECT_EQ(world.RenameTeam(id, "rouge")->name, "rouge");
    EXPECT_EQ(world->Authenticate(secret)->team_name, "rouge");
    EXPECT_EQ(world->Keys(id).at(0).team_name, "rouge");
    EXPECT_TRUE(world.CreateTeam("red")) << "the old name is free";
    world.Settle();
  }
  World world(dir.path);
  EXPECT_EQ(world->Authenticate(secret)->team_name, "rouge");
  EXPECT_EQ(world.UsageOf({})->at(0).team, "rouge");
}

TEST(Directory, ARemovedTeamsKeysAreRefusedAndItsUsageStays) {
  TempDir dir;
  std::string secret;
  KeyId other = 0;
  {
    World world(dir.path);
    const auto key = world.NewKey("red");
    secret = key.secret;
    other = world.NewKey("blue").key.id;
    const TeamId id = key.key.team;
    world.Open(*world->Authenticate(secret), "qwen", 1)->End("stop", "");
    EXPECT_NE(world.RemoveTeam(id)->removed, 0);
    EXPECT_TRUE(world->IsRevoked(key.key.id)) << "running requests end";
    EXPECT_FALSE(world->IsRevoked(other));
    EXPECT_EQ(world.RenameTeam(id, "pink").error().code, Code::kNotFound);
    EXPECT_EQ(world.SetExternal(id, true).error().code, Code::kNotFound);
    EXPECT_EQ(world.CreateKey({"red", "ci", Role::kDeveloper, {}, 0}).error().code, Code::kNotFound);
    EXPECT_TRUE(Says(world.CreateTeam("Red").error(), "a removed team had the name 'red'"));
    EXPECT_EQ(world.RemoveTeam(99).error().code, Code::kNotFound);
    EXPECT_TRUE(world.RemoveTeam(id)) << "once more does no harm";
    world.Settle();
  }
  World world(dir.path);
  const Error refused = world->Authenticate(secret).error();
  EXPECT_EQ(refused.code, Code::kUnauthenticated);
  EXPECT_TRUE(Says(refused, "team 'red'")) << refused.message;
  EXPECT_TRUE(Says(refused, "was removed on")) << refused.message;
  EXPECT_EQ(world.UsageOf({})->at(0).team, "red");
  EXPECT_FALSE(world->IsRevoked(other));
}

TEST(Directory, AKeyThatIsMadeWhileItsTeamIsRemovedIsRefused) {
  World world;
  const TeamId red = world.CreateTeam("red")->id;
  std::optional<CreatedKey> created;
  world->CreateKey({"red", "late", Role::kDeveloper, {}, 0}, [&](auto key) { created = *key; });
  ASSERT_TRUE(world.RemoveTeam(red));
  world.RunUntil([&] { return created.has_value(); });
  EXPECT_FALSE(world->Authenticate(created->secret));
}

TEST(Directory, NoSecretIsInAnyFile) {
  World world;
  const auto key = world.NewKey("red");
  auto ticket = world.Open(*world->Authenticate(key.secret), "qwen", 1);
  ticket->End("stop", "");
  world.Settle();
  const std::string hidden = key.secret.substr(kSecretPrefix.size() + kShownLength);
  for (const auto& file : std::filesystem::directory_iterator(world.dir())) {
    std::ifstream in(file.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    EXPECT_EQ(bytes.find(hidden), std::string::npos) << file.path();
  }
}

// ---- names, and how keys are named in commands ----

TEST(Directory, AKeyIsFoundByItsWholePrefixOrSecretAndByNothingBetween) {
  const Scope all{.reach = Reach::kAll};
  World world;
  const auto key = world.NewKey("red");
  const std::string& prefix = key.key.prefix;
  EXPECT_EQ(world->FindKey(key.secret, all)->id, key.key.id);
  std::string wrong = key.secret;
  wrong.back() = wrong.back() == 'x' ? 'y' : 'x';
  for (const std::string& text : {wrong, key.secret.substr(0, 30), prefix + "zzzz", prefix + "...x",
                                  prefix.substr(0, prefix.size() - 1), prefix.substr(0, 14)})
    EXPECT_EQ(world->FindKey(text, all).error().code, Code::kNotFound) << text;
}

TEST(Directory, AnExpiredKeyIsNotRotated) {
  World world;
  ASSERT_TRUE(world.CreateTeam("red"));
  const auto key = *world.CreateKey({"red", "ci", Role::kDeveloper, {}, world.clock.Wall() + kSecond});
  world.clock.Advance(2 * kSecond);
  const auto renewed = world.RotateKey(key.key.id, kSecond);
  ASSERT_FALSE(renewed);
  EXPECT_EQ(renewed.error().code, Code::kConflict);
  EXPECT_NE(renewed.error().message.find("expired on"), std::string::npos) << renewed.error().message;
}

TEST(Directory, OnlyRevokedKeysAndTheirLoginsAreRevoked) {
  World world;
  const auto key = world.NewKey("red");
  const auto login = *world.CreateLogin(key.key.id, "laptop");
  const auto renewed = *world.RotateKey(key.key.id, 0);
  world.clock.Advance(kSecond);
  EXPECT_FALSE(world->Authenticate(key.secret)) << "it has expired";
  for (const auto& one : {key, login, renewed}) EXPECT_FALSE(world->IsRevoked(one.key.id));
  ASSERT_TRUE(world.RevokeKey(key.key.id));
  EXPECT_TRUE(world->IsRevoked(key.key.id));
  EXPECT_TRUE(world->IsRevoked(login.key.id));
  EXPECT_FALSE(world->IsRevoked(renewed.key.id));
  EXPECT_FALSE(world->IsRevoked(999));
}

TEST(Directory, NamesThatDifferByCaseOrSpellingAreTheSame) {
  World world;
  ASSERT_TRUE(world.CreateTeam("Caf\u00e9"));
  for (const char* name : {"Caf\u00e9", "caf\u00e9", "CAFE\u0301"})
    EXPECT_EQ(world.CreateTeam(name).error().code, Code::kConflict) << name;
  EXPECT_EQ(world.CreateTeam("Operator").error().code, Code::kConflict);
  EXPECT_EQ(world.CreateTeam("a\u202eb").error().code, Code::kInvalid);
  EXPECT_EQ(world->Teams().at(0).name, "Caf\u00e9");
  const auto key = world.CreateKey({"Cafe\u0301", "CI", Role::kDeveloper, {}, 0});
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(world.CreateKey({"Caf\u00e9", "ci", Role::kDeveloper, {}, 0}).error().code, Code::kConflict);
  ASSERT_TRUE(world.CreateTeam("blue"));
  EXPECT_TRUE(world.CreateKey({"blue", "ci", Role::kDeveloper, {}, 0})) << "of another team";
  ASSERT_TRUE(world.RevokeKey(key->key.id));
  EXPECT_TRUE(world.CreateKey({"1", "ci", Role::kDeveloper, {}, 0}))
      << "by the team's id; the old key works no more";
}

TEST(Directory, KeysWithoutANameGetOne) {
  World world;
  ASSERT_TRUE(world.CreateTeam("red"));
  for (const char* name : {"default", "default 2", "default 3"})
    EXPECT_EQ(world.CreateKey({"red", "", Role::kDeveloper, {}, 0})->key.name, name);
}

}  // namespace
}  // namespace penstock

#include "teams/roles.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr Role kRoles[] = {Role::kOperator, Role::kFinance, Role::kTeamLead, Role::kDeveloper};

TEST(Roles, AnOperatorMayAllThatAnyoneMay) {
  for (const Capability capability : Capabilities()) {
    for (const Role role : kRoles) {
      EXPECT_LE(ReachOf(role, capability), ReachOf(Role::kOperator, capability))
          << CapabilityName(capability);
    }
  }
}

TEST(Roles, ADeveloperReachesNobodyElse) {
  for (const Capability capability : Capabilities()) {
    EXPECT_LE(ReachOf(Role::kDeveloper, capability), Reach::kOwn) << CapabilityName(capability);
  }
}

TEST(Roles, ATeamLeadReachesNoOtherTeam) {
  const Principal lead{
      .key = 7, .team = 2, .team_name = "red", .key_name = "", .role = Role::kTeamLead, .models = {}};
  for (const Capability capability : Capabilities()) {
    const Scope scope = ScopeOf(lead, capability);
    EXPECT_FALSE(scope.CoversTeam(3)) << CapabilityName(capability);
    EXPECT_FALSE(scope.CoversTeam(0)) << CapabilityName(capability);
    EXPECT_FALSE(scope.Covers(3, 8)) << CapabilityName(capability);
  }
  EXPECT_TRUE(ScopeOf(lead, Capability::kManageKeys).Covers(2, 8));
  EXPECT_FALSE(ScopeOf(lead, Capability::kReadStatus).Covers(2, 7)) << "nothing is reached without the right";
}

TEST(Roles, FinanceSeesWhatWasUsedAndTouchesNothing) {
  const Principal finance{
      .key = 7, .team = 0, .team_name = "", .key_name = "", .role = Role::kFinance, .models = {}};
  for (const Capability capability :
       {Capability::kReadUsage, Capability::kReadRequests, Capability::kReadTeams}) {
    EXPECT_TRUE(ScopeOf(finance, capability).Covers(3, 8)) << CapabilityName(capability);
  }
  for (const Capability capability :
       {Capability::kUseModels, Capability::kCreateTeams, Capability::kManageKeys, Capability::kReadStatus,
        Capability::kManageModels}) {
    EXPECT_FALSE(May(Role::kFinance, capability)) << CapabilityName(capability);
  }
  EXPECT_FALSE(ScopeOf(finance, Capability::kRevokeKeys).Covers(0, 1)) << "nor the operator's key";
  EXPECT_TRUE(ScopeOf(finance, Capability::kRevokeKeys).Covers(0, 7)) << "but its own";
}

TEST(Roles, NobodyMakesAKeyThatMayMoreThanItsMaker) {
  for (const Role maker : kRoles) {
    for (const Role made : kRoles) {
      if (!MayMake(maker, made)) continue;
      for (const Capability capability : Capabilities()) {
        EXPECT_LE(ReachOf(made, capability), ReachOf(maker, capability))
            << RoleName(maker) << " makes " << RoleName(made) << ": " << CapabilityName(capability);
      }
    }
  }
  EXPECT_FALSE(MayMake(Role::kTeamLead, Role::kFinance));
  EXPECT_FALSE(MayMake(Role::kDeveloper, Role::kDeveloper));
}

TEST(Roles, HaveNamesThatReadBack) {
  for (const Role role : kRoles) EXPECT_EQ(RoleOf(RoleName(role)), role);
  EXPECT_FALSE(RoleOf("king"));
  EXPECT_EQ(RolesThatMay(Capability::kReadTeams), "operator or finance or team_lead");
}

}  // namespace
}  // namespace penstock

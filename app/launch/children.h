// The processes that `up` starts, described for the supervisor: the gateway and one for each planned engine.
#pragma once

#include <string>

#include "app/common/data_dir.h"
#include "app/launch/engines.h"
#include "app/launch/supervisor.h"
#include "app/machine/cpu_group.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// `listen_fd`: the bound socket, which the child inherits; `socket`: where engines connect.
ChildSpec GatewayChild(const LoadedConfig& loaded, const DataDir& data, int listen_fd,
                       const std::string& socket);

// Creates the control group that a CPU quota needs, in `groups`. An engine that is killed for memory gets a
// smaller budget at each restart.
// Errors: kInvalid: its CA file cannot be used; kUnsupported: a quota cannot be enforced here.
Result<ChildSpec> EngineChild(const EnginePlan& plan, const DataDir& data, const std::string& socket,
                              CpuGroups& groups);

}  // namespace penstock

// What engines say of a model, as JSON for every page that shows models.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "fleet/fleet.h"
#include "fleet/registry/guarantees.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {

std::string_view ModelStateName(wire::ModelState::State state);
// What every connected engine guarantees that has the model, or of a family any variant; nothing where none
// has it.
std::optional<Guarantees> GuaranteesFor(std::string_view model, const std::vector<EngineView>& engines);
// The field "guarantees" of an object; empty for none.
void AppendGuarantees(const std::optional<Guarantees>& guarantees, JsonWriter& writer);

}  // namespace penstock::gateway

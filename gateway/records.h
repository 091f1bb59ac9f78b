// How requests, usage and models look as JSON: one form for /v1 and /admin/v1 (gateway/admin.h describes it).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fleet/registry/guarantees.h"
#include "gateway/api.h"
#include "gateway/json_out.h"

namespace penstock::gateway {

std::string RequestJson(const RequestRecord& record);
// Answers `call` with the usage that its query string selects of what its scope covers.
void SendUsage(const Call& call);
// The team of that name, if the call's scope covers it. Errors: kNotFound, whether it lies outside or is not.
Result<TeamId> FindTeam(const Call& call, std::string_view name);
// A request by the id in the path, of those that the call's scope covers; ids of answers ("chatcmpl-…") are
// understood too. Errors: kNotFound.
Result<RequestRecord> FindRequest(const Call& call);
// "warnings": the last few of this process; they may name files: for those who may read the status.
void AppendWarnings(JsonWriter& writer);
std::string_view ModelStateName(wire::ModelState::State state);
// What every connected engine keeps that has the model, or of a family any variant; nothing where none has
// it.
std::optional<Guarantees> GuaranteesFor(std::string_view model, const std::vector<EngineView>& engines);
// The field "guarantees" of an object; empty for none.
void AppendGuarantees(const std::optional<Guarantees>& guarantees, JsonWriter& writer);
// Wall nanoseconds as Unix seconds with a fraction.
double FractionalSeconds(Nanos wall);

}  // namespace penstock::gateway

// Admission: whether a request may run, before anything is spent on it.
//
// The whole order, and where each step is: authenticate and role (http/router.cc); limits on size and time
// (http/); the model's name, the key's scope, the team's permission for engines outside (here); the
// Idempotency-Key (idempotency.h); the exact prompt (prompt.h); room in the queue, the ticket, and the queue
// (generation.cc, OnEncoded). The ticket's record is the first trace of a request: a refusal leaves none.
#pragma once

#include <string_view>

#include "gateway/request/generation.h"

namespace penstock::gateway {

// The model's entry, whose text is loaded. Errors, in this order: 404 (no such model: lists the key's),
// 403 (not this key's), 503 (stopping, store fault, unloaded, being loaded or broken), 403 (served outside
// the organisation only, which the key's team does not allow).
ApiResult<const ModelEntry*> Admit(GenerationContext& context, const Principal& principal,
                                   std::string_view model);

// Why nothing runs or is delivered while the store cannot be written.
Error Unstored(std::string_view why);

// Why a request whose key was revoked ends before its answer does.
ApiError RevokedMeanwhile();

}  // namespace penstock::gateway

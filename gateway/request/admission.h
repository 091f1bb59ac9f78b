// Admission: whether a request may run at all, before anything is spent on it.
#pragma once

#include <string_view>

#include "gateway/request/generation.h"

namespace penstock::gateway {

// The model's entry, whose text is loaded. Errors, in this order: 404 (no such model: lists the key's),
// 403 (not this key's), 503 (stopping, store fault, unloaded, being loaded or broken), 409 (a repeated
// Idempotency-Key; empty: none).
ApiResult<const ModelEntry*> Admit(GenerationContext& context, const Principal& principal,
                                   std::string_view model, std::string_view idempotency_key);

}  // namespace penstock::gateway

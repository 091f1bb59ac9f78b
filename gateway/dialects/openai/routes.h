// OpenAI's routes: the two that generate, and the list of models.
#pragma once

#include <vector>

#include "gateway/http/call.h"
#include "gateway/request/generation.h"

namespace penstock::gateway {

// `context` outlives the routes and every call.
std::vector<Route> OpenAiRoutes(GenerationContext& context);

}  // namespace penstock::gateway

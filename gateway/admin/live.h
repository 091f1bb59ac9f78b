// GET /v1/live: a snapshot of the pool, cut to what the asking key may see. The console asks once a second.
#pragma once

#include "gateway/admin/routes.h"

namespace penstock::gateway {

void SendLive(const StatusContext& context, const Call& call);

}  // namespace penstock::gateway

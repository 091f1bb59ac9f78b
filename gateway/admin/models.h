// Installed models as JSON (gateway/admin/admin.h: Model).
#pragma once

#include <string_view>

#include "gateway/common/json_out.h"
#include "gateway/request/models.h"

namespace penstock::gateway {

// The field `key` of an object: an array with every installed model, as of now.
void AppendModels(std::string_view key, Models& models, const Fleet& fleet, JsonWriter& writer);

}  // namespace penstock::gateway

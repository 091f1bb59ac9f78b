// Any bytes as the body of an admin request, read strictly: a fault with a message, or known fields only.
#include <cstdint>
#include <cstdlib>

#include "gateway/admin/admin_fields.h"
#include "gateway/dialects/openai/errors.h"
#include "teams/roles.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock::gateway;  // NOLINT: this file is one function
  const auto body = ParseJsonObject({reinterpret_cast<const char*>(data), size});
  if (!body) return 0;
  Fields fields(body->get_object());
  const penstock::NewKey key =
      ReadNewKey(fields, {.team_name = {}, .key_name = {}, .role = penstock::Role::kOperator, .models = {}});
  if (!fields.fault() && key.team.empty() && penstock::IsOfATeam(key.role)) std::abort();
  std::string out;
  if (fields.fault()) AppendOpenAiError(*fields.fault(), out);
  return 0;
}

#include "model/files/architecture.h"

#include <array>
#include <string>

namespace penstock {
namespace {

constexpr std::array<const Architecture*, 5> kServed = {&kLlama, &kMistral, &kQwen2, &kQwen3, &kQwen3Moe};

}  // namespace

Result<const Architecture*> FindArchitecture(std::string_view name, std::string_view origin) {
  std::string served;
  for (const Architecture* architecture : kServed) {
    if (name == architecture->name || name == architecture->hugging_face) return architecture;
    served += served.empty() ? "" : ", ";
    served += architecture->name;
  }
  return Fail(Reason::kModelUnsupported, "{}: architecture \"{}\" is not supported; supported: {}", origin,
              name.substr(0, 64), served);
}

}  // namespace penstock

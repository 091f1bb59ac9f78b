#include <algorithm>

#include "base/check.h"
#include "chip/cpu.h"
#include "kernels/kernels.h"
#include "kernels/versions.h"

namespace penstock::kernels {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

std::span<const Isa> SupportedIsas() {
  static constexpr Isa kAll[] = {Isa::kReference, Isa::kAvx2, Isa::kAvx512};
  static const size_t count = [] {
    const chip::CpuFeatures features = chip::DetectCpuFeatures();
    return features.avx512_vnni ? size_t{3} : features.avx2 ? size_t{2} : size_t{1};
  }();
  return std::span(kAll).first(count);
}

Result<Isa> BestIsa(std::string_view cap) {
  for (const Isa isa : {Isa::kReference, Isa::kAvx2, Isa::kAvx512}) {
    if (cap == IsaName(isa)) return std::min(isa, SupportedIsas().back());
  }
  return Fail(Code::kInvalid, "there is no kernel version '{}': reference, avx2 or avx512", cap);
}

const Kernels& KernelsFor(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return ReferenceKernels();
    case Isa::kAvx2:
      return Avx2Kernels();
    case Isa::kAvx512:
      return Avx512Kernels();
  }
  PENSTOCK_CHECK(false);
}

int64_t AttentionScratchFloats(const Attention& args) {
  return AttentionScratch(args.head_dim).Floats();
}

}  // namespace penstock::kernels

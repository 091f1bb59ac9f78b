// Any bytes as a coded body: a step never gives more than it may, and steps of any size give the same text.
#include <cstdint>
#include <cstdlib>

#include "gateway/http/body_decoder.h"

namespace {

using penstock::gateway::BodyDecoder;
using penstock::gateway::Coding;

BodyDecoder::State Decode(Coding coding, std::string_view encoded, size_t step, std::string& text) {
  constexpr size_t kMost = 1 << 20;
  const auto decoder = BodyDecoder::Make(coding);
  auto state = BodyDecoder::State::kMore;
  while (state == BodyDecoder::State::kMore && text.size() < kMost) {
    const size_t before = text.size();
    const size_t most = std::min(step, kMost - before);
    state = decoder->Step(encoded, most, text);
    if (text.size() - before > most) std::abort();
  }
  return state;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto coding = static_cast<Coding>(1 + data[0] % 3);
  const std::string_view encoded(reinterpret_cast<const char*>(data + 2), size - 2);
  std::string at_once, in_steps;
  const auto whole = Decode(coding, encoded, 1 << 20, at_once);
  const auto cut = Decode(coding, encoded, 1 + data[1] * 16, in_steps);
  // A damaged body may give less text in one step than in many.
  if (whole == BodyDecoder::State::kDone && (cut != whole || at_once != in_steps)) std::abort();
  return 0;
}

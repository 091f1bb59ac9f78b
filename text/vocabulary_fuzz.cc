#include "text/fuzzing.h"

namespace {

using penstock::Vocabulary;

constexpr const char* kModels[] = {"gpt2", "llama", "bert", "t5", "gemma4", ""};
constexpr const char* kPres[] = {"qwen2",  "deepseek-r1-qwen", "deepseek-v3", "llama-bpe", "smollm", "gpt-2",
                                 "tekken", "gpt-4o",           "kimi-k2",     "superbpe",  "gemma4", "",
                                 "odd"};
constexpr const char* kPieces[] = {"a",  "b",     "ab", "abc",    "Ġ",       "Ġa",    "▁",
                                   "▁a", "1",     "12", "<0x0A>", "<|end|>", "<unk>", "",
                                   " ",  "[PAD]", "é",  "\xff",   "Ċ",       "日",    "a b"};

std::string Piece(FuzzedDataProvider& data) {
  return data.ConsumeIntegralInRange(0, 7) == 0 ? data.ConsumeRandomLengthString(12)
                                                : data.PickValueInArray(kPieces);
}

Vocabulary Made(FuzzedDataProvider& data) {
  Vocabulary vocabulary{.model = data.PickValueInArray(kModels), .pre = data.PickValueInArray(kPres)};
  const size_t tokens = data.ConsumeIntegralInRange<size_t>(0, 40),
               merges = data.ConsumeIntegralInRange<size_t>(0, 20);
  const bool typed = data.ConsumeBool(), scored = data.ConsumeBool();
  for (size_t i = 0; i < tokens; ++i) {
    vocabulary.tokens.push_back(Piece(data));
    if (typed) vocabulary.types.push_back(data.ConsumeIntegralInRange(-1, 7));
    if (scored) vocabulary.scores.push_back(data.ConsumeFloatingPoint<float>());
  }
  for (size_t i = 0; i < merges; ++i) {
    vocabulary.merges.push_back(Piece(data) + (data.ConsumeIntegralInRange(0, 9) == 0 ? "" : " ") +
                                Piece(data));
  }
  if (data.ConsumeIntegralInRange(0, 9) == 0) vocabulary.types.push_back(1);
  vocabulary.unknown = data.ConsumeIntegralInRange(-2, 50);
  vocabulary.add_space_prefix = data.ConsumeBool();
  vocabulary.charsmap = data.ConsumeRandomLengthString(40);
  vocabulary.remove_extra_spaces = data.ConsumeBool();
  vocabulary.lowercase = data.ConsumeBool();
  return vocabulary;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  const auto tokenizer = penstock::TokenizerFromVocabulary(Made(data));
  if (!tokenizer) {
    PENSTOCK_CHECK(!tokenizer.error().message.empty());
    return 0;
  }
  penstock::Exercise(**tokenizer, " abc a1 123\n<|end|><unk> é日" + data.ConsumeRemainingBytesAsString());
  return 0;
}

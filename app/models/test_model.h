// A whole tiny model for tests: byte-level vocabulary, chat template, one layer, 150 kB.
#pragma once

#include <array>
#include <string>

#include "model/test_gguf.h"

namespace penstock {

struct TestModel {
  std::string architecture = "llama";
  std::string chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
};

// GPT-2's printable stand-in for a byte, in UTF-8.
inline std::string ByteSymbol(unsigned byte) {
  const auto printable = [](unsigned b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  unsigned code = byte;
  if (!printable(byte)) {
    code = 256;
    for (unsigned b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// GGUF bytes of a model that loads, passes the inspection, and generates nonsense.
inline std::string TestModelBytes(const TestModel& model = {}) {
  using kernels::Format;
  constexpr uint64_t kWidth = 64, kHeads = 2, kHead = 32;
  constexpr uint64_t kTokens = 259;
  struct [[gnu::packed]] {
    uint32_t type = 5;  // of the elements: i32
    uint64_t count = kTokens;
    std::array<int32_t, kTokens> values;
  } types;
  types.values.fill(1);
  std::vector<std::string> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) tokens.push_back(ByteSymbol(byte));
  tokens.push_back("th");
  for (const char* control : {"<|im_start|>", "<|im_end|>"}) {
    types.values.at(tokens.size()) = 3;
    tokens.emplace_back(control);
  }
  const std::string& a = model.architecture;
  testing::GgufWriter w;
  w.String("general.architecture", a).String("general.name", "Tiny");
  w.U32(a + ".block_count", 1).U32(a + ".context_length", 256).U32(a + ".embedding_length", kWidth);
  w.U32(a + ".feed_forward_length", kWidth).U32(a + ".attention.head_count", kHeads);
  w.U32(a + ".attention.head_count_kv", kHeads).F32(a + ".attention.layer_norm_rms_epsilon", 1e-5F);
  w.F32(a + ".rope.freq_base", 10'000);
  w.String("tokenizer.ggml.model", "gpt2").String("tokenizer.ggml.pre", "qwen2");
  w.Strings("tokenizer.ggml.tokens", tokens).Strings("tokenizer.ggml.merges", {"t h"});
  w.Key("tokenizer.ggml.token_type", testing::GgufWriter::Type::kArray, types);
  w.U32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(tokens.size() - 1));
  w.String("tokenizer.chat_template", model.chat_template);
  const auto tensor = [&](const std::string& name, uint64_t rows, uint64_t cols) {
    testing::Bytes data;
    for (uint64_t i = 0; i < rows * cols; ++i) testing::Put(data, 0.01F * static_cast<float>(i % 17) - 0.08F);
    w.Tensor(name, Format::kF32, rows == 1 ? std::vector{cols} : std::vector{cols, rows}, data);
  };
  tensor("token_embd.weight", tokens.size(), kWidth);
  tensor("output_norm.weight", 1, kWidth);
  tensor("blk.0.attn_norm.weight", 1, kWidth);
  tensor("blk.0.ffn_norm.weight", 1, kWidth);
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
    tensor(fmt::format("blk.0.{}.weight", name), kHeads * kHead, kWidth);
  }
  const testing::Bytes bytes = w.Build();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace penstock

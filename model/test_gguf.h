// Small GGUF files for tests: a writer, and a whole random model in any weight format.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "kernels/test_util.h"
#include "model/files/gguf.h"

namespace penstock::testing {

using Bytes = std::vector<std::byte>;

template <class T>
void Put(Bytes& out, T value) {
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), from, from + sizeof(T));
}

inline void PutString(Bytes& out, std::string_view text) {
  Put<uint64_t>(out, text.size());
  const auto* from = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), from, from + text.size());
}

class GgufWriter {
 public:
  using Type = GgufValue::Type;

  template <class T>
  GgufWriter& Key(std::string_view key, Type type, T value) {
    PutString(keys_, key);
    Put(keys_, static_cast<uint32_t>(type));
    Put(keys_, value);
    ++key_count_;
    return *this;
  }
  GgufWriter& U32(std::string_view key, uint32_t value) { return Key(key, Type::kU32, value); }
  GgufWriter& F32(std::string_view key, float value) { return Key(key, Type::kF32, value); }
  GgufWriter& String(std::string_view key, std::string_view value) {
    PutString(keys_, key);
    Put(keys_, static_cast<uint32_t>(Type::kString));
    PutString(keys_, value);
    ++key_count_;
    return *this;
  }
  GgufWriter& Strings(std::string_view key, const std::vector<std::string>& values) {
    PutString(keys_, key);
    Put(keys_, static_cast<uint32_t>(Type::kArray));
    Put(keys_, static_cast<uint32_t>(Type::kString));
    Put<uint64_t>(keys_, values.size());
    for (const auto& value : values) PutString(keys_, value);
    ++key_count_;
    return *this;
  }
  GgufWriter& Ints(std::string_view key, const std::vector<int32_t>& values) {
    PutString(keys_, key);
    Put(keys_, static_cast<uint32_t>(Type::kArray));
    Put(keys_, static_cast<uint32_t>(Type::kI32));
    Put<uint64_t>(keys_, values.size());
    for (const int32_t value : values) Put(keys_, value);
    ++key_count_;
    return *this;
  }
  // dims: fastest first.
  GgufWriter& Tensor(std::string_view name, kernels::Format format, const std::vector<uint64_t>& dims,
                     const Bytes& data) {
    PutString(tensors_, name);
    Put(tensors_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(tensors_, dim);
    Put(tensors_, static_cast<uint32_t>(format));
    Put<uint64_t>(tensors_, data_.size());
    data_.insert(data_.end(), data.begin(), data.end());
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
    return *this;
  }

  // For the parts of a split model.
  GgufWriter WithoutTensors() const {
    GgufWriter w = *this;
    w.tensors_.clear(), w.data_.clear(), w.tensor_count_ = 0;
    return w;
  }
  GgufWriter WithoutKeys() const {
    GgufWriter w = *this;
    w.keys_.clear(), w.key_count_ = 0;
    return w;
  }

  // `header`: gets the number of bytes before the data.
  Bytes Build(size_t* header = nullptr, uint32_t version = 3) const {
    Bytes out;
    for (const char c : {'G', 'G', 'U', 'F'}) Put(out, c);
    Put(out, version);
    Put(out, tensor_count_);
    Put(out, key_count_);
    out.insert(out.end(), keys_.begin(), keys_.end());
    out.insert(out.end(), tensors_.begin(), tensors_.end());
    out.resize((out.size() + 31) / 32 * 32);
    if (header != nullptr) *header = out.size();
    out.insert(out.end(), data_.begin(), data_.end());
    return out;
  }

 private:
  Bytes keys_, tensors_, data_;
  uint64_t key_count_ = 0, tensor_count_ = 0;
};

// The root mean square of the weights of random blocks.
inline float RootMeanSquare(kernels::Format format, Random& random) {
  constexpr int64_t kCount = 4096;
  std::vector<float> values(kCount);
  kernels::Dequantize(format, kernels::testing::RandomBlocks(format, 1, kCount, random).data(), kCount,
                      values.data());
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  return static_cast<float>(std::sqrt(squares / kCount));
}

// A llama model with one layer whose matrices are random blocks of `format`: 256 wide, 4 heads, 48 tokens.
inline GgufWriter TinyModel(kernels::Format format, uint64_t seed = 1) {
  using kernels::Format;
  constexpr uint64_t kWidth = 256, kHeads = 4, kKvHeads = 2, kHead = 64, kVocabulary = 48;
  Random random(seed);
  GgufWriter w;
  std::vector<std::string> tokens;
  for (uint64_t i = 0; i < kVocabulary; ++i) tokens.push_back("t" + std::to_string(i));
  tokens[0] = "t", tokens[1] = "2";  // so that there can be a merge
  w.String("general.architecture", "llama").String("general.name", "tiny").U32("llama.block_count", 1);
  w.U32("llama.context_length", 64)
      .U32("llama.embedding_length", kWidth)
      .U32("llama.feed_forward_length", kWidth);
  w.U32("llama.attention.head_count", kHeads).U32("llama.attention.head_count_kv", kKvHeads);
  w.F32("llama.attention.layer_norm_rms_epsilon", 1e-5F).F32("llama.rope.freq_base", 10'000);
  w.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "qwen2")
      .Strings("tokenizer.ggml.tokens", tokens)
      .Strings("tokenizer.ggml.merges", {"t 2"});
  w.U32("tokenizer.ggml.eos_token_id", kVocabulary - 1);
  const auto matrix = [&](std::string_view name, uint64_t rows, uint64_t cols) {
    w.Tensor(name, format, {cols, rows},
             kernels::testing::RandomBlocks(format, static_cast<int64_t>(rows), static_cast<int64_t>(cols),
                                            random));
  };
  // The norms compensate for the size of the format's random weights, so that projections give values around
  // one and attention is far from one-hot: then each weight has an effect.
  const float size = RootMeanSquare(format, random) * 16;
  const auto norm = [&](std::string_view name, float divisor) {
    Bytes data;
    for (uint64_t i = 0; i < kWidth; ++i)
      Put(data, (0.5F + static_cast<float>(random.NextUniform())) / divisor);
    w.Tensor(name, Format::kF32, {kWidth}, data);
  };
  matrix("token_embd.weight", kVocabulary, kWidth);
  norm("output_norm.weight", size);
  norm("blk.0.attn_norm.weight", size * 8);
  matrix("blk.0.attn_q.weight", kHeads * kHead, kWidth);
  matrix("blk.0.attn_k.weight", kKvHeads * kHead, kWidth);
  matrix("blk.0.attn_v.weight", kKvHeads * kHead, kWidth);
  matrix("blk.0.attn_output.weight", kWidth, kHeads * kHead);
  norm("blk.0.ffn_norm.weight", size);
  matrix("blk.0.ffn_gate.weight", kWidth, kWidth);
  matrix("blk.0.ffn_up.weight", kWidth, kWidth);
  matrix("blk.0.ffn_down.weight", kWidth, kWidth);
  return w;
}

inline void WriteBytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace penstock::testing

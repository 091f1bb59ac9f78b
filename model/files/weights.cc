#include "model/files/weights.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/files/gguf_files.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"

namespace penstock {
namespace {

constexpr size_t kMaxConfig = 1 << 20;

struct Rename {
  std::string_view from, to;
};

constexpr std::array<Rename, 3> kWhole = {{
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
}};

// Within "model.layers.N.", up to the last dot.
constexpr std::array<Rename, 12> kInLayer = {{
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
}};

// "mlp.experts.7.gate_proj" → "ffn_gate.7"; empty: not an expert.
std::string ExpertName(std::string_view part) {
  constexpr std::string_view kExperts = "mlp.experts.";
  if (!part.starts_with(kExperts)) return {};
  part.remove_prefix(kExperts.size());
  const size_t dot = part.find('.');
  if (dot == std::string_view::npos) return {};
  for (const auto& [from, to] : kInLayer) {
    if (from == fmt::format("mlp.{}", part.substr(dot + 1)))
      return fmt::format("{}.{}", to, part.substr(0, dot));
  }
  return {};
}

bool IsFolder(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string ShapeText(int64_t rows, int64_t cols, int64_t count) {
  return count == 1 ? fmt::format("{}×{}", rows, cols) : fmt::format("{}×{}×{}", count, rows, cols);
}

}  // namespace

std::string CanonicalName(std::string_view name) {
  for (const auto& [from, to] : kWhole) {
    if (name == from) return std::string(to);
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (name.ends_with("rotary_emb.inv_freq")) return {};
  if (!name.starts_with(kLayers)) return std::string(name);
  const std::string_view rest = name.substr(kLayers.size());
  const size_t first = rest.find('.'), last = rest.rfind('.');
  if (first == std::string_view::npos || first == last) return std::string(name);
  const auto layer = rest.substr(0, first), part = rest.substr(first + 1, last - first - 1),
             kind = rest.substr(last + 1);
  if (auto expert = ExpertName(part); !expert.empty())
    return fmt::format("blk.{}.{}.{}", layer, expert, kind);
  for (const auto& [from, to] : kInLayer) {
    if (part == from) return fmt::format("blk.{}.{}.{}", layer, to, kind);
  }
  return std::string(name);
}

Result<ModelFiles> ModelFiles::Open(const std::string& path) {
  return IsFolder(path) ? OpenFolder(path) : OpenGguf(path);
}

Result<ModelFiles> ModelFiles::OpenGguf(const std::string& path) {
  ModelFiles files;
  files.path_ = path;
  PENSTOCK_ASSIGN(auto gguf, GgufFiles::Open(path));
  PENSTOCK_ASSIGN(files.config_, ConfigFromGguf(gguf.metadata()));
  PENSTOCK_TRY(CheckVocabularySize(gguf));
  for (const Gguf& part : gguf.parts()) {
    PENSTOCK_TRY(part.CheckFormats());
    for (const auto& tensor : part.tensors()) files.tensors_.emplace(tensor.name, tensor);
  }
  files.config_.tied = !files.tensors_.contains("output.weight");
  files.files_ = std::move(gguf.files());
  return files;
}

Result<ModelFiles> ModelFiles::OpenFolder(const std::string& path) {
  ModelFiles files;
  files.path_ = path;
  PENSTOCK_ASSIGN(const auto text, ReadSmallFile(path + "/config.json", kMaxConfig));
  PENSTOCK_ASSIGN(const auto json, JsonObject::Parse(text, path + "/config.json"));
  PENSTOCK_ASSIGN(files.config_, ConfigFromJson(json));
  PENSTOCK_ASSIGN(const auto shards, SafetensorsShards(path));
  for (const auto& shard : shards) PENSTOCK_TRY(files.AddShard(path + "/" + shard));
  PENSTOCK_TRY(files.TieOutput());
  PENSTOCK_TRY(files.CheckBiases());
  return files;
}

Status ModelFiles::AddShard(const std::string& path) {
  PENSTOCK_ASSIGN(auto file, MappedFile::Open(path));
  PENSTOCK_ASSIGN(auto shard, ParseSafetensors(file.bytes(), path));
  for (auto& tensor : shard.tensors) {
    const std::string name = CanonicalName(tensor.name);
    if (name.empty()) continue;
    if (!tensors_.emplace(name, std::move(tensor)).second) {
      return Fail(Reason::kModelDamaged,
                  "{}: it contains \"{}\", and so does another file of the folder; download it again", path,
                  name);
    }
  }
  for (auto& tensor : shard.unread) unread_.emplace(CanonicalName(tensor.name), std::move(tensor.dtype));
  files_.push_back(std::move(file));
  return {};
}

// As transformers: a tied model may store its one matrix under either name, and two that differ are not tied.
Status ModelFiles::TieOutput() {
  constexpr auto kEmbedding = "token_embd.weight", kOutput = "output.weight";
  const bool stored = tensors_.contains(kOutput);
  if (!config_.tied) {
    if (stored || unread_.contains(kOutput)) return {};
    return Fail(
        Reason::kModelDamaged,
        "{}: it has no lm_head.weight, and \"tie_word_embeddings\" in config.json is not true; download the "
        "model again",
        path_);
  }
  if (stored && !tensors_.contains(kEmbedding)) {
    auto node = tensors_.extract(kOutput);
    node.key() = kEmbedding;
    tensors_.insert(std::move(node));
  } else if (stored) {
    const Tensor &output = tensors_.at(kOutput), &embedding = tensors_.at(kEmbedding);
    config_.tied = output.format == embedding.format && std::ranges::equal(output.data, embedding.data);
    if (config_.tied) tensors_.erase(kOutput);
  }
  return {};
}

// transformers decides by config.json whether there are biases, and ignores or invents the others.
Status ModelFiles::CheckBiases() const {
  const auto check = [&](ModelConfig::Bias bias, std::string_view part, std::string_view field) -> Status {
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      const std::string name = fmt::format("blk.{}.{}.bias", layer, part);
      const bool stored = tensors_.contains(name);
      if (bias == ModelConfig::Bias::kIfStored || stored == (bias == ModelConfig::Bias::kRequired)) continue;
      return Fail(Reason::kModelDamaged, "{}: tensor \"{}\" is {}, which contradicts {} in config.json",
                  path_, name, stored ? "there" : "missing", field);
    }
    return {};
  };
  const std::string_view attention =
      config_.architecture == "qwen2" ? "\"model_type\"" : "\"attention_bias\"";
  for (const auto* part : {"attn_q", "attn_k", "attn_v"})
    PENSTOCK_TRY(check(config_.qkv_bias, part, attention));
  PENSTOCK_TRY(check(config_.output_bias, "attn_output", attention));
  for (const auto* part : {"ffn_gate", "ffn_up", "ffn_down"})
    PENSTOCK_TRY(check(config_.feed_forward_bias, part, "\"mlp_bias\""));
  return {};
}

int64_t ModelFiles::bytes() const {
  int64_t sum = 0;
  for (const auto& file : files_) sum += static_cast<int64_t>(file.bytes().size());
  return sum;
}

Result<std::optional<Tensor>> ModelFiles::TakeIfThere(const std::string& name, int64_t rows, int64_t cols) {
  if (!tensors_.contains(name)) return std::nullopt;
  PENSTOCK_ASSIGN(auto tensor, Take(name, rows, cols));
  return tensor;
}

Result<Tensor> ModelFiles::Take(const std::string& name, int64_t rows, int64_t cols, int64_t count) {
  auto node = tensors_.extract(name);
  if (const auto unread = unread_.find(name); node.empty() && unread != unread_.end()) {
    return Fail(
        Reason::kModelUnsupported,
        "{}: tensor \"{}\" is stored as {}; supported: F32, F16, BF16. Use the unquantised model or a GGUF "
        "file",
        path_, name, unread->second);
  }
  if (node.empty()) {
    return Fail(Reason::kModelDamaged,
                "{}: tensor \"{}\", which architecture {} needs, is missing; convert or download the model "
                "again",
                path_, name, config_.architecture);
  }
  const Tensor& t = node.mapped();
  if (t.rows != rows || t.cols != cols || t.count != count) {
    return Fail(Reason::kModelDamaged,
                "{}: tensor \"{}\" is {}, but the model's configuration requires {}; convert or download the "
                "model again",
                path_, t.name, ShapeText(t.rows, t.cols, t.count), ShapeText(rows, cols, count));
  }
  return t;
}

Result<Tensor> ModelFiles::TakeEmbedding() {
  constexpr int64_t kMaxVocabulary = 1 << 22;
  const auto it = tensors_.find("token_embd.weight");
  const int64_t rows = it == tensors_.end() ? 1 : it->second.rows;
  if (rows > kMaxVocabulary) {
    return Fail(Reason::kModelDamaged, "{}: a vocabulary of {} is over the limit of {}", path_, rows,
                kMaxVocabulary);
  }
  if (config_.vocabulary > 0 && it != tensors_.end() && rows != config_.vocabulary) {
    return Fail(Reason::kModelDamaged,
                "{}: \"vocab_size\" is {}, but the embedding has {} rows; download it again", path_,
                config_.vocabulary, rows);
  }
  return Take("token_embd.weight", rows, config_.hidden);
}

Status ModelFiles::CheckAllTaken() const {
  if (tensors_.empty()) return {};
  return Fail(Reason::kModelUnsupported,
              "{}: tensor \"{}\" (and {} more) is not supported in architecture {}, so the "
              "answers would be wrong; use a standard model of this architecture",
              path_, tensors_.begin()->second.name, tensors_.size() - 1, config_.architecture);
}

void ModelFiles::Release(const Tensor& tensor) const {
  for (const auto& file : files_) {
    const auto bytes = file.bytes();
    if (tensor.data.data() >= bytes.data() && tensor.data.data() < bytes.data() + bytes.size())
      file.Release(tensor.data);
  }
}

}  // namespace penstock

#include "model/files/assets.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>

#include "model/files/config.h"
#include "model/files/file.h"
#include "model/files/gguf.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"

namespace penstock {
namespace {

constexpr size_t kMaxConfig = 1 << 20, kMaxTokenizer = 256 << 20, kMaxTemplate = 4 << 20;
constexpr int64_t kMaxToken = 1 << 22;

constexpr std::array<std::string_view, 10> kEndPieces = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>",    "<|eom_id|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>",
    "</s>",       "<|end|>",       "<end_of_turn>", "<|eot|>",
};

// llama.cpp's names of general.file_type, for supported formats.
std::string_view FileTypeName(int64_t type) {
  switch (type) {
    case 0:
      return "F32";
    case 1:
      return "F16";
    case 2:
      return "Q4_0";
    case 3:
      return "Q4_1";
    case 7:
      return "Q8_0";
    case 8:
      return "Q5_0";
    case 9:
      return "Q5_1";
    case 10:
      return "Q2_K";
    case 11:
      return "Q3_K_S";
    case 12:
      return "Q3_K_M";
    case 13:
      return "Q3_K_L";
    case 14:
      return "Q4_K_S";
    case 15:
      return "Q4_K_M";
    case 16:
      return "Q5_K_S";
    case 17:
      return "Q5_K_M";
    case 18:
      return "Q6_K";
    case 21:
      return "Q2_K_S";
    case 25:
      return "IQ4_NL";
    case 32:
      return "BF16";
    default:
      return "";
  }
}

// The format that stores most of the bytes.
std::string MainFormat(const std::vector<Tensor>& tensors) {
  std::map<std::string_view, size_t> bytes;
  for (const auto& t : tensors) bytes[kernels::InfoOf(t.format).name] += t.data.size();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? "" : std::string(most->first);
}

void AddEnd(TextAssets& assets, Token token) {
  if (token >= 0 && std::ranges::find(assets.end_tokens, token) == assets.end_tokens.end()) {
    assets.end_tokens.push_back(token);
  }
}

// --- GGUF ---

Result<Token> TokenId(const Gguf& gguf, std::string_view key, size_t vocabulary) {
  PENSTOCK_ASSIGN(const auto id, gguf.Int(key, 0, std::numeric_limits<uint32_t>::max()));
  // If a model has no such token, converters write padding or -1 (as uint32).
  return id.has_value() && *id < static_cast<int64_t>(vocabulary) ? static_cast<Token>(*id) : Token{-1};
}

Result<Vocabulary> ReadVocabulary(const Gguf& gguf) {
  Vocabulary v;
  PENSTOCK_ASSIGN(const auto model, gguf.String("tokenizer.ggml.model"));
  PENSTOCK_ASSIGN(const auto pre, gguf.String("tokenizer.ggml.pre"));
  PENSTOCK_ASSIGN(const auto tokens, gguf.Strings("tokenizer.ggml.tokens"));
  PENSTOCK_ASSIGN(const auto types, gguf.Ints("tokenizer.ggml.token_type"));
  PENSTOCK_ASSIGN(v.scores, gguf.Floats("tokenizer.ggml.scores"));
  PENSTOCK_ASSIGN(const auto merges, gguf.Strings("tokenizer.ggml.merges"));
  if (!model.has_value() || tokens.empty()) {
    return Fail(Reason::kModelDamaged,
                "{}: it has no vocabulary (tokenizer.ggml.tokens); convert the model again", gguf.origin());
  }
  if ((!types.empty() && types.size() != tokens.size()) ||
      (!v.scores.empty() && v.scores.size() != tokens.size())) {
    return Fail(Reason::kModelDamaged, "{}: {} tokens have {} types and {} scores; convert the model again",
                gguf.origin(), tokens.size(), types.size(), v.scores.size());
  }
  v.model = *model;
  v.pre = pre.value_or("");
  v.tokens.assign(tokens.begin(), tokens.end());
  for (const int64_t type : types) v.types.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, 0, 6)));
  v.merges.assign(merges.begin(), merges.end());
  PENSTOCK_ASSIGN(v.bos, TokenId(gguf, "tokenizer.ggml.bos_token_id", tokens.size()));
  PENSTOCK_ASSIGN(v.eos, TokenId(gguf, "tokenizer.ggml.eos_token_id", tokens.size()));
  PENSTOCK_ASSIGN(v.unknown, TokenId(gguf, "tokenizer.ggml.unknown_token_id", tokens.size()));
  PENSTOCK_ASSIGN(const auto add_bos, gguf.Bool("tokenizer.ggml.add_bos_token"));
  v.add_bos = add_bos.value_or(v.model == "llama");
  PENSTOCK_ASSIGN(const auto prefix, gguf.Bool("tokenizer.ggml.add_space_prefix"));
  v.add_space_prefix = prefix.value_or(true);
  return v;
}

Status AddGgufEnds(const Gguf& gguf, TextAssets& assets) {
  const Vocabulary& v = *assets.vocabulary;
  AddEnd(assets, v.eos);
  for (const auto* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    PENSTOCK_ASSIGN(const Token id, TokenId(gguf, key, v.tokens.size()));
    AddEnd(assets, id);
  }
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const bool special =
        v.types.empty() || v.types[i] == Vocabulary::kControl || v.types[i] == Vocabulary::kUserDefined;
    if (special && IsEndPiece(v.tokens[i])) AddEnd(assets, static_cast<Token>(i));
  }
  return {};
}

// Checks whether the native runner supports the model, but only reports it: another runner may support more.
Status ReadKind(const Gguf& gguf, TextAssets& a) {
  auto config = ConfigFromGguf(gguf);
  if (config.has_value()) {
    a.architecture = config->architecture;
    a.context = config->context;
    return {};
  }
  if (config.error().reason != Reason::kModelUnsupported) return std::unexpected(std::move(config).error());
  a.unserved = std::move(config).error().message;
  PENSTOCK_ASSIGN(const auto architecture, gguf.String("general.architecture"));
  a.architecture = architecture.value_or("");
  PENSTOCK_ASSIGN(const auto context, gguf.Int(a.architecture + ".context_length", 1, INT32_MAX));
  a.context = static_cast<int32_t>(context.value_or(2048));
  return {};
}

Result<TextAssets> FromGguf(const std::string& path) {
  PENSTOCK_ASSIGN(const auto file, MappedFile::Open(path));
  PENSTOCK_ASSIGN(const auto gguf, Gguf::Parse(file.bytes(), path));
  TextAssets a;
  PENSTOCK_TRY(ReadKind(gguf, a));
  a.file_bytes = static_cast<int64_t>(file.bytes().size());
  for (const auto& t : gguf.tensors()) a.parameters += t.elements();
  PENSTOCK_ASSIGN(const auto name, gguf.String("general.name"));
  a.name = name.value_or(std::filesystem::path(path).stem().string());
  PENSTOCK_ASSIGN(const auto licence, gguf.String("general.license"));
  a.licence = licence.value_or("");
  PENSTOCK_ASSIGN(const auto type, gguf.Int("general.file_type", 0, 1 << 20));
  a.quantisation = FileTypeName(type.value_or(-1));
  if (a.quantisation.empty()) a.quantisation = MainFormat(gguf.tensors());
  PENSTOCK_ASSIGN(a.vocabulary, ReadVocabulary(gguf));
  PENSTOCK_ASSIGN(const auto chat, gguf.String("tokenizer.chat_template"));
  a.chat_template = chat.value_or("");
  const Vocabulary& v = *a.vocabulary;
  a.vocabulary_size = static_cast<int32_t>(v.tokens.size());
  a.bos = v.bos, a.eos = v.eos, a.add_bos = v.add_bos;
  if (v.bos >= 0) a.bos_token = v.tokens[static_cast<size_t>(v.bos)];
  if (v.eos >= 0) a.eos_token = v.tokens[static_cast<size_t>(v.eos)];
  PENSTOCK_TRY(AddGgufEnds(gguf, a));
  return a;
}

// --- Hugging Face folder ---

bool Exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// nullopt: no such file.
Result<std::optional<JsonObject>> OptionalJson(const std::string& path) {
  if (!Exists(path)) return std::nullopt;
  PENSTOCK_ASSIGN(const auto text, ReadSmallFile(path, kMaxTokenizer));
  PENSTOCK_ASSIGN(auto json, JsonObject::Parse(text, path));
  return json;
}

// A special token is written as its text or as an object with "content".
std::string TokenText(const JsonObject& config, std::string_view key) {
  const auto* value = config.Find(key);
  if (value != nullptr && value->is_object()) value = value->get_object().if_contains("content");
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// "eos_token_id": one number or a list.
void AddEndIds(const JsonObject& config, TextAssets& a) {
  const auto* value = config.Find("eos_token_id");
  if (value == nullptr) return;
  const auto add = [&](const boost::json::value& id) {
    boost::system::error_code error;
    const auto number = id.to_number<int64_t>(error);
    if (!error && number >= 0 && number < kMaxToken) AddEnd(a, static_cast<Token>(number));
  };
  if (!value->is_array()) return add(*value);
  for (const auto& id : value->get_array()) add(id);
}

// "chat_template": the source, or a list of {name, template} of which "default" is used.
std::string TemplateOf(const JsonObject& config) {
  const auto* value = config.Find("chat_template");
  if (value == nullptr) return "";
  if (value->is_string()) return std::string(value->get_string());
  if (!value->is_array()) return "";
  for (const auto& entry : value->get_array()) {
    const auto* object = entry.if_object();
    if (object == nullptr) continue;
    const auto* name = object->if_contains("name");
    const auto* source = object->if_contains("template");
    if (name != nullptr && name->is_string() && name->get_string() == "default" && source != nullptr &&
        source->is_string()) {
      return std::string(source->get_string());
    }
  }
  return "";
}

Status ReadTokenizerConfig(const std::string& folder, TextAssets& a) {
  PENSTOCK_ASSIGN(const auto config, OptionalJson(folder + "/tokenizer_config.json"));
  if (config.has_value()) {
    a.bos_token = TokenText(*config, "bos_token");
    a.eos_token = TokenText(*config, "eos_token");
    a.chat_template = TemplateOf(*config);
    PENSTOCK_ASSIGN(const auto add_bos, config->Bool("add_bos_token"));
    a.add_bos = add_bos.value_or(false);
  }
  if (const auto own = folder + "/chat_template.jinja"; Exists(own)) {
    PENSTOCK_ASSIGN(a.chat_template, ReadSmallFile(own, kMaxTemplate));
  }
  return {};
}

// Reads the added tokens of tokenizer.json, which complete the configuration files.
Status ReadAddedTokens(const std::string& folder, TextAssets& a) {
  PENSTOCK_ASSIGN(const auto root, JsonObject::Parse(a.tokenizer_json, folder + "/tokenizer.json"));
  const auto* added = root.Find("added_tokens");
  if (added == nullptr || !added->is_array()) return {};
  for (const auto& entry : added->get_array()) {
    const auto* object = entry.if_object();
    const auto* id = object == nullptr ? nullptr : object->if_contains("id");
    const auto* content = object == nullptr ? nullptr : object->if_contains("content");
    if (id == nullptr || content == nullptr || !id->is_int64() || !content->is_string()) continue;
    if (id->get_int64() < 0 || id->get_int64() >= kMaxToken) continue;
    const auto token = static_cast<Token>(id->get_int64());
    const std::string_view piece(content->get_string().data(), content->get_string().size());
    if (IsEndPiece(piece)) AddEnd(a, token);
    if (piece == a.bos_token) a.bos = token;
    if (piece == a.eos_token) a.eos = token;
  }
  return {};
}

Status ReadWeightFacts(const std::string& folder, TextAssets& a) {
  PENSTOCK_ASSIGN(const auto shards, SafetensorsShards(folder));
  for (const auto& shard : shards) {
    PENSTOCK_ASSIGN(const auto file, MappedFile::Open(folder + "/" + shard));
    PENSTOCK_ASSIGN(const auto tensors, ParseSafetensors(file.bytes(), file.path()));
    for (const auto& t : tensors) a.parameters += t.elements();
    a.file_bytes += static_cast<int64_t>(file.bytes().size());
    if (a.quantisation.empty()) a.quantisation = MainFormat(tensors);
  }
  return {};
}

Result<TextAssets> FromFolder(const std::string& folder) {
  PENSTOCK_ASSIGN(const auto text, ReadSmallFile(folder + "/config.json", kMaxConfig));
  PENSTOCK_ASSIGN(const auto json, JsonObject::Parse(text, folder + "/config.json"));
  PENSTOCK_ASSIGN(const auto config, ConfigFromJson(json));
  TextAssets a;
  a.architecture = config.architecture;
  a.context = config.context;
  auto trimmed = std::filesystem::path(folder).lexically_normal();
  a.name = trimmed.has_filename() ? trimmed.filename().string() : trimmed.parent_path().filename().string();
  PENSTOCK_ASSIGN(const auto vocabulary, json.Int("vocab_size", 1, kMaxToken));
  a.vocabulary_size = static_cast<int32_t>(vocabulary.value_or(0));
  PENSTOCK_TRY(ReadWeightFacts(folder, a));
  PENSTOCK_ASSIGN(a.tokenizer_json, ReadSmallFile(folder + "/tokenizer.json", kMaxTokenizer));
  PENSTOCK_TRY(ReadTokenizerConfig(folder, a));
  AddEndIds(json, a);
  PENSTOCK_ASSIGN(const auto generation, OptionalJson(folder + "/generation_config.json"));
  if (generation.has_value()) AddEndIds(*generation, a);
  PENSTOCK_TRY(ReadAddedTokens(folder, a));
  AddEnd(a, a.eos);
  return a;
}

}  // namespace

bool IsEndPiece(std::string_view piece) {
  return std::ranges::find(kEndPieces, piece) != kEndPieces.end();
}

Result<TextAssets> ReadTextAssets(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return FailErrno(Code::kNotFound, "cannot open " + path);
  return S_ISDIR(info.st_mode) ? FromFolder(path) : FromGguf(path);
}

}  // namespace penstock

// TextAssets of a Hugging Face folder, as transformers reads it.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "model/files/assets.h"
#include "model/files/config.h"
#include "model/files/file.h"
#include "model/files/json.h"
#include "model/files/safetensors.h"
#include "model/files/special_tokens.h"
#include "model/files/tokenizer_json.h"
#include "model/files/weights.h"

namespace penstock {
namespace {

constexpr size_t kMaxConfig = 1 << 20, kMaxTokenizer = 256 << 20, kMaxTemplate = 4 << 20;
constexpr int64_t kMaxToken = 1 << 22;

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
    if (!error && number >= 0 && number < kMaxToken) a.AddEnd(static_cast<Token>(number));
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

Status ReadTokenizer(const std::string& folder, TextAssets& a) {
  const std::string path = folder + "/tokenizer.json";
  PENSTOCK_ASSIGN(a.tokenizer_json, ReadSmallFile(path, kMaxTokenizer));
  PENSTOCK_ASSIGN(const auto root, JsonObject::Parse(a.tokenizer_json, path));
  const TokenizerJson tokenizer(root);
  PENSTOCK_ASSIGN(const auto config, OptionalJson(folder + "/tokenizer_config.json"));
  if (config.has_value()) {
    a.bos_token = TokenText(*config, "bos_token");
    a.eos_token = TokenText(*config, "eos_token");
    a.chat_template = TemplateOf(*config);
  }
  a.bos = tokenizer.Find(a.bos_token), a.eos = tokenizer.Find(a.eos_token);
  for (const Token token : SpecialTokensOf(tokenizer.added()).ends) a.AddEnd(token);
  a.AddEnd(a.eos);
  // transformers builds the processor anew if the configuration says anything about it.
  if (config.has_value() &&
      (config->raw().contains("add_bos_token") || config->raw().contains("add_eos_token"))) {
    PENSTOCK_ASSIGN(const auto add_bos, config->Bool("add_bos_token"));
    PENSTOCK_ASSIGN(const auto add_eos, config->Bool("add_eos_token"));
    if (add_bos.value_or(false) && a.bos >= 0) a.before = {a.bos};
    if (add_eos.value_or(false) && a.eos >= 0) a.after = {a.eos};
    return {};
  }
  PENSTOCK_ASSIGN(auto around, tokenizer.Around());
  a.before = std::move(around.before), a.after = std::move(around.after);
  return {};
}

Status ReadTemplateFile(const std::string& folder, TextAssets& a) {
  if (const auto own = folder + "/chat_template.jinja"; Exists(own)) {
    PENSTOCK_ASSIGN(a.chat_template, ReadSmallFile(own, kMaxTemplate));
  }
  return {};
}

Status ReadWeightFacts(const std::string& folder, TextAssets& a) {
  PENSTOCK_ASSIGN(const auto shards, SafetensorsShards(folder));
  for (const auto& shard : shards) {
    PENSTOCK_ASSIGN(const auto file, MappedFile::Open(folder + "/" + shard));
    PENSTOCK_ASSIGN(const auto parsed, ParseSafetensors(file.bytes(), file.path()));
    for (const auto& t : parsed.tensors) a.parameters += t.elements();
    a.file_bytes += static_cast<int64_t>(file.bytes().size());
    if (a.quantisation.empty()) a.quantisation = MainFormat(parsed.tensors);
  }
  return {};
}

// Tokens that the model's embedding does not have.
Status CheckIds(const std::string& folder, const TextAssets& a) {
  for (const auto* tokens : {&a.end_tokens, &a.before, &a.after}) {
    for (const Token token : *tokens) {
      if (token < a.vocabulary_size) continue;
      return Fail(Reason::kModelDamaged, "{}: its token {} is not in the vocabulary of {} (\"vocab_size\")",
                  folder, token, a.vocabulary_size);
    }
  }
  return {};
}

}  // namespace

Result<TextAssets> AssetsOfFolder(const std::string& folder) {
  PENSTOCK_ASSIGN(const auto text, ReadSmallFile(folder + "/config.json", kMaxConfig));
  PENSTOCK_ASSIGN(const auto json, JsonObject::Parse(text, folder + "/config.json"));
  PENSTOCK_ASSIGN(auto files, ModelFiles::Open(folder));
  PENSTOCK_ASSIGN(const Tensor embedding, files.TakeEmbedding());
  TextAssets a;
  a.architecture = files.config().architecture;
  a.context = files.config().context;
  a.vocabulary_size = static_cast<int32_t>(embedding.rows);
  auto trimmed = std::filesystem::path(folder).lexically_normal();
  a.name = trimmed.has_filename() ? trimmed.filename().string() : trimmed.parent_path().filename().string();
  PENSTOCK_TRY(ReadWeightFacts(folder, a));
  AddEndIds(json, a);
  PENSTOCK_ASSIGN(const auto generation, OptionalJson(folder + "/generation_config.json"));
  if (generation.has_value()) AddEndIds(*generation, a);
  PENSTOCK_TRY(ReadTokenizer(folder, a));
  PENSTOCK_TRY(ReadTemplateFile(folder, a));
  PENSTOCK_TRY(CheckIds(folder, a));
  return a;
}

}  // namespace penstock

#include "app/models/inspect.h"

#include <filesystem>

#include "app/common/json_get.h"
#include "app/common/process.h"
#include "model/files/assets.h"
#include "model/files/gguf_files.h"
#include "text/text.h"

namespace penstock {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

constexpr Nanos kTimeLimit = 120 * kSecond;
constexpr uint64_t kMemoryLimit = 4ULL << 30;  // in addition to the file itself, which is mapped

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const TextAssets& assets) {
  if (assets.vocabulary) return TokenizerFromVocabulary(*assets.vocabulary);
  return TokenizerFromJson(assets.tokenizer_json);
}

// Encodes a text, as a request does.
Status TryTokenizer(const Tokenizer& tokenizer) {
  constexpr std::string_view kText = "Hello, 世界! 1234 <|im_start|>\n\tx = y;";
  PENSTOCK_ASSIGN(const auto tokens, tokenizer.Encode(kText, true));
  for (const Token token : tokens) {
    if (token < 0 || token >= tokenizer.size())
      return Fail(Reason::kModelDamaged, "its tokenizer produces token {}, which is not in the vocabulary",
                  token);
  }
  return {};
}

Status TryTemplate(const TextAssets& assets) {
  PENSTOCK_ASSIGN(const auto compiled, CompileTemplate(assets.chat_template));
  const json::value context = {
      {"messages", json::array{json::object{{"role", "user"}, {"content", "Hello"}}}},
      {"add_generation_prompt", true},
      {"bos_token", assets.bos_token},
      {"eos_token", assets.eos_token},
  };
  PENSTOCK_ASSIGN(const std::string prompt, compiled->Render(json::serialize(context)));
  if (prompt.empty()) return Fail(Reason::kModelDamaged, "its chat template renders nothing");
  return {};
}

std::unexpected<Error> At(const std::string& path, const Error& error) {
  const bool named = error.message.contains(path);
  return std::unexpected(Reworded(error, named ? error.message : fmt::format("{}: {}", path, error.message)));
}

}  // namespace

Result<ModelFacts> InspectHere(const std::string& path) {
  auto assets = ReadTextAssets(path);
  if (!assets.has_value()) return At(path, assets.error());
  auto tokenizer = OpenTokenizer(*assets);
  if (!tokenizer.has_value()) return At(path, tokenizer.error());
  if (auto tried = TryTokenizer(**tokenizer); !tried.has_value()) return At(path, tried.error());
  if (!assets->chat_template.empty()) {
    if (auto tried = TryTemplate(*assets); !tried.has_value()) return At(path, tried.error());
  }
  return ModelFacts{.name = assets->name,
                    .architecture = assets->architecture,
                    .quantisation = assets->quantisation,
                    .licence = assets->licence,
                    .parameters = assets->parameters,
                    .bytes = assets->file_bytes,
                    .context = assets->context,
                    .vocabulary = assets->vocabulary_size,
                    .chat = !assets->chat_template.empty(),
                    .tokenizer = std::string((*tokenizer)->backend()),
                    .unserved = assets->unserved};
}

namespace {

std::string LastLine(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

uint64_t SizeOnDisk(const std::string& path) {
  std::error_code error;
  uint64_t total = 0;
  if (!fs::is_directory(path, error)) {
    const auto parts = GgufPartsOf(path);
    for (const auto& part : parts.value_or(std::vector{path})) {
      const auto size = fs::file_size(part, error);
      total += error ? 0 : size;
    }
    return total;
  }
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    std::error_code unknown;
    const auto size = at->is_regular_file(unknown) ? at->file_size(unknown) : 0;
    if (!unknown) total += size;
  }
  return total;
}

}  // namespace

Result<ModelFacts> InspectInChild(const std::string& path) {
  const ProcessLimits limits{.time = kTimeLimit,
                             .memory_bytes = kMemoryLimit + 2 * SizeOnDisk(path),
                             .cpu_seconds = kTimeLimit / kSecond};
  PENSTOCK_ASSIGN(const auto child, RunProcess({"/proc/self/exe", "inspect", path}, limits));
  if (child.timed_out) {
    return Fail(Reason::kModelDamaged,
                "{}: reading its vocabulary and template took more than {} s: not installed", path,
                kTimeLimit / kSecond);
  }
  if (child.signal != 0) {
    return Fail(Reason::kModelDamaged,
                "{}: reading its vocabulary and template crashed (signal {}): not installed. {}", path,
                child.signal, LastLine(child.errors));
  }
  PENSTOCK_ASSIGN(const json::object answer, ParseJsonObject(child.output, "inspection of " + path));
  if (child.status == 0) return FactsFromJson(answer);
  return std::unexpected(Error{static_cast<Code>(GetInt(answer, "code")), GetText(answer, "error"),
                               static_cast<Reason>(GetInt(answer, "reason"))});
}

json::object FactsToJson(const ModelFacts& facts) {
  return {{"name", facts.name},
          {"architecture", facts.architecture},
          {"quantisation", facts.quantisation},
          {"licence", facts.licence},
          {"parameters", facts.parameters},
          {"bytes", facts.bytes},
          {"context", facts.context},
          {"vocabulary", facts.vocabulary},
          {"chat", facts.chat},
          {"tokenizer", facts.tokenizer},
          {"unserved", facts.unserved}};
}

ModelFacts FactsFromJson(const json::object& object) {
  return {.name = GetText(object, "name"),
          .architecture = GetText(object, "architecture"),
          .quantisation = GetText(object, "quantisation"),
          .licence = GetText(object, "licence"),
          .parameters = GetInt(object, "parameters"),
          .bytes = GetInt(object, "bytes"),
          .context = GetInt(object, "context"),
          .vocabulary = GetInt(object, "vocabulary"),
          .chat = GetBool(object, "chat"),
          .tokenizer = GetText(object, "tokenizer"),
          .unserved = GetText(object, "unserved")};
}

int RunInspectCommand(const std::string& path) {
  const auto facts = InspectHere(path);
  const json::object answer = facts.has_value()
                                  ? FactsToJson(*facts)
                                  : json::object{{"error", facts.error().message},
                                                 {"code", static_cast<int>(facts.error().code)},
                                                 {"reason", static_cast<int>(facts.error().reason)}};
  fmt::print("{}\n", json::serialize(answer));
  return facts.has_value() ? 0 : 1;
}

}  // namespace penstock

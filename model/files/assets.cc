#include "model/files/assets.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "model/files/config.h"
#include "model/files/ggml_types.h"
#include "model/files/gguf_files.h"
#include "model/files/keys.h"
#include "model/files/vocabulary.h"

namespace penstock {
namespace {

// Checks whether the native runner supports the model, but only reports it: another runner may support more.
// Errors: what no runner supports.
Status ReadKind(const GgufFiles& files, TextAssets& a) {
  const Gguf& gguf = files.metadata();
  auto config = ConfigFromGguf(gguf);
  Status formats;
  for (const Gguf& part : files.parts()) {
    if (formats.has_value()) formats = part.CheckFormats();
  }
  if (config.has_value() && formats.has_value()) {
    a.architecture = config->architecture;
    a.context = config->context;
    return {};
  }
  auto& error = config.has_value() ? formats.error() : config.error();
  if (error.reason != Reason::kModelUnsupported) return std::unexpected(std::move(error));
  a.unserved = std::move(error.message);
  PENSTOCK_ASSIGN(const auto architecture, gguf.String("general.architecture"));
  a.architecture = architecture.value_or("");
  PENSTOCK_TRY(CheckLibllamaKeys(gguf, a.architecture));
  PENSTOCK_ASSIGN(const auto causal, gguf.Bool(a.architecture + ".attention.causal"));
  if (!causal.value_or(true)) {
    return Fail(Reason::kModelUnsupported,
                "{}: \"{}.attention.causal\" is false: the model reads a text in both directions and cannot "
                "write one",
                gguf.origin(), a.architecture);
  }
  PENSTOCK_ASSIGN(const auto context, gguf.Int(a.architecture + ".context_length", 1, INT32_MAX));
  a.context = static_cast<int32_t>(context.value_or(2048));
  return {};
}

void ReadTensorFacts(const GgufFiles& files, TextAssets& a) {
  std::map<std::string_view, uint64_t> bytes;
  for (const Gguf& part : files.parts()) {
    for (const auto& t : part.tensors()) {
      a.parameters += t.elements();
      bytes[kernels::InfoOf(t.format).name] += t.data.size();
    }
    for (const auto& t : part.foreign()) {
      a.parameters += t.elements;
      bytes[t.format] += t.bytes;
    }
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  if (a.quantisation.empty() && most != bytes.end()) a.quantisation = most->first;
}

}  // namespace

std::string MainFormat(const std::vector<Tensor>& tensors) {
  std::map<std::string_view, size_t> bytes;
  for (const auto& t : tensors) bytes[kernels::InfoOf(t.format).name] += t.data.size();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? "" : std::string(most->first);
}

void TextAssets::AddEnd(Token token) {
  if (token >= 0 && std::ranges::find(end_tokens, token) == end_tokens.end()) end_tokens.push_back(token);
}

Result<TextAssets> AssetsOfGguf(const std::string& path) {
  PENSTOCK_ASSIGN(const auto files, GgufFiles::Open(path));
  const Gguf& gguf = files.metadata();
  TextAssets a;
  PENSTOCK_TRY(ReadKind(files, a));
  a.file_bytes = files.bytes();
  PENSTOCK_ASSIGN(const auto name, gguf.String("general.name"));
  a.name = name.value_or(std::filesystem::path(path).stem().string());
  PENSTOCK_ASSIGN(const auto licence, gguf.String("general.license"));
  a.licence = licence.value_or("");
  PENSTOCK_ASSIGN(const auto type, gguf.Int("general.file_type", 0, 1 << 20));
  a.quantisation = FileTypeName(type.value_or(-1));
  ReadTensorFacts(files, a);
  PENSTOCK_ASSIGN(auto vocabulary, ReadVocabulary(gguf));
  PENSTOCK_TRY(CheckVocabularySize(files));
  const Vocabulary& v = vocabulary.vocabulary;
  PENSTOCK_ASSIGN(const auto chat, gguf.String("tokenizer.chat_template"));
  a.chat_template = chat.value_or("");
  a.vocabulary_size = static_cast<int32_t>(v.tokens.size());
  a.bos = v.bos, a.eos = v.eos;
  if (v.bos >= 0) a.bos_token = v.tokens[static_cast<size_t>(v.bos)];
  if (v.eos >= 0) a.eos_token = v.tokens[static_cast<size_t>(v.eos)];
  if (v.add_bos && v.bos >= 0) a.before = {v.bos};
  if (vocabulary.add_eos && v.eos >= 0) a.after = {v.eos};
  a.end_tokens = std::move(vocabulary.ends);
  a.vocabulary = std::move(vocabulary.vocabulary);
  return a;
}

Result<TextAssets> ReadTextAssets(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return FailErrno(Code::kNotFound, "cannot open " + path);
  return S_ISDIR(info.st_mode) ? AssetsOfFolder(path) : AssetsOfGguf(path);
}

}  // namespace penstock

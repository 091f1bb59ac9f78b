#include "model/files/gguf_files.h"

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <set>
#include <utility>

namespace penstock {
namespace {

struct PartName {
  std::string stem;  // with its folder
  size_t index = 0, count = 0;
};

std::optional<size_t> FiveDigits(std::string_view text) {
  if (text.size() != 5) return std::nullopt;
  size_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<size_t>(c - '0');
  }
  return number;
}

// "m-00002-of-00003.gguf" → {"m", 1, 3}; nullopt: not the name of a part.
std::optional<PartName> ParsePartName(const std::string& path) {
  constexpr size_t kSuffix = std::string_view("-00001-of-00003.gguf").size();
  if (path.size() <= kSuffix || !path.ends_with(".gguf")) return std::nullopt;
  const std::string_view suffix = std::string_view(path).substr(path.size() - kSuffix);
  const auto number = FiveDigits(suffix.substr(1, 5)), count = FiveDigits(suffix.substr(10, 5));
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || !number || !count) return std::nullopt;
  if (*number < 1 || *number > *count) return std::nullopt;
  return PartName{path.substr(0, path.size() - kSuffix), *number - 1, *count};
}

Result<std::vector<std::string>> PartsOf(const std::string& path, const Gguf& gguf) {
  PENSTOCK_ASSIGN(const auto count, gguf.Int("split.count", 0, 65'535));
  if (count.value_or(1) <= 1) return std::vector<std::string>{path};
  const auto name = ParsePartName(path);
  if (!name.has_value() || name->count != static_cast<size_t>(*count)) {
    return Fail(
        Reason::kModelDamaged,
        "{}: it is one of {} parts of a split model; put all parts into one folder, with names that end with "
        "-00001-of-{:05}.gguf and so on, and import one of them",
        path, *count, *count);
  }
  std::vector<std::string> paths;
  for (size_t i = 0; i < name->count; ++i) {
    paths.push_back(GgufPartName(name->stem, i, name->count));
    if (::access(paths.back().c_str(), F_OK) == 0) continue;
    return Fail(Code::kNotFound, "{}: part {} of {} of this split model is missing: download it to {}", path,
                i + 1, name->count, paths.back());
  }
  return paths;
}

}  // namespace

std::string GgufPartName(std::string_view stem, size_t index, size_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", stem, index + 1, count);
}

Result<std::vector<std::string>> GgufPartsOf(const std::string& path) {
  PENSTOCK_ASSIGN(const auto file, MappedFile::Open(path));
  const auto gguf = Gguf::Parse(file.bytes(), path);
  if (!gguf.has_value()) return std::vector<std::string>{path};
  return PartsOf(path, *gguf);
}

Status GgufFiles::Add(const std::string& path) {
  PENSTOCK_ASSIGN(auto file, MappedFile::Open(path));
  PENSTOCK_ASSIGN(auto gguf, Gguf::Parse(file.bytes(), path));
  files_.push_back(std::move(file));
  parts_.push_back(std::move(gguf));
  return {};
}

Result<GgufFiles> GgufFiles::Open(const std::string& path) {
  GgufFiles out;
  PENSTOCK_TRY(out.Add(path));
  PENSTOCK_ASSIGN(const auto paths, PartsOf(path, out.metadata()));
  if (paths.size() == 1) return out;
  out = GgufFiles();
  for (const auto& part : paths) PENSTOCK_TRY(out.Add(part));
  PENSTOCK_TRY(out.CheckParts());
  return out;
}

Status GgufFiles::CheckParts() const {
  const auto bad = [](const Gguf& gguf, std::string_view what) {
    return Fail(Reason::kModelDamaged, "{}: {}; the parts do not belong to one model, download them again",
                gguf.origin(), what);
  };
  std::set<std::string_view> names;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Gguf& gguf = parts_[i];
    PENSTOCK_ASSIGN(const auto count, gguf.Int("split.count", 0, 65'535));
    PENSTOCK_ASSIGN(const auto index, gguf.Int("split.no", 0, 65'535));
    if (std::cmp_not_equal(count.value_or(1), parts_.size()) || std::cmp_not_equal(index.value_or(-1), i)) {
      return bad(gguf,
                 fmt::format("its metadata says part {} of {}", index.value_or(-1) + 1, count.value_or(1)));
    }
    for (const auto& t : gguf.tensors()) {
      if (!names.insert(t.name).second)
        return bad(gguf, fmt::format("tensor \"{}\" is in two parts", t.name));
    }
    for (const auto& t : gguf.foreign()) {
      if (!names.insert(t.name).second)
        return bad(gguf, fmt::format("tensor \"{}\" is in two parts", t.name));
    }
  }
  PENSTOCK_ASSIGN(const auto tensors, metadata().Int("split.tensors.count", 0, INT32_MAX));
  if (tensors.has_value() && std::cmp_not_equal(*tensors, names.size())) {
    return bad(metadata(), fmt::format("it says {} tensors, the parts have {}", *tensors, names.size()));
  }
  return {};
}

int64_t GgufFiles::bytes() const {
  int64_t sum = 0;
  for (const auto& file : files_) sum += static_cast<int64_t>(file.bytes().size());
  return sum;
}

int64_t GgufFiles::RowsOf(std::string_view tensor) const {
  for (const Gguf& gguf : parts_) {
    for (const auto& t : gguf.tensors()) {
      if (t.name == tensor) return t.rows;
    }
    for (const auto& t : gguf.foreign()) {
      if (t.name == tensor) return t.rows;
    }
  }
  return 0;
}

Status CheckVocabularySize(const GgufFiles& files) {
  const GgufValue* tokens = files.metadata().Find("tokenizer.ggml.tokens");
  const int64_t rows = files.RowsOf("token_embd.weight");
  if (tokens == nullptr || rows == 0 || std::cmp_equal(tokens->count, rows)) return {};
  return Fail(Reason::kModelDamaged,
              "{}: its vocabulary has {} tokens, its embedding {} rows; convert the model again",
              files.metadata().origin(), tokens->count, rows);
}

}  // namespace penstock

#include "model/files/safetensors.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>

#include "model/files/json.h"

namespace penstock {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxIndex = 100'000'000;
constexpr int64_t kMaxElements = int64_t{1} << 45;

template <class... Args>
std::unexpected<Error> Corrupt(std::string_view origin, fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Reason::kModelDamaged, "{}: {}; the file is damaged or incomplete, download it again", origin,
              fmt::format(format, std::forward<Args>(args)...));
}

struct Dtype {
  std::string_view name;
  int64_t bits;
  std::optional<kernels::Format> format;  // nullopt: not a weight of ours
};
constexpr std::array<Dtype, 20> kDtypes = {{
    {"F32", 32, kernels::Format::kF32},
    {"F16", 16, kernels::Format::kF16},
    {"BF16", 16, kernels::Format::kBF16},
    {"F64", 64, {}},
    {"I64", 64, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"I32", 32, {}},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
}};

// A tensor as the header describes it.
struct Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;  // slowest first; empty: a scalar
  int64_t elements = 1;
  std::span<const std::byte> data;
};

Status ReadShape(const JsonObject& json, Entry& entry) {
  const auto* shape = json.Find("shape");
  if (shape == nullptr || !shape->is_array()) return Corrupt(json.origin(), "it has no shape");
  for (const auto& dim : shape->get_array()) {
    boost::system::error_code error;
    const auto size = dim.to_number<int64_t>(error);
    if (error || size < 0 || (entry.elements > 0 && size > kMaxElements / entry.elements))
      return Corrupt(json.origin(), "its shape is wrong");
    entry.shape.push_back(size);
    entry.elements *= size;
  }
  return {};
}

Status ReadData(const JsonObject& json, std::span<const std::byte> data, int64_t bits, Entry& entry) {
  const auto* offsets = json.Find("data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->get_array().size() != 2) {
    return Corrupt(json.origin(), "it has no data_offsets");
  }
  boost::system::error_code first, second;
  const auto begin = offsets->get_array()[0].to_number<uint64_t>(first);
  const auto end = offsets->get_array()[1].to_number<uint64_t>(second);
  if (first || second || begin > end || end > data.size()) {
    return Corrupt(json.origin(), "its data lies outside the file");
  }
  const auto wanted = (static_cast<uint64_t>(entry.elements) * static_cast<uint64_t>(bits) + 7) / 8;
  if (bits > 0 && end - begin != wanted) {
    return Corrupt(json.origin(), "its shape needs {} bytes, its data has {}", wanted, end - begin);
  }
  entry.data = data.subspan(begin, end - begin);
  return {};
}

Result<Entry> ReadEntry(const JsonObject& header, std::string_view name, std::span<const std::byte> data) {
  PENSTOCK_ASSIGN(const auto json, header.Object(name));
  if (!json.has_value()) return Corrupt(header.origin(), "tensor \"{}\" is null", name);
  PENSTOCK_ASSIGN(const auto dtype, json->String("dtype"));
  if (!dtype.has_value()) return Corrupt(json->origin(), "it has no dtype");
  Entry entry{.name = std::string(name), .dtype = *dtype, .shape = {}, .elements = 1, .data = {}};
  const auto* known = std::ranges::find(kDtypes, *dtype, &Dtype::name);
  PENSTOCK_TRY(ReadShape(*json, entry));
  PENSTOCK_TRY(ReadData(*json, data, known == kDtypes.end() ? 0 : known->bits, entry));
  return entry;
}

Status CheckDisjoint(const std::vector<Entry>& entries, std::string_view origin) {
  std::vector<const Entry*> order;
  for (const auto& entry : entries) {
    if (!entry.data.empty()) order.push_back(&entry);
  }
  std::ranges::sort(order, {}, [](const Entry* e) { return e->data.data(); });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data()) {
      return Corrupt(origin, "tensors \"{}\" and \"{}\" overlap", order[i - 1]->name, order[i]->name);
    }
  }
  return {};
}

// In the file the slowest dimension comes first, so the last one is the row.
void Add(Entry entry, Safetensors& out) {
  const auto* dtype = std::ranges::find(kDtypes, entry.dtype, &Dtype::name);
  const bool weight = dtype != kDtypes.end() && dtype->format.has_value();
  if (!weight || entry.shape.empty() || entry.shape.size() > 4 || entry.elements == 0) {
    out.unread.push_back({std::move(entry.name), std::move(entry.dtype)});
    return;
  }
  Tensor t;
  t.name = std::move(entry.name);
  t.format = *dtype->format;
  t.cols = entry.shape.back();
  t.rows = entry.shape.size() > 1 ? entry.shape[entry.shape.size() - 2] : 1;
  t.count = entry.elements / t.cols / t.rows;
  t.data = entry.data;
  out.tensors.push_back(std::move(t));
}

}  // namespace

Result<Safetensors> ParseSafetensors(std::span<const std::byte> bytes, std::string_view origin) {
  uint64_t size = 0;
  if (bytes.size() < sizeof(size)) return Corrupt(origin, "it ends within its first eight bytes");
  std::memcpy(&size, bytes.data(), sizeof(size));
  if (size > kMaxHeader || size > bytes.size() - sizeof(size)) {
    return Corrupt(origin, "its header of {} bytes does not fit a file of {}", size, bytes.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(size), size);
  PENSTOCK_ASSIGN(const auto header, JsonObject::Parse(text, origin));
  const auto data = bytes.subspan(sizeof(size) + size);
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.raw()) {
    const std::string_view name(key.data(), key.size());
    if (name == "__metadata__") continue;
    PENSTOCK_ASSIGN(auto entry, ReadEntry(header, name, data));
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) return Corrupt(origin, "it contains no tensors");
  PENSTOCK_TRY(CheckDisjoint(entries, origin));
  Safetensors out;
  for (auto& entry : entries) Add(std::move(entry), out);
  return out;
}

Result<std::vector<std::string>> SafetensorsShards(const std::string& folder) {
  const std::string index = folder + "/model.safetensors.index.json", whole = folder + "/model.safetensors";
  if (::access(whole.c_str(), F_OK) == 0 || ::access(index.c_str(), F_OK) != 0)
    return std::vector<std::string>{"model.safetensors"};
  PENSTOCK_ASSIGN(const auto text, ReadSmallFile(index, kMaxIndex));
  PENSTOCK_ASSIGN(const auto root, JsonObject::Parse(text, index));
  PENSTOCK_ASSIGN(const auto map, root.Object("weight_map"));
  if (!map.has_value()) return Corrupt(index, "it has no weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, file] : map->raw()) {
    if (!file.is_string()) return Corrupt(index, "tensor \"{}\" names no file", std::string_view(tensor));
    const std::string name(file.get_string());
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
      return Fail(Code::kInvalid, "{}: \"{}\" is not a file of this folder", index, name);
    }
    shards.insert(name);
  }
  if (shards.empty()) return Corrupt(index, "it names no files");
  return std::vector<std::string>(shards.begin(), shards.end());
}

}  // namespace penstock

#include "model/files/safetensors.h"

#include <unistd.h>

#include <algorithm>
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

std::optional<kernels::Format> FormatOf(std::string_view dtype) {
  if (dtype == "F32") return kernels::Format::kF32;
  if (dtype == "F16") return kernels::Format::kF16;
  if (dtype == "BF16") return kernels::Format::kBF16;
  return std::nullopt;
}

// In the file the slowest dimension comes first, so the last one is the row.
Status ReadShape(const JsonObject& entry, Tensor& t) {
  const auto* shape = entry.Find("shape");
  if (shape == nullptr || !shape->is_array()) return Corrupt(entry.origin(), "it has no shape");
  const auto& dims = shape->get_array();
  if (dims.empty() || dims.size() > 4) return Corrupt(entry.origin(), "it has {} dimensions", dims.size());
  int64_t elements = 1;
  std::vector<int64_t> sizes;
  for (const auto& dim : dims) {
    boost::system::error_code error;
    const auto size = dim.to_number<int64_t>(error);
    if (error || size <= 0 || size > kMaxElements / elements)
      return Corrupt(entry.origin(), "its shape is wrong");
    sizes.push_back(size);
    elements *= size;
  }
  t.cols = sizes.back();
  t.rows = sizes.size() > 1 ? sizes[sizes.size() - 2] : 1;
  t.count = elements / t.cols / t.rows;
  return {};
}

Status ReadData(const JsonObject& entry, std::span<const std::byte> data, Tensor& t) {
  const auto* offsets = entry.Find("data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->get_array().size() != 2) {
    return Corrupt(entry.origin(), "it has no data_offsets");
  }
  boost::system::error_code first, second;
  const auto begin = offsets->get_array()[0].to_number<uint64_t>(first);
  const auto end = offsets->get_array()[1].to_number<uint64_t>(second);
  if (first || second || begin > end || end > data.size()) {
    return Corrupt(entry.origin(), "its data lies outside the file");
  }
  const auto wanted = static_cast<uint64_t>(t.row_bytes() * t.rows * t.count);
  if (end - begin != wanted) {
    return Corrupt(entry.origin(), "its shape needs {} bytes, its data has {}", wanted, end - begin);
  }
  t.data = data.subspan(begin, end - begin);
  return {};
}

Result<Tensor> ReadTensor(const JsonObject& header, std::string_view name, std::span<const std::byte> data) {
  PENSTOCK_ASSIGN(const auto entry, header.Object(name));
  if (!entry.has_value()) return Corrupt(header.origin(), "tensor \"{}\" is null", name);
  PENSTOCK_ASSIGN(const auto dtype, entry->String("dtype"));
  const auto format = FormatOf(dtype.value_or(""));
  if (!format.has_value()) {
    return Fail(Reason::kModelUnsupported,
                "{}: it is stored as {}; supported: F32, F16, BF16. Use the unquantised model "
                "or a GGUF file",
                entry->origin(), dtype.value_or("nothing"));
  }
  Tensor t;
  t.name = name;
  t.format = *format;
  PENSTOCK_TRY(ReadShape(*entry, t));
  PENSTOCK_TRY(ReadData(*entry, data, t));
  return t;
}

Status CheckDisjoint(const std::vector<Tensor>& tensors, std::string_view origin) {
  std::vector<const Tensor*> order;
  for (const auto& t : tensors) order.push_back(&t);
  std::ranges::sort(order, {}, [](const Tensor* t) { return t->data.data(); });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data()) {
      return Corrupt(origin, "tensors \"{}\" and \"{}\" overlap", order[i - 1]->name, order[i]->name);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Tensor>> ParseSafetensors(std::span<const std::byte> bytes, std::string_view origin) {
  uint64_t size = 0;
  if (bytes.size() < sizeof(size)) return Corrupt(origin, "it ends within its first eight bytes");
  std::memcpy(&size, bytes.data(), sizeof(size));
  if (size > kMaxHeader || size > bytes.size() - sizeof(size)) {
    return Corrupt(origin, "its header of {} bytes does not fit a file of {}", size, bytes.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(size), size);
  PENSTOCK_ASSIGN(const auto header, JsonObject::Parse(text, origin));
  const auto data = bytes.subspan(sizeof(size) + size);
  std::vector<Tensor> tensors;
  for (const auto& [key, value] : header.raw()) {
    const std::string_view name(key.data(), key.size());
    if (name == "__metadata__") continue;
    PENSTOCK_ASSIGN(auto tensor, ReadTensor(header, name, data));
    tensors.push_back(std::move(tensor));
  }
  if (tensors.empty()) return Corrupt(origin, "it contains no tensors");
  PENSTOCK_TRY(CheckDisjoint(tensors, origin));
  return tensors;
}

Result<std::vector<std::string>> SafetensorsShards(const std::string& folder) {
  const std::string index = folder + "/model.safetensors.index.json";
  if (::access(index.c_str(), F_OK) != 0) return std::vector<std::string>{"model.safetensors"};
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

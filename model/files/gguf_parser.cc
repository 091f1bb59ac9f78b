// Gguf::Parse: from a file's bytes to checked values and tensors.
#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <utility>

#include "model/files/ggml_types.h"
#include "model/files/gguf.h"
#include "model/files/gguf_layout.h"

namespace penstock {
namespace {

using gguf_layout::kTypeBytes;
using gguf_layout::Load;
using Type = GgufValue::Type;

static_assert(std::endian::native == std::endian::little, "GGUF is read in place, little-endian");

constexpr uint64_t kMaxKey = 65'535;  // the specification's limit
constexpr uint64_t kMaxName = 255;    // of a tensor; the specification says 64
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr int64_t kMaxElements = int64_t{1} << 45;  // of one tensor: products below cannot overflow

// For messages: `text` as printable ASCII, truncated to a readable length.
std::string Printable(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out;
  for (const char c : text.substr(0, kShown)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return text.size() > kShown ? out + "..." : out;
}

}  // namespace

// Reads forward through the bytes; every step checks that enough bytes are left.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view origin) : bytes_(bytes) {
    gguf_.origin_ = origin;
  }

  Result<Gguf> Run() {
    PENSTOCK_TRY(ReadHeader());
    for (uint64_t i = 0; i < key_count_; ++i) PENSTOCK_TRY(ReadKey(i));
    PENSTOCK_TRY(CheckCount());
    for (uint64_t i = 0; i < tensor_count_; ++i) PENSTOCK_TRY(ReadTensor(i));
    PENSTOCK_TRY(PlaceTensors());
    return std::move(gguf_);
  }

  Result<Gguf> RunBeginning() {
    beginning_ = true;
    PENSTOCK_TRY(ReadHeader());
    for (uint64_t i = 0; i < key_count_; ++i) {
      if (const auto read = ReadKey(i); !read.has_value()) {
        if (ended_) break;
        return std::unexpected(read.error());
      }
    }
    return std::move(gguf_);
  }

 private:
  struct Entry {
    Tensor tensor;  // its format is set once it is placed
    const GgmlType* type;
    uint64_t offset;
  };

  template <class... Args>
  std::unexpected<Error> Corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    return Fail(Reason::kModelDamaged, "{}: {}; the file is damaged or incomplete, download it again",
                gguf_.origin_, fmt::format(format, std::forward<Args>(args)...));
  }

  uint64_t left() const { return bytes_.size() - at_; }

  Result<std::span<const std::byte>> Take(uint64_t size, std::string_view what) {
    if (size > left()) {
      ended_ = true;
      return Corrupt("{} needs {} bytes at offset {}, but the file has {} left", what, size, at_, left());
    }
    const auto part = bytes_.subspan(at_, size);
    at_ += size;
    return part;
  }

  template <class T>
  Result<T> Number(std::string_view what) {
    PENSTOCK_ASSIGN(const auto part, Take(sizeof(T), what));
    return Load<T>(part.data());
  }

  Result<std::string_view> String(uint64_t limit, std::string_view what) {
    PENSTOCK_ASSIGN(const uint64_t size, Number<uint64_t>(what));
    ended_ = size > left();
    if (size > limit) return Corrupt("{} has a length of {}, over the limit of {}", what, size, limit);
    PENSTOCK_ASSIGN(const auto part, Take(size, what));
    return std::string_view(reinterpret_cast<const char*>(part.data()), part.size());
  }

  Status ReadHeader() {
    constexpr std::string_view kMagic = "GGUF";
    if (bytes_.size() < kMagic.size() || std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) != 0) {
      return Fail(Reason::kModelDamaged,
                  "{}: not a GGUF file (it does not begin with \"GGUF\"); use a .gguf file or "
                  "a Hugging Face folder",
                  gguf_.origin_);
    }
    at_ = kMagic.size();
    PENSTOCK_ASSIGN(const uint32_t version, Number<uint32_t>("the version"));
    if (version != 2 && version != 3) {
      return Fail(Reason::kModelUnsupported,
                  "{}: GGUF version {}{}; versions 2 and 3 are supported: convert it again", gguf_.origin_,
                  version, (version & 0xffff) == 0 ? " (a big-endian file)" : "");
    }
    PENSTOCK_ASSIGN(tensor_count_, Number<uint64_t>("the tensor count"));
    PENSTOCK_ASSIGN(key_count_, Number<uint64_t>("the key count"));
    if (beginning_) return {};
    // The smallest key takes 13 bytes, the smallest tensor entry 32 bytes, so larger counts are wrong.
    if (key_count_ > left() / 13) return Corrupt("a key count of {} cannot fit", key_count_);
    if (tensor_count_ > left() / 32) return Corrupt("a tensor count of {} cannot fit", tensor_count_);
    return {};
  }

  // The first file of a split model may have none.
  Status CheckCount() {
    PENSTOCK_ASSIGN(const auto parts, gguf_.Int("split.count", 0, 65'535));
    if (tensor_count_ == 0 && parts.value_or(1) <= 1) return Corrupt("it contains no tensors");
    return {};
  }

  Status ReadKey(uint64_t index) {
    PENSTOCK_ASSIGN(const auto key, String(kMaxKey, fmt::format("the name of key {}", index)));
    if (key.empty()) return Corrupt("key {} has an empty name", index);
    const std::string shown = fmt::format("key \"{}\"", Printable(key));
    GgufValue value;
    PENSTOCK_ASSIGN(value.type, ReadType(shown));
    if (value.type == Type::kArray) {
      value.is_array = true;
      PENSTOCK_ASSIGN(value.type, ReadType(shown));
      PENSTOCK_ASSIGN(value.count, Number<uint64_t>(shown));
      if (value.type == Type::kArray) return Corrupt("{} is an array of arrays, which no model uses", shown);
      gguf_.cut_ = {std::string(key), value.count};
    }
    PENSTOCK_ASSIGN(value.raw, Elements(value, shown));
    gguf_.cut_ = {};
    if (!gguf_.values_.emplace(key, value).second) return Corrupt("{} appears twice", shown);
    return {};
  }

  Result<Type> ReadType(const std::string& shown) {
    PENSTOCK_ASSIGN(const uint32_t type, Number<uint32_t>(shown));
    if (type >= kTypeBytes.size()) return Corrupt("{} has an unknown type ({})", shown, type);
    return static_cast<Type>(type);
  }

  Result<std::span<const std::byte>> Elements(const GgufValue& value, const std::string& shown) {
    if (value.type == Type::kString) {
      const size_t begin = at_;
      for (uint64_t i = 0; i < value.count; ++i) PENSTOCK_TRY(String(left(), shown));
      return bytes_.subspan(begin, at_ - begin);
    }
    const uint64_t each = kTypeBytes[static_cast<size_t>(value.type)];
    ended_ = value.count > left() / each;
    if (ended_) return Corrupt("{} has {} elements, more than fit", shown, value.count);
    return Take(value.count * each, shown);
  }

  Status ReadTensor(uint64_t index) {
    PENSTOCK_ASSIGN(const auto name, String(kMaxName, fmt::format("the name of tensor {}", index)));
    Tensor t;
    t.name = name;
    const std::string shown = fmt::format("tensor \"{}\"", Printable(name));
    if (name.empty()) return Corrupt("tensor {} has an empty name", index);
    if (!names_.insert(name).second) return Corrupt("{} appears twice", shown);
    PENSTOCK_TRY(ReadShape(t, shown));
    PENSTOCK_ASSIGN(const uint32_t number, Number<uint32_t>(shown));
    const GgmlType* type = FindGgmlType(number);
    if (type == nullptr || type->block_bytes == 0) {
      return Fail(Reason::kModelUnsupported, "{}: {} is stored as {}, which ggml {}. Convert the model again",
                  gguf_.origin_, shown,
                  type == nullptr ? fmt::format("ggml type {}", number) : std::string(type->name),
                  type == nullptr ? "does not define" : "no longer reads");
    }
    if (t.cols % type->block_elements != 0) {
      return Corrupt("{} has rows of {}, not a multiple of {}'s block of {}", shown, t.cols, type->name,
                     type->block_elements);
    }
    PENSTOCK_ASSIGN(const uint64_t offset, Number<uint64_t>(shown));
    entries_.push_back({std::move(t), type, offset});
    return {};
  }

  Status ReadShape(Tensor& t, const std::string& shown) {
    PENSTOCK_ASSIGN(const uint32_t dims, Number<uint32_t>(shown));
    if (dims == 0 || dims > kMaxDims) return Corrupt("{} has {} dimensions", shown, dims);
    std::array<int64_t, kMaxDims> dim = {1, 1, 1, 1};
    int64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      PENSTOCK_ASSIGN(const uint64_t size, Number<uint64_t>(shown));
      if (size == 0) return Corrupt("{} has a dimension of zero", shown);
      if (size > static_cast<uint64_t>(kMaxElements / elements))
        return Corrupt("{} has too many elements", shown);
      dim[d] = static_cast<int64_t>(size);
      elements *= dim[d];
    }
    t.cols = dim[0], t.rows = dim[1], t.count = dim[2] * dim[3];
    return {};
  }

  // Offsets count from the first aligned byte after the directory.
  Status PlaceTensors() {
    PENSTOCK_ASSIGN(const auto alignment, gguf_.Int("general.alignment", 1, kMaxAlignment));
    const auto align = static_cast<uint64_t>(alignment.value_or(32));
    if (!std::has_single_bit(align)) return Corrupt("general.alignment is {}, not a power of two", align);
    const uint64_t begin = (at_ + align - 1) / align * align;
    if (begin > bytes_.size()) return Corrupt("it ends before the data of its tensors");
    for (Entry& entry : entries_) PENSTOCK_TRY(Place(entry, begin, align));
    PENSTOCK_TRY(CheckDisjoint());
    for (Entry& entry : entries_) Add(std::move(entry));
    return {};
  }

  Status Place(Entry& entry, uint64_t begin, uint64_t align) {
    Tensor& t = entry.tensor;
    const uint64_t offset = entry.offset;
    const std::string shown = fmt::format("tensor \"{}\"", Printable(t.name));
    const auto size =
        static_cast<uint64_t>(t.elements() / entry.type->block_elements * entry.type->block_bytes);
    if (offset % align != 0) return Corrupt("{} is not aligned to {} bytes", shown, align);
    if (offset > bytes_.size() - begin || size > bytes_.size() - begin - offset) {
      return Corrupt("{} ({} bytes at {}) lies outside the file of {} bytes", shown, size, offset,
                     bytes_.size());
    }
    t.data = bytes_.subspan(begin + offset, size);
    return {};
  }

  void Add(Entry entry) {
    Tensor& t = entry.tensor;
    if (const auto* format = kernels::FindFormat(entry.type->number); format != nullptr) {
      t.format = format->format;
      gguf_.tensors_.push_back(std::move(t));
    } else {
      gguf_.foreign_.push_back({std::move(t.name), entry.type->name, t.rows, t.elements(), t.data.size()});
    }
  }

  Status CheckDisjoint() const {
    std::vector<const Tensor*> order;
    for (const auto& entry : entries_) order.push_back(&entry.tensor);
    std::ranges::sort(order, {}, [](const Tensor* t) { return t->data.data(); });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data()) {
        return Corrupt("tensors \"{}\" and \"{}\" overlap", Printable(order[i - 1]->name),
                       Printable(order[i]->name));
      }
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  bool beginning_ = false;  // only a file's first bytes are parsed
  bool ended_ = false;      // the last read needed more bytes than are left
  uint64_t tensor_count_ = 0, key_count_ = 0;
  std::set<std::string_view> names_;
  std::vector<Entry> entries_;
  Gguf gguf_;
};

Result<Gguf> Gguf::Parse(std::span<const std::byte> bytes, std::string_view origin) {
  return GgufParser(bytes, origin).Run();
}

Result<Gguf> Gguf::ParseBeginning(std::span<const std::byte> bytes, std::string_view origin) {
  return GgufParser(bytes, origin).RunBeginning();
}

}  // namespace penstock

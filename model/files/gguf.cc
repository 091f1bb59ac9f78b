#include "model/files/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "model/files/gguf_layout.h"

namespace penstock {
namespace {

using gguf_layout::kTypeBytes;
using gguf_layout::Load;
using Type = GgufValue::Type;

constexpr std::array<std::string_view, 13> kTypeNames = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                         "int32",  "float32", "bool",   "string", "array",
                                                         "uint64", "int64",   "float64"};

std::string_view NameOf(Type type) {
  return kTypeNames[static_cast<size_t>(type)];
}

bool IsInteger(Type type) {
  return type != Type::kF32 && type != Type::kF64 && type != Type::kBool && type != Type::kString;
}

// Element `i` of integers; a uint64 beyond int64's range saturates, so every range check refuses it.
int64_t IntAt(const GgufValue& v, uint64_t i) {
  const std::byte* at = v.raw.data() + i * kTypeBytes[static_cast<size_t>(v.type)];
  switch (v.type) {
    case Type::kU8:
      return Load<uint8_t>(at);
    case Type::kI8:
      return Load<int8_t>(at);
    case Type::kU16:
      return Load<uint16_t>(at);
    case Type::kI16:
      return Load<int16_t>(at);
    case Type::kU32:
      return Load<uint32_t>(at);
    case Type::kI32:
      return Load<int32_t>(at);
    case Type::kU64:
      return static_cast<int64_t>(
          std::min<uint64_t>(Load<uint64_t>(at), std::numeric_limits<int64_t>::max()));
    default:
      return Load<int64_t>(at);
  }
}

double RealAt(const GgufValue& v, uint64_t i) {
  if (v.type == Type::kF32) return Load<float>(v.raw.data() + i * sizeof(float));
  return Load<double>(v.raw.data() + i * sizeof(double));
}

std::unexpected<Error> WrongType(const Gguf& gguf, std::string_view key, std::string_view wanted,
                                 const GgufValue& value) {
  return Fail(Reason::kModelDamaged, "{}: key \"{}\" should hold {}, not {}{}; convert the model again",
              gguf.origin(), key, wanted, value.is_array ? "an array of " : "", NameOf(value.type));
}

}  // namespace

const GgufValue* Gguf::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Result<std::optional<int64_t>> Gguf::Int(std::string_view key, int64_t min, int64_t max) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || !IsInteger(value->type)) return WrongType(*this, key, "an integer", *value);
  const int64_t number = IntAt(*value, 0);
  if (number < min || number > max) {
    return Fail(Reason::kModelDamaged, "{}: key \"{}\" is {}, which is not between {} and {}", origin_, key,
                number, min, max);
  }
  return number;
}

Result<std::optional<int64_t>> Gguf::IntOfLayers(std::string_view key, int64_t layers, int64_t min,
                                                 int64_t max) const {
  const GgufValue* value = Find(key);
  if (value == nullptr || !value->is_array) return Int(key, min, max);
  PENSTOCK_ASSIGN(const auto numbers, Ints(key));
  if (std::ssize(numbers) != layers || numbers.empty()) {
    return Fail(Reason::kModelDamaged, "{}: key \"{}\" has {} numbers for {} layers; convert the model again",
                origin_, key, numbers.size(), layers);
  }
  if (std::ranges::adjacent_find(numbers, std::not_equal_to()) != numbers.end()) {
    return Fail(Reason::kModelUnsupported,
                "{}: key \"{}\" differs between layers, which the native runner does not support", origin_,
                key);
  }
  if (numbers[0] < min || numbers[0] > max) {
    return Fail(Reason::kModelDamaged, "{}: key \"{}\" is {}, which is not between {} and {}", origin_, key,
                numbers[0], min, max);
  }
  return numbers[0];
}

std::vector<std::string> Gguf::Texts(const GgufValue& value) const {
  std::vector<std::string> texts;
  const std::byte* at = value.raw.data();
  for (uint64_t i = 0; i < value.count; ++i) {
    if (value.type == Type::kString) {
      const auto size = Load<uint64_t>(at);
      texts.emplace_back(reinterpret_cast<const char*>(at + sizeof(uint64_t)), size);
      at += sizeof(uint64_t) + size;
    } else if (value.type == Type::kBool) {
      texts.emplace_back(Load<uint8_t>(at + i) != 0 ? "true" : "false");
    } else if (IsInteger(value.type)) {
      texts.push_back(fmt::format("{}", IntAt(value, i)));
    } else {
      texts.push_back(fmt::format(
          "{}", value.type == Type::kF32 ? Load<float>(at + i * sizeof(float)) : RealAt(value, i)));
    }
  }
  return texts;
}

Status Gguf::CheckFormats() const {
  if (foreign_.empty()) return {};
  std::string names;
  for (const auto& info : kernels::Formats())
    fmt::format_to(std::back_inserter(names), "{}{}", names.empty() ? "" : ", ", info.name);
  return Fail(
      Reason::kModelUnsupported,
      "{}: tensor \"{}\" is stored as {}; the native runner supports {}. Convert the model to one of them",
      origin_, foreign_[0].name, foreign_[0].format, names);
}

Result<std::optional<double>> Gguf::Real(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || (value->type != Type::kF32 && value->type != Type::kF64)) {
    return WrongType(*this, key, "a number", *value);
  }
  const double number = RealAt(*value, 0);
  if (!std::isfinite(number))
    return Fail(Reason::kModelDamaged, "{}: key \"{}\" is not a finite number", origin_, key);
  return number;
}

Result<std::optional<bool>> Gguf::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || value->type != Type::kBool) return WrongType(*this, key, "true or false", *value);
  return Load<uint8_t>(value->raw.data()) != 0;
}

Result<std::optional<std::string_view>> Gguf::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || value->type != Type::kString) return WrongType(*this, key, "a string", *value);
  return std::string_view(reinterpret_cast<const char*>(value->raw.data()), value->raw.size())
      .substr(sizeof(uint64_t));
}

Result<std::vector<std::string_view>> Gguf::Strings(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::vector<std::string_view>{};
  if (!value->is_array || value->type != Type::kString)
    return WrongType(*this, key, "an array of strings", *value);
  std::vector<std::string_view> strings;
  strings.reserve(value->count);
  const std::byte* at = value->raw.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto size = Load<uint64_t>(at);
    strings.emplace_back(reinterpret_cast<const char*>(at + sizeof(uint64_t)), size);
    at += sizeof(uint64_t) + size;
  }
  return strings;
}

Result<std::vector<int64_t>> Gguf::Ints(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::vector<int64_t>{};
  if (!value->is_array || !IsInteger(value->type))
    return WrongType(*this, key, "an array of integers", *value);
  std::vector<int64_t> numbers(value->count);
  for (uint64_t i = 0; i < value->count; ++i) numbers[i] = IntAt(*value, i);
  return numbers;
}

Result<std::vector<float>> Gguf::Floats(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::vector<float>{};
  if (!value->is_array || value->type != Type::kF32)
    return WrongType(*this, key, "an array of float32", *value);
  std::vector<float> numbers(value->count);
  if (!numbers.empty()) std::memcpy(numbers.data(), value->raw.data(), value->raw.size());
  return numbers;
}

}  // namespace penstock

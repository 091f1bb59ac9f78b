#include "engine/frame.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace penstock {
namespace {

constexpr size_t kHeader = sizeof(uint32_t), kMinSpace = 64U << 10, kStart = 256U << 10;
static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

}  // namespace

void AppendFrame(std::string& out, const google::protobuf::MessageLite& message) {
  const size_t at = out.size();
  const auto size = static_cast<uint32_t>(message.ByteSizeLong());
  out.resize(at + kHeader + size);
  std::memcpy(out.data() + at, &size, kHeader);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out.data() + at + kHeader));
}

std::span<char> FrameReader::Space() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.size() - end_ < kMinSpace && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < kMinSpace) buffer_.resize(std::max(kStart, buffer_.size() * 2));
  return std::span(buffer_).subspan(end_);
}

Result<std::optional<std::string_view>> FrameReader::Next() {
  if (end_ - begin_ < kHeader) return std::nullopt;
  uint32_t size = 0;
  std::memcpy(&size, buffer_.data() + begin_, kHeader);
  if (size > kMaxFrame) {
    return Fail(Code::kCorrupt,
                "a frame of {} bytes, more than the {} allowed: the peer is not a Penstock of this version",
                size, kMaxFrame);
  }
  if (end_ - begin_ - kHeader < size) return std::nullopt;
  std::string_view body(buffer_.data() + begin_ + kHeader, size);
  begin_ += kHeader + size;
  return body;
}

}  // namespace penstock

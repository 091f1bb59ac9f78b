// Frames: protobuf messages on a byte stream, as engine/wire.proto has them: a little-endian uint32 of
// bytes, then the message. Both ends of the connection use this.
//
// Threads: one per object. Every byte of input is judged; none is trusted.
#pragma once

#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock {

constexpr size_t kFrameHeader = 4;
constexpr size_t kMaxFrame = size_t{64} << 20;  // bytes of one message
static_assert(std::endian::native == std::endian::little, "frame lengths are copied as they are");

// Bytes in, whole frames out:
//   read(fd, reader.Space(n)); reader.Filled(bytes read); while (frame = reader.Next()) …
class FrameReader {
 public:
  // Where the next bytes go: at least `wanted` of them. Invalidates what Next returned.
  std::span<char> Space(size_t wanted) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (bytes_.size() - end_ < wanted) MakeRoom(wanted);
    return {bytes_.data() + end_, bytes_.size() - end_};
  }
  void Filled(size_t bytes) { end_ += bytes; }

  // The next whole frame's message, valid until Space; nothing if more bytes are needed.
  // Errors: kTooLarge: the stream cannot be read any further.
  Result<std::optional<std::string_view>> Next() {
    if (end_ - begin_ < kFrameHeader) return std::nullopt;
    uint32_t size;
    std::memcpy(&size, bytes_.data() + begin_, sizeof size);
    if (size > kMaxFrame) {
      return Fail(Code::kTooLarge, "a frame of {} bytes; the limit is {}: the peer speaks another protocol",
                  size, kMaxFrame);
    }
    if (end_ - begin_ - kFrameHeader < size) return std::nullopt;
    const std::string_view frame(bytes_.data() + begin_ + kFrameHeader, size);
    begin_ += kFrameHeader + size;
    return frame;
  }

 private:
  void MakeRoom(size_t wanted) {
    if (end_ > begin_) std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (bytes_.size() - end_ < wanted) bytes_.resize(std::max(end_ + wanted, bytes_.size() * 2));
  }

  std::vector<char> bytes_;
  size_t begin_ = 0, end_ = 0;  // of what was filled and not yet taken
};

// Appends `message` to `out` as one frame. Errors: kTooLarge; `out` is unchanged then.
inline Status AppendFrame(const google::protobuf::MessageLite& message, std::string& out) {
  const size_t size = message.ByteSizeLong();
  if (size > kMaxFrame)
    return Fail(Code::kTooLarge, "a message of {} bytes; the limit is {}", size, kMaxFrame);
  const size_t at = out.size();
  out.resize(at + kFrameHeader + size);
  const auto prefix = static_cast<uint32_t>(size);
  std::memcpy(out.data() + at, &prefix, sizeof prefix);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(out.data() + at + kFrameHeader));
  return {};
}

}  // namespace penstock

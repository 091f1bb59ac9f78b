// Frames of the engine connection: a little-endian uint32 of bytes, then one message.
// Shared by both ends: engine/ and fleet/.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock {

// Larger frames are a broken peer. The longest prompt of a million tokens takes 5 MB.
constexpr uint32_t kMaxFrame = 64U << 20;

// Appends `message` as one frame, so that many small messages leave in one write.
void AppendFrame(std::string& out, const google::protobuf::MessageLite& message);

// Cuts a byte stream into frames.
//   read_some(reader.Space()) → reader.Fed(n) → while (Next()) …
// Threads: one.
class FrameReader {
 public:
  // Where the next bytes go; at least 64 KiB. Valid until the next call of Space.
  std::span<char> Space();
  void Fed(size_t bytes) { end_ += bytes; }
  // The next frame's body, valid until Space is called; nothing when it has not all come.
  // Errors: kCorrupt for a frame over kMaxFrame; the connection is beyond repair.
  Result<std::optional<std::string_view>> Next();

 private:
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // bytes that came and are not yet handed out
};

}  // namespace penstock

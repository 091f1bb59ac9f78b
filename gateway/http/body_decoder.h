// BodyDecoder: undoes a request body's Content-Encoding (RFC 9110, 8.4) in steps of bounded size.
//
// The whole encoded body is there before the first step. A step does at most a fixed amount of work, whatever
// the encoded bytes claim, so a body that unfolds without end costs no more than the limit at which its
// reader stops. Source: RFC 1950-1952 (zlib), RFC 8878 and RFC 9659 (libzstd; windows of up to 8 MiB).
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::gateway {

enum class Coding : uint8_t { kIdentity, kGzip, kDeflate, kZstd };
std::string_view CodingName(Coding coding);
// The coding that a Content-Encoding names: nothing, "identity" or one of ours. nullopt: another, or several.
std::optional<Coding> CodingOf(std::string_view content_encoding);
constexpr std::string_view kAcceptedCodings = "gzip, deflate, zstd";

class BodyDecoder {
 public:
  enum class State : uint8_t { kMore, kDone, kDamaged };

  virtual ~BodyDecoder() = default;
  // Decodes up to `most` bytes from the start of `encoded`, which it shortens, and appends them to `decoded`.
  // kDamaged: the body is not of this coding, or ends too early.
  virtual State Step(std::string_view& encoded, size_t most, std::string& decoded) = 0;
  // Bytes that the decoder itself holds.
  virtual size_t memory() const = 0;

  // REQUIRES: not kIdentity.
  static std::unique_ptr<BodyDecoder> Make(Coding coding);
};

}  // namespace penstock::gateway

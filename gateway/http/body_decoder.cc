#include "gateway/http/body_decoder.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <limits>

#include "base/check.h"

namespace penstock::gateway {
namespace {

using boost::beast::iequals;
using State = BodyDecoder::State;

constexpr std::array<std::string_view, 4> kNames = {"identity", "gzip", "deflate", "zstd"};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

class ZlibDecoder final : public BodyDecoder {
 public:
  explicit ZlibDecoder(Coding coding) : coding_(coding) {}
  ~ZlibDecoder() override {
    if (begun_) inflateEnd(&stream_);
  }

  State Step(std::string_view& encoded, size_t most, std::string& decoded) override {
    if (!begun_ && !Begin(encoded)) return State::kDamaged;
    const size_t before = decoded.size(), room = std::min<size_t>(most, std::numeric_limits<uInt>::max());
    decoded.resize(before + room);
    stream_.next_out = reinterpret_cast<Bytef*>(decoded.data() + before);
    stream_.avail_out = static_cast<uInt>(room);
    const State state = Inflate(encoded);
    decoded.resize(before + room - stream_.avail_out);
    return state;
  }

  size_t memory() const override { return begun_ ? 48 << 10 : 0; }  // a window of 32 KiB and its tables

 private:
  // "deflate" means zlib's format, but some clients send bare deflate data.
  bool Begin(std::string_view encoded) {
    constexpr int kWindow = MAX_WBITS, kGzip = 16;
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(encoded[at]); };
    const bool wrapped =
        encoded.size() >= 2 && (byte(0) & 0x0F) == Z_DEFLATED && (byte(0) * 256 + byte(1)) % 31 == 0;
    const int window = coding_ == Coding::kGzip ? kWindow + kGzip : wrapped ? kWindow : -kWindow;
    begun_ = inflateInit2(&stream_, window) == Z_OK;
    return begun_;
  }

  // A gzip body may consist of several members, one after another.
  State Inflate(std::string_view& encoded) {
    while (stream_.avail_out > 0) {
      stream_.next_in =
          reinterpret_cast<Bytef*>(const_cast<char*>(encoded.data()));  // zlib does not write to it
      stream_.avail_in =
          static_cast<uInt>(std::min<size_t>(encoded.size(), std::numeric_limits<uInt>::max()));
      const size_t given = stream_.avail_in;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      encoded.remove_prefix(given - stream_.avail_in);
      if (result == Z_STREAM_END) {
        if (encoded.empty()) return State::kDone;
        if (coding_ != Coding::kGzip || inflateReset(&stream_) != Z_OK) return State::kDamaged;
      } else if (result != Z_OK) {
        return State::kDamaged;  // Z_BUF_ERROR: the input ends before its end
      }
    }
    return State::kMore;
  }

  const Coding coding_;
  z_stream stream_{};
  bool begun_ = false;
};

class ZstdDecoder final : public BodyDecoder {
 public:
  // RFC 9659: a client must not require a larger window for a Content-Encoding.
  explicit ZstdDecoder(ZSTD_DCtx* context) : context_(context) {
    constexpr int kWindowLog = 23;
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kWindowLog);
  }
  ~ZstdDecoder() override { ZSTD_freeDCtx(context_); }

  State Step(std::string_view& encoded, size_t most, std::string& decoded) override {
    const size_t before = decoded.size();
    decoded.resize(before + most);
    ZSTD_outBuffer out{.dst = decoded.data() + before, .size = most, .pos = 0};
    ZSTD_inBuffer in{.src = encoded.data(), .size = encoded.size(), .pos = 0};
    State state = State::kMore;
    while (state == State::kMore && out.pos < out.size) {
      const size_t in_before = in.pos, out_before = out.pos;
      const size_t left = ZSTD_decompressStream(context_, &out, &in);
      if (ZSTD_isError(left) != 0) {
        state = State::kDamaged;
      } else if (left == 0 && in.pos == in.size) {
        state = State::kDone;  // a frame has ended and none follows
      } else if (in.pos == in_before && out.pos == out_before) {
        state = State::kDamaged;  // it needs more input than there is
      }
    }
    encoded.remove_prefix(in.pos);
    decoded.resize(before + out.pos);
    return state;
  }

  size_t memory() const override { return ZSTD_sizeof_DCtx(context_); }

 private:
  ZSTD_DCtx* const context_;
};

}  // namespace

std::string_view CodingName(Coding coding) {
  return kNames[static_cast<size_t>(coding)];
}

std::optional<Coding> CodingOf(std::string_view content_encoding) {
  Coding found = Coding::kIdentity;
  for (std::string_view rest = content_encoding; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    std::string_view name = Trimmed(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (name.empty() || iequals(name, "identity")) continue;
    if (iequals(name, "x-gzip")) name = "gzip";
    const auto known = std::ranges::find_if(kNames, [&](std::string_view one) { return iequals(one, name); });
    if (known == kNames.end() || found != Coding::kIdentity) return std::nullopt;
    found = static_cast<Coding>(known - kNames.begin());
  }
  return found;
}

std::unique_ptr<BodyDecoder> BodyDecoder::Make(Coding coding) {
  if (coding != Coding::kZstd) return std::make_unique<ZlibDecoder>(coding);
  ZSTD_DCtx* const context = ZSTD_createDCtx();
  PENSTOCK_CHECK(context != nullptr);
  return std::make_unique<ZstdDecoder>(context);
}

}  // namespace penstock::gateway

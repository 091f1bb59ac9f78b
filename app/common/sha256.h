// SHA-256 of bytes as they arrive, and of whole files.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct evp_md_ctx_st;

namespace penstock {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void Update(std::string_view bytes);
  std::string Hex();  // ends the digest: call once

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// Called from time to time with the number of bytes done so far.
using ByteProgress = std::function<void(uint64_t done)>;

// Feeds the file's first `limit` bytes. Errors: kNotFound, kIo.
Status HashFileInto(Sha256& digest, const std::string& path, uint64_t limit,
                    const ByteProgress& progress = {});
Result<std::string> Sha256OfFile(const std::string& path, const ByteProgress& progress = {});
std::string Sha256OfText(std::string_view text);

// 64 hexadecimal digits, in lower case; empty if `text` is not that.
std::string NormalSha256(std::string_view text);

}  // namespace penstock

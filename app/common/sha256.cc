#include "app/common/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <vector>

#include "app/common/data_dir.h"
#include "base/check.h"

namespace penstock {

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  PENSTOCK_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(std::string_view bytes) {
  PENSTOCK_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  PENSTOCK_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

Status HashFileInto(Sha256& digest, const std::string& path, uint64_t limit, const ByteProgress& progress) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno(errno == ENOENT ? Code::kNotFound : Code::kIo, path);
  std::vector<char> block(1 << 20);
  for (uint64_t done = 0; done < limit;) {
    const ssize_t got = read(fd.get(), block.data(), std::min<uint64_t>(block.size(), limit - done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(Code::kIo, path);
    if (got == 0) break;
    digest.Update({block.data(), static_cast<size_t>(got)});
    done += static_cast<uint64_t>(got);
    if (progress) progress(done);
  }
  return {};
}

Result<std::string> Sha256OfFile(const std::string& path, const ByteProgress& progress) {
  Sha256 digest;
  PENSTOCK_TRY(HashFileInto(digest, path, UINT64_MAX, progress));
  return digest.Hex();
}

std::string Sha256OfText(std::string_view text) {
  Sha256 digest;
  digest.Update(text);
  return digest.Hex();
}

std::string NormalSha256(std::string_view text) {
  std::string hex(text.substr(0, 65));
  std::ranges::transform(hex, hex.begin(), [](unsigned char c) { return std::tolower(c); });
  const bool good = hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
  return good ? hex : "";
}

}  // namespace penstock

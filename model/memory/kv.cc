#include "model/memory/kv.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace penstock {

int64_t KvPages::PageBytes(const ModelConfig& c, kernels::KvType type) {
  return int64_t{2} * c.layers * c.kv_heads * c.head_dim * kPageTokens * kernels::KvBytes(type);
}

Result<KvPages> KvPages::Create(const ModelConfig& config, kernels::KvType type, int32_t pages) {
  KvPages kv;
  kv.page_bytes_ = PageBytes(config, type);
  kv.block_bytes_ = int64_t{config.head_dim} * kPageTokens * kernels::KvBytes(type);
  kv.kv_heads_ = config.kv_heads;
  kv.type_ = type;
  const auto size = static_cast<size_t>(pages * kv.page_bytes_);
  void* memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return FailErrno(Code::kOverloaded, fmt::format("cannot reserve {} MB of KV memory", size >> 20));
  }
  kv.base_ = static_cast<std::byte*>(memory);
  kv.pages_ = pages;
  return kv;
}

KvPages::KvPages(KvPages&& other) noexcept {
  *this = std::move(other);
}

KvPages& KvPages::operator=(KvPages&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(page_bytes_, other.page_bytes_);
  std::swap(block_bytes_, other.block_bytes_);
  std::swap(pages_, other.pages_);
  std::swap(kv_heads_, other.kv_heads_);
  std::swap(type_, other.type_);
  return *this;
}

KvPages::~KvPages() {
  if (base_ != nullptr) ::munmap(base_, static_cast<size_t>(pages_ * page_bytes_));
}

int64_t KvPages::UntouchedBytes() const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto size = static_cast<size_t>(pages_ * page_bytes_);
  std::vector<unsigned char> resident((size + page - 1) / page);
  if (::mincore(base_, size, resident.data()) != 0) return 0;
  const auto touched = std::ranges::count_if(resident, [](unsigned char flags) { return (flags & 1) != 0; });
  return std::max<int64_t>(0, static_cast<int64_t>(size - static_cast<size_t>(touched) * page));
}

void KvPages::Copy(PageId from, PageId to) const {
  std::memcpy(base_ + to * page_bytes_, base_ + from * page_bytes_, static_cast<size_t>(page_bytes_));
}

void KvPages::Zero(PageId page) const {
  std::memset(base_ + page * page_bytes_, 0, static_cast<size_t>(page_bytes_));
}

}  // namespace penstock

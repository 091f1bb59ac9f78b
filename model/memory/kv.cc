#include "model/memory/kv.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

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

void KvPages::Copy(PageId from, PageId to) const {
  std::memcpy(base_ + to * page_bytes_, base_ + from * page_bytes_, static_cast<size_t>(page_bytes_));
}

void KvPages::Zero(PageId page) const {
  std::memset(base_ + page * page_bytes_, 0, static_cast<size_t>(page_bytes_));
}

// Whole pages of the system's only; what lies beside them stays resident, and is zeroed.
void KvPages::Free(PageId page) const {
  const auto unit = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(base_ + page * page_bytes_);
  const uintptr_t end = begin + static_cast<uintptr_t>(page_bytes_);
  const uintptr_t first = (begin + unit - 1) / unit * unit, last = end / unit * unit;
  if (first >= last || ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) {
    return Zero(page);
  }
  std::memset(reinterpret_cast<void*>(begin), 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, end - last);
}

}  // namespace penstock

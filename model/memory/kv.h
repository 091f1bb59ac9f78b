// KvPages: one model's KV memory in pages of kPageTokens tokens. The scheduler decides who owns which page;
// this class holds the bytes.
//
// A page holds, for each layer and KV head, keys transposed [head_dim][kPageTokens] and then values
// [kPageTokens][head_dim], as kernels::Attention reads them: the two blocks of a head are adjacent.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/tokens.h"
#include "kernels/kernels.h"
#include "model/files/config.h"

namespace penstock {

// Threads: any, on disjoint pages. Memory is taken from the system when a page is first written.
class KvPages {
 public:
  // Errors: kOverloaded: the system refuses the address space.
  static Result<KvPages> Create(const ModelConfig& config, kernels::KvType type, int32_t pages);
  static int64_t PageBytes(const ModelConfig& config, kernels::KvType type);

  KvPages(KvPages&& other) noexcept;
  KvPages& operator=(KvPages&& other) noexcept;
  ~KvPages();

  int32_t pages() const { return pages_; }
  int64_t page_bytes() const { return page_bytes_; }
  kernels::KvType type() const { return type_; }

  std::byte* Keys(PageId page, int32_t layer, int32_t head) const {
    return base_ + page * page_bytes_ + (int64_t{layer} * kv_heads_ + head) * 2 * block_bytes_;
  }
  std::byte* Values(PageId page, int32_t layer, int32_t head) const {
    return Keys(page, layer, head) + block_bytes_;
  }

  void Copy(PageId from, PageId to) const;
  void Zero(PageId page) const;
  // As Zero, and the page's memory goes back to the system until it is written again.
  void Free(PageId page) const;

 private:
  KvPages() = default;

  std::byte* base_ = nullptr;
  int64_t page_bytes_ = 0, block_bytes_ = 0;  // a block: one head's keys, or its values
  int32_t pages_ = 0, kv_heads_ = 0;
  kernels::KvType type_ = kernels::KvType::kF16;
};

}  // namespace penstock

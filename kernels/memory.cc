#include "kernels/memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace penstock::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

// Maps one huge page more than needed and unmaps what is outside the aligned part, because an unaligned
// mapping gets no huge pages.
std::byte* MapAligned(size_t bytes) {
  void* raw = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(raw);
  const size_t head =
      RoundUp(reinterpret_cast<uintptr_t>(begin), kHugePage) - reinterpret_cast<uintptr_t>(begin);
  if (head > 0) munmap(begin, head);
  if (head < kHugePage) munmap(begin + head + bytes, kHugePage - head);
  madvise(begin + head, bytes, MADV_HUGEPAGE);
  return begin + head;
}

}  // namespace

void BufferDeleter::operator()(std::byte* memory) const {
  if (mapped > 0) {
    munmap(memory, mapped);
  } else {
    std::free(memory);
  }
}

Result<Buffer> AllocateBuffer(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes > 0 ? bytes : 1);
  const bool map = size >= kHugePage;
  const size_t rounded = RoundUp(size, map ? 4096 : 64);
  auto* memory = map ? MapAligned(rounded) : static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  if (memory == nullptr) {
    return Fail(Code::kOverloaded, "no memory for {} MB: free some, or load a smaller model", size >> 20);
  }
  return Buffer(memory, BufferDeleter{map ? rounded : 0});
}

}  // namespace penstock::kernels

#include "chip/bandwidth.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "chip/cpu.h"

namespace penstock::chip {
namespace {

constexpr int64_t kBytes = int64_t{256} << 20;  // several times any cache that one CPU owns
constexpr Nanos kReadTime = 200 * kMillisecond, kComputeTime = 40 * kMillisecond;

double Seconds(Nanos nanos) {
  return static_cast<double>(nanos) / kSecond;
}

using Words = uint64_t __attribute__((vector_size(64)));

// Four streams with prefetch: one plain stream leaves some bandwidth unused.
uint64_t Read(const std::byte* begin, int64_t bytes) {
  constexpr int64_t kStreams = 4, kAhead = 4096;
  const int64_t part = bytes / kStreams / 64 * 64;
  Words sum = {};
  for (int64_t i = 0; i < part; i += 64) {
    for (int64_t s = 0; s < kStreams; ++s) {
      const std::byte* at = begin + s * part + i;
      __builtin_prefetch(at + kAhead);
      Words words;
      std::memcpy(&words, at, sizeof(words));
      sum += words;
    }
  }
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

// The best of many short passes, each over another part of the memory: other processes on this machine only
// reduce the result.
double BestPass(ThreadPool& pool, const std::byte* memory) {
  constexpr int64_t kPass = kBytes / 4, kChunk = int64_t{2} << 20;
  std::atomic<uint64_t> sink{0};
  double best = 0;
  const Clock& clock = SystemClock();
  const Nanos start = clock.Monotonic();
  for (int64_t part = 0; clock.Monotonic() - start < kReadTime; part = (part + kPass) % kBytes) {
    const Nanos begin = clock.Monotonic();
    pool.For(kPass, kChunk,
             [&](int64_t from, int64_t to, int) { sink += Read(memory + part + from, to - from); });
    best = std::max(best, kPass / Seconds(clock.Monotonic() - begin));
  }
  return best;
}

// Sixteen independent chains hide the latency; the barrier prevents the compiler from merging them.
constexpr int kChains = 16, kRounds = 10'000;

__attribute__((target("avx512f,avx512vnni"))) void DotsAvx512() {
  __m512i acc[kChains] = {};
  const __m512i x = _mm512_set1_epi8(1);
  for (int i = 0; i < kRounds; ++i) {
    for (__m512i& a : acc) {
      a = _mm512_dpbusd_epi32(a, x, x);
      asm volatile("" : "+v"(a));
    }
  }
}

__attribute__((target("avx512f"))) void FmasAvx512() {
  __m512 acc[kChains] = {};
  const __m512 x = _mm512_set1_ps(0.5F);
  for (int i = 0; i < kRounds; ++i) {
    for (__m512& a : acc) {
      a = _mm512_fmadd_ps(x, x, a);
      asm volatile("" : "+v"(a));
    }
  }
}

// Twelve chains fit AVX2's sixteen registers.
constexpr int kFewChains = 12;

__attribute__((target("avx2"))) void DotsAvx2() {
  __m256i acc[kFewChains] = {};
  const __m256i x = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  for (int i = 0; i < kRounds; ++i) {
    for (__m256i& a : acc) {
      a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(x, a), ones));
      asm volatile("" : "+x"(a));
    }
  }
}

__attribute__((target("avx2,fma"))) void FmasAvx2() {
  __m256 acc[kFewChains] = {};
  const __m256 x = _mm256_set1_ps(0.5F);
  for (int i = 0; i < kRounds; ++i) {
    for (__m256& a : acc) {
      a = _mm256_fmadd_ps(x, x, a);
      asm volatile("" : "+x"(a));
    }
  }
}

// All workers at once; takes each worker's best call, for the same reason.
double OpsPerSecond(ThreadPool& pool, void (*loop)(), double ops_a_call) {
  std::vector<double> best(static_cast<size_t>(pool.workers()), 0.0);
  const Clock& clock = SystemClock();
  const Nanos start = clock.Monotonic();
  pool.Run([&](int worker, int) {
    for (Nanos begin = start; begin - start < kComputeTime;) {
      loop();
      const Nanos end = clock.Monotonic();
      double& rate = best[static_cast<size_t>(worker)];
      rate = std::max(rate, ops_a_call / Seconds(end - begin));
      begin = end;
    }
  });
  return std::accumulate(best.begin(), best.end(), 0.0);
}

}  // namespace

double MeasureReadBandwidth(ThreadPool& pool) {
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  madvise(memory, kBytes, MADV_HUGEPAGE);
  auto* bytes = static_cast<std::byte*>(memory);
  // Written once, because otherwise every page would map to the same page of zeros.
  pool.For(kBytes, int64_t{4} << 20, [&](int64_t begin, int64_t end, int) {
    std::memset(bytes + begin, 1, static_cast<size_t>(end - begin));
  });
  const double best = BestPass(pool, bytes);
  munmap(memory, kBytes);
  return best;
}

ComputePeak MeasureComputePeak(ThreadPool& pool) {
  const CpuFeatures features = DetectCpuFeatures();
  ComputePeak peak;
  if (features.avx512_vnni) {
    peak.int8_ops = OpsPerSecond(pool, DotsAvx512, 2.0 * 64 * kChains * kRounds);
    peak.f32_flops = OpsPerSecond(pool, FmasAvx512, 2.0 * 16 * kChains * kRounds);
  } else if (features.avx2) {
    peak.int8_ops = OpsPerSecond(pool, DotsAvx2, 2.0 * 32 * kFewChains * kRounds);
    peak.f32_flops = OpsPerSecond(pool, FmasAvx2, 2.0 * 8 * kFewChains * kRounds);
  }
  return peak;
}

}  // namespace penstock::chip

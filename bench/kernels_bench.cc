// kernels_bench: the matmul of each weight format on each instruction set, and attention, compared with the
// limits of this machine (measured in the same run).
//
//   kernels_bench [--threads N] [--isa NAME] [--format NAME] [--seconds S] [--rows FILE.tsv]
//
// Shapes are Qwen2.5-0.5B's. "GB/s" counts the packed weights once a call; "GOP/s" 2·m·n·k.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/clock.h"
#include "chip/bandwidth.h"
#include "chip/cpu.h"
#include "kernels/kernels.h"
#include "kernels/test_util.h"

namespace penstock::kernels {
namespace {

struct Options {
  int threads = 0;
  std::string isa, format, rows;
  double seconds = 0.15;  // per row of the table
};

struct Limits {
  double bandwidth = 0;
  chip::ComputePeak compute;
};

// Seconds per call: the fastest of the calls that fit into `seconds`, after one warm-up. The fastest, because
// other processes on this machine can only slow a call down.
template <class Fn>
double BestTime(double seconds, const Fn& fn) {
  const Clock& clock = SystemClock();
  fn();
  Nanos best = INT64_MAX;
  int calls = 0;
  for (const Nanos start = clock.Monotonic();
       clock.Monotonic() - start < static_cast<Nanos>(seconds * kSecond) || calls < 3; ++calls) {
    const Nanos begin = clock.Monotonic();
    fn();
    best = std::min(best, clock.Monotonic() - begin);
  }
  return static_cast<double>(best) / kSecond;
}

struct Shape {
  const char* name;
  int32_t n, k;
};
constexpr Shape kShapes[] = {{"up", 4864, 896}, {"down", 896, 4864}, {"head", 151936, 896}};
constexpr int32_t kRows[] = {1, 2, 4, 8, 16, 64, 512};

// Enough copies that weights are read from memory, as in a model, and not from the CPU cache.
constexpr int64_t kColdBytes = int64_t{200} << 20;

std::vector<Matrix> Copies(Format format, const Shape& shape, chip::ThreadPool& pool) {
  Random random(1);
  const std::vector<std::byte> blocks = testing::RandomBlocks(format, shape.n, shape.k, random);
  std::vector<Matrix> copies;
  int64_t bytes = 0;
  while (bytes < kColdBytes) {
    copies.push_back(Matrix::Pack(format, blocks, shape.n, shape.k, &pool).value());
    bytes += copies.back().resident_bytes();
  }
  return copies;
}

void Report(const char* kind, const std::string& what, int32_t m, double seconds, double bytes, double ops,
            double bandwidth, double peak, std::FILE* rows) {
  const double bytes_rate = bytes / seconds, ops_rate = ops / seconds;
  fmt::print("{:<10}{:<24}{:>5}{:>10.3f} ms{:>8.1f} GB/s{:>6.0f}%{:>9.1f} GOP/s{:>6.0f}%\n", kind, what, m,
             seconds * 1e3, bytes_rate / 1e9, 100 * bytes_rate / bandwidth, ops_rate / 1e9,
             100 * ops_rate / peak);
  std::fflush(stdout);
  if (rows != nullptr) {
    fmt::print(rows, "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", kind, what, m, seconds, bytes_rate, bandwidth,
               ops_rate, peak);
  }
}

void BenchMatmul(const Kernels& kernels, Format format, const Shape& shape, const std::vector<Matrix>& copies,
                 chip::ThreadPool& pool, const Limits& limits, const Options& options, std::FILE* rows) {
  Random random(2);
  const std::vector<float> x = testing::RandomFloats(random, int64_t{512} * shape.k);
  std::vector<float> out(size_t{512} * static_cast<size_t>(shape.n <= 8192 ? shape.n : 32 * shape.n / 512));
  const bool integer = copies[0].integer();
  for (const int32_t m : kRows) {
    if (static_cast<size_t>(m) * static_cast<size_t>(shape.n) > out.size()) continue;
    Activations a;
    a.Reset(x.data(), shape.k, m, shape.k);
    kernels.quantize_rows(0, m, a);
    size_t next = 0;
    const double seconds = BestTime(options.seconds, [&] {
      const Matrix& w = copies[next++ % copies.size()];
      pool.For(shape.n / 16, std::max(2, shape.n / 16 / 32), [&](int64_t begin, int64_t end, int) {
        kernels.matmul(w, static_cast<int32_t>(begin * 16), static_cast<int32_t>(end * 16), a, out.data(),
                       shape.n);
      });
    });
    Report(IsaName(kernels.isa), fmt::format("{} {}", InfoOf(format).name, shape.name), m, seconds,
           static_cast<double>(copies[0].resident_bytes()), 2.0 * m * shape.n * shape.k, limits.bandwidth,
           integer ? limits.compute.int8_ops : limits.compute.f32_flops, rows);
  }
}

// Qwen2.5-0.5B's attention: 14 query heads on 2 KV heads of 64.
void BenchAttention(const Kernels& kernels, int32_t context, int32_t m, chip::ThreadPool& pool,
                    const Limits& limits, const Options& options, std::FILE* rows) {
  constexpr int32_t kHeads = 2, kGroup = 7, kDim = 64;
  const int32_t pages = PagesFor(context);
  const int64_t page = kDim * kPageTokens * KvBytes(KvType::kF16);
  // Enough layers that pages are read from memory.
  const int64_t layers = std::max<int64_t>(1, (int64_t{96} << 20) / (kHeads * 2 * pages * page));
  std::vector<std::byte> memory(static_cast<size_t>(layers * kHeads * 2 * pages * page), std::byte{0x2c});
  std::vector<const std::byte*> k_pages, v_pages;
  for (int64_t i = 0; i < layers * kHeads * pages; ++i) {
    k_pages.push_back(memory.data() + 2 * i * page);
    v_pages.push_back(memory.data() + (2 * i + 1) * page);
  }
  Random random(3);
  const int64_t stride = kHeads * kGroup * kDim;
  const std::vector<float> q = testing::RandomFloats(random, m * stride);
  std::vector<float> out(q.size());
  const int64_t scratch_floats = AttentionScratchFloats({.head_dim = kDim});
  std::vector<float> scratch(static_cast<size_t>(scratch_floats * pool.workers()));
  const int32_t chunk = std::min(m, 32), chunks = (m + chunk - 1) / chunk;
  int64_t layer = 0;
  const double seconds = BestTime(options.seconds, [&] {
    const int64_t base = layer++ % layers * kHeads * pages;
    pool.For(int64_t{kHeads} * chunks, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t head = i % kHeads, row = i / kHeads * chunk;
        kernels.attention({.q = q.data() + row * stride + head * kGroup * kDim,
                           .q_stride = stride,
                           .out = out.data() + row * stride + head * kGroup * kDim,
                           .out_stride = stride,
                           .rows = std::min(chunk, m - static_cast<int32_t>(row)),
                           .first_pos = context - m + static_cast<int32_t>(row),
                           .group = kGroup,
                           .head_dim = kDim,
                           .scale = 0.125F,
                           .k_pages = k_pages.data() + base + head * pages,
                           .v_pages = v_pages.data() + base + head * pages,
                           .kv = KvType::kF16},
                          scratch.data() + worker * scratch_floats);
      }
    });
  });
  const double keys = static_cast<double>(m) * (context - m / 2.0);
  Report(IsaName(kernels.isa), fmt::format("attention {}", context), m, seconds,
         static_cast<double>(kHeads * 2 * pages * page), 4.0 * keys * kHeads * kGroup * kDim,
         limits.bandwidth, limits.compute.f32_flops, rows);
}

void Bench(const Options& options) {
  chip::ThreadPool pool(options.threads);
  const Limits limits = {chip::MeasureReadBandwidth(pool), chip::MeasureComputePeak(pool)};
  fmt::print("{}, {} threads: DRAM read {:.1f} GB/s, int8 {:.0f} GOP/s, f32 {:.0f} GFLOP/s\n",
             chip::CpuModel(), pool.workers(), limits.bandwidth / 1e9, limits.compute.int8_ops / 1e9,
             limits.compute.f32_flops / 1e9);
  std::FILE* rows = options.rows.empty() ? nullptr : std::fopen(options.rows.c_str(), "w");
  for (const Isa isa : SupportedIsas()) {
    // The reference kernels are slow; they run only if named.
    if (options.isa.empty() ? isa == Isa::kReference : options.isa != IsaName(isa)) continue;
    if (options.format.empty() || options.format == "attention") {
      for (const int32_t context : {512, 2048, 8192}) {
        for (const int32_t m : {1, 512}) {
          BenchAttention(KernelsFor(isa), context, m, pool, limits, options, rows);
        }
      }
    }
    for (const FormatInfo& info : Formats()) {
      if (!options.format.empty() && options.format != info.name) continue;
      for (const Shape& shape : kShapes) {
        if (shape.k % info.block_elements != 0 && shape.k % 256 != 0) {
          // 896 is not a multiple of 256: K-quants are measured at the nearest width that is.
          const Shape near = {shape.name, shape.n, (shape.k + 255) / 256 * 256};
          BenchMatmul(KernelsFor(isa), info.format, near, Copies(info.format, near, pool), pool, limits,
                      options, rows);
        } else {
          BenchMatmul(KernelsFor(isa), info.format, shape, Copies(info.format, shape, pool), pool, limits,
                      options, rows);
        }
      }
    }
  }
  if (rows != nullptr) std::fclose(rows);
}

}  // namespace
}  // namespace penstock::kernels

int main(int argc, char** argv) {
  penstock::kernels::Options options;
  CLI::App app("Kernels compared with the machine's own limits");
  app.add_option("--threads", options.threads, "workers; 0: every usable CPU");
  app.add_option("--isa", options.isa, "only this version: reference, avx2, avx512");
  app.add_option("--format", options.format, "only this format, or `attention`");
  app.add_option("--seconds", options.seconds, "for each row");
  app.add_option("--rows", options.rows, "write raw rows to this file");
  CLI11_PARSE(app, argc, argv);
  penstock::kernels::Bench(options);
  return 0;
}

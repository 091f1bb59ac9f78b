// What llama_driver and engine_driver share: the commands that they read and the rows that they print, so
// that one script can run them in alternation and judge both by the same rule.
//
// A command is a line `STREAMS PROMPT DECODE`: STREAMS sequences with PROMPT tokens each are prefilled, first
// come, first served, in batches of at most kBatchTokens; then all decode DECODE tokens together.
// Each batch prints one JSON row; a row with "done" ends the run. The program ends at the end of stdin.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace penstock::bench {

constexpr int kBatchTokens = 512;

// One sequence's tokens in one batch.
struct Piece {
  int stream = 0;
  int start = 0;  // absolute position of tokens[0]
  std::vector<int32_t> tokens;
  bool sample = false;
};

// An engine under test. Step runs the pieces as one batch and returns the greedy token of each piece with
// `sample`, in order. Reset forgets all sequences.
struct Driver {
  std::string runner, kernel;
  int vocabulary = 0;
  std::function<std::vector<int32_t>(const std::vector<Piece>&)> step;
  std::function<void()> reset;
};

// "VmRSS" or "VmHWM" of this process in bytes.
inline int64_t MemoryOf(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

// Token ids without a pattern that a kernel could profit from, as in plain text.
inline int32_t PromptToken(int stream, int position, int vocabulary) {
  uint64_t x = static_cast<uint64_t>(stream) * 1000003 + static_cast<uint64_t>(position) * 7919 + 12345;
  x ^= x >> 13;
  x *= 0x9e3779b97f4a7c15ULL;
  x ^= x >> 31;
  return static_cast<int32_t>(x % static_cast<uint64_t>(std::min(vocabulary, 10000) - 300)) + 300;
}

// Splits all prompts, in order, into batches of at most kBatchTokens.
inline std::vector<std::vector<Piece>> PlanPrefill(int streams, int prompt, int vocabulary) {
  std::vector<std::vector<Piece>> batches(1);
  int room = kBatchTokens;
  for (int stream = 0; stream < streams; ++stream) {
    for (int start = 0; start < prompt;) {
      if (room == 0) {
        batches.emplace_back();
        room = kBatchTokens;
      }
      const int count = std::min(room, prompt - start);
      Piece piece{stream, start, {}, start + count == prompt};
      for (int i = 0; i < count; ++i) piece.tokens.push_back(PromptToken(stream, start + i, vocabulary));
      batches.back().push_back(std::move(piece));
      start += count;
      room -= count;
    }
  }
  return batches;
}

class Bench {
 public:
  explicit Bench(Driver driver) : driver_(std::move(driver)) {}

  int Serve() {
    fmt::print("{{\"ready\":true,\"runner\":\"{}\",\"kernel\":\"{}\",\"rss\":{}}}\n", driver_.runner,
               driver_.kernel, MemoryOf("VmRSS"));
    std::fflush(stdout);
    int streams = 0, prompt = 0, decode = 0;
    while (std::cin >> streams >> prompt >> decode) Run(streams, prompt, decode);
    return 0;
  }

 private:
  void Run(int streams, int prompt, int decode) {
    driver_.reset();
    std::vector<int32_t> last(static_cast<size_t>(streams), 0);
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& batch : PlanPrefill(streams, prompt, driver_.vocabulary)) {
      Step("prefill", batch, last, begin);
    }
    for (int i = 0; i < decode; ++i) {
      std::vector<Piece> batch;
      for (int s = 0; s < streams; ++s)
        batch.push_back({s, prompt + i, {last[static_cast<size_t>(s)]}, true});
      Step("decode", batch, last, begin);
    }
    fmt::print("{{\"done\":true,\"rss\":{},\"peak\":{}}}\n", MemoryOf("VmRSS"), MemoryOf("VmHWM"));
    std::fflush(stdout);
  }

  void Step(const char* kind, const std::vector<Piece>& batch, std::vector<int32_t>& last,
            std::chrono::steady_clock::time_point begin) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<int32_t> sampled = driver_.step(batch);
    const auto end = std::chrono::steady_clock::now();
    std::string first;
    size_t tokens = 0, next = 0;
    for (const Piece& piece : batch) {
      tokens += piece.tokens.size();
      if (!piece.sample) continue;
      last[static_cast<size_t>(piece.stream)] = sampled.at(next++);
      first += fmt::format("{}{}", first.empty() ? "" : ",", piece.stream);
    }
    using std::chrono::nanoseconds;
    fmt::print("{{\"kind\":\"{}\",\"ns\":{},\"at\":{},\"tokens\":{},\"sampled\":[{}]}}\n", kind,
               nanoseconds(end - start).count(), nanoseconds(end - begin).count(), tokens, first);
  }

  Driver driver_;
};

}  // namespace penstock::bench

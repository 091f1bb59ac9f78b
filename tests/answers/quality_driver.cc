// quality_driver MODEL.gguf ROWS.jsonl TOKENS DOCUMENT... [--peer COMMAND]
//
// Measures how far quantised arithmetic is from the model itself: for each document's first TOKENS tokens,
// and for conversations that the model generates, it compares the next-token distributions of our kernels
// (int8 activations, f16 KV) with an f32 forward on the dequantised weights (f32 KV). model/logits_test.cc
// compares that f32 arithmetic with transformers'. One row for each position:
//
//   {"document", "position", "truth_nll", "kl", "top", "nll", "peer_kl", "peer_top", "peer_nll"}
//
// kl: KL(truth ‖ ours) in nats; top: whether the most likely token equals the truth's; nll: of the token that
// follows (absent for the last). COMMAND is run with the name of a token file (for each document an int32
// count and the tokens) and writes its logits for each token as f32: quality_peer.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/files/assets.h"
#include "model/files/file.h"
#include "model/model.h"
#include "runner/sampler.h"
#include "text/text.h"

namespace penstock {
namespace {

constexpr int32_t kBlock = 64;  // positions computed and compared at a time
constexpr int32_t kChats = 4;

constexpr const char* kQuestions[] = {
    "Explain how a water turbine works.",
    "Write a Python function that merges two sorted lists, and explain it.",
    "What should I pack for a week in the mountains?",
    "Translate 'Where is the library?' into French, German and Spanish.",
    "Summarise the plot of Hamlet in five sentences.",
    "Write a SQL query that finds the three customers who spent most last year.",
    "Why is the sky blue?",
    "Give me a recipe for lentil soup.",
};

template <class T>
T Must(Result<T> result) {
  if (!result.has_value()) {
    fmt::print(stderr, "quality_driver: {}\n", result.error().message);
    std::exit(1);
  }
  return *std::move(result);
}

struct Document {
  std::string name;
  std::vector<Token> tokens;
};

// A model that computes one document at a time.
class Evaluator {
 public:
  Evaluator(const std::string& path, WeightMode mode, kernels::KvType kv, int32_t tokens,
            chip::ThreadPool& pool)
      : model_(Must(Model::Load(Must(ModelFiles::Open(path)), mode, Kernels(), pool))),
        kv_(Must(KvPages::Create(model_->config(), kv, PagesFor(tokens)))) {
    for (PageId page = 0; page < kv_.pages(); ++page) pages_.push_back(page);
  }
  static const kernels::Kernels& Kernels() { return kernels::KernelsFor(kernels::SupportedIsas().back()); }

  int32_t vocabulary() const { return model_->vocabulary(); }
  // Logits of all of `tokens`, which begin at position `start`.
  std::span<float> Run(int32_t start, std::span<const Token> tokens, bool all = true) {
    const Chunk chunk{start, tokens, pages_, all ? static_cast<int32_t>(tokens.size()) : 1};
    return model_->Run({&chunk, 1}, kv_);
  }

 private:
  std::unique_ptr<Model> model_;
  KvPages kv_;
  std::vector<PageId> pages_;
};

// Turns of a conversation up to `limit` tokens; the model's answers are sampled at temperature 0.8.
Document Chat(Evaluator& model, const Tokenizer& tokenizer, const std::vector<Token>& ends, int32_t seed,
              int32_t limit) {
  Document chat{fmt::format("chat-{}", seed), {}};
  SamplerScratch scratch;
  SequenceStep step;
  step.sampling.temperature = 0.8F;
  step.sampling.seed = static_cast<uint64_t>(seed);
  size_t computed = 0;
  for (int32_t turn = 0; static_cast<int32_t>(chat.tokens.size()) < limit; ++turn) {
    const auto question = kQuestions[static_cast<size_t>(seed * 2 + turn) % std::size(kQuestions)];
    const auto words = fmt::format("{}<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
                                   turn == 0 ? "" : "\n", question);
    const auto prompt = Must(tokenizer.Encode(words, true));
    chat.tokens.insert(chat.tokens.end(), prompt.begin(), prompt.end());
    while (static_cast<int32_t>(chat.tokens.size()) < limit) {
      const auto fresh = std::span<const Token>(chat.tokens).subspan(computed);
      step.start = static_cast<int32_t>(computed);
      step.tokens.assign(fresh.begin(), fresh.end());
      const auto logits = model.Run(step.start, step.tokens, false);
      computed = chat.tokens.size();
      chat.tokens.push_back(Must(Sample(Evaluator::Kernels(), step, logits, scratch)).token);
      if (std::ranges::find(ends, chat.tokens.back()) != ends.end()) break;
    }
  }
  chat.tokens.resize(static_cast<size_t>(limit));
  return chat;
}

// log Σ exp, in double.
double LogSum(std::span<const float> logits) {
  const double top = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - top);
  return top + std::log(sum);
}

struct Comparison {
  double kl = 0, nll = 0;
  bool top = false;
};

Comparison Compare(std::span<const float> truth, std::span<const float> other, Token next) {
  const double truth_sum = LogSum(truth), other_sum = LogSum(other);
  Comparison c;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double p = truth[i] - truth_sum;
    c.kl += std::exp(p) * (p - (other[i] - other_sum));
  }
  c.top = std::ranges::max_element(truth) - truth.begin() == std::ranges::max_element(other) - other.begin();
  if (next >= 0) c.nll = other_sum - other[static_cast<size_t>(next)];
  return c;
}

std::string WriteTokens(const std::string& path, const std::vector<Document>& documents) {
  FILE* file = std::fopen(path.c_str(), "wb");
  for (const auto& document : documents) {
    const auto count = static_cast<int32_t>(document.tokens.size());
    std::fwrite(&count, sizeof(count), 1, file);
    std::fwrite(document.tokens.data(), sizeof(Token), document.tokens.size(), file);
  }
  std::fclose(file);
  return path;
}

class Measurement {
 public:
  Measurement(Evaluator& truth, Evaluator& ours, chip::ThreadPool& pool, FILE* rows, FILE* peer)
      : truth_(truth), ours_(ours), pool_(pool), rows_(rows), peer_(peer) {}

  void Run(const Document& document) {
    const auto size = static_cast<int32_t>(document.tokens.size());
    for (int32_t start = 0; start < size; start += kBlock)
      RunBlock(document, start, std::min(kBlock, size - start));
  }

 private:
  void RunBlock(const Document& document, int32_t start, int32_t count) {
    const auto tokens =
        std::span(document.tokens).subspan(static_cast<size_t>(start), static_cast<size_t>(count));
    const auto truth = truth_.Run(start, tokens), ours = ours_.Run(start, tokens);
    std::vector<float> peer(peer_ == nullptr ? 0 : truth.size());
    if (std::fread(peer.data(), sizeof(float), peer.size(), peer_ == nullptr ? stdin : peer_) !=
        peer.size()) {
      fmt::print(stderr, "quality_driver: the peer ended early\n");
      std::exit(1);
    }
    std::vector<std::string> lines(static_cast<size_t>(count));
    pool_.For(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        lines[static_cast<size_t>(i)] = Row(document, start, i, truth, ours, peer);
    });
    for (const auto& line : lines) std::fputs(line.c_str(), rows_);
  }

  std::string Row(const Document& document, int32_t start, int64_t i, std::span<const float> truth,
                  std::span<const float> ours, std::span<const float> peer) const {
    const auto vocabulary = static_cast<size_t>(truth_.vocabulary());
    const auto row = [&](std::span<const float> all) {
      return all.subspan(static_cast<size_t>(i) * vocabulary, vocabulary);
    };
    const auto at = static_cast<size_t>(start + i);
    const Token next = at + 1 < document.tokens.size() ? document.tokens[at + 1] : -1;
    const auto mine = Compare(row(truth), row(ours), next);
    auto line = fmt::format(R"({{"document":"{}","position":{},"kl":{:.6g},"top":{})", document.name, at,
                            mine.kl, mine.top);
    if (next >= 0)
      line += fmt::format(R"(,"truth_nll":{:.6g},"nll":{:.6g})", Compare(row(truth), row(truth), next).nll,
                          mine.nll);
    if (!peer.empty()) {
      const auto theirs = Compare(row(truth), row(peer), next);
      line += fmt::format(R"(,"peer_kl":{:.6g},"peer_top":{})", theirs.kl, theirs.top);
      if (next >= 0) line += fmt::format(R"(,"peer_nll":{:.6g})", theirs.nll);
    }
    return line + "}\n";
  }

  Evaluator &truth_, &ours_;
  chip::ThreadPool& pool_;
  FILE *rows_, *peer_;
};

int Main(const std::string& path, const std::string& rows_path, int32_t limit,
         const std::vector<std::string>& files, const std::optional<std::string>& peer_command) {
  const auto assets = Must(ReadTextAssets(path));
  const auto tokenizer = Must(TokenizerFromVocabulary(assets.vocabulary.value()));
  chip::ThreadPool pool;
  Evaluator ours(path, WeightMode::kPacked, kernels::KvType::kF16, limit, pool);
  std::vector<Document> documents;
  for (const auto& file : files) {
    Document document{std::filesystem::path(file).stem().string(),
                      Must(tokenizer->Encode(Must(ReadSmallFile(file, 1 << 24)), false))};
    document.tokens.resize(std::min<size_t>(document.tokens.size(), static_cast<size_t>(limit)));
    documents.push_back(std::move(document));
  }
  for (int32_t i = 0; i < kChats; ++i)
    documents.push_back(Chat(ours, *tokenizer, assets.end_tokens, i, limit));

  FILE* peer = nullptr;
  if (peer_command.has_value()) {
    peer = ::popen(
        fmt::format("{} '{}'", *peer_command, WriteTokens(rows_path + ".tokens", documents)).c_str(), "r");
  }
  FILE* rows = std::fopen(rows_path.c_str(), "w");
  if (rows == nullptr) Must(Result<int>(FailErrno(Code::kIo, rows_path)));
  Evaluator truth(path, WeightMode::kDequantised, kernels::KvType::kF32, limit, pool);
  Measurement measurement(truth, ours, pool, rows, peer);
  for (const auto& document : documents) measurement.Run(document);
  std::fclose(rows);
  fmt::print("{}\n", kernels::IsaName(Evaluator::Kernels().isa));
  return peer == nullptr ? 0 : ::pclose(peer);
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::optional<std::string> peer;
  if (words.size() > 1 && words[words.size() - 2] == "--peer") {
    peer = words.back();
    words.resize(words.size() - 2);
  }
  if (words.size() < 3 || std::atoi(words[2].c_str()) <= 0) {
    fmt::print(stderr, "usage: quality_driver MODEL.gguf ROWS.jsonl TOKENS DOCUMENT... [--peer COMMAND]\n");
    return 2;
  }
  return penstock::Main(words[0], words[1], std::atoi(words[2].c_str()), {words.begin() + 3, words.end()},
                        peer) == 0
             ? 0
             : 1;
}

#include "runner/fake.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "base/thread_annotations.h"
#include "model/files/assets.h"

namespace penstock {
namespace {

constexpr std::string_view kScheme = "fake:";

// Calls set(name, value) for each "name=value" of "a=1&b=2"; set returns false for a name it does not know.
Status ForEachOption(std::string_view text,
                     const std::function<bool(std::string_view, std::string_view)>& set) {
  while (!text.empty()) {
    const std::string_view option = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), option.size() + 1));
    const size_t equals = option.find('=');
    if (equals == std::string_view::npos || !set(option.substr(0, equals), option.substr(equals + 1))) {
      return Fail(Code::kInvalid, "fake runner: cannot read option '{}'; see runner/fake.h for their names",
                  option);
    }
  }
  return {};
}

template <class T>
bool Parse(std::string_view text, T& value, T unit = 1) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  value *= unit;
  return error == std::errc{} && end == text.data() + text.size();
}

bool ParseFlag(std::string_view text, bool& value) {
  value = text == "1";
  return text == "0" || text == "1";
}

class FakeModel {
 public:
  FakeModel(LoadedModel info, std::vector<Token> words)
      : info_(std::move(info)),
        words_(std::move(words)),
        slots_(static_cast<size_t>(info_.pages) * kPageTokens, kEmpty) {}

  const LoadedModel& info() const { return info_; }

  void Free(PageId page) { std::fill_n(&Slot(page, 0), kPageTokens, kEmpty); }

  void Execute(const SequenceOp& op) {
    switch (op.kind) {
      case SequenceOp::Kind::kZeroPage:
        Free(op.to_page);
        break;
      case SequenceOp::Kind::kCopyPage:
        std::copy_n(&Slot(op.from_page, 0), op.tokens > 0 ? op.tokens : kPageTokens, &Slot(op.to_page, 0));
        break;
      case SequenceOp::Kind::kSave: {
        std::vector<uint64_t>& kept = aside_[op.from];
        kept.clear();
        for (int32_t at = 0; at < op.tokens; ++at)
          kept.push_back(Slot(op.pages[static_cast<size_t>(at / kPageTokens)], at % kPageTokens));
        break;
      }
      case SequenceOp::Kind::kRestore: {
        const auto kept = aside_.extract(op.to);
        for (int32_t at = 0; !kept.empty() && at < op.tokens; ++at) {
          Slot(op.pages[static_cast<size_t>(at / kPageTokens)], at % kPageTokens) =
              kept.mapped().at(static_cast<size_t>(at));
        }
        break;
      }
      case SequenceOp::Kind::kDrop:
        aside_.erase(op.from);
        break;
    }
  }

  std::string Take(int32_t tokens, std::span<const PageId> pages) {
    std::string state;
    for (int32_t at = 0; at < tokens; ++at) {
      const uint64_t slot = Slot(pages[static_cast<size_t>(at / kPageTokens)], at % kPageTokens);
      state.append(reinterpret_cast<const char*>(&slot), sizeof slot);
    }
    return state;
  }
  Status Give(SequenceId sequence, size_t tokens, std::string_view state) {
    if (state.size() != tokens * sizeof(uint64_t))
      return Fail(Code::kInvalid, "fake runner: a state of {} bytes for {} tokens", state.size(), tokens);
    std::vector<uint64_t>& kept = aside_[sequence];
    kept.resize(tokens);
    std::memcpy(kept.data(), state.data(), state.size());
    return {};
  }

  // Writes the step's tokens; the text so far is then in the slots.
  Status Compute(const SequenceStep& step) {
    const auto end = step.start + static_cast<int32_t>(step.tokens.size());
    if (step.tokens.empty() || PagesFor(end) != static_cast<int32_t>(step.pages.size())) {
      return Fail(Code::kInternal, "fake runner: sequence {} has {} pages for {} tokens", step.sequence,
                  step.pages.size(), end);
    }
    for (int32_t at = step.start; at < PagesFor(end) * kPageTokens; ++at) {
      if (At(step, at) != kEmpty) {
        return Fail(Code::kInternal,
                    "fake runner: page {} of sequence {} still holds an earlier owner's token",
                    step.pages[static_cast<size_t>(at / kPageTokens)], step.sequence);
      }
    }
    uint64_t state = step.start == 0 ? 1 : At(step, step.start - 1);
    for (int32_t at = step.start; at < end; ++at) {
      state = Mix(state ^ static_cast<uint32_t>(step.tokens[static_cast<size_t>(at - step.start)])) | 1;
      At(step, at) = state;
    }
    return {};
  }

  Result<Sampled> Sample(const SequenceStep& step) const {
    const auto end = step.start + static_cast<int32_t>(step.tokens.size());
    uint64_t bits = 0;
    for (size_t page = 0; page < step.pages.size(); ++page) {
      const uint64_t* slots = &slots_[static_cast<size_t>(step.pages[page]) * kPageTokens];
      const int32_t filled = std::min(kPageTokens, end - static_cast<int32_t>(page) * kPageTokens);
      for (int32_t i = 0; i < filled; ++i) {
        if (slots[i] == kEmpty) {
          return Fail(Code::kInternal,
                      "fake runner: sequence {} reads token {} of page {}, which nobody wrote", step.sequence,
                      i, step.pages[page]);
        }
        bits = std::rotl(bits, 1) + slots[i];
      }
    }
    return Choose(step, Mix(bits), end);
  }

 private:
  static constexpr uint64_t kEmpty = 0;

  uint64_t& Slot(PageId page, int32_t i) {
    return slots_.at(static_cast<size_t>(page) * kPageTokens + static_cast<size_t>(i));
  }
  uint64_t& At(const SequenceStep& step, int32_t position) {
    return Slot(step.pages[static_cast<size_t>(position / kPageTokens)], position % kPageTokens);
  }

  Token Word(uint64_t bits) const {
    if (words_.empty()) return static_cast<Token>(bits % static_cast<uint64_t>(info_.vocabulary));
    return words_[bits % words_.size()];
  }

  Sampled Choose(const SequenceStep& step, uint64_t bits, int32_t position) const {
    const Sampling& sampling = step.sampling;
    if (sampling.temperature > 0) bits = Mix(bits ^ Draw(sampling.seed, static_cast<uint64_t>(position)));
    for (Token token : step.history) bits = Mix(bits ^ static_cast<uint32_t>(token));
    Sampled sampled;
    sampled.sequence = step.sequence;
    sampled.token = Word(bits);
    for (const auto& [token, bias] : sampling.logit_bias) {
      if (bias >= 100) sampled.token = token;
    }
    if (sampling.top_logprobs >= 0) sampled.logprob = -static_cast<float>(Uniform(bits));
    for (int32_t i = 0; i < sampling.top_logprobs; ++i) {
      sampled.top.push_back({.token = Word(bits + static_cast<uint64_t>(i)),
                             .logprob = sampled.logprob - static_cast<float>(i)});
    }
    return sampled;
  }

  LoadedModel info_;
  std::vector<Token> words_;     // what it may say; empty: any token
  std::vector<uint64_t> slots_;  // [pages][kPageTokens]
  std::map<SequenceId, std::vector<uint64_t>> aside_;
};

Result<LoadedModel> Describe(std::string_view path, std::string& error, Nanos& takes) {
  LoadedModel info{
      .vocabulary = 1000, .context = 4096, .pages = 4096, .page_bytes = 64 << 10, .kernel = "fake"};
  const size_t query = path.find('?');
  if (query == std::string_view::npos) return info;
  PENSTOCK_TRY(ForEachOption(path.substr(query + 1), [&](std::string_view name, std::string_view value) {
    if (name == "vocabulary") return Parse(value, info.vocabulary) && info.vocabulary > 0;
    if (name == "context") return Parse(value, info.context) && info.context > 0;
    if (name == "pages") return Parse(value, info.pages) && info.pages > 0;
    if (name == "aside") return Parse(value, info.aside_pages) && info.aside_pages >= 0;
    if (name == "load_ms") return Parse(value, takes, kMillisecond) && takes >= 0;
    if (name == "on_demand") return ParseFlag(value, info.on_demand);
    if (name == "page_bytes") return Parse(value, info.page_bytes) && info.page_bytes > 0;
    if (name == "error") error = value;
    return name == "error";
  }));
  return info;
}

bool IsPlainWord(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == ' ' &&
         std::ranges::all_of(bytes.substr(1), [](char c) { return c >= 'a' && c <= 'z'; });
}

// The ids of a real model's plain words, so that what a fake says can be read.
Result<std::vector<Token>> PlainWords(const TextAssets& assets) {
  auto tokenizer = assets.vocabulary ? TokenizerFromVocabulary(*assets.vocabulary)
                                     : TokenizerFromJson(assets.tokenizer_json);
  if (!tokenizer) return std::unexpected(tokenizer.error());
  std::vector<Token> words;
  for (Token token = 0; token < (*tokenizer)->size(); ++token) {
    if (IsPlainWord((*tokenizer)->Bytes(token))) words.push_back(token);
  }
  return words;
}

class FakeRunner final : public Runner {
 public:
  explicit FakeRunner(FakeOptions options) : options_(options) {}

  std::string_view Name() const override { return "fake"; }
  ChipInfo Chip() const override {
    return {.name = "", .kernel = "fake", .contract = "fake", .memory_bytes = 0, .state = "fake"};
  }

  Result<LoadedModel> Load(const LoadOptions& options) override {
    std::string error;
    Nanos takes = 0;
    std::vector<Token> words;
    const std::string_view path = options.path;
    PENSTOCK_ASSIGN(LoadedModel info,
                    Describe(path.starts_with(kScheme) ? path : std::string_view(), error, takes));
    if (takes > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(takes));
    if (!error.empty()) return Fail(Code::kCorrupt, "{}: {}", path, error);
    if (!path.starts_with(kScheme)) {
      PENSTOCK_ASSIGN(const TextAssets assets, ReadTextAssets(options.path));
      PENSTOCK_ASSIGN(words, PlainWords(assets));
      info.vocabulary = assets.vocabulary_size;
      info.context = assets.context;
    }
    if (options.kv_bytes > 0) {
      info.pages = static_cast<int32_t>(std::clamp<int64_t>(options.kv_bytes / info.page_bytes, 1, 1 << 20));
    }
    if (options.context > 0) info.context = std::min(info.context, options.context);
    const MutexLock lock(mutex_);
    info.id = next_++;
    models_.emplace(info.id, FakeModel(info, std::move(words)));
    return info;
  }

  void Unload(ModelId model) override {
    const MutexLock lock(mutex_);
    models_.erase(model);
  }

  Result<std::string> TakeState(ModelId model, SequenceId, int32_t tokens,
                                std::span<const PageId> pages) override {
    return Find(model).Take(tokens, pages);
  }
  Status GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                   std::string state) override {
    return Find(model).Give(sequence, text.size(), state);
  }

  void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) override {
    const Nanos start = SystemClock().Monotonic();
    auto result = Run(plan);
    if (result && options_.paced) Pace(start, result->chip_time);
    done(std::move(result));
  }

 private:
  // Models that others load or unload stay where they are.
  FakeModel& Find(ModelId model) {
    const MutexLock lock(mutex_);
    const auto found = models_.find(model);
    PENSTOCK_CHECK(found != models_.end());
    return found->second;
  }

  // Sleeps until the step's chip time has passed. A step that follows closely counts from the last one's
  // end: what the engine does between steps does not slow the beat.
  void Pace(Nanos start, Nanos chip_time) {
    ended_ = (start - ended_ < chip_time ? ended_ : start) + chip_time;
    std::this_thread::sleep_for(std::chrono::nanoseconds(ended_ - SystemClock().Monotonic()));
  }

  // Whether the `which`-th kind of fault happens in this step.
  bool Happens(double probability, uint64_t which) const {
    return probability > 0 && Uniform(Draw(options_.seed + which, steps_)) < probability;
  }

  Result<StepResult> Run(const StepPlan& plan) {
    ++steps_;
    if (Happens(options_.crash, 1)) std::abort();
    while (Happens(options_.hang, 2)) std::this_thread::sleep_for(std::chrono::hours(1));
    if (Happens(options_.fail, 3)) return Fail(Code::kInternal, "fake runner: step {} fails by plan", steps_);
    FakeModel& model = Find(plan.model);
    for (const FreedPage& freed : plan.freed) Find(freed.model).Free(freed.page);
    for (const SequenceOp& op : plan.ops) model.Execute(op);
    StepResult result;
    int64_t tokens = 0;
    for (const SequenceStep& step : plan.work) {
      PENSTOCK_TRY(model.Compute(step));
      tokens += static_cast<int64_t>(step.tokens.size());
      if (!step.sample) continue;
      PENSTOCK_ASSIGN(Sampled sampled, model.Sample(step));
      result.sampled.push_back(std::move(sampled));
    }
    result.chip_time =
        (options_.step_time + options_.token_time * tokens) * (Happens(options_.slow, 4) ? 10 : 1);
    return result;
  }

  const FakeOptions options_;
  Mutex mutex_;
  std::map<ModelId, FakeModel> models_ GUARDED_BY(mutex_);
  ModelId next_ GUARDED_BY(mutex_) = 1;
  uint64_t steps_ = 0;
  Nanos ended_ = 0;  // the last paced step
};

}  // namespace

Result<FakeOptions> ParseFakeOptions(std::string_view text) {
  FakeOptions options;
  PENSTOCK_TRY(ForEachOption(text, [&](std::string_view name, std::string_view value) {
    if (name == "step_us") return Parse(value, options.step_time, kMicrosecond);
    if (name == "step_ms") return Parse(value, options.step_time, kMillisecond);
    if (name == "token_us") return Parse(value, options.token_time, kMicrosecond);
    if (name == "paced") return ParseFlag(value, options.paced);
    if (name == "seed") return Parse(value, options.seed);
    if (name == "fail") return Parse(value, options.fail);
    if (name == "slow") return Parse(value, options.slow);
    if (name == "hang") return Parse(value, options.hang);
    return name == "crash" && Parse(value, options.crash);
  }));
  return options;
}

std::unique_ptr<Runner> MakeFakeRunner(FakeOptions options) {
  return std::make_unique<FakeRunner>(options);
}

}  // namespace penstock

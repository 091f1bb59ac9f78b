// trace_driver RUNNER DEVICE MODEL [THREADS]: the engine's loop (planner, runner, sampler, report) driven
// from stdin, a command a line, rows of JSON on stdout. RUNNER: native or ggml; DEVICE: as
// engine.ggml_device.
//
//   say ID MAX TEXT…         submits a greedy request for the tokens of TEXT
//   ids ID MAX N…            the same for given tokens
//   cancel ID | credit ID N | step N
//   run                      steps until nothing is left; one row per request with its tokens and, for each,
//                            how far the best token's log-probability was from the next's
//   keep N TOKENS            runs N prompts to their first token, so that the prefix cache keeps them
//   streams N PROMPT DECODE  N requests at once, all to their end; one row per step, with the batch that it
//                            was, for bare_loop to run again
//
// A row with "done" ends the answer to run and streams.
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>

#include "bench/serve/driver_protocol.h"
#include "engine/loop.h"
#include "engine/wire_error.h"
#include "model/files/assets.h"
#include "runner/ggml_plugin.h"
#include "runner/native.h"
#include "text/text.h"

namespace {

using namespace penstock;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "trace_driver: {}\n", why);
  std::exit(1);
}

template <class T>
T Must(Result<T> result) {
  if (!result) Die(result.error().message);
  return *std::move(result);
}

// Keeps each step's plan on its way to the runner.
class Recorder final : public Runner {
 public:
  explicit Recorder(std::unique_ptr<Runner> runner) : runner_(std::move(runner)) {}
  std::string_view Name() const override { return runner_->Name(); }
  ChipInfo Chip() const override { return runner_->Chip(); }
  Result<LoadedModel> Load(const LoadOptions& options) override {
    auto loaded = runner_->Load(options);
    if (loaded) model = *loaded;
    return loaded;
  }
  void Unload(ModelId id) override { runner_->Unload(id); }
  void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) override {
    last = plan;
    runner_->Submit(std::move(plan), std::move(done));
  }

  LoadedModel model;
  StepPlan last;

 private:
  std::unique_ptr<Runner> runner_;
};

struct Said {
  std::vector<Token> ids;
  std::vector<float> gaps;
  std::string finish, error;
  uint32_t cached = 0;
};

class Driver {
 public:
  Driver(Recorder& runner, const std::string& path)
      : runner_(runner),
        path_(path),
        loop_(runner, Options(), [this](const wire::FromEngine& message) { Hear(message); }) {
    wire::ToEngine load;
    load.mutable_load()->set_name("m");
    load.mutable_load()->set_path(path);
    load.mutable_load()->set_kv_bytes(uint64_t{128} << 20);
    loop_.Handle(load);
    loop_.FinishLoads();
    if (!error_.empty()) Die(error_);
  }

  void Serve() {
    for (std::string line; std::getline(std::cin, line);) {
      std::istringstream words(line);
      std::string command;
      words >> command;
      Execute(command, words);
      std::fflush(stdout);
    }
  }

 private:
  static EngineOptions Options() {
    EngineOptions options;
    options.memory_bytes = uint64_t{2} << 30;
    options.max_sequences = kSequences;
    return options;
  }

  std::vector<Token> Encode(const std::string& text) {
    if (!tokenizer_) {  // only now: the tiny models have none
      const TextAssets assets = Must(ReadTextAssets(path_));
      tokenizer_ = Must(assets.vocabulary ? TokenizerFromVocabulary(*assets.vocabulary)
                                          : TokenizerFromJson(assets.tokenizer_json));
    }
    return Must(tokenizer_->Encode(text, false));
  }

  void Execute(const std::string& command, std::istringstream& words) {
    uint64_t id = 0, number = 0;
    if (command == "say") {
      words >> id >> number >> std::ws;
      std::string text;
      std::getline(words, text);
      Submit(id, number, Encode(text), "bench");
    } else if (command == "ids") {
      words >> id >> number;
      std::vector<Token> prompt;
      for (Token token = 0; words >> token;) prompt.push_back(token);
      Submit(id, number, prompt, "bench");
    } else if (command == "cancel") {
      words >> id;
      wire::ToEngine cancel;
      cancel.mutable_cancel()->set_request(id);
      loop_.Handle(cancel);
    } else if (command == "step") {
      words >> number;
      while (number-- > 0 && loop_.Step()) {
      }
    } else if (command == "run") {
      while (loop_.Step()) {
      }
      Report();
    } else if (command == "keep") {
      uint64_t tokens = 0;
      words >> number >> tokens;
      for (uint64_t i = 0; i < number; ++i) {
        Submit(++serial_, 1, Prompt(static_cast<int>(1000 + i), static_cast<int>(tokens)), "bench");
      }
      while (loop_.Step()) {
      }
      said_.clear();
      fmt::print("{{\"done\":true,\"kept\":{}}}\n", loop_.Load().cached_pages() * kPageTokens);
    } else if (command == "streams") {
      int streams = 0, prompt = 0, decode = 0;
      words >> streams >> prompt >> decode;
      Streams(streams, prompt, static_cast<uint64_t>(decode));
    } else {
      Die("no command " + command);
    }
  }

  void Submit(uint64_t id, uint64_t max_tokens, const std::vector<Token>& prompt, const std::string& scope) {
    wire::ToEngine command;
    wire::Submit& submit = *command.mutable_submit();
    submit.set_request(id);
    submit.set_model("m");
    submit.mutable_prompt()->Assign(prompt.begin(), prompt.end());
    submit.set_max_tokens(static_cast<uint32_t>(max_tokens));
    submit.set_prefix_scope(scope);
    submit.mutable_sampling()->set_top_p(1);
    submit.mutable_sampling()->set_top_logprobs(scope.empty() ? -1 : 2);
    loop_.Handle(command);
  }

  void Hear(const wire::FromEngine& message) {
    if (message.has_model()) error_ = ErrorOf(message.model()).message;
    if (message.step().chip_ns() > 0) chip_ns_ = message.step().chip_ns();
    for (const auto& event : message.step().tokens()) {
      Said& said = said_[event.request()];
      said.ids.insert(said.ids.end(), event.ids().begin(), event.ids().end());
      for (const auto& logprob : event.logprobs())
        said.gaps.push_back(logprob.top_size() == 2 ? logprob.top(0).logprob() - logprob.top(1).logprob()
                                                    : 0);
      said.cached += event.cached_tokens();
      if (event.finish() != wire::NONE) said.finish = wire::Finish_Name(event.finish());
      if (event.has_error()) said.error = event.error().text();
    }
  }

  void Report() {
    for (const auto& [id, said] : said_) {
      if (!said.error.empty()) Die(said.error);
      fmt::print("{{\"request\":{},\"ids\":[{}],\"gaps\":[{:.4f}],\"finish\":\"{}\",\"cached\":{}}}\n", id,
                 fmt::join(said.ids, ","), fmt::join(said.gaps, ","), said.finish, said.cached);
    }
    said_.clear();
    const wire::Load load = loop_.Load();
    fmt::print("{{\"done\":true,\"preemptions\":{},\"prefix_hit_tokens\":{},\"computed\":{}}}\n",
               load.preemptions(), load.prefix_hit_tokens(), load.computed_tokens());
  }

  std::vector<Token> Prompt(int stream, int tokens) const {
    std::vector<Token> prompt;
    for (int i = 0; i < tokens; ++i)
      prompt.push_back(bench::PromptToken(stream, i, runner_.model.vocabulary));
    return prompt;
  }

  void Streams(int streams, int prompt, uint64_t decode) {
    for (int stream = 0; stream < streams; ++stream) Submit(++serial_, decode, Prompt(stream, prompt), "");
    using std::chrono::nanoseconds;
    while (true) {
      const auto begin = std::chrono::steady_clock::now();
      if (!loop_.Step()) break;
      const nanoseconds took = std::chrono::steady_clock::now() - begin;
      std::string batch;
      for (const SequenceStep& step : runner_.last.work) {
        fmt::format_to(std::back_inserter(batch), " {} {} {} {} {}", step.sequence, step.start,
                       static_cast<int>(step.sample), step.tokens.size(), fmt::join(step.tokens, " "));
      }
      fmt::print("{{\"ns\":{},\"chip_ns\":{},\"batch\":\"{}{}\"}}\n", took.count(), chip_ns_,
                 runner_.last.work.size(), batch);
    }
    said_.clear();
    fmt::print("{{\"done\":true}}\n");
  }

  static constexpr uint32_t kSequences = 16;
  Recorder& runner_;
  const std::string path_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string error_;
  std::map<uint64_t, Said> said_;
  uint64_t serial_ = 1000000, chip_ns_ = 0;  // of the last step
  EngineLoop loop_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) Die("usage: trace_driver native|ggml DEVICE MODEL [THREADS]");
  spdlog::set_level(spdlog::level::off);  // its lines would stand among the rows
  const int threads = argc > 4 ? std::atoi(argv[4]) : 2;
  const std::string_view name = argv[1];
  Recorder runner(name == "native"
                      ? Must(MakeNativeRunner({.threads = threads, .isa = {}}))
                      : Must(MakeGgmlRunner({.device = argv[2], .max_sequences = 16, .threads = threads})));
  Driver driver(runner, argv[3]);
  fmt::print("{{\"ready\":true,\"runner\":\"{}\",\"kernel\":\"{}\",\"chip\":\"{}\",\"cells\":{}}}\n",
             runner.Name(), runner.model.kernel, runner.Chip().name, runner.model.pages * kPageTokens);
  std::fflush(stdout);
  driver.Serve();
  std::_Exit(0);  // drivers' exit handlers are not ours to test
}

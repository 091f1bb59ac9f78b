// engine_driver MODEL.gguf [THREADS]: Penstock's native runner with driver_protocol.h: the same model,
// pages, kernels and sampler as in the engine process, without planner and socket.
#include <cstdlib>

#include "base/tokens.h"
#include "bench/serve/driver_protocol.h"
#include "runner/execute.h"
#include "runner/native.h"

namespace {

using namespace penstock;
using bench::Driver;
using bench::Piece;

constexpr int kPagesAStream = 64;  // 1,024 tokens
constexpr int kStreams = 16;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "engine_driver: {}\n", why);
  std::exit(1);
}

// Each stream owns a fixed range of pages.
SequenceStep StepOf(const Piece& piece) {
  SequenceStep step;
  step.sequence = static_cast<SequenceId>(piece.stream);
  step.start = piece.start;
  step.tokens = piece.tokens;
  const int32_t end = piece.start + static_cast<int32_t>(piece.tokens.size());
  if (PagesFor(end) > kPagesAStream) Die("a sequence is longer than its pages");
  for (int32_t i = 0; i < PagesFor(end); ++i) step.pages.push_back(piece.stream * kPagesAStream + i);
  step.sample = piece.sample;
  step.sampling.temperature = 0;
  return step;
}

std::vector<int32_t> Run(Runner& runner, ModelId model, const std::vector<Piece>& pieces) {
  StepPlan plan;
  plan.model = model;
  for (const Piece& piece : pieces) plan.work.push_back(StepOf(piece));
  const Result<StepResult> result = Execute(runner, std::move(plan));
  if (!result) Die(result.error().message);
  std::vector<int32_t> sampled;
  for (const Sampled& each : result->sampled) sampled.push_back(each.token);
  return sampled;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) Die("usage: engine_driver MODEL.gguf [THREADS]");
  NativeOptions options;
  options.threads = argc > 2 ? std::atoi(argv[2]) : 2;
  auto runner = MakeNativeRunner(options);
  if (!runner) Die(runner.error().message);
  LoadOptions load;
  load.path = argv[1];
  load.kv_bytes = int64_t{1} << 30;
  const auto model = (*runner)->Load(load);
  if (!model) Die(model.error().message);
  if (model->pages < kPagesAStream * kStreams) Die(fmt::format("only {} pages", model->pages));

  Driver driver;
  driver.runner = (*runner)->Name();
  driver.kernel = model->kernel;
  driver.vocabulary = model->vocabulary;
  driver.reset = [] {};  // a sequence that starts at 0 again overwrites its pages
  driver.step = [&](const std::vector<Piece>& pieces) { return Run(**runner, model->id, pieces); };
  return bench::Bench(std::move(driver)).Serve();
}

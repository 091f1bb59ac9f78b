// The fleet before real engine processes with the fake runner, which die at random.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "engine/engine.h"
#include "fleet/testing.h"
#include "runner/fake.h"

namespace penstock {
namespace {

using testing::FleetWorld;

class EngineProcess {
 public:
  EngineProcess(const std::string& name, const std::string& socket, uint32_t context = 0) : pid_(::fork()) {
    if (pid_ != 0) return;
    EngineOptions options;
    options.name = name;
    options.socket = socket;
    options.memory_bytes = 1 << 30;
    options.max_sequences = 8;
    options.context = context;
    FakeOptions fake;
    fake.step_time = kMillisecond;
    fake.paced = true;
    (void)RunEngine(MakeFakeRunner(fake), options);
    ::_exit(0);
  }
  EngineProcess(EngineProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  EngineProcess& operator=(EngineProcess&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }
  ~EngineProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

// Keeps the tokens of one job.
class Reader final : public JobSink {
 public:
  void OnEvent(JobEvent event, std::string_view) override { requeues += event == JobEvent::kRequeued; }
  void OnPlaced(const Placed&) override {}
  void OnCharge(Nanos time, uint32_t) override { chip_time += time; }
  void OnTokens(const wire::TokenEvent& event) override {
    ids.insert(ids.end(), event.ids().begin(), event.ids().end());
    if (event.finish() != wire::NONE) finish = event.finish();
    if (fleet != nullptr) fleet->Grant(job, 0, event.new_tokens());
  }
  void OnFailed(const Error& failure) override { error = failure; }
  bool done() const { return finish != wire::NONE || error; }

  Fleet* fleet = nullptr;
  JobId job = 0;
  std::vector<Token> ids;
  wire::Finish finish = wire::NONE;
  std::optional<Error> error;
  Nanos chip_time = 0;
  int requeues = 0;
};

std::shared_ptr<Reader> Ask(FleetWorld& world, int prompt, uint32_t tokens = 12) {
  Job job = FleetWorld::NewJob("m", static_cast<uint64_t>(prompt % 3), 20);
  job.submit.set_prompt(0, prompt);
  job.submit.set_max_tokens(tokens);
  job.submit.set_ignore_eos(true);
  job.submit.set_credits(4);  // the rest is granted as it is read
  auto reader = std::make_shared<Reader>();
  reader->fleet = world.fleet.get();
  reader->job = *world.fleet->Submit(std::move(job), reader);
  return reader;
}

// What each of the first prompts is answered when nothing disturbs it.
std::vector<std::vector<Token>> OneByOne(FleetWorld& world, int prompts, uint32_t tokens = 12) {
  std::vector<std::vector<Token>> answers;
  for (int prompt = 0; prompt < prompts; ++prompt) {
    auto reader = Ask(world, prompt, tokens);
    EXPECT_TRUE(world.Until([&] { return reader->done(); }));
    answers.push_back(reader->ids);
  }
  return answers;
}

void ServeFake(FleetWorld& world) {
  world.fleet->Serve({.name = "m", .path = "fake:m?pages=256"});
}

TEST(RealEngine, StreamsWholeAnswersUnderCredits) {
  FleetWorld world;
  ServeFake(world);
  EngineProcess engine("cpu0", world.path);
  std::vector<std::shared_ptr<Reader>> readers;
  for (int i = 0; i < 30; ++i) readers.push_back(Ask(world, i));
  for (const auto& reader : readers) {
    ASSERT_TRUE(world.Until([&] { return reader->done(); }));
    EXPECT_FALSE(reader->error) << reader->error->message;
    EXPECT_EQ(reader->finish, wire::LENGTH);
    EXPECT_EQ(reader->ids.size(), 12u);
    EXPECT_GT(reader->chip_time, 0);
  }
  EXPECT_TRUE(world.Until([&] { return world.View("cpu0").sent == 0; }));
}

TEST(RealEngine, ACancelIsConfirmed) {
  FleetWorld world;
  ServeFake(world);
  EngineProcess engine("cpu0", world.path);
  auto reader = Ask(world, 1);
  ASSERT_TRUE(world.Until([&] { return !reader->ids.empty(); }));
  world.fleet->Cancel(reader->job);
  EXPECT_TRUE(world.Until([&] { return world.View("cpu0").sent == 0; }));
  EXPECT_FALSE(reader->done());
}

// However far it had come: the client sees one answer, to the bit.
TEST(RealEngine, WhatAKilledEngineHadBegunIsTheSameElsewhere) {
  FleetWorld world({.max_requeues = 100});
  ServeFake(world);
  std::vector<EngineProcess> engines;
  for (int i = 0; i < 2; ++i) engines.emplace_back("cpu" + std::to_string(i), world.path);

  const auto alone = OneByOne(world, 10);
  Random random(11);
  int requeues = 0;
  for (int kill = 0; kill < 20; ++kill) {
    std::vector<std::pair<int, std::shared_ptr<Reader>>> asked;
    for (int i = 0; i < 24; ++i) {
      const int prompt = static_cast<int>(random.Below(10));
      asked.emplace_back(prompt, Ask(world, prompt));
    }
    const Nanos until = SystemClock().Monotonic() + static_cast<Nanos>(random.Below(20)) * kMillisecond;
    while (SystemClock().Monotonic() < until) world.io.run_one_for(std::chrono::milliseconds(1));
    const size_t victim = random.Below(engines.size());
    const std::string name = "cpu" + std::to_string(victim);
    {
      EngineProcess dead = std::move(engines[victim]);
    }
    engines[victim] = EngineProcess(name, world.path);
    world.clock.Advance(30 * kSecond);  // so that nothing comes to a quarantine
    for (const auto& [prompt, reader] : asked) {
      ASSERT_TRUE(world.Until([&, r = reader] { return r->done(); }));
      requeues += reader->requeues;
      ASSERT_FALSE(reader->error) << reader->error->message;
      EXPECT_EQ(reader->ids, alone[static_cast<size_t>(prompt)]);
    }
  }
  EXPECT_GT(requeues, 0);
  EXPECT_GT(world.fleet->Stats().resumed, 0u);
}

// Three engines with memory for 160, 240 and 400 tokens: an answer goes from the first to the others, and is
// one to the bit.
TEST(RealEngine, AnAnswerThatOutgrowsOneEngineAfterTheOtherIsTheSame) {
  FleetWorld world;
  ServeFake(world);
  std::vector<std::vector<Token>> alone;
  {
    EngineProcess engine("alone", world.path);
    alone = OneByOne(world, 6, 300);
  }
  ASSERT_TRUE(world.Until([&] { return !world.View("alone").connected; }));
  std::vector<EngineProcess> engines;
  std::vector<std::shared_ptr<Reader>> readers;
  engines.emplace_back("small", world.path, 160);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Ready("m"); }));
  for (int prompt = 0; prompt < 6; ++prompt) readers.push_back(Ask(world, prompt, 300));
  engines.emplace_back("medium", world.path, 240);
  engines.emplace_back("large", world.path, 400);
  for (int prompt = 0; prompt < 6; ++prompt) {
    const Reader& reader = *readers[static_cast<size_t>(prompt)];
    ASSERT_TRUE(world.Until([&] { return reader.done(); }));
    EXPECT_FALSE(reader.error);
    EXPECT_EQ(reader.ids, alone[static_cast<size_t>(prompt)]);
    EXPECT_GE(reader.requeues, 1);
  }
  EXPECT_GE(world.fleet->Stats().moved, 6U);
}

// Set aside in turn, again and again, under streams: each goes on where it was, and nobody computes it twice.
TEST(RealEngine, WhatAnEngineThatIsSetAsideHadBegunGoesOnElsewhere) {
  FleetWorld world;
  ServeFake(world);
  std::vector<EngineProcess> engines;
  for (int i = 0; i < 2; ++i) engines.emplace_back("cpu" + std::to_string(i), world.path);
  const auto alone = OneByOne(world, 10);
  ASSERT_TRUE(world.Until([&] { return world.View("cpu1").connected; }));
  const uint64_t before = world.fleet->Stats().computed;
  uint64_t asked = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const std::string aside = "cpu" + std::to_string(turn % 2);
    std::vector<std::pair<int, std::shared_ptr<Reader>>> readers;
    for (int i = 0; i < 8; ++i) readers.emplace_back(i, Ask(world, i));
    asked += readers.size();
    const auto going = [&](const auto& reader) { return !reader.second->ids.empty(); };
    ASSERT_TRUE(world.Until([&] { return std::ranges::all_of(readers, going); }));
    ASSERT_TRUE(world.fleet->SetDraining(aside, true));
    for (const auto& [prompt, reader] : readers) {
      ASSERT_TRUE(world.Until([&, r = reader] { return r->done(); }));
      ASSERT_FALSE(reader->error) << reader->error->message;
      EXPECT_EQ(reader->ids, alone[static_cast<size_t>(prompt)]);
    }
    ASSERT_TRUE(world.fleet->SetDraining(aside, false));
  }
  EXPECT_GT(world.fleet->Stats().moved, 10U);
  EXPECT_LE(world.fleet->Stats().computed - before, asked * (20 + 11));
}

}  // namespace
}  // namespace penstock

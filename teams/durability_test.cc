// What must survive: a disk that cannot be written, and a kill at any instant.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <map>

#include "base/random.h"
#include "teams/sqlite.h"
#include "teams/testing.h"

namespace penstock {
namespace {

using testing::TempDir;
using testing::World;

// While it lives, no file of this process can grow: what a full disk does to SQLite.
class FullDisk {
 public:
  FullDisk() {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST(Durability, AFullDiskStopsAdmissionAndLosesNothingThatRuns) {
  TempDir dir;
  std::string running, refused;
  {
    World world(dir.path);
    const Principal who = world.NewPrincipal("red");
    auto ticket = world.Open(who, "qwen", 10);
    world.Durable(*ticket);
    running = ticket->id();
    {
      const FullDisk full;
      auto late = world.Open(who, "qwen", 10);  // nobody knows yet
      refused = late->id();
      std::optional<Status> durable;
      late->WhenDurable([&](const Status& status) { durable = status; });
      world.RunUntil([&] { return durable.has_value(); });
      EXPECT_EQ(durable->error().code, Code::kUnavailable);
      late->End("error", "the store is full");
      EXPECT_FALSE(world->healthy());
      EXPECT_FALSE(world->fault().empty());

      const auto next = world->Open(who, "qwen", 10);
      EXPECT_EQ(next.error().code, Code::kUnavailable);
      EXPECT_NE(next.error().message.find("disk"), std::string::npos) << next.error().message;
      EXPECT_FALSE(world.CreateTeam("blue"));

      ticket->Billed(7);  // what runs goes on
      ticket->End("stop", "");
      EXPECT_EQ(world.Find(running)->outcome, "stop");
      EXPECT_EQ(world.UsageOf({})->at(0).output, 7);
      std::this_thread::sleep_for(std::chrono::milliseconds(120));  // some tries fail
      world.RunAll();
    }
    world.RunUntil([&] { return world->healthy(); });
    EXPECT_TRUE(world->fault().empty());
    EXPECT_TRUE(world.CreateTeam("blue"));
    auto after = world.Open(who, "qwen", 10);
    world.Durable(*after);
    after->End("stop", "");
    world.Settle();
  }
  World world(dir.path);
  EXPECT_EQ(world.Find(running)->outcome, "stop");
  EXPECT_EQ(world.Find(refused)->detail, "the store is full");
  const auto usage = world.UsageOf({})->at(0);
  EXPECT_EQ(usage.requests, 3);
  EXPECT_EQ(usage.output, 7);
}

TEST(Durability, AProcessThatEndsWhileTheDiskIsFullLeavesItsRequestsToTheNext) {
  TempDir dir;
  std::string id;
  {
    std::unique_ptr<FullDisk> full;
    World world(dir.path);
    auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 10);
    world.Durable(*ticket);
    id = ticket->id();
    full = std::make_unique<FullDisk>();
    ticket->Billed(7);
    ticket->End("stop", "");
    ticket.reset();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  World world(dir.path);
  EXPECT_EQ(world.Find(id)->state, "ended");
  EXPECT_EQ(world.Find(id)->usage.billed, 7);
  EXPECT_EQ(world.UsageOf({})->at(0).output, 7);
}

// ---- kill -9 ----

// What a child publishes before and after each call, in memory that outlives it.
struct Published {
  static constexpr int kMax = 4096;
  struct Job {
    char id[40];
    std::atomic<int64_t> billing, billed;  // before and after the call
    std::atomic<int> durable, ending, ended_durable;
  };
  std::atomic<int> jobs;
  Job job[kMax];
};

class Child {
 public:
  Child(const std::string& dir, const std::string& secret, Published& published, uint64_t seed)
      : world(dir), shared(published), random(seed), who(*world->Authenticate(secret)) {}
  [[noreturn]] void Run() {
    while (true) {
      const uint64_t dice = random.Below(100);
      if (dice < 20) {
        Open();
      } else if (dice < 90 && !running.empty()) {
        Bill(running[random.Below(running.size())]);
      } else if (dice < 99 && !running.empty()) {
        End(random.Below(running.size()));
      } else if (random.Below(20) == 0) {
        world->Flush();
        for (auto* job : std::exchange(ending, {})) job->ended_durable = 1;
      }
      world.RunAll();
    }
  }

 private:
  struct Running {
    std::unique_ptr<Ticket> ticket;
    Published::Job* job;
  };

  void Open() {
    if (running.size() >= 24 || shared.jobs >= Published::kMax) return;
    auto ticket = world->Open(who, random.Below(2) ? "qwen" : "smol", 10);
    if (!ticket) return;
    Published::Job* const job = &shared.job[shared.jobs];
    std::strcpy(job->id, (*ticket)->id().c_str());
    ++shared.jobs;
    (*ticket)->WhenDurable([job](const Status& status) { job->durable = status ? 1 : 0; });
    running.push_back({*std::move(ticket), job});
  }
  void Bill(Running& one) {
    const auto tokens = static_cast<int64_t>(1 + random.Below(3));
    one.job->billing += tokens;
    one.ticket->Emitted(tokens);
    one.ticket->Billed(tokens);
    one.job->billed += tokens;
  }
  void End(size_t index) {
    Running one = std::move(running[index]);
    running.erase(running.begin() + static_cast<long>(index));
    one.job->ending = 1;
    one.ticket->End("stop", "");
    ending.push_back(one.job);
  }

  World world;
  Published& shared;
  Random random;
  Principal who;
  std::vector<Running> running;
  std::vector<Published::Job*> ending;
};

Published* NewPublished() {
  void* const memory =
      ::mmap(nullptr, sizeof(Published), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) Published();
}

void KillAChildAtWork(const std::string& dir, const std::string& secret, Published& shared, Random& random) {
  const uint64_t seed = random.Next();
  const int before = shared.jobs;
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    Child(dir, secret, shared, seed).Run();
  }
  // Half of the kills come at any instant, its start included; the others once it works, however busy the
  // machine is.
  if (random.Below(2) == 0) {
    const bool may = before < Published::kMax;
    for (int ms = 0; may && ms < 20'000 && shared.jobs == before; ++ms) ::usleep(1000);
  }
  ::usleep(static_cast<useconds_t>(random.Below(120'000)));
  ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void CheckJob(World& world, const Published::Job& job) {
  const auto record = world.Find(job.id);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->state, "ended");
  EXPECT_TRUE(record->model == "qwen" || record->model == "smol") << record->model;
  EXPECT_EQ(record->prompt, 10);
  // Short of what was billed by nothing, over by the one call that may have been cut at its end.
  EXPECT_GE(record->usage.billed, job.billed);
  EXPECT_LE(record->usage.billed, job.billing);
  if (record->usage.billed > 0) EXPECT_EQ(record->usage.input, record->prompt);
  if (job.billing == 0) EXPECT_EQ(record->usage.input, 0) << "killed before the first output";
  EXPECT_GE(record->emitted, record->usage.billed);
  if (job.ended_durable) EXPECT_EQ(record->outcome, "stop");
  if (!job.ending) EXPECT_EQ(record->outcome, "gateway_restarted");
  EXPECT_TRUE(record->outcome == "stop" || record->outcome == "gateway_restarted");
}

// 60 kills: after each group of three, every request that was ever named is known, ended once, and
// billed what was billed.
TEST(Durability, AKillAtAnyInstantLosesNoRequestAndNoToken) {
  size_t cut = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    TempDir dir;
    const std::string secret = World(dir.path).NewKey("red").secret;
    const auto unmap = [](Published* memory) { ::munmap(memory, sizeof(Published)); };
    const std::unique_ptr<Published, decltype(unmap)> shared(NewPublished(), unmap);
    for (int kills = 0; kills < 3; ++kills) KillAChildAtWork(dir.path, secret, *shared, random);

    World world(dir.path);
    int64_t output = 0;
    for (int i = 0; i < shared->jobs; ++i) {
      CheckJob(world, shared->job[i]);
      const auto record = *world.Find(shared->job[i].id);
      output += record.usage.billed;
      cut += record.outcome == "gateway_restarted";
    }
    int64_t requests = 0, summed = 0;
    for (const auto& row : *world.UsageOf({})) requests += row.requests, summed += row.output;
    EXPECT_GE(requests, shared->jobs) << "seed " << seed;
    EXPECT_LE(requests, shared->jobs + 3) << "one Open may be under way at each kill";
    EXPECT_EQ(summed, output) << "seed " << seed;
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadOnly);
    EXPECT_EQ(*database.QueryInt("SELECT count(*) FROM requests WHERE ended=0"), 0);
    EXPECT_EQ(*database.QueryInt("SELECT count(*) FROM requests"), requests);
  }
  EXPECT_GT(cut, 10u) << "the kills are to hit running requests";
}

}  // namespace
}  // namespace penstock

// teams_bench: requests a second through the accounts, open → durable → end, and what they cost the
// owner's thread.
//
//   teams_bench DIR [requests] [outstanding] [events]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <vector>

#include "teams/teams.h"

namespace penstock {
namespace {

Nanos ThreadCpu() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

class Owner {
 public:
  void Post(std::function<void()> letter) {
    const std::lock_guard lock(mutex_);
    letters_.push_back(std::move(letter));
    wake_.notify_one();
  }
  void RunOne() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !letters_.empty(); });
    const auto letter = std::move(letters_.front());
    letters_.pop_front();
    lock.unlock();
    letter();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> letters_;
};

// Keeps `outstanding` requests open until `total` were.
struct Load {
  Accounts& accounts;
  const Principal who;
  const size_t total, events;
  size_t opened = 0, ended = 0;
  std::vector<Nanos> waits = {};

  void OpenOne() {
    if (opened == total) return;
    ++opened;
    auto ticket = accounts.Open(who, "qwen2.5-coder-0.5b", 75);
    if (!ticket) {
      fmt::print(stderr, "{}\n", ticket.error().message);
      std::exit(1);
    }
    auto shared = std::make_shared<std::unique_ptr<Ticket>>(*std::move(ticket));
    const Nanos start = SystemClock().Monotonic();
    (*shared)->Event("queued", "0 waited before it");
    (*shared)->Event("sent", "engine cpu0, beside 3 others");
    (*shared)->Event("admitted", "engine cpu0");
    (*shared)->WhenDurable([this, shared, start](const Status& status) {
      if (!status) std::exit(1);
      waits.push_back(SystemClock().Monotonic() - start);
      for (size_t i = 0; i < events; ++i) {
        (*shared)->Emitted(1);
        (*shared)->Charged(1000, 1);
        (*shared)->Billed(1);
      }
      (*shared)->End("stop", "");
      ++ended;
      OpenOne();
    });
  }
};

int Main(const std::string& dir, size_t total, size_t outstanding, size_t events) {
  Owner owner;
  auto accounts =
      OpenAccounts({dir, 16384, [&](auto letter) { owner.Post(std::move(letter)); }}, SystemClock());
  if (!accounts) {
    fmt::print(stderr, "{}\n", accounts.error().message);
    return 1;
  }
  std::optional<CreatedKey> key;
  (*accounts)->CreateTeam("bench", [](const auto&) {});
  while ((*accounts)->Teams().empty()) owner.RunOne();
  (*accounts)->CreateKey({"bench", "bench", Role::kDeveloper, {}, 0}, [&](auto made) { key = *made; });
  while (!key) owner.RunOne();
  Load load{**accounts, *(*accounts)->Authenticate(key->secret), total, events};

  const Nanos start = SystemClock().Monotonic(), cpu_start = ThreadCpu();
  for (size_t i = 0; i < outstanding; ++i) load.OpenOne();
  while (load.ended < total) owner.RunOne();
  (*accounts)->Flush();
  const double seconds = static_cast<double>(SystemClock().Monotonic() - start) / kSecond;
  const double cpu = static_cast<double>(ThreadCpu() - cpu_start) / static_cast<double>(total);
  std::ranges::sort(load.waits);
  const auto at = [&](double part) {
    return static_cast<double>(load.waits[static_cast<size_t>(part * static_cast<double>(total - 1))]) /
           kMillisecond;
  };
  fmt::print(
      "{} requests, {} outstanding, {} events each: {:.0f} requests/s, owner's thread {:.2f} us a request, "
      "durable after p50 {:.2f} ms, p99 {:.2f}, p99.9 {:.2f}\n",
      total, outstanding, events, static_cast<double>(total) / seconds, cpu / 1000, at(0.5), at(0.99),
      at(0.999));
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  const auto number = [&](int i, size_t otherwise) {
    return argc > i ? static_cast<size_t>(std::strtoull(argv[i], nullptr, 10)) : otherwise;
  };
  if (argc < 2) {
    fmt::print(stderr, "usage: teams_bench DIR [requests] [outstanding] [events]\n");
    return 2;
  }
  return penstock::Main(argv[1], number(2, 200000), number(3, 64), number(4, 1));
}

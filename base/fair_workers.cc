#include "base/fair_workers.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace penstock {

FairWorkers::FairWorkers(const Options& options) : options_(options) {
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this] {
      prctl(PR_SET_NAME, options_.name.c_str());
      if (options_.niceness != 0) setpriority(PRIO_PROCESS, 0, options_.niceness);  // of this thread only
      Loop();
    });
  }
}

void FairWorkers::Stop() {
  std::vector<Work> dropped;
  {
    MutexLock lock(mutex_);
    stop_ = true;
    for (auto& [_, queue] : queues_) {
      std::ranges::move(queue.waiting, std::back_inserter(dropped));
      queue.waiting.clear();
    }
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void FairWorkers::Add(Owner owner, Work work) {
  {
    MutexLock lock(mutex_);
    if (stop_) return;
    Queue& queue = queues_[owner];
    if (queue.waiting.empty() && queue.running == 0) queue.spent = std::max(queue.spent, level_);
    queue.waiting.push_back(std::move(work));
  }
  wake_.notify_one();
}

size_t FairWorkers::waiting() const {
  MutexLock lock(mutex_);
  size_t waiting = 0;
  for (const auto& [_, queue] : queues_) waiting += queue.waiting.size();
  return waiting;
}

FairWorkers::Queues::iterator FairWorkers::Next() {
  auto next = queues_.end();
  for (auto at = queues_.begin(); at != queues_.end(); ++at) {
    const Queue& queue = at->second;
    if (queue.waiting.empty() || queue.running >= options_.most_of_one) continue;
    if (next == queues_.end() || queue.spent < next->second.spent) next = at;
  }
  return next;
}

void FairWorkers::Loop() {
  MutexLock lock(mutex_);
  while (!stop_) {
    const auto next = Next();
    if (next == queues_.end()) {
      lock.Wait(wake_);
      continue;
    }
    Queue& queue = next->second;  // the address of a map's element does not change
    level_ = std::max(level_, queue.spent);
    Work work = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    ++queue.running;
    lock.Unlock();
    const Nanos begin = SystemClock().Monotonic();
    work();
    work = nullptr;
    const Nanos spent = SystemClock().Monotonic() - begin;
    lock.Lock();
    queue.spent += spent;
    --queue.running;
    // An owner that is idle and not ahead of the others is as good as a new one.
    std::erase_if(queues_, [this](const auto& entry) REQUIRES(mutex_) {
      return entry.second.waiting.empty() && entry.second.running == 0 && entry.second.spent <= level_;
    });
    wake_.notify_one();  // this owner may have a thread again
  }
}

}  // namespace penstock

// Mailbox: completions for an owner that has no event loop (a command, a test). They run while it waits.
//
// Threads: Post from any; the rest from the owner's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/thread_annotations.h"

namespace penstock {

class Mailbox {
 public:
  using Letter = std::function<void()>;

  void Post(Letter letter) EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      letters_.push_back(std::move(letter));
    }
    wake_.notify_one();
  }
  // Runs the oldest completion; false: there is none.
  bool RunOne() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (letters_.empty()) return false;
    const Letter letter = std::move(letters_.front());
    letters_.pop_front();
    lock.Unlock();
    letter();
    return true;
  }
  // Runs completions until `begin`'s has given its value.
  // auto team = mailbox.Await<Result<Team>>([&](auto done) { accounts.CreateTeam("red", std::move(done)); });
  template <class T>
  T Await(const std::function<void(std::function<void(T)>)>& begin) {
    const auto value = std::make_shared<std::optional<T>>();
    begin([value](T given) { value->emplace(std::move(given)); });
    while (!value->has_value()) {
      if (!RunOne()) WaitForOne();
    }
    return *std::move(*value);
  }

 private:
  void WaitForOne() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (letters_.empty()) lock.Wait(wake_);
  }

  Mutex mutex_;
  std::condition_variable wake_;
  std::deque<Letter> letters_ GUARDED_BY(mutex_);
};

}  // namespace penstock

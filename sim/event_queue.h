// EventQueue: what happens at which simulated time; of equal times, in the order in which it was planned.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace penstock {

class EventQueue {
 public:
  void At(Nanos when, std::function<void()> happen) {
    events_.push({.at = when, .number = numbers_++, .happen = std::move(happen)});
  }
  bool empty() const { return events_.empty(); }
  // REQUIRES: not empty.
  Nanos next() const { return events_.top().at; }
  // Takes the next event, sets `now` to its time and lets it happen.
  void Happen(Nanos& now) {
    const Event event = events_.top();
    events_.pop();
    now = event.at;
    event.happen();
  }

 private:
  struct Event {
    Nanos at = 0;
    uint64_t number = 0;
    std::function<void()> happen;
    bool operator<(const Event& other) const {
      return std::pair(at, number) > std::pair(other.at, other.number);
    }
  };
  std::priority_queue<Event> events_;
  uint64_t numbers_ = 0;
};

}  // namespace penstock

#include "base/clock.h"

#include <ctime>

namespace penstock {
namespace {

Nanos Read(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

class System final : public Clock {
 public:
  Nanos Monotonic() const override { return Read(CLOCK_MONOTONIC); }
  Nanos Wall() const override { return Read(CLOCK_REALTIME); }
};

}  // namespace

const Clock& SystemClock() {
  static const System clock;
  return clock;
}

}  // namespace penstock

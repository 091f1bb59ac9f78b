// What `up` prints for the user who started it: what starts, when the cloud is ready, or why it is not.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "app/common/data_dir.h"
#include "app/launch/engines.h"
#include "app/settings/config.h"

namespace penstock {

// Prints the URL, the data directory, the models and the engines. `fingerprint`: of the TLS certificate;
// empty: plain HTTP.
void Introduce(const Config& config, const DataDir& data, const std::string& url,
               const std::string& fingerprint, const EnginePlans& plans);

// Prints the new operator key once, then reports when the cloud is ready or why it is not. It has its own
// thread, because the supervisor's loop waits only for its children.
class Announcer {
 public:
  Announcer(const Config& config, const std::string& url, DataDir data, bool first_start);
  ~Announcer();
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

 private:
  void Run();

  Config config_;
  const DataDir data_;
  bool first_start_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace penstock

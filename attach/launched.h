// Launched: an upstream that this engine starts itself, from a template, and keeps running.
//
//   "vllm serve /models/qwen --host 127.0.0.1 --port {port}"
//
// The command runs in a shell, in a process group of its own; {port} is a free port of this machine, and what
// it prints goes where this process prints. It is started again when it ends, later each time that it does
// not live long, and ends with this process, however that ends.
//
// Threads: the io_context's one.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

class Launched {
 public:
  // Starts it at once. `command` as configured.
  Launched(boost::asio::io_context& io, std::string command, uint16_t port);
  ~Launched();  // ends it: SIGTERM, and SIGKILL when it has not gone within a few seconds
  Launched(const Launched&) = delete;
  Launched& operator=(const Launched&) = delete;

  uint32_t starts() const { return starts_; }
  pid_t pid() const { return pid_; }

 private:
  void Start();
  void Look();

  boost::asio::steady_timer timer_;
  const std::string command_;
  pid_t pid_ = -1;  // of its group; -1: it does not run
  Nanos started_ = 0, again_at_ = 0, back_off_;
  uint32_t starts_ = 0;
};

// {port} filled in. Errors: kInvalid: it has none, so nobody could know where it listens.
Result<std::string> FillPort(std::string_view launch, uint16_t port);
// One that nobody listens on now.
Result<uint16_t> FreePort();

}  // namespace penstock

// An engine that says anything at all, at any time, over its socket, also while it is asked for its jobs: the
// fleet lives on and its accounts come out even.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "engine/frame.h"
#include "fleet/fleet.h"

namespace {

using namespace penstock;
namespace asio = boost::asio;

struct Deaf final : JobSink {
  void OnEvent(JobEvent, std::string_view) override {}
  void OnPlaced(const Placed&) override {}
  void OnTokens(const wire::TokenEvent&) override {}
  void OnCharge(Nanos, uint32_t) override {}
  void OnFailed(const Error&) override {}
};

// As an engine that takes over sequences, and has the model, says it.
std::string Hello(const char* name) {
  wire::FromEngine hello;
  hello.mutable_hello()->set_protocol(1);
  hello.mutable_hello()->set_engine(name);
  hello.mutable_hello()->set_max_sequences(3);
  hello.mutable_hello()->set_state("form");
  hello.mutable_hello()->mutable_abilities()->set_resume(true);
  hello.mutable_hello()->mutable_abilities()->set_reclaim(true);
  hello.mutable_hello()->add_models()->set_name("m");
  hello.mutable_hello()->mutable_models(0)->set_state(wire::ModelState::READY);
  std::string bytes;
  PENSTOCK_CHECK(AppendFrame(hello, bytes));
  return bytes;
}

// The input is a row of frames, each preceded by a byte with its length; a length of 255 is written out
// as it is, without a frame around what follows.
std::string Stream(const uint8_t* data, size_t size) {
  std::string bytes = Hello("fuzz");
  while (size > 0) {
    const uint32_t length = *data == 255 ? 0 : std::min<uint32_t>(*data, static_cast<uint32_t>(size - 1));
    if (*data != 255) bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
    bytes.append(reinterpret_cast<const char*>(data) + 1, length);
    data += 1 + length;
    size -= 1 + length;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  spdlog::set_level(spdlog::level::off);
  static const std::string path = "/tmp/penstock-fuzz-" + std::to_string(::getpid()) + ".sock";
  asio::io_context io;
  ManualClock clock;
  const auto fleet = MakeFleet(io, clock, {});
  PENSTOCK_CHECK(fleet->Listen(path));
  fleet->Serve({.name = "m", .path = ""});
  for (uint32_t i = 0; i < 4; ++i) {
    Job job;
    job.submit.set_model("m");
    job.submit.add_prompt(1);
    job.submit.set_choices(1 + i % 2);
    job.submit.set_max_tokens(8);
    job.owner = {1};
    (void)fleet->Submit(std::move(job), std::make_shared<Deaf>());
  }
  asio::local::stream_protocol::socket engine(io);
  engine.connect(path);
  engine.non_blocking(true);
  asio::local::stream_protocol::socket other(io);
  other.connect(path);
  const std::string bytes = Stream(data, size);
  boost::system::error_code ignored;
  for (int part = 0; part < 2; ++part) {  // the second half comes when jobs were sent
    const size_t half = bytes.size() / 2;
    asio::write(engine, asio::buffer(bytes.data() + part * half, part == 0 ? half : bytes.size() - half),
                ignored);
    io.poll();
    if (part > 0) continue;
    // Another, which says nothing more, is to take over what the first has.
    asio::write(other, asio::buffer(Hello("other")), ignored);
    io.poll();
    (void)fleet->SetDraining("fuzz", true);
    io.poll();
  }
  fleet->Cancel(1);
  io.poll();
  for (const EngineView& view : fleet->Engines()) PENSTOCK_CHECK(view.sent <= 4);
  engine.close();
  other.close();
  io.poll();
  for (const EngineView& view : fleet->Engines()) PENSTOCK_CHECK(view.sent == 0);
  PENSTOCK_CHECK(fleet->Running() == 0);
  return 0;
}

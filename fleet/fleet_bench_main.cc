// fleet_bench: what a job and a token cost the fleet's thread, before an engine in another thread that
// answers at once, as the connection really is: a Unix socket with frames.
//
//   fleet_bench unary [jobs] [outstanding]      one event a job
//   fleet_bench streams [streams] [steps]       one event a stream and step, with credits granted back
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "engine/frame.h"
#include "fleet/fleet.h"

namespace penstock {
namespace {

namespace asio = boost::asio;

Nanos ThreadCpu() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

// Answers whatever it has read with one StepReport: `steps` reports, the last of which ends the jobs.
class InstantEngine {
 public:
  InstantEngine(const std::string& path, uint32_t max_sequences, size_t steps)
      : path_(path), max_sequences_(max_sequences), steps_(steps), thread_([this] { Run(); }) {}
  ~InstantEngine() { thread_.join(); }

 private:
  void Run() {
    asio::io_context io;
    asio::local::stream_protocol::socket socket(io);
    socket.connect(path_);
    wire::FromEngine message;
    auto& hello = *message.mutable_hello();
    hello.set_protocol(1);
    hello.set_engine("bench");
    hello.set_max_sequences(max_sequences_);
    Write(socket, message);
    FrameReader reader;
    boost::system::error_code error;
    while (!error) {
      const auto space = reader.Space(256 << 10);
      reader.Filled(socket.read_some(asio::buffer(space.data(), space.size()), error));
      while (const auto frame = *reader.Next()) {
        wire::ToEngine heard;
        if (heard.ParseFromArray(frame->data(), static_cast<int>(frame->size()))) Hear(socket, heard);
      }
      if (!jobs_.empty() && (steps_ == 1 || jobs_.size() == max_sequences_)) Answer(socket);
    }
  }
  void Hear(asio::local::stream_protocol::socket& socket, const wire::ToEngine& heard) {
    for (const auto& part : heard.batch().messages()) Hear(socket, part);
    if (heard.has_submit()) jobs_.push_back(heard.submit().request());
    if (!heard.has_load()) return;
    wire::FromEngine message;
    message.mutable_model()->set_name(heard.load().name());
    message.mutable_model()->set_state(wire::ModelState::READY);
    Write(socket, message);
    message.mutable_heartbeat()->mutable_load()->set_free_pages(1 << 30);
    Write(socket, message);
  }
  void Answer(asio::local::stream_protocol::socket& socket) {
    for (size_t step = 0; step < steps_; ++step) {
      wire::FromEngine message;
      auto& report = *message.mutable_step();
      report.mutable_load()->set_free_pages(1 << 30);
      for (const uint64_t job : jobs_) {
        auto& event = *report.add_tokens();
        event.set_request(job);
        event.set_new_tokens(1);
        event.add_ids(42);
        event.set_text(" word");
        if (step + 1 == steps_) event.set_finish(wire::STOP);
        auto& charge = *report.add_charges();
        charge.set_request(job);
        charge.set_chip_ns(1000);
        charge.set_computed(1);
      }
      Write(socket, message);
    }
    jobs_.clear();
  }
  static void Write(asio::local::stream_protocol::socket& socket, const wire::FromEngine& message) {
    std::string bytes;
    if (!AppendFrame(message, bytes)) std::abort();
    boost::system::error_code ignored;
    asio::write(socket, asio::buffer(bytes), ignored);
  }

  const std::string path_;
  const uint32_t max_sequences_;
  const size_t steps_;
  std::vector<uint64_t> jobs_;
  std::thread thread_;
};

struct Clients {
  Fleet& fleet;
  size_t total, submitted = 0, ended = 0, tokens = 0;

  struct Sink final : JobSink {
    explicit Sink(Clients& owner) : clients(owner) {}
    void OnEvent(JobEvent, std::string_view) override {}
    void OnPlaced(const Placed&) override {}
    void OnCharge(Nanos, uint32_t) override {}
    void OnFailed(const Error& error) override {
      fmt::print(stderr, "{}\n", error.message);
      std::exit(1);
    }
    void OnTokens(const wire::TokenEvent& event) override {
      ++clients.tokens;
      if (event.finish() == wire::NONE) return clients.fleet.Grant(job, 0, event.new_tokens());
      ++clients.ended;
      if (clients.submitted < clients.total) clients.SubmitOne();
    }
    Clients& clients;
    JobId job = 0;
  };

  void SubmitOne() {
    ++submitted;
    Job job;
    job.submit.set_model("m");
    for (int i = 0; i < 75; ++i) job.submit.add_prompt(1000 + i);
    job.submit.set_max_tokens(64);
    job.owner = {submitted % 4};
    job.owner_name = "team";
    job.deadline = SystemClock().Monotonic() + 30 * kSecond;
    auto sink = std::make_shared<Sink>(*this);
    const auto id = fleet.Submit(std::move(job), sink);
    if (!id) std::exit(1);
    sink->job = *id;
  }
};

int Main(bool streams, size_t count, size_t second) {
  spdlog::set_level(spdlog::level::warn);
  const std::string path = fmt::format("/tmp/fleet_bench.{}.sock", ::getpid());
  asio::io_context io;
  auto fleet = MakeFleet(io, SystemClock(), {});
  if (const Status listening = fleet->Listen(path); !listening) return 1;
  const size_t outstanding = streams ? count : second, steps = streams ? second : 1;
  InstantEngine engine(path, static_cast<uint32_t>(outstanding), steps);
  fleet->Serve({.name = "m", .path = "m"});
  while (!fleet->Ready("m")) io.run_one();

  Clients clients{*fleet, count};
  const Nanos start = SystemClock().Monotonic(), cpu_start = ThreadCpu();
  for (size_t i = 0; i < outstanding; ++i) clients.SubmitOne();
  while (clients.ended < count) io.run_one();
  const double seconds = static_cast<double>(SystemClock().Monotonic() - start) / kSecond;
  const double cpu = static_cast<double>(ThreadCpu() - cpu_start) / 1000;
  const FleetStats stats = fleet->Stats();
  fmt::print(
      "{} jobs, {} outstanding: {:.0f} jobs/s, {:.0f} events/s; fleet's thread {:.2f} us a job, {:.2f} an "
      "event; {} frames out in {} writes, {} in\n",
      count, outstanding, static_cast<double>(count) / seconds, static_cast<double>(clients.tokens) / seconds,
      cpu / static_cast<double>(count), cpu / static_cast<double>(clients.tokens), stats.frames_out,
      stats.writes, stats.frames_in);
  fleet.reset();  // hangs up: the engine ends
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  const bool streams = argc > 1 && std::string_view(argv[1]) == "streams";
  const auto number = [&](int i, size_t otherwise) {
    return argc > i ? static_cast<size_t>(std::strtoull(argv[i], nullptr, 10)) : otherwise;
  };
  return penstock::Main(streams, number(2, streams ? 1000 : 200000), number(3, streams ? 500 : 64));
}

// Helpers of the tests in this folder: a scripted engine on a real socket, a sink that records what it hears,
// and a fleet with a clock that moves when told to.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/frame.h"
#include "engine/wire.pb.h"
#include "engine/wire_error.h"
#include "fleet/fleet.h"

namespace penstock::testing {

namespace asio = boost::asio;

// An engine that does what its test says. Everything runs on the io_context's thread.
class ScriptedEngine {
 public:
  ScriptedEngine(asio::io_context& io, const std::string& path, wire::Hello hello) : socket_(io) {
    socket_.connect(path);
    hello.set_protocol(hello.protocol() == 0 ? 1 : hello.protocol());
    wire::FromEngine message;
    *message.mutable_hello() = hello;
    Send(message);
    Read();
  }
  static wire::Hello Named(const std::string& name, uint32_t max_sequences = 4) {
    wire::Hello hello;
    hello.set_engine(name);
    hello.set_runner("scripted");
    hello.set_max_sequences(max_sequences);
    return hello;
  }

  void Send(const wire::FromEngine& message) {
    std::string bytes;
    ASSERT_TRUE(AppendFrame(message, bytes));
    SendBytes(bytes);
  }
  void SendBytes(const std::string& bytes) {
    boost::system::error_code ignored;
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  void Report(const wire::StepReport& step) {
    wire::FromEngine message;
    *message.mutable_step() = step;
    Send(message);
  }
  void State(const std::string& model, wire::ModelState::State state, const std::string& error = {},
             uint32_t context = 0) {
    wire::FromEngine message;
    message.mutable_model()->set_name(model);
    message.mutable_model()->set_state(state);
    if (!error.empty())
      SetError({Code::kUnavailable, error, Reason::kModelFailedToLoad}, *message.mutable_model());
    message.mutable_model()->set_context(context);
    Send(message);
  }
  // One token for a choice, perhaps its last.
  void Token(uint64_t request, wire::Finish finish = wire::NONE, uint32_t choice = 0) {
    wire::StepReport step;
    auto& event = *step.add_tokens();
    event.set_request(request);
    event.set_choice(choice);
    event.set_new_tokens(1);
    if (tells_ids) event.add_ids(7);
    event.set_text("x");
    event.set_finish(finish);
    Report(step);
  }
  void Charge(uint64_t request, Nanos chip_time, uint32_t computed = 1) {
    wire::StepReport step;
    auto& charge = *step.add_charges();
    charge.set_request(request);
    charge.set_chip_ns(static_cast<uint64_t>(chip_time));
    charge.set_computed(computed);
    Report(step);
  }
  void Note(uint64_t request, wire::Note::Kind kind) {
    wire::StepReport step;
    step.add_notes()->set_request(request);
    step.mutable_notes(0)->set_kind(kind);
    Report(step);
  }
  void Pages(uint32_t free) {
    wire::FromEngine message;
    message.mutable_heartbeat()->mutable_load()->set_free_pages(free);
    Send(message);
  }
  // As it was asked by a Release, with `parts` of what it computed for choice 0.
  void Released(uint64_t request, uint32_t tokens = 3, int parts = 2) {
    wire::FromEngine message;
    for (int i = 0; i < parts; ++i) {
      message.mutable_state()->set_request(request);
      message.mutable_state()->set_tokens(tokens);
      message.mutable_state()->set_data("part" + std::to_string(i));
      Send(message);
    }
    message.mutable_released()->set_request(request);
    Send(message);
  }
  void Die() { socket_.close(); }

  std::vector<uint64_t> Submitted() const {
    std::vector<uint64_t> ids;
    for (const auto& message : received) {
      if (message.has_submit()) ids.push_back(message.submit().request());
    }
    return ids;
  }
  template <class Has>
  size_t Count(Has has) const {
    return static_cast<size_t>(std::count_if(received.begin(), received.end(), has));
  }

  std::vector<wire::ToEngine> received;  // batches unwrapped
  std::function<void(const wire::ToEngine&)> on_message;
  bool closed = false, tells_ids = false;
  size_t frames = 0;
  size_t seen = 0;  // of `received`, by whoever answers as it goes along

 private:
  void Read() {
    const auto space = reader_.Space(65536);
    socket_.async_read_some(asio::buffer(space.data(), space.size()), [this, alive = std::weak_ptr(alive_)](
                                                                          auto error, size_t bytes) {
      if (alive.expired()) return;
      if (error) {
        closed = true;
        return;
      }
      reader_.Filled(bytes);
      while (const auto frame = *reader_.Next()) {
        wire::ToEngine message;
        ASSERT_TRUE(message.ParseFromArray(frame->data(), static_cast<int>(frame->size())));
        ++frames;
        Hear(message);
      }
      Read();
    });
  }
  void Hear(const wire::ToEngine& message) {
    if (message.has_batch()) {
      for (const auto& part : message.batch().messages()) Hear(part);
      return;
    }
    received.push_back(message);
    if (on_message) on_message(message);
  }

  asio::local::stream_protocol::socket socket_;
  FrameReader reader_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// Records what it is told about one job.
class Witness : public JobSink {
 public:
  void OnEvent(JobEvent event, std::string_view why) override {
    events.push_back(event);
    whys.emplace_back(why);
    if (on_anything) on_anything();
  }
  void OnPlaced(const Placed& placed) override { models.emplace_back(placed.model); }
  void OnTokens(const wire::TokenEvent& event) override {
    tokens += event.new_tokens();
    finished += event.finish() != wire::NONE;
    if (on_anything) on_anything();
  }
  void OnCharge(Nanos time, uint32_t more) override {
    chip_time += time;
    computed += more;
    if (on_anything) on_anything();
  }
  void OnFailed(const Error& failure) override {
    error = failure;
    if (on_anything) on_anything();
  }
  bool Heard(JobEvent event) const { return std::find(events.begin(), events.end(), event) != events.end(); }

  std::vector<JobEvent> events;
  std::vector<std::string> whys;
  std::vector<std::string> models;  // that it was placed with
  uint32_t tokens = 0, finished = 0, computed = 0;
  Nanos chip_time = 0;
  std::optional<Error> error;
  std::function<void()> on_anything;
};

class FleetWorld {
 public:
  explicit FleetWorld(PoolOptions options = {}, const std::string& truths_file = {}) {
    spdlog::set_level(spdlog::level::off);  // deaths are the daily bread here
    options.tick = kMillisecond;
    fleet = MakeFleet(io, clock, options, truths_file);
    const Status listening = fleet->Listen(path);
    EXPECT_TRUE(listening) << listening.error().message;
  }
  ~FleetWorld() { std::filesystem::remove_all(dir_); }

  // Runs the loop until `done` holds.
  ::testing::AssertionResult Until(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up)
        return ::testing::AssertionFailure() << "it never happened";
      io.run_one_for(std::chrono::milliseconds(20));
    }
    return ::testing::AssertionSuccess();
  }
  // Everything that is under way has arrived.
  void Quiet() {
    for (int quiet = 0; quiet < 3;) quiet = io.poll() > 0 ? 0 : quiet + 1;
  }
  void Serve(const std::string& model) { fleet->Serve({.name = model, .path = "/models/" + model}); }

  std::unique_ptr<ScriptedEngine> Engine(const std::string& name, uint32_t max_sequences = 4) {
    return Engine(ScriptedEngine::Named(name, max_sequences));
  }
  std::unique_ptr<ScriptedEngine> Engine(const wire::Hello& hello) {
    auto engine = std::make_unique<ScriptedEngine>(io, path, hello);
    EXPECT_TRUE(Until([&] { return !engine->received.empty() || engine->closed; }));
    return engine;
  }
  // Connected, with `model` READY and plenty of pages.
  std::unique_ptr<ScriptedEngine> ReadyEngine(const std::string& name, const std::string& model,
                                              uint32_t max_sequences = 4) {
    auto engine = Engine(name, max_sequences);
    engine->State(model, wire::ModelState::READY);
    engine->Pages(1000);
    EXPECT_TRUE(Until([&] { return View(name).load.free_pages() == 1000; }));
    return engine;
  }
  EngineView View(const std::string& name) const {
    for (const auto& view : fleet->Engines()) {
      if (view.name == name) return view;
    }
    return {};
  }

  static Job NewJob(const std::string& model, uint64_t team = 1, int prompt = 3) {
    Job job;
    job.submit.set_model(model);
    for (int i = 0; i < prompt; ++i) job.submit.add_prompt(i);
    job.submit.set_max_tokens(8);
    job.owner = {team};
    job.owner_name = "team" + std::to_string(team);
    return job;
  }
  std::pair<JobId, std::shared_ptr<Witness>> Submit(Job job) {
    auto witness = std::make_shared<Witness>();
    const auto id = fleet->Submit(std::move(job), witness);
    EXPECT_TRUE(id) << id.error().message;
    return {id.value_or(0), witness};
  }

 private:
  static std::string NewDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    return ::mkdtemp(pattern.data());
  }
  const std::string dir_ = NewDir();

 public:
  const std::string path = dir_ + "/engines.sock";
  asio::io_context io;
  ManualClock clock;
  std::unique_ptr<Fleet> fleet;
};

}  // namespace penstock::testing

// The engine as a process: over its socket, as a gateway sees it.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>

#include "base/check.h"
#include "engine/frame.h"
#include "engine/wire.pb.h"
#include "runner/fake.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

constexpr int kPatience = 20'000;  // ms: how long a test waits for what must come; never for what must not

// The other end of the line, with blocking calls.
class Gateway {
 public:
  Gateway()
      : path_(fmt::format("{}/penstock-engine-test-{}.sock", std::filesystem::temp_directory_path().string(),
                          getpid())) {
    Listen();
  }
  ~Gateway() {
    Hang();
    close(listener_);
    unlink(path_.c_str());
  }

  const std::string& path() const { return path_; }

  // Waits for an engine's call and returns its hello.
  wire::Hello Accept() {
    pollfd waiting{.fd = listener_, .events = POLLIN, .revents = 0};
    PENSTOCK_CHECK(poll(&waiting, 1, kPatience) == 1);
    connection_ = accept(listener_, nullptr, nullptr);
    reader_ = FrameReader();
    const auto message = Receive();
    PENSTOCK_CHECK(message && message->has_hello());
    wire::ToEngine welcome;
    welcome.mutable_welcome()->set_protocol(1);
    Send(welcome);
    return message->hello();
  }
  void Hang() {
    if (connection_ >= 0) close(connection_);
    connection_ = -1;
  }

  void SendBytes(std::string_view bytes) {
    PENSTOCK_CHECK(send(connection_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                   static_cast<ssize_t>(bytes.size()));
  }
  void Send(const wire::ToEngine& message) {
    std::string frame;
    PENSTOCK_CHECK(AppendFrame(message, frame).has_value());
    SendBytes(frame);
  }
  void Load(const std::string& path) {
    wire::ToEngine message;
    message.mutable_load()->set_name("m");
    message.mutable_load()->set_path(path);
    Send(message);
  }
  void Submit(uint64_t request, uint32_t max_tokens, int32_t prompt = 1) {
    wire::ToEngine message;
    message.mutable_submit()->set_request(request);
    message.mutable_submit()->set_model("m");
    message.mutable_submit()->add_prompt(prompt);
    message.mutable_submit()->set_max_tokens(max_tokens);
    Send(message);
  }

  // The next message; nothing if the engine hung up.
  std::optional<wire::FromEngine> Receive() {
    while (true) {
      const auto frame = reader_.Next();
      PENSTOCK_CHECK(frame.has_value());
      if (*frame) {
        wire::FromEngine message;
        PENSTOCK_CHECK(message.ParseFromString(std::string(**frame)));
        return message;
      }
      pollfd waiting{.fd = connection_, .events = POLLIN, .revents = 0};
      PENSTOCK_CHECK(poll(&waiting, 1, kPatience) == 1);
      const auto space = reader_.Space(65536);
      const ssize_t bytes = recv(connection_, space.data(), space.size(), 0);
      if (bytes <= 0) return std::nullopt;
      reader_.Filled(static_cast<size_t>(bytes));
    }
  }
  wire::ModelState ReceiveModel(wire::ModelState::State state) {
    while (true) {
      const auto message = Receive();
      PENSTOCK_CHECK(message.has_value());
      if (message->has_model() && message->model().state() == state) return message->model();
    }
  }
  // Everything until `request` ends.
  std::vector<Token> ReceiveAll(uint64_t request) {
    std::vector<Token> ids;
    while (true) {
      const auto message = Receive();
      PENSTOCK_CHECK(message.has_value());
      for (const auto& event : message->step().tokens()) {
        if (event.request() != request) continue;
        ids.insert(ids.end(), event.ids().begin(), event.ids().end());
        if (event.finish() != wire::NONE) return ids;
      }
    }
  }

 private:
  void Listen() {
    unlink(path_.c_str());
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    PENSTOCK_CHECK(path_.size() < sizeof address.sun_path);
    path_.copy(address.sun_path, path_.size());
    PENSTOCK_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    PENSTOCK_CHECK(listen(listener_, 8) == 0);
  }

  const std::string path_;
  int listener_ = -1, connection_ = -1;
  FrameReader reader_;
};

// An engine in a process of its own.
class EngineProcess {
 public:
  EngineProcess(const Gateway& gateway, FakeOptions fake = {}, EngineOptions options = {}) {
    options.socket = gateway.path();
    options.memory_bytes = 1 << 30;
    pid_ = fork();
    if (pid_ == 0) _exit(RunEngine(MakeFakeRunner(fake), options).value_or(99));
  }
  ~EngineProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  void Signal(int signal) const { kill(pid_, signal); }
  int Wait() {
    int status = -1;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

void ExpectExit(int status, int code) {
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), code);
}

TEST(EngineProcess, GreetsLoadsAnswersAndDrains) {
  Gateway gateway;
  EngineProcess engine(gateway);
  const wire::Hello hello = gateway.Accept();
  EXPECT_EQ(hello.protocol(), 1U);
  EXPECT_EQ(hello.engine(), "cpu0");
  EXPECT_EQ(hello.runner(), "fake");
  EXPECT_EQ(hello.pid(), static_cast<uint64_t>(engine.pid()));
  EXPECT_EQ(hello.models_size(), 0);
  gateway.Load("fake:m?context=512");
  gateway.ReceiveModel(wire::ModelState::LOADING);
  // Its pages are told before it is ready: the gateway need not guess how much it may send.
  uint32_t free_pages = 0;
  while (true) {
    const auto message = gateway.Receive();
    ASSERT_TRUE(message);
    if (message->has_heartbeat()) free_pages = message->heartbeat().load().free_pages();
    if (!message->has_model() || message->model().state() != wire::ModelState::READY) continue;
    EXPECT_EQ(message->model().context(), 512U);
    break;
  }
  EXPECT_EQ(free_pages, 4096U);
  gateway.Submit(1, 25);
  EXPECT_EQ(gateway.ReceiveAll(1).size(), 25U);
  wire::ToEngine drain;
  drain.mutable_drain();
  gateway.Send(drain);
  ExpectExit(engine.Wait(), 0);
}

TEST(EngineProcess, BeatsWhetherOrNotThereIsWork) {
  Gateway gateway;
  EngineProcess engine(gateway);
  gateway.Accept();
  int beats = 0;
  while (beats < 2) beats += gateway.Receive()->has_heartbeat() ? 1 : 0;
}

TEST(EngineProcess, DialsAgainKeepsItsModelsAndForgetsTheWork) {
  Gateway gateway;
  // Paced, so that the work is there when the line drops.
  EngineProcess engine(gateway, {.step_time = 5 * kMillisecond, .paced = true});
  gateway.Accept();
  gateway.Load("fake:m");
  gateway.ReceiveModel(wire::ModelState::READY);
  gateway.Submit(1, 4000);
  while (!gateway.Receive()->has_step()) {
  }
  gateway.Hang();
  const wire::Hello hello = gateway.Accept();
  ASSERT_EQ(hello.models_size(), 1);
  EXPECT_EQ(hello.models(0).name(), "m");
  EXPECT_EQ(hello.models(0).state(), wire::ModelState::READY);
  gateway.Submit(1, 3, 2);  // the same id: the old one is forgotten
  EXPECT_EQ(gateway.ReceiveAll(1).size(), 3U);
}

TEST(EngineProcess, BytesThatAreNoMessageCostTheLineAndNotTheProcess) {
  Gateway gateway;
  EngineProcess engine(gateway);
  for (const std::string_view bytes :
       {std::string_view("\xFF\xFF\xFF\xFF", 4), std::string_view("\x03\x00\x00\x00\xFF\xFF\xFF", 7)}) {
    gateway.Accept();
    gateway.SendBytes(bytes);
    while (gateway.Receive()) {
    }
    gateway.Hang();
  }
  gateway.Accept();
}

TEST(EngineProcess, AnotherProtocolIsRefused) {
  Gateway gateway;
  EngineProcess engine(gateway);
  gateway.Accept();
  wire::ToEngine welcome;
  welcome.mutable_welcome()->set_protocol(2);
  gateway.Send(welcome);
  while (gateway.Receive()) {
  }
}

TEST(EngineProcess, SigtermFinishesWhatRuns) {
  Gateway gateway;
  EngineProcess engine(gateway, {.step_time = 2 * kMillisecond, .paced = true});
  gateway.Accept();
  gateway.Load("fake:m");
  gateway.ReceiveModel(wire::ModelState::READY);
  gateway.Submit(1, 100);
  while (!gateway.Receive()->has_step()) {
  }
  engine.Signal(SIGTERM);
  // What the gateway sent before it heard of that is served, too: it answers with a drain, in order.
  while (!gateway.Receive()->has_leaving()) {
  }
  gateway.Submit(2, 3);
  wire::ToEngine drain;
  drain.mutable_drain();
  gateway.Send(drain);
  std::map<uint64_t, uint32_t> tokens;
  while (const auto message = gateway.Receive()) {
    for (const auto& event : message->step().tokens()) {
      EXPECT_NE(event.finish(), wire::ERROR) << event.error().text();
      tokens[event.request()] += event.new_tokens();
    }
  }
  EXPECT_EQ(tokens[2], 3U);
  ExpectExit(engine.Wait(), 0);
}

TEST(EngineProcess, SigtermWithoutAGatewayEndsItAtOnce) {
  Gateway gateway;
  EngineProcess engine(gateway, {.step_time = 2 * kMillisecond, .paced = true});
  gateway.Accept();
  gateway.Load("fake:m");
  gateway.ReceiveModel(wire::ModelState::READY);
  gateway.Submit(1, 100000);
  engine.Signal(SIGTERM);
  while (!gateway.Receive()->has_leaving()) {
  }
  gateway.Hang();
  ExpectExit(engine.Wait(), 0);
}

TEST(EngineProcess, DiesWithItsParent) {
  Gateway gateway;
  const pid_t parent = fork();
  if (parent == 0) {
    EngineProcess engine(gateway, {.hang = 1});
    pause();
  }
  const wire::Hello hello = gateway.Accept();
  gateway.Load("fake:m");
  gateway.ReceiveModel(wire::ModelState::READY);
  gateway.Submit(1, 1);  // a step that never ends does not keep it alive
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  while (gateway.Receive()) {
  }
  EXPECT_NE(hello.pid(), static_cast<uint64_t>(parent));
}

TEST(EngineProcess, GivesUpAStepThatHangs) {
  Gateway gateway;
  EngineProcess engine(gateway, {.hang = 1}, {.step_timeout = kSecond});
  gateway.Accept();
  gateway.Load("fake:m");
  gateway.ReceiveModel(wire::ModelState::READY);
  gateway.Submit(1, 1);
  ExpectExit(engine.Wait(), 70);
}

TEST(EngineProcess, AFullPipeStallsTheEngineAndLosesNothing) {
  Gateway gateway;
  EngineProcess engine(gateway);
  gateway.Accept();
  gateway.Load("fake:m?context=100000&pages=100000");
  gateway.ReceiveModel(wire::ModelState::READY);
  for (uint64_t i = 1; i <= 60; ++i) gateway.Submit(i, 3000);
  usleep(200'000);  // it fills the pipe meanwhile
  std::map<uint64_t, uint32_t> tokens;
  int ended = 0;
  while (ended < 60) {
    const auto message = gateway.Receive();
    ASSERT_TRUE(message);
    for (const auto& event : message->step().tokens()) {
      tokens[event.request()] += event.new_tokens();
      ended += event.finish() != wire::NONE ? 1 : 0;
    }
  }
  for (uint64_t i = 1; i <= 60; ++i) EXPECT_EQ(tokens[i], 3000U);
}

}  // namespace
}  // namespace penstock

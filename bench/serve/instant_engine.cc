// instant_engine SOCKET: an engine that answers at once, to measure the gateway alone. Speaks
// engine/wire.proto like a real engine; it reports every model that it must load as ready.
//
// A request for kPacedTokens tokens gets one token every kPaceNs, whose text is the time when it was sent
// (see pace.h). Any other request gets its whole answer in one event. Ends when the gateway closes the
// connection, or with its parent.
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "bench/serve/pace.h"
#include "engine/frame.h"
#include "engine/wire.pb.h"

namespace {

using namespace penstock;
using namespace penstock::bench;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "instant_engine: {}\n", why);
  std::exit(1);
}

int Dial(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) Die("the socket path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  for (int attempt = 0; attempt < 600; ++attempt) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
    close(fd);
    usleep(50'000);
  }
  Die(fmt::format("cannot connect to {}", path));
}

class InstantEngine {
 public:
  explicit InstantEngine(int fd) : fd_(fd) {}

  void Run() {
    SendHello();
    for (int64_t beat = NowNs();;) {
      pollfd poll_fd{fd_, POLLIN, 0};
      const int wait = pacer_.WaitMs();
      poll(&poll_fd, 1, wait < 0 ? 1000 : wait);
      if ((poll_fd.revents & (POLLIN | POLLHUP)) != 0 && !Read()) return;
      pacer_.Due([this](const Pacer::Turn& turn) { SendToken(turn); });
      Report();
      if (NowNs() - beat > 1'000'000'000) {
        beat = NowNs();
        wire::FromEngine message;
        FillLoad(*message.mutable_heartbeat()->mutable_load());
        Append(message);
      }
      Write();
    }
  }

 private:
  void SendHello() {
    wire::FromEngine message;
    wire::Hello& hello = *message.mutable_hello();
    hello.set_protocol(1);
    hello.set_engine("instant0");
    hello.set_runner("instant");
    hello.set_chip("none");
    hello.set_kernel("none");
    hello.set_pid(static_cast<uint64_t>(getpid()));
    hello.set_memory_bytes(uint64_t{1} << 33);
    hello.set_max_sequences(16384);
    Append(message);
    Write();
  }

  bool Read() {
    const auto space = reader_.Space(1 << 18);
    const ssize_t got = read(fd_, space.data(), space.size());
    if (got <= 0) return false;
    reader_.Filled(static_cast<size_t>(got));
    for (;;) {
      auto frame = reader_.Next();
      if (!frame) Die(frame.error().message);
      if (!*frame) return true;
      if (!in_.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size())))
        Die("invalid message from the gateway");
      Take(in_);
    }
  }

  void Take(const wire::ToEngine& message) {
    switch (message.kind_case()) {
      case wire::ToEngine::kLoad:
        return Load(message.load());
      case wire::ToEngine::kSubmit:
        return Submit(message.submit());
      case wire::ToEngine::kCancel:
        paced_.erase(message.cancel().request());
        return;
      case wire::ToEngine::kBatch:
        for (const auto& each : message.batch().messages()) Take(each);
        return;
      default:
        return;
    }
  }

  void Load(const wire::LoadModel& load) {
    wire::FromEngine message;
    wire::ModelState& model = *message.mutable_model();
    model.set_name(load.name());
    model.set_path(load.path());
    model.set_state(wire::ModelState::READY);
    model.set_context(8192);
    model.set_pages(1 << 20);
    model.set_page_bytes(1);
    model.set_weight_bytes(1);
    model.set_kernel("none");
    Append(message);
  }

  void Submit(const wire::Submit& submit) {
    if (submit.max_tokens() == kPacedTokens) {
      paced_[submit.request()] = ++serial_;
      pacer_.Add({static_cast<int64_t>(submit.request()), serial_, 0, NowNs()});
    } else {
      wire::TokenEvent& event = NewEvent(submit.request(), submit.max_tokens(), submit.max_tokens());
      event.set_text("The capital of France is Paris, as everybody here knows very well.");
      event.set_finish(wire::STOP);
    }
  }

  void SendToken(const Pacer::Turn& turn) {
    const auto request = static_cast<uint64_t>(turn.id);
    const auto at = paced_.find(request);
    if (at == paced_.end() || at->second != turn.serial) return;
    wire::TokenEvent& event = NewEvent(request, 1, static_cast<uint32_t>(turn.index + 1));
    event.set_text(fmt::format("{} ", NowNs()));
    if (turn.index + 1 < kPacedTokens) return;
    event.set_finish(wire::LENGTH);
    paced_.erase(at);
  }

  wire::TokenEvent& NewEvent(uint64_t request, uint32_t tokens, uint32_t emitted) {
    wire::StepReport& step = *report_.mutable_step();
    wire::Charge& charge = *step.add_charges();
    charge.set_request(request);
    charge.set_chip_ns(1);
    charge.set_computed(tokens);
    wire::TokenEvent& event = *step.add_tokens();
    event.set_request(request);
    event.set_new_tokens(tokens);
    for (uint32_t i = 0; i < tokens; ++i) event.add_ids(static_cast<int32_t>(100 + i));
    event.set_emitted(emitted);
    return event;
  }

  // Sends everything from this turn of the loop as one step, like a real engine.
  void Report() {
    wire::StepReport& step = *report_.mutable_step();
    if (step.tokens_size() == 0) return;
    step.set_step(++steps_);
    step.set_chip_ns(static_cast<uint64_t>(step.charges_size()));
    FillLoad(*step.mutable_load());
    Append(report_);
    report_.Clear();
  }

  void FillLoad(wire::Load& load) const {
    load.set_running(static_cast<uint32_t>(paced_.size()));
    load.set_free_pages(1 << 20);
  }

  void Append(const wire::FromEngine& message) {
    if (auto done = AppendFrame(message, out_); !done) Die(done.error().message);
  }

  void Write() {
    for (size_t sent = 0; sent < out_.size();) {
      const ssize_t n = write(fd_, out_.data() + sent, out_.size() - sent);
      if (n <= 0) Die("the gateway closed the connection");
      sent += static_cast<size_t>(n);
    }
    out_.clear();
  }

  int fd_;
  FrameReader reader_;
  wire::ToEngine in_;
  wire::FromEngine report_;
  std::string out_;
  Pacer pacer_;
  std::unordered_map<uint64_t, uint64_t> paced_;  // request → serial of its stream
  uint64_t serial_ = 0, steps_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) Die("usage: instant_engine SOCKET");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGPIPE, SIG_IGN);
  for (;;) InstantEngine(Dial(argv[1])).Run();  // reconnects to a gateway that restarts
}

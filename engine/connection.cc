#include "engine/connection.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>

namespace penstock {
namespace {

constexpr Nanos kFirstBackOff = 50 * kMillisecond, kLastBackOff = 2 * kSecond;
constexpr size_t kReadSize = 256U << 10, kWritable = 16U << 20;
constexpr uint32_t kProtocol = 1;
constexpr std::chrono::seconds kLeaveLimit(5);  // for the gateway's answer

using boost::system::error_code;

}  // namespace

Connection::Connection(boost::asio::io_context& io, std::string socket, wire::Hello hello)
    : io_(io),
      path_(std::move(socket)),
      socket_(io),
      redial_(io),
      beat_(io),
      leave_(io),
      signals_(io),
      back_off_(kFirstBackOff),
      name_(hello.engine()),
      hello_(std::move(hello)) {
  hello_.set_protocol(kProtocol);
}

void Connection::Start() {
  boost::asio::post(io_, [this] {
    Dial();
    Beat();
  });
}

void Connection::LeaveOnSignals() {
  signals_.add(SIGTERM);
  signals_.add(SIGINT);
  signals_.async_wait([this](error_code error, int) {
    if (error) return;
    spdlog::info("engine {} received a signal to stop; it finishes its running requests", name_);
    Leave();
    signals_.async_wait([](error_code again, int) {
      if (!again) _exit(0);  // told twice: at once
    });
  });
}

void Connection::Dial() {
  socket_.async_connect(path_, [this](error_code error) {
    if (!error) return Greet();
    if (!std::exchange(warned_, true))
      spdlog::info("no gateway at {} yet ({}); retrying", path_, error.message());
    error_code ignored;
    socket_.close(ignored);
    DialLater();
  });
}

void Connection::DialLater() {
  redial_.expires_after(std::chrono::nanoseconds(back_off_));
  back_off_ = std::min(2 * back_off_, kLastBackOff);
  redial_.async_wait([this](error_code error) {
    if (!error) Dial();
  });
}

// The hello is the first frame: nothing is queued before the line is open.
void Connection::Greet() {
  spdlog::info("connected to the gateway at {}", path_);
  warned_ = false;
  down_since_ = 0;
  reader_ = FrameReader();
  {
    const MutexLock lock(mutex_);
    wire::FromEngine message;
    *message.mutable_hello() = hello_;
    outbox_.clear();
    Append(message);
    AppendHeartbeat();
    open_ = true;
    write_posted_ = true;
  }
  Write();
  Read();
}

void Connection::Read() {
  const auto space = reader_.Space(kReadSize);
  socket_.async_read_some(boost::asio::buffer(space.data(), space.size()),
                          [this](error_code error, size_t bytes) {
                            if (error) return Lose(error.message());
                            reader_.Filled(bytes);
                            Parse();
                          });
}

void Connection::Parse() {
  std::vector<Event> events;
  while (true) {
    const auto frame = reader_.Next();
    if (!frame) return Lose(frame.error().message);
    if (!*frame) break;
    Event& event = events.emplace_back();
    if (!event.message.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) {
      return Lose("a frame that is no message: the gateway speaks another protocol");
    }
    if (!event.message.has_welcome()) continue;
    if (event.message.welcome().protocol() != kProtocol) {
      return Lose(fmt::format("the gateway speaks protocol {}, this engine {}",
                              event.message.welcome().protocol(), kProtocol));
    }
    back_off_ = kFirstBackOff;
  }
  if (!events.empty()) {
    const MutexLock lock(mutex_);
    std::ranges::move(events, std::back_inserter(inbox_));
    came_.notify_one();
  }
  Read();
}

void Connection::Lose(std::string_view why) {
  error_code ignored;
  socket_.close(ignored);
  bool leaving = false;
  {
    const MutexLock lock(mutex_);
    if (!std::exchange(open_, false)) return;
    leaving = leaving_;
  }
  spdlog::warn("lost the connection to the gateway: {}", why);
  down_since_ = SystemClock().Monotonic();
  went_.notify_all();
  Push({.kind = Event::Kind::kLost, .message = {}});
  if (leaving) Drain();
}

void Connection::Redial() {
  boost::asio::post(io_, [this] { DialLater(); });
}

void Connection::Push(Event event) {
  const MutexLock lock(mutex_);
  inbox_.push_back(std::move(event));
  came_.notify_one();
}

void Connection::Drain() {
  Push({.kind = Event::Kind::kDrain, .message = {}});
}

void Connection::Wake() {
  Push({.kind = Event::Kind::kWake, .message = {}});
}

void Connection::Leave() {
  {
    const MutexLock lock(mutex_);
    leaving_ = true;
    if (open_) {
      wire::FromEngine message;
      message.mutable_leaving();
      Append(message);
      WriteSoon();
    }
  }
  boost::asio::post(io_, [this] {
    bool open = false;
    {
      const MutexLock lock(mutex_);
      open = open_;
    }
    if (!open) return Drain();
    leave_.expires_after(kLeaveLimit);
    leave_.async_wait([this](error_code error) {
      if (!error) Drain();
    });
  });
}

std::vector<Connection::Event> Connection::Take(bool wait) {
  MutexLock lock(mutex_);
  while (wait && inbox_.empty()) lock.Wait(came_);
  return std::exchange(inbox_, {});
}

void Connection::Remember(const wire::FromEngine& message) {
  if (message.has_step()) {
    *heartbeat_.mutable_load() = message.step().load();
    heartbeat_.set_steps(message.step().step());
  }
  if (message.has_heartbeat()) heartbeat_ = message.heartbeat();
  if (!message.has_model()) return;
  auto& models = *hello_.mutable_models();
  const auto it = std::ranges::find(models, message.model().name(), &wire::ModelState::name);
  if (message.model().state() == wire::ModelState::UNLOADED) {
    if (it != models.end()) models.erase(it);
  } else {
    (it != models.end() ? *it : *models.Add()) = message.model();
  }
}

void Connection::Append(const wire::FromEngine& message) {
  if (const Status fits = AppendFrame(message, outbox_); !fits) {
    spdlog::error("a message to the gateway is dropped: {}", fits.error().message);
  }
}

void Connection::WriteSoon() {
  if (!std::exchange(write_posted_, true)) boost::asio::post(io_, [this] { Write(); });
}

void Connection::StepBegins() {
  step_since_ = SystemClock().Monotonic();
}

Nanos Connection::Stepping() const {
  const Nanos since = step_since_;
  return since == 0 ? 0 : SystemClock().Monotonic() - since;
}

void Connection::AppendHeartbeat() {
  wire::FromEngine message;
  *message.mutable_heartbeat() = heartbeat_;
  message.mutable_heartbeat()->set_stepping_ms(static_cast<uint32_t>(Stepping() / kMillisecond));
  Append(message);
}

void Connection::Send(const wire::FromEngine& message) {
  const MutexLock lock(mutex_);
  Remember(message);
  if (!open_) return;
  Append(message);
  WriteSoon();
}

void Connection::Write() {
  {
    const MutexLock lock(mutex_);
    writing_.clear();
    if (open_) writing_.swap(outbox_);
    write_posted_ = !writing_.empty();
    went_.notify_all();
    if (!write_posted_) return;
  }
  boost::asio::async_write(socket_, boost::asio::buffer(writing_), [this](error_code error, size_t) {
    if (error) return Lose(error.message());
    Write();
  });
}

void Connection::WaitWritable() {
  MutexLock lock(mutex_);
  while (open_ && outbox_.size() >= kWritable) lock.Wait(went_);
}

void Connection::Flush(Nanos limit) {
  MutexLock lock(mutex_);
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit);
  while (open_ && write_posted_) {
    if (lock.WaitUntil(went_, end) == std::cv_status::timeout) return;
  }
}

void Connection::Beat() {
  {
    const MutexLock lock(mutex_);
    if (open_) {
      AppendHeartbeat();
      WriteSoon();
    }
  }
  beat_.expires_after(std::chrono::seconds(1));
  beat_.async_wait([this](error_code error) {
    if (!error) Beat();
  });
}

}  // namespace penstock

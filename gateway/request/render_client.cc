#include "gateway/request/render_client.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace penstock::gateway {
namespace asio = boost::asio;

void RenderClient::Add(const TemplateSource& source, std::string context_json, RenderCalls::Done done) {
  calls_.Add(source, std::move(context_json), std::move(done));
  SendSoon();
}

// After the handlers that are ready now, so that the calls which they make are sent together.
void RenderClient::SendSoon() {
  if (std::exchange(will_send_, true)) return;
  asio::post(io_, [this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    will_send_ = false;
    Send();
  });
}

void RenderClient::Send() {
  if (!process_ && !StartProcess()) return;
  if (!watching_) Watch();
  sending_ += calls_.TakeUnsent();
  while (!sending_.empty() && !awaits_room_) {
    const ssize_t sent =
        send(process_->socket(), sending_.data(), sending_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      sending_.erase(0, static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      awaits_room_ = true;
      socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                         [this](const boost::system::error_code& ec) {
                           if (ec) return;
                           awaits_room_ = false;
                           Send();
                         });
    } else if (errno != EINTR) {
      return EndProcess();
    }
  }
}

bool RenderClient::StartProcess() {
  if (calls_.empty()) return false;
  auto process = TakeRenderProcess();
  if (!process) {
    calls_.GiveUp();
    return false;
  }
  process_ = *std::move(process);
  socket_.assign(process_->socket());
  AwaitAnswers();
  return true;
}

void RenderClient::AwaitAnswers() {
  socket_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& ec) {
    if (!ec) Receive();
  });
}

void RenderClient::Receive() {
  std::array<char, 64 << 10> bytes;
  const ssize_t got = recv(process_->socket(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  const bool nothing = got < 0 && (errno == EAGAIN || errno == EINTR);
  if (!nothing && (got <= 0 || !calls_.Received({bytes.data(), static_cast<size_t>(got)}))) {
    return EndProcess();
  }
  AwaitAnswers();
}

// While calls are in flight.
void RenderClient::Watch() {
  std::erase_if(ending_, [](const auto& process) { return process->Gone(); });
  if (process_ && calls_.MustEnd(clock_.Monotonic(), process_->cpu_time())) EndProcess();
  watching_ = !calls_.empty() || !ending_.empty();
  if (!watching_) return;
  timer_.expires_after(kWatch);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) Watch();
  });
}

void RenderClient::EndProcess() {
  Detach();
  process_->Kill();
  ending_.push_back(std::move(process_));
  sending_.clear();
  calls_.Ended(clock_.Monotonic());
  SendSoon();
}

void RenderClient::Detach() {
  awaits_room_ = false;
  if (socket_.is_open()) socket_.release();  // cancels what waits
}

}  // namespace penstock::gateway

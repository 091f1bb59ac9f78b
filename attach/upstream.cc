#include "attach/upstream.h"

#include <array>
#include <utility>

namespace penstock {
namespace {

namespace asio = boost::asio;

constexpr Nanos kConnectWithin = 5 * kSecond, kWriteWithin = 30 * kSecond;
constexpr size_t kPiece = 64 << 10, kWhole = 4 << 20;

}  // namespace

Upstream::Call::~Call() {
  if (stream_ == nullptr) return;
  if (!closed_ && reader_ != nullptr && reader_->has_head() && reader_->done() && reader_->reusable() &&
      upstream_->idle_.size() < kIdle) {
    upstream_->idle_.push_back(std::move(stream_));
  }
}

void Upstream::Call::Close() {
  closed_ = true;
  if (stream_ != nullptr) stream_->Close();
}

asio::awaitable<Status> Upstream::Call::Fill(Nanos limit) {
  std::array<char, kPiece> space;
  const auto size = co_await stream_->Read(space, limit);
  if (closed_) co_return Fail(Code::kCancelled, "it was cancelled");
  if (!size) co_return std::unexpected(size.error());
  answered_ |= *size > 0;
  if (*size == 0) co_return reader_->End();
  co_return reader_->Feed({space.data(), *size});
}

asio::awaitable<Result<std::string>> Upstream::Call::Read(Nanos limit) {
  while (true) {
    if (std::string body = reader_->TakeBody(); !body.empty()) co_return body;
    if (reader_->done()) co_return std::string();
    if (auto filled = co_await Fill(limit); !filled) {
      // What came before the break is still an answer's beginning.
      co_return std::unexpected(filled.error());
    }
  }
}

asio::awaitable<Result<std::string>> Upstream::Call::ReadAll(size_t most) {
  std::string whole;
  while (true) {
    const auto piece = co_await Read();
    if (!piece) co_return std::unexpected(piece.error());
    if (piece->empty()) co_return whole;
    whole += *piece;
    if (whole.size() > most) {
      closed_ = true;
      co_return Fail(Code::kUnavailable, "its answer is longer than {} MB", most >> 20);
    }
  }
}

std::string Upstream::Request(const std::string& path, const std::string& body) const {
  std::string request = fmt::format(
      "{} {}{} HTTP/1.1\r\nHost: {}\r\nAccept: application/json, text/event-stream\r\n"
      "User-Agent: penstock\r\n",
      body.empty() ? "GET" : "POST", url_.path, path, url_.Authority());
  if (!key_.empty()) request += "Authorization: Bearer " + key_ + "\r\n";
  if (!body.empty())
    request += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  return request + "\r\n" + body;
}

asio::awaitable<Status> Upstream::Start(Call& call, std::string path, std::string body) {
  const std::string request = Request(path, body);
  while (true) {
    const bool used = !idle_.empty();
    call.reader_ = std::make_unique<ResponseReader>();
    call.answered_ = false;
    if (used) {
      call.stream_ = std::move(idle_.back());
      idle_.pop_back();
    } else {
      auto stream = co_await Connect(url_, trust_.get(), kConnectWithin);
      if (!stream) co_return std::unexpected(stream.error());
      call.stream_ = *std::move(stream);
    }
    if (call.closed_) co_return Fail(Code::kCancelled, "it was cancelled");
    Status status = co_await call.stream_->Write(request, kWriteWithin);
    while (status && !call.reader_->has_head()) status = co_await call.Fill(kSilence);
    if (status || call.closed_) co_return status;
    // A server may close a connection that was idle at any time: then nobody has read the request.
    if (used && !call.answered_) continue;
    if (call.answered_ || url_.tls) co_return status;
    co_return Fail(Code::kUnavailable, "{}; if the server uses TLS, begin its URL with https://",
                   status.error().message);
  }
}

asio::awaitable<Result<std::string>> Upstream::Fetch(std::string path, std::string body) {
  Call call(shared_from_this());
  if (auto started = co_await Start(call, std::move(path), std::move(body)); !started)
    co_return std::unexpected(started.error());
  auto whole = co_await call.ReadAll(kWhole);
  if (whole && call.head().status() != 200) {
    const int status = call.head().status();
    const Code code = status == 429 || status == 503  ? Code::kOverloaded
                      : status >= 400 && status < 500 ? Code::kInvalid
                                                      : Code::kUnavailable;
    co_return Fail(code, "it answered with status {}: {}", status, *whole);
  }
  co_return whole;
}

}  // namespace penstock

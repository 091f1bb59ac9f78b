#include "gateway/http/http_connection.h"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cerrno>

namespace penstock::gateway {
namespace {

constexpr size_t kReadChunk = 4 << 10, kBodyChunk = 64 << 10;
constexpr size_t kPipelined = 64 << 10;    // read ahead of a running response, no more
constexpr uint64_t kShortBody = 64 << 10;  // a refused request's body that is waited for
constexpr Nanos kLinger = 2 * kSecond;

void AppendChunkSize(size_t size, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{:x}\r\n", size);
}

}  // namespace

HttpConnection::HttpConnection(TcpSocket socket, std::unique_ptr<TlsSession> tls, HttpHandler& handler,
                               const Clock& clock, const HttpConnectionLimits& limits, Bodies& bodies,
                               std::function<void(HttpConnection*)> closed)
    : socket_(std::move(socket)),
      tls_(std::move(tls)),
      handler_(handler),
      clock_(clock),
      limits_(limits),
      bodies_(bodies),
      closed_(std::move(closed)) {}

HttpConnection::~HttpConnection() {
  closed_(this);
}

void HttpConnection::Run() {
  Touch(limits_.header_timeout);
  if (tls_) {
    LookForHandshake();
  } else {
    StartRead();
  }
}

// ---- TLS ----

// A client that speaks plain HTTP to a TLS port gets an answer in plain HTTP. The first byte shows which it
// is; it is not consumed.
void HttpConnection::LookForHandshake() {
  socket_.async_wait(TcpSocket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
    if (self->state_ == State::kClosed) return;
    char first = 0;
    const ssize_t got = ec ? -1 : ::recv(self->socket_.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 1) return BeginsTls(first) ? self->Handshake() : self->TellToUseTls();
    const bool again = !ec && got < 0 && (errno == EAGAIN || errno == EINTR);
    again ? self->LookForHandshake() : self->Close();
  });
}

void HttpConnection::Handshake() {
  const TlsSession::Wait wait = tls_->Handshake();
  if (wait == TlsSession::Wait::kEnd) return Close();
  if (wait == TlsSession::Wait::kNothing) return StartRead();
  const auto ready = wait == TlsSession::Wait::kReadable ? TcpSocket::wait_read : TcpSocket::wait_write;
  socket_.async_wait(ready, [self = shared_from_this()](const boost::system::error_code& ec) {
    if (self->state_ == State::kClosed) return;
    ec ? self->Close() : self->Handshake();
  });
}

void HttpConnection::TellToUseTls() {
  tls_.reset();
  request_.keep_alive = false;
  Refuse(handler_.ErrorPage(
      ToApiError({Code::kInvalid, "this port speaks HTTPS: begin the URL with https://"})));
}

void HttpConnection::AwaitTls() {
  reading_ = true;
  if (tls_->HasRead()) {  // the socket may never become readable for these
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->ReadTls(); });
    return;
  }
  socket_.async_wait(TcpSocket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
    if (self->state_ == State::kClosed) return;
    if (!ec) return self->ReadTls();
    self->reading_ = false;
    self->OnRead(0);
  });
}

void HttpConnection::ReadTls() {
  if (state_ == State::kClosed) return;
  const TlsSession::Step step = tls_->Read(input_.data() + filled_, input_.size() - filled_);
  if (step.bytes == 0 && step.wait != TlsSession::Wait::kEnd) return AwaitTls();  // part of a record
  reading_ = false;
  OnRead(step.bytes);
}

// ---- in ----

void HttpConnection::StartRead() {
  if (reading_ || state_ == State::kClosed) return;
  if (state_ == State::kReplying && filled_ - taken_ >= kPipelined) return;
  if (taken_ > 0) {
    input_.erase(0, taken_);
    filled_ -= taken_;
    taken_ = 0;
  }
  const bool in_body = parser_ && parser_->header_done();
  if (!in_body && input_.capacity() > kBodyChunk && filled_ < kReadChunk) input_ = input_.substr(0, filled_);
  input_.resize(filled_ + (in_body ? kBodyChunk : kReadChunk));
  if (tls_) return AwaitTls();
  reading_ = true;
  socket_.async_read_some(boost::asio::buffer(input_.data() + filled_, input_.size() - filled_),
                          [self = shared_from_this()](const boost::system::error_code& ec, size_t bytes) {
                            self->reading_ = false;
                            if (self->state_ == State::kClosed) return;
                            self->OnRead(ec ? 0 : bytes);
                          });
}

// `bytes` 0: the client closed its side or the connection broke.
void HttpConnection::OnRead(size_t bytes) {
  if (bytes == 0) {
    if (state_ == State::kReplying) {
      Gone("the client closed the connection");
    } else {
      Close();
    }
    return;
  }
  if (state_ == State::kLingering) {
    StartRead();
    return;
  }
  filled_ += bytes;
  Pump();
}

// Serves what is in the buffer, then waits: for the next request's bytes, or until the client has left.
void HttpConnection::Pump() {
  if (pumping_) return;
  pumping_ = true;
  while (state_ == State::kReading && filled_ > taken_ && ParseSome()) {
  }
  pumping_ = false;
  StartRead();
}

// Some clients end a body with one too many (RFC 9112, 2.2). False if no other byte has come.
bool HttpConnection::SkipEmptyLines() {
  while (filled_ - taken_ >= 2 && input_[taken_] == '\r' && input_[taken_ + 1] == '\n') taken_ += 2;
  return filled_ > taken_ && !(filled_ - taken_ == 1 && input_[taken_] == '\r');
}

// True if a whole request was found and handed on.
bool HttpConnection::ParseSome() {
  if (!parser_) {
    if (!SkipEmptyLines()) return false;
    Touch(limits_.header_timeout);
    parser_.emplace(limits_.http, request_);
    answer_headers_.clear();
    judged_ = false;
  }
  const auto taken = parser_->Put(std::string_view(input_).substr(taken_, filled_ - taken_));
  if (!taken) {
    request_.keep_alive = false;
    Refuse(handler_.ErrorPage(taken.error()));
    return false;
  }
  taken_ += *taken;
  if (!parser_->header_done()) return false;
  if (!judged_ && !Judge()) return false;
  if (!refusal_ && !HoldBody()) return false;
  if (!parser_->done()) return false;
  if (refusal_) {
    Refuse(*std::exchange(refusal_, std::nullopt));
    return true;
  }
  Handle();
  return true;
}

void HttpConnection::Handle() {
  BeginReply();
  if (request_.coding != Coding::kIdentity && !request_.body.empty()) return Decode();
  handler_.Handle(request_, shared_from_this());
}

void HttpConnection::Decode() {
  const auto self = shared_from_this();
  DecodeBody(
      request_, bodies_, {.body_bytes = limits_.http.body_bytes, .memory = limits_.bodies},
      socket_.get_executor(), [self] { return self->state_ == State::kClosed; },
      [self](ApiResult<DecodedBody> decoded) {
        if (!decoded) return void(self->Send(self->handler_.ErrorPage(decoded.error()), kNoCookie));
        self->request_.body = std::move(decoded->body);
        self->request_.memory = std::move(decoded->memory);
        self->handler_.Handle(self->request_, self);
      });
}

// At the end of the header. False if the request was refused here and its body is not waited for.
bool HttpConnection::Judge() {
  judged_ = true;
  Touch(limits_.body_timeout);
  refusal_ = handler_.Refuse(request_);
  answer_headers_ = request_.answer_headers;
  if (parser_->done()) return true;
  if (refusal_) {
    if (!request_.expects_continue && parser_->body_left().value_or(kShortBody + 1) <= kShortBody)
      return true;
    request_.keep_alive = false;
    Refuse(*std::exchange(refusal_, std::nullopt));
    return false;
  }
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  if (request_.expects_continue && TrySend(kContinue) < kContinue.size()) {
    Close();  // it has not even read the answer before
    return false;
  }
  return true;
}

// Counts what has come of the body. False: a limit forbids it, and the request was refused.
bool HttpConnection::HoldBody() {
  const auto refusal =
      bodies_.memory.Grow(request_.memory, request_.key, request_.body.size(), limits_.bodies);
  if (refusal == BodyMemory::Refusal::kNone) return true;
  DropBody();
  request_.keep_alive = false;  // the rest of the body would have to be read first
  Refuse(handler_.ErrorPage(ToApiError(refusal, limits_.bodies)));
  return false;
}

void HttpConnection::DropBody() {
  request_.body = {};
  request_.memory.Release();
}

void HttpConnection::Refuse(const HttpResponse& response) {
  BeginReply();
  Send(response, kNoCookie);
}

void HttpConnection::BeginReply() {
  parser_.reset();
  state_ = State::kReplying;
  deadline_ = 0;
}

// ---- out ----

void HttpConnection::Listen(std::shared_ptr<Listener> listener) {
  if (state_ == State::kReplying) {
    listener_ = std::move(listener);
    return;
  }
  // The client left before there was a listener.
  boost::asio::post(socket_.get_executor(), [listener = std::move(listener)] {
    listener->OnGone("the client closed the connection");
  });
}

bool HttpConnection::Send(const HttpResponse& response, uint64_t cookie) {
  if (response.close) closing_ = true;
  scratch_.clear();
  AppendHead(response, static_cast<int64_t>(response.body.size()), FramingNow(), scratch_);
  if (request_.method != Method::kHead) scratch_ += response.body;
  return Put(scratch_, cookie, true);
}

bool HttpConnection::Start(const HttpResponse& head) {
  if (request_.http10) closing_ = true;
  scratch_.clear();
  AppendHead(head, -1, FramingNow(), scratch_);
  return Put(scratch_, kNoCookie, false);
}

bool HttpConnection::Write(std::string_view piece, uint64_t cookie) {
  return PutPiece(piece, cookie, false);
}

bool HttpConnection::Finish(std::string_view piece, uint64_t cookie) {
  return PutPiece(piece, cookie, true);
}

bool HttpConnection::PutPiece(std::string_view piece, uint64_t cookie, bool last) {
  if (request_.http10) return Put(piece, cookie, last);
  scratch_.clear();
  if (!piece.empty()) {
    AppendChunkSize(piece.size(), scratch_);
    scratch_.append(piece).append("\r\n");
  }
  if (last) scratch_ += "0\r\n\r\n";
  return Put(scratch_, cookie, last);
}

bool HttpConnection::Put(std::string_view bytes, uint64_t cookie, bool last) {
  if (state_ != State::kReplying) return false;
  const size_t sent = output_.empty() ? TrySend(bytes) : 0;
  if (sent == bytes.size()) {
    if (last) ResponseDone();
    return true;
  }
  output_.push_back({std::string(bytes.substr(sent)), cookie, last});
  if (!writing_) {
    Touch(limits_.write_timeout);
    AwaitWritable();
  }
  return false;
}

// What the socket takes without waiting. A broken connection takes nothing and is reported by a read.
size_t HttpConnection::TrySend(std::string_view bytes) {
  bool broken = false;
  size_t sent = 0;
  if (tls_) {
    const TlsSession::Step step = tls_->Write(bytes);
    sent = step.bytes;
    broken = step.wait == TlsSession::Wait::kEnd;
  } else {
    const ssize_t taken = SendPlain(bytes);
    sent = taken > 0 ? static_cast<size_t>(taken) : 0;
    broken = taken < 0 && errno != EAGAIN && errno != EWOULDBLOCK;
  }
  if (broken) {
    boost::asio::post(socket_.get_executor(),
                      [self = shared_from_this()] { self->Gone("the connection to the client broke"); });
  }
  return sent;
}

ssize_t HttpConnection::SendPlain(std::string_view bytes) {
  ssize_t sent = 0;
  do {
    sent = ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

void HttpConnection::AwaitWritable() {
  writing_ = true;
  socket_.async_wait(TcpSocket::wait_write, [self = shared_from_this()](const boost::system::error_code& ec) {
    self->writing_ = false;
    if (!ec && self->state_ == State::kReplying) self->FlushQueue();
  });
}

void HttpConnection::FlushQueue() {
  const auto listener = listener_;  // the listener may drop itself in OnAccepted
  while (state_ == State::kReplying && !output_.empty()) {
    const size_t sent = TrySend(std::string_view(output_.front().bytes).substr(sent_));
    if (sent > 0) Touch(limits_.write_timeout);
    sent_ += sent;
    if (sent_ < output_.front().bytes.size()) {
      AwaitWritable();
      return;
    }
    const Piece piece = std::move(output_.front());
    output_.pop_front();
    sent_ = 0;
    if (output_.empty()) deadline_ = 0;
    if (piece.last) ResponseDone();
    if (listener && piece.cookie != kNoCookie) listener->OnAccepted(piece.cookie);
  }
}

void HttpConnection::ResponseDone() {
  listener_.reset();
  DropBody();
  if (!KeepsAlive()) {
    Linger();
    return;
  }
  state_ = State::kReading;
  Touch(limits_.keep_alive_timeout);
  if (pumping_) return;
  if (filled_ > taken_) {
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Pump(); });
  } else {
    StartRead();
  }
}

// ---- ends ----

void HttpConnection::Tick() {
  if (deadline_ > 0 && clock_.Monotonic() > deadline_) {
    if (state_ == State::kReplying) {
      Gone("the client took nothing for too long");
    } else if (state_ == State::kReading && parser_) {
      request_.keep_alive = false;
      Refuse(handler_.ErrorPage(ToApiError(
          {Code::kInvalid, "the request did not arrive in time; send it faster", Reason::kTooSlow})));
    } else {
      Close();
    }
    return;
  }
  if (state_ != State::kReplying) return;
  if (const auto listener = listener_) listener->OnTick(clock_.Monotonic());
}

void HttpConnection::ServeOneMore() {
  closing_ = true;
}

void HttpConnection::CloseWhenIdle() {
  closing_ = true;
  if (idle()) Close();
}

void HttpConnection::Abort() {
  listener_.reset();
  Close();
}

void HttpConnection::Gone(std::string_view why) {
  if (state_ == State::kClosed) return;
  const auto listener = std::move(listener_);
  Close();
  if (listener) listener->OnGone(why);
}

// Closing with unread bytes resets the connection, which may destroy the response on its way: say that
// nothing follows, and read until the client closes too.
void HttpConnection::Linger() {
  state_ = State::kLingering;
  Touch(kLinger);
  taken_ = filled_ = 0;
  if (tls_) tls_->CloseNotify();
  boost::system::error_code ignored;
  socket_.shutdown(TcpSocket::shutdown_send, ignored);
  if (!pumping_) StartRead();
}

void HttpConnection::Close() {
  state_ = State::kClosed;
  DropBody();
  output_.clear();
  listener_.reset();
  tls_.reset();  // nothing may be asked of it once its socket is closed
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace penstock::gateway

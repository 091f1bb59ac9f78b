// HttpConnection: one client's socket, its requests one after another.
//
// Reading goes on while a request runs: end of file shows that the client has left (also if it closed only
// its sending side), and bytes of a pipelined request wait in the buffer. One response at a time; the next
// request is parsed when it is done. Threads: the io thread. Owned by its pending reads and writes, and by
// the request's handler.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "gateway/http/body_decoding.h"
#include "gateway/http/http_parser.h"
#include "gateway/http/reply.h"
#include "gateway/http/tls.h"

namespace penstock::gateway {

using TcpSocket =
    boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

struct HttpConnectionLimits {
  HttpLimits http;
  BodyMemoryLimits bodies{};                // of all connections together
  Nanos keep_alive_timeout = 75 * kSecond;  // from a response to the first byte of the next request
  Nanos header_timeout = 30 * kSecond;      // from accept, or from that byte, to a whole header
  Nanos body_timeout = 60 * kSecond;
  Nanos write_timeout = 120 * kSecond;
};

// What serves the requests that connections parse.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Called when the header is there, before the body is read: an error refuses the request at once, so
  // that clients without a key cannot make us hold megabytes. Else sets request.key and team; in both cases
  // answer_headers.
  virtual std::optional<HttpResponse> Refuse(HttpRequest& request) = 0;
  // Must lead to one response through `reply`, now or later. `request` may be moved from.
  virtual void Handle(HttpRequest& request, std::shared_ptr<Reply> reply) = 0;
  // The response to a request that could not be read.
  virtual HttpResponse ErrorPage(const ApiError& error) = 0;
};

class HttpConnection final : public Reply, public std::enable_shared_from_this<HttpConnection> {
 public:
  // `tls`: null for a plain connection. REQUIRES: then `socket` is non-blocking.
  HttpConnection(TcpSocket socket, std::unique_ptr<TlsSession> tls, HttpHandler& handler, const Clock& clock,
                 const HttpConnectionLimits& limits, Bodies& bodies,
                 std::function<void(HttpConnection*)> closed);
  ~HttpConnection() override;

  void Run();   // REQUIRES: owned by a shared_ptr
  void Tick();  // looks at the clock: timeouts
  void Cut(std::string_view why) { Gone(why); }
  void CloseWhenIdle();  // takes no further request
  void ServeOneMore();   // as if the one under way, or the next, had said `connection: close`
  bool idle() const { return state_ == State::kReading && filled_ == taken_ && !parser_; }

  void Listen(std::shared_ptr<Listener> listener) override;
  bool Send(const HttpResponse& response, uint64_t cookie) override;
  bool Start(const HttpResponse& head) override;
  bool Write(std::string_view piece, uint64_t cookie) override;
  bool Finish(std::string_view piece, uint64_t cookie) override;
  void Abort() override;

 private:
  enum class State : uint8_t { kReading, kReplying, kLingering, kClosed };
  struct Piece {
    std::string bytes;
    uint64_t cookie = 0;
    bool last = false;
  };

  void LookForHandshake();
  void Handshake();
  void TellToUseTls();
  void StartRead();
  void AwaitTls();
  void ReadTls();
  void OnRead(size_t bytes);
  void Pump();
  bool SkipEmptyLines();
  bool ParseSome();
  bool Judge();
  bool HoldBody();
  void DropBody();
  void Handle();
  void Decode();
  void Refuse(const HttpResponse& response);
  void BeginReply();
  bool Put(std::string_view bytes, uint64_t cookie, bool last);
  bool PutPiece(std::string_view piece, uint64_t cookie, bool last);
  size_t TrySend(std::string_view bytes);
  ssize_t SendPlain(std::string_view bytes);
  void AwaitWritable();
  void FlushQueue();
  void ResponseDone();
  void Gone(std::string_view why);
  void Close();
  void Linger();
  void Touch(Nanos timeout) { deadline_ = clock_.Monotonic() + timeout; }
  bool KeepsAlive() const { return request_.keep_alive && !closing_; }
  Framing FramingNow() const {
    return {.http10 = request_.http10,
            .keep_alive = KeepsAlive() ? limits_.keep_alive_timeout : 0,
            .headers = answer_headers_};
  }

  TcpSocket socket_;
  std::unique_ptr<TlsSession> tls_;
  HttpHandler& handler_;
  const Clock& clock_;
  const HttpConnectionLimits& limits_;
  Bodies& bodies_;
  std::function<void(HttpConnection*)> closed_;

  State state_ = State::kReading;
  bool reading_ = false, pumping_ = false, writing_ = false;
  bool closing_ = false;  // this response is the connection's last
  bool judged_ = false;   // the handler was asked whether it refuses this request
  std::string input_;     // [taken_, filled_) is read and not parsed; a pending read fills what is behind
  size_t taken_ = 0, filled_ = 0;
  HttpRequest request_;
  std::string answer_headers_;           // the request's; the handler may have moved the request away
  std::optional<HttpParser> parser_;     // of the request that is being read
  std::optional<HttpResponse> refusal_;  // for when its short body has passed
  std::shared_ptr<Listener> listener_;
  std::string scratch_;       // the piece that is being framed
  std::deque<Piece> output_;  // pieces that the socket has not taken
  size_t sent_ = 0;           // of the front piece
  Nanos deadline_ = 0;        // of the state, or of a write that waits; 0: none
};

}  // namespace penstock::gateway

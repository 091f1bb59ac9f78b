#include "attach/stream.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <tuple>

namespace penstock {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

std::unexpected<Error> Failed(std::string_view what, const error_code& error) {
  const bool late = error == beast::error::timeout;
  return Fail(Code::kUnavailable, "{}: {}", what, late ? "no answer in time" : error.message());
}

template <class Layer>
class StreamOf final : public Stream {
 public:
  template <class... Args>
  explicit StreamOf(Args&&... args) : layer_(std::forward<Args>(args)...) {}

  Layer& layer() { return layer_; }
  beast::tcp_stream& tcp() { return beast::get_lowest_layer(layer_); }

  asio::awaitable<Status> Write(std::string_view bytes, Nanos limit) override {
    tcp().expires_after(std::chrono::nanoseconds(limit));
    const auto [error, size] =
        co_await asio::async_write(layer_, asio::buffer(bytes.data(), bytes.size()), kTuple);
    if (error) co_return Failed("the request could not be sent", error);
    co_return Status();
  }

  asio::awaitable<Result<size_t>> Read(std::span<char> space, Nanos limit) override {
    tcp().expires_after(std::chrono::nanoseconds(limit));
    const auto [error, size] =
        co_await layer_.async_read_some(asio::buffer(space.data(), space.size()), kTuple);
    if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) co_return 0;
    if (error) co_return Failed("the connection was lost", error);
    co_return size;
  }

  void Close() override {
    error_code ignored;
    tcp().socket().close(ignored);
  }

 private:
  Layer layer_;
};

using TlsStream = StreamOf<beast::ssl_stream<beast::tcp_stream>>;

// What OpenSSL says when it is no certificate that is wrong.
std::unexpected<Error> NoTls(const error_code& error) {
  const bool late = error == beast::error::timeout;
  return Fail(Code::kUnavailable,
              "the TLS handshake failed ({}); if the server uses plain HTTP, begin its URL with http://",
              late ? "no answer in time" : error.message());
}

// REQUIRES: `trust` lives as long as the stream.
asio::awaitable<Status> ShakeHands(TlsStream& stream, const std::string& host, const Trust& trust) {
  if (!Trust::Require(stream.layer().native_handle(), host))
    co_return Fail(Code::kUnavailable, "'{}' is not a host name that a certificate can contain", host);
  const auto why_not = std::make_shared<std::string>();  // as long as the connection keeps the callback
  error_code error;
  stream.layer().set_verify_callback(
      [why_not, host, &trust](bool good, asio::ssl::verify_context& context) {
        if (!good) *why_not = trust.WhyNot(context.native_handle(), host);
        return good;
      },
      error);
  std::tie(error) = co_await stream.layer().async_handshake(asio::ssl::stream_base::client, kTuple);
  if (!why_not->empty()) co_return Fail(Code::kUnavailable, "{}", *why_not);
  if (error) co_return NoTls(error);
  co_return Status();
}

}  // namespace

asio::awaitable<Result<std::unique_ptr<Stream>>> Connect(const Url& url, Trust* trust, Nanos limit) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  const auto [unknown, places] = co_await resolver.async_resolve(url.host, url.port, kTuple);
  if (unknown) co_return Failed(fmt::format("cannot resolve the host name {}", url.host), unknown);
  const auto open = [&](beast::tcp_stream& tcp) -> asio::awaitable<Status> {
    tcp.expires_after(std::chrono::nanoseconds(limit));
    const auto [error, place] = co_await tcp.async_connect(places, kTuple);
    if (error) co_return Failed("cannot connect", error);
    error_code ignored;
    tcp.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    co_return Status();
  };
  if (!url.tls) {
    auto stream = std::make_unique<StreamOf<beast::tcp_stream>>(executor);
    if (auto opened = co_await open(stream->tcp()); !opened) co_return std::unexpected(opened.error());
    co_return std::unique_ptr<Stream>(std::move(stream));
  }
  auto stream = std::make_unique<TlsStream>(executor, trust->context());
  if (auto opened = co_await open(stream->tcp()); !opened) co_return std::unexpected(opened.error());
  if (auto shaken = co_await ShakeHands(*stream, url.host, *trust); !shaken)
    co_return std::unexpected(shaken.error());
  co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace penstock

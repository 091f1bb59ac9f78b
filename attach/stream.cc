#include "attach/stream.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>

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
    if (error) co_return Failed("it takes no request", error);
    co_return Status();
  }

  asio::awaitable<Result<size_t>> Read(std::span<char> space, Nanos limit) override {
    tcp().expires_after(std::chrono::nanoseconds(limit));
    const auto [error, size] =
        co_await layer_.async_read_some(asio::buffer(space.data(), space.size()), kTuple);
    if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) co_return 0;
    if (error) co_return Failed("it broke off", error);
    co_return size;
  }

  void Close() override {
    error_code ignored;
    tcp().socket().close(ignored);
  }

 private:
  Layer layer_;
};

// One for the process: reading the system's authorities takes milliseconds.
Result<asio::ssl::context*> TlsContext() {
  static const auto context = []() -> Result<std::unique_ptr<asio::ssl::context>> {
    auto made = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
    error_code error;
    made->set_default_verify_paths(error);
    if (error) return Failed("the system's certificate authorities cannot be read", error);
    return made;
  }();
  if (!context) return std::unexpected(context.error());
  return context->get();
}

}  // namespace

std::string Url::Authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? "443" : "80") ? name : name + ":" + port;
}

Result<Url> ParseUrl(std::string_view text) {
  const auto bad = [&] {
    return Fail(Code::kInvalid, "wants http://HOST:PORT or https://HOST, not '{}'", text);
  };
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://"))
    url.tls = true;
  else if (!rest.starts_with("http://"))
    return bad();
  rest.remove_prefix(url.tls ? 8 : 7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  if (url.path.ends_with("/v1")) url.path.resize(url.path.size() - 3);
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && !authority.ends_with(']');
  url.port = has_port ? authority.substr(colon + 1) : url.tls ? "443" : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (authority.starts_with('[') && authority.ends_with(']'))
    authority = authority.substr(1, authority.size() - 2);
  url.host = authority;
  const auto odd = [](unsigned char c) { return c <= ' ' || c == '@' || c == '?' || c == '#' || c >= 0x7F; };
  if (url.host.empty() || url.port.empty() || std::ranges::any_of(url.host, odd) ||
      std::ranges::any_of(url.path, odd) ||
      !std::ranges::all_of(url.port, [](char c) { return c >= '0' && c <= '9'; })) {
    return bad();
  }
  return url;
}

asio::awaitable<Result<std::unique_ptr<Stream>>> Connect(const Url& url, Nanos limit) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  const auto [unknown, places] = co_await resolver.async_resolve(url.host, url.port, kTuple);
  if (unknown) co_return Failed(fmt::format("host {} is not known", url.host), unknown);
  const auto open = [&](beast::tcp_stream& tcp) -> asio::awaitable<Status> {
    tcp.expires_after(std::chrono::nanoseconds(limit));
    const auto [error, place] = co_await tcp.async_connect(places, kTuple);
    if (error) co_return Failed(fmt::format("nothing answers at {}", url.Authority()), error);
    error_code ignored;
    tcp.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    co_return Status();
  };
  if (!url.tls) {
    auto stream = std::make_unique<StreamOf<beast::tcp_stream>>(executor);
    if (auto opened = co_await open(stream->tcp()); !opened) co_return std::unexpected(opened.error());
    co_return std::unique_ptr<Stream>(std::move(stream));
  }
  const auto context = TlsContext();
  if (!context) co_return std::unexpected(context.error());
  auto stream = std::make_unique<StreamOf<beast::ssl_stream<beast::tcp_stream>>>(executor, **context);
  error_code error;
  stream->layer().set_verify_mode(asio::ssl::verify_peer, error);
  stream->layer().set_verify_callback(asio::ssl::host_name_verification(url.host), error);
  SSL_set_tlsext_host_name(stream->layer().native_handle(), url.host.c_str());
  if (auto opened = co_await open(stream->tcp()); !opened) co_return std::unexpected(opened.error());
  const auto [untrusted] = co_await stream->layer().async_handshake(asio::ssl::stream_base::client, kTuple);
  if (untrusted) co_return Failed(fmt::format("no TLS with {}", url.Authority()), untrusted);
  co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace penstock

#include "gateway/http/http_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

namespace penstock::gateway {
namespace {

namespace http = boost::beast::http;
using boost::beast::iequals;
using ErrorCode = boost::beast::error_code;
using View = boost::beast::string_view;

Method ToMethod(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return Method::kGet;
    case http::verb::head:
      return Method::kHead;
    case http::verb::post:
      return Method::kPost;
    case http::verb::delete_:
      return Method::kDelete;
    case http::verb::options:
      return Method::kOptions;
    default:
      return Method::kOther;
  }
}

std::string_view WithoutScheme(std::string_view authorization) {
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() <= kBearer.size()) return {};
  if (!iequals({authorization.data(), kBearer.size()}, kBearer)) return {};
  authorization.remove_prefix(kBearer.size());
  while (!authorization.empty() && authorization.front() == ' ') authorization.remove_prefix(1);
  return authorization;
}

// "gzip, deflate, br": yes; "gzip;q=0": no.
bool TakesGzip(std::string_view accepted) {
  const size_t at = accepted.find("gzip");
  if (at == std::string_view::npos) return false;
  const std::string_view weight = accepted.substr(at + 4, accepted.find(',', at) - at - 4);
  return weight.find("q=0") == std::string_view::npos || weight.find("q=0.") != std::string_view::npos;
}

ApiError Malformed(const ErrorCode& ec, HttpLimits limits) {
  if (ec == http::error::header_limit) {
    ApiError error = ToApiError({Code::kTooLarge,
                                 fmt::format("the request's headers are longer than {} bytes; send fewer or "
                                             "shorter ones",
                                             limits.header_bytes),
                                 Reason::kBodyTooLarge});
    error.http_status = 431;
    return error;
  }
  if (ec == http::error::body_limit) {
    return ToApiError(
        {Code::kTooLarge,
         fmt::format("the request's body is larger than {} bytes; send less", limits.body_bytes),
         Reason::kBodyTooLarge});
  }
  return ToApiError({Code::kInvalid, fmt::format("malformed HTTP: {}", ec.message()), Reason::kBadHttp});
}

}  // namespace

class HttpParser::Impl final : public http::basic_parser<true> {
 public:
  Impl(HttpLimits limits, HttpRequest& request) : limits(limits), request_(request) {
    request_ = HttpRequest{};
    header_limit(static_cast<uint32_t>(limits.header_bytes));
    body_limit(limits.body_bytes);
    eager(true);
  }

  const HttpLimits limits;

 private:
  void on_request_impl(http::verb verb, View /*method*/, View target, int version, ErrorCode&) override {
    request_.method = ToMethod(verb);
    request_.http10 = version < 11;
    const std::string_view whole(target.data(), target.size());
    const size_t question = std::min(whole.find('?'), whole.size());
    request_.path = PercentDecode(whole.substr(0, question), false);
    request_.query = whole.substr(std::min(question + 1, whole.size()));
  }

  void on_field_impl(http::field field, View name, View value, ErrorCode&) override {
    const std::string_view text(value.data(), value.size());
    if (field == http::field::authorization) {
      request_.bearer = WithoutScheme(text);
    } else if (field == http::field::expect) {
      request_.expects_continue = iequals(value, "100-continue");
    } else if (field == http::field::accept) {
      request_.wants_html = text.find("text/html") != std::string_view::npos;
    } else if (field == http::field::accept_encoding) {
      request_.takes_gzip = TakesGzip(text);
    } else if (field == http::field::if_none_match) {
      request_.if_none_match = text;
    } else if (iequals(name, "x-api-key") && request_.bearer.empty()) {
      request_.bearer = text;
    } else if (iequals(name, "idempotency-key")) {
      request_.idempotency_key = text;
    }
  }

  void on_header_impl(ErrorCode&) override { request_.keep_alive = keep_alive(); }

  void on_body_init_impl(const boost::optional<uint64_t>& length, ErrorCode&) override {
    constexpr uint64_t kTrust = 64 << 10;  // a claimed length reserves no more than this
    if (length) request_.body.reserve(std::min(*length, kTrust));
  }

  size_t on_body_impl(View body, ErrorCode&) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }

  size_t on_chunk_body_impl(uint64_t /*left*/, View body, ErrorCode& ec) override {
    return on_body_impl(body, ec);
  }

  void on_chunk_header_impl(uint64_t, View, ErrorCode&) override {}
  void on_response_impl(int, View, int, ErrorCode&) override {}
  void on_finish_impl(ErrorCode&) override {}

  HttpRequest& request_;
};

HttpParser::HttpParser(HttpLimits limits, HttpRequest& request)
    : impl_(std::make_unique<Impl>(limits, request)) {}
HttpParser::~HttpParser() = default;

ApiResult<size_t> HttpParser::Put(std::string_view data) {
  size_t taken = 0;
  // One call stops after the header and after each chunk: go on until it takes no more.
  while (taken < data.size() && !impl_->is_done()) {
    ErrorCode ec;
    const size_t n = impl_->put(boost::asio::buffer(data.data() + taken, data.size() - taken), ec);
    taken += n;
    if (ec == http::error::need_more) break;
    if (ec) return std::unexpected(Malformed(ec, impl_->limits));
    if (n == 0) break;
  }
  return taken;
}

bool HttpParser::header_done() const {
  return impl_->is_header_done();
}
bool HttpParser::done() const {
  return impl_->is_done();
}

std::optional<uint64_t> HttpParser::body_left() const {
  const auto left = impl_->content_length_remaining();
  return left ? std::optional<uint64_t>(*left) : std::nullopt;
}

}  // namespace penstock::gateway

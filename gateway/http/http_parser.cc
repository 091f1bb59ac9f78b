#include "gateway/http/http_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "gateway/http/request_head.h"

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
  if (ec == http::error::bad_version) return BadHttp("only HTTP/1.1 and HTTP/1.0 are supported", 505);
  return BadHttp(ec.message());
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
  std::optional<ApiError> fault;  // why a callback stopped the parser
  size_t checked = 0;             // bytes of the unfinished head that were looked at

 private:
  void Stop(ApiError error, ErrorCode& ec) {
    fault = std::move(error);
    ec = http::error::bad_field;
  }

  void on_request_impl(http::verb verb, View method, View target, int version, ErrorCode& ec) override {
    request_.method = ToMethod(verb);
    request_.http10 = version < 11;
    if (verb == http::verb::unknown) return Stop(BadHttp("the method is unknown", 501), ec);
    if (auto read = ReadTarget({method.data(), method.size()}, {target.data(), target.size()}, request_);
        !read)
      Stop(read.error(), ec);
  }

  void on_field_impl(http::field field, View name, View value, ErrorCode&) override {
    if (is_header_done()) return;  // a trailer: whoever reads it later may not have checked it
    const std::string_view text(value.data(), value.size());
    if (const auto kept = Kept(field, name)) {
      (fields_.*kept).emplace_back(text);
    } else if (field == http::field::accept) {
      request_.wants_html = text.find("text/html") != std::string_view::npos;
    } else if (field == http::field::accept_encoding) {
      request_.takes_gzip = TakesGzip(text);
    } else if (field == http::field::if_none_match) {
      request_.if_none_match = text;
    } else if (field == http::field::origin) {
      request_.origin = text;
    } else if (field == http::field::access_control_request_method) {
      request_.cors_method = text;
    } else if (field == http::field::access_control_request_headers) {
      request_.cors_headers = text;
    } else if (iequals(name, "idempotency-key")) {
      request_.idempotency_key = text;
    }
  }

  static std::vector<std::string> HeadFields::* Kept(http::field field, View name) {
    switch (field) {
      case http::field::host:
        return &HeadFields::host;
      case http::field::authorization:
        return &HeadFields::authorization;
      case http::field::transfer_encoding:
        return &HeadFields::transfer_encoding;
      case http::field::content_length:
        return &HeadFields::content_length;
      case http::field::content_encoding:
        return &HeadFields::content_encoding;
      case http::field::expect:
        return &HeadFields::expect;
      default:
        return iequals(name, "x-api-key") ? &HeadFields::api_key : nullptr;
    }
  }

  void on_header_impl(ErrorCode& ec) override {
    request_.keep_alive = keep_alive();
    if (auto read = ReadFields(fields_, request_); !read) Stop(read.error(), ec);
  }

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
  HeadFields fields_;
};

HttpParser::HttpParser(HttpLimits limits, HttpRequest& request)
    : impl_(std::make_unique<Impl>(limits, request)) {}
HttpParser::~HttpParser() = default;

ApiResult<size_t> HttpParser::Put(std::string_view data) {
  if (!impl_->is_header_done()) {
    const auto head = CompleteHead(data);
    if (!head) return std::unexpected(head.error());
    if (!*head) return 0;
  }
  size_t taken = 0;
  // One call stops after the header and after each chunk: go on until it takes no more.
  while (taken < data.size() && !impl_->is_done()) {
    ErrorCode ec;
    const size_t n = impl_->put(boost::asio::buffer(data.data() + taken, data.size() - taken), ec);
    taken += n;
    if (ec == http::error::need_more) break;
    if (impl_->fault) return std::unexpected(*impl_->fault);
    if (ec) return std::unexpected(Malformed(ec, impl_->limits));
    if (n == 0) break;
  }
  // What is left is a chunk's size with its extensions, or the trailers.
  if (!impl_->is_done() && data.size() - taken > impl_->limits.header_bytes)
    return std::unexpected(Malformed(http::error::header_limit, impl_->limits));
  return taken;
}

// Whether the head has come whole; until then only its bytes are checked, so that other protocols get their
// answer at once.
ApiResult<bool> HttpParser::CompleteHead(std::string_view data) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const size_t from = impl_->checked < kEnd.size() ? 0 : impl_->checked - (kEnd.size() - 1);
  const size_t end = data.find(kEnd, from);
  const bool complete = end != std::string_view::npos;
  if (std::min(end, data.size()) > impl_->limits.header_bytes)
    return std::unexpected(Malformed(http::error::header_limit, impl_->limits));
  // Only a whole head is looked at again: a head that comes byte by byte must not cost the square of its
  // length.
  const bool early = !complete && impl_->checked == 0;
  if (complete || early) {
    const auto checked = CheckHeadBytes(data.substr(0, complete ? end + kEnd.size() : end));
    if (!checked) return std::unexpected(checked.error());
  }
  impl_->checked = data.size();
  return complete;
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

// HTTP answers as bytes: what comes from an upstream, read by nothing but what it says. No sockets here.
//
//   bytes → ResponseReader → body → EventReader → the data of server-sent events
//
// Threads: one per object. Every byte is judged; none is trusted.
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock {

// One answer to one request: HTTP/1.x, by length, in chunks or to the end of the connection.
class ResponseReader : private boost::beast::http::basic_parser<false> {
 public:
  ResponseReader();

  // Errors (kUnavailable): this is no HTTP; nothing may be fed after that.
  Status Feed(std::string_view bytes);
  // The connection ended. Errors: in the midst of the answer.
  Status End();

  bool has_head() const { return is_header_done(); }
  bool done() const { return is_done(); }
  int status() const { return status_; }
  const std::string& content_type() const { return content_type_; }  // in lower case, without parameters
  int64_t retry_after() const { return retry_after_; }               // seconds; -1: not said
  // The connection can carry another request. REQUIRES: done().
  bool reusable() const { return keep_alive() && held_.empty(); }
  // What came of the body since the last call.
  std::string TakeBody() { return std::exchange(body_, {}); }

 private:
  using error_code = boost::beast::error_code;
  using text = boost::beast::string_view;
  using field = boost::beast::http::field;
  void on_request_impl(boost::beast::http::verb, text, text, int, error_code&) override {}
  void on_response_impl(int code, text reason, int version, error_code& error) override;
  void on_field_impl(field name, text name_text, text value, error_code& error) override;
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(text body, error_code& error) override;
  void on_chunk_header_impl(std::uint64_t, text, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, text body, error_code& error) override;
  void on_finish_impl(error_code&) override {}

  std::string held_;  // fed and not parsed yet: half a header line
  std::string body_, content_type_;
  int status_ = 0;
  int64_t retry_after_ = -1;
};

// Server-sent events, the data alone (WHATWG HTML, 9.2.6).
class EventReader {
 public:
  static constexpr size_t kLongest = 4 << 20;  // bytes of one event

  // Appends the data of each event that is whole. Errors: one longer than kLongest.
  Status Feed(std::string_view bytes, std::vector<std::string>& events);
  // The stream ended: an event without its empty line counts, as servers forget it.
  void End(std::vector<std::string>& events);

 private:
  void Line(std::string_view line, std::vector<std::string>& events);

  std::string line_, data_;
  bool has_data_ = false, after_return_ = false;
};

}  // namespace penstock

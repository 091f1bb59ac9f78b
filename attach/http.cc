#include "attach/http.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <charconv>

namespace penstock {
namespace {

constexpr uint32_t kLongestHead = 64 << 10;

}  // namespace

ResponseReader::ResponseReader() {
  eager(true);
  header_limit(kLongestHead);
  body_limit(boost::none);  // who takes the body limits it
}

Status ResponseReader::Feed(std::string_view bytes) {
  held_ += bytes;
  size_t used = 0;
  error_code error;
  while (used < held_.size() && !is_done() && !error) {
    const size_t took = put(boost::asio::buffer(held_.data() + used, held_.size() - used), error);
    used += took;
    if (took == 0 && !error) break;
  }
  held_.erase(0, used);
  if (error == boost::beast::http::error::need_more) return {};
  if (error) return Fail(Code::kUnavailable, "its answer is not HTTP ({})", error.message());
  return {};
}

Status ResponseReader::End() {
  if (is_done()) return {};
  error_code error;
  if (got_some()) put_eof(error);
  if (!error && is_done()) return {};
  return Fail(Code::kUnavailable, "it closed the connection {}",
              got_some() ? "during its answer" : "before it answered");
}

void ResponseReader::on_response_impl(int code, text, int, error_code&) {
  status_ = code;
}

void ResponseReader::on_field_impl(field name, text, text value, error_code&) {
  if (name == field::content_type) {
    content_type_ = value.substr(0, value.find(';'));
    while (content_type_.ends_with(' ')) content_type_.pop_back();
    std::ranges::transform(content_type_, content_type_.begin(),
                           [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  } else if (name == field::retry_after) {
    int64_t seconds = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (error == std::errc() && end == value.data() + value.size() && seconds >= 0) retry_after_ = seconds;
  }
}

size_t ResponseReader::on_body_impl(text body, error_code&) {
  body_.append(body.data(), body.size());
  return body.size();
}

size_t ResponseReader::on_chunk_body_impl(std::uint64_t, text body, error_code& error) {
  return on_body_impl(body, error);
}

Status EventReader::Feed(std::string_view bytes, std::vector<std::string>& events) {
  while (!bytes.empty()) {
    // A line ends with \n, \r or \r\n.
    if (std::exchange(after_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
    line_ += bytes.substr(0, end);
    if (line_.size() + data_.size() > kLongest) {
      return Fail(Code::kUnavailable, "it sends an event of more than {} MB", kLongest >> 20);
    }
    if (end == bytes.size()) break;
    after_return_ = bytes[end] == '\r';
    Line(line_, events);
    line_.clear();
    bytes.remove_prefix(end + 1);
  }
  return {};
}

void EventReader::Line(std::string_view line, std::vector<std::string>& events) {
  if (line.empty()) {
    if (std::exchange(has_data_, false)) events.push_back(std::exchange(data_, {}));
    return;
  }
  if (!line.starts_with("data:")) return;  // comments, ids, names of events
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
}

void EventReader::End(std::vector<std::string>& events) {
  if (!line_.empty()) Line(std::exchange(line_, {}), events);
  Line("", events);
}

}  // namespace penstock

#include "app/cloud.h"

#include "app/data_dir.h"
#include "app/json_get.h"

namespace penstock {
namespace json = boost::json;
namespace {

Code CodeOf(long status) {
  switch (status) {
    case 400:
      return Code::kInvalid;
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kForbidden;
    case 404:
      return Code::kNotFound;
    case 409:
      return Code::kConflict;
    case 413:
      return Code::kTooLarge;
    case 429:
      return Code::kOverloaded;
    case 503:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

// `reason`: the answer's x-penstock-error.
Error ErrorOf(long status, std::string_view body, const std::string& reason, const std::string& url) {
  const auto object = ParseJsonObject(body, url);
  std::string message = object.has_value() ? GetText(GetObject(*object, "error"), "message") : "";
  if (message.empty()) message = fmt::format("{} answered {}", url, status);
  if (status == 401) message += " (--key, PENSTOCK_KEY, or operator.key in the data directory)";
  const ReasonText* const known = FindReason(reason);
  return {CodeOf(status), message, known == nullptr ? Reason::kNone : known->reason};
}

Error NotRunning(const std::string& url, const Error& error) {
  if (error.code != Code::kUnavailable) return error;
  return {Code::kUnavailable,
          fmt::format("the cloud is not running at {}: start it with `penstock up` ({})", url, error.message),
          Reason::kNotRunning};
}

}  // namespace

Result<Cloud> Cloud::Open(const Config& config) {
  std::string key = config.key;
  if (key.empty()) {
    const std::string path = config.data + "/operator.key";
    auto text = ReadTextFile(path);
    if (!text.has_value() && text.error().code == Code::kNotFound) {
      return Fail(Reason::kNoKeyFile,
                  "no key: {} is not there. `penstock up` makes it on the first start; for another cloud "
                  "give --url and "
                  "--key",
                  path);
    }
    if (!text.has_value()) {
      return Fail(Code::kForbidden, "{}. Try with sudo, or give a key of your own: --key or PENSTOCK_KEY",
                  text.error().message);
    }
    key = *std::move(text);
  }
  return Cloud(config.BaseUrl(), std::move(key));
}

HttpRequest Cloud::Request(const std::string& method, const std::string& path,
                           const std::string& body) const {
  HttpRequest request{
      .method = method, .url = url_ + path, .headers = {"Authorization: Bearer " + key_}, .body = body};
  if (!body.empty()) request.headers.emplace_back("Content-Type: application/json");
  request.headers.emplace_back("Expect:");
  return request;
}

Result<json::object> Cloud::Send(const std::string& method, const std::string& path, const std::string& body,
                                 Nanos within) const {
  HttpRequest request = Request(method, path, body);
  request.total_timeout = within;
  const auto response = SendHttp(request);
  if (!response.has_value()) return std::unexpected(NotRunning(url_, response.error()));
  if (response->status >= 300) {
    return std::unexpected(
        ErrorOf(response->status, response->body, response->Header("x-penstock-error"), request.url));
  }
  return ParseJsonObject(response->body, request.url);
}

Result<json::object> Cloud::Post(const std::string& path, const json::object& body) const {
  return Send("POST", path, json::serialize(body));
}

Status Cloud::Stream(const std::string& path, const json::object& body,
                     const std::function<Status(std::string_view)>& on_line, HttpResponse* response) const {
  HttpRequest request = Request("POST", path, json::serialize(body));
  std::string pending;
  long status = 0;
  std::string reason;
  request.on_headers = [&](const HttpResponse& head) {
    status = head.status;
    reason = head.Header("x-penstock-error");
    return Status{};
  };
  request.on_body = [&](std::string_view bytes) -> Status {
    pending += bytes;
    if (status >= 300) return {};
    size_t begin = 0;
    for (size_t end = 0; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
      std::string_view line(pending.data() + begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      PENSTOCK_TRY(on_line(line));
    }
    pending.erase(0, begin);
    return {};
  };
  auto done = SendHttp(request);
  if (!done.has_value()) return std::unexpected(NotRunning(url_, done.error()));
  if (status >= 300) return std::unexpected(ErrorOf(status, pending, reason, request.url));
  if (response != nullptr) *response = *std::move(done);
  return {};
}

bool CloudRuns(const Config& config) {
  const auto answer = SendHttp(
      {.url = config.BaseUrl() + "/livez", .connect_timeout = kSecond, .total_timeout = 2 * kSecond});
  return answer.has_value() && answer->status == 200;
}

std::string WhyNotReady(const std::string& url) {
  const auto answer =
      SendHttp({.url = url + "/readyz", .connect_timeout = kSecond, .total_timeout = 2 * kSecond});
  if (!answer.has_value()) return answer.error().message;
  if (answer->status == 200) return "";
  const auto object = ParseJsonObject(answer->body, url);
  if (!object.has_value()) return answer->body.substr(0, 200);
  for (const std::string_view key : {"reason", "message"}) {
    if (const std::string words = GetText(*object, key); !words.empty()) return words;
  }
  const std::string words = GetText(GetObject(*object, "error"), "message");
  return words.empty() ? fmt::format("answered {}", answer->status) : words;
}

}  // namespace penstock

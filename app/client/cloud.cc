#include "app/client/cloud.h"

#include "app/common/json_get.h"

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
Error ErrorOf(long status, std::string_view body, const std::string& reason, const std::string& url,
              const Endpoint& endpoint) {
  const auto object = ParseJsonObject(body, url);
  std::string message = object.has_value() ? GetText(GetObject(*object, "error"), "message") : "";
  if (message.empty()) message = fmt::format("{} answered {}", url, status);
  if (status == 401 && endpoint.login) {
    message += fmt::format(" (penstock login {})", endpoint.url);
  } else if (status == 401) {
    message += " (--key, PENSTOCK_KEY, or operator.key in the data directory)";
  }
  const ReasonText* const known = FindReason(reason);
  return {CodeOf(status), message, known == nullptr ? Reason::kNone : known->reason};
}

Error NotRunning(const Endpoint& endpoint, const Error& error) {
  if (error.code != Code::kUnavailable) return error;
  if (endpoint.login) {
    return {
        Code::kUnavailable,
        fmt::format("the cloud that you are logged in to does not answer: {}. To use another cloud: penstock "
                    "logout, or --url or --data",
                    error.message),
        Reason::kNotRunning};
  }
  return {Code::kUnavailable,
          fmt::format("the cloud is not running at {}: start it with `penstock up` ({})", endpoint.url,
                      error.message),
          Reason::kNotRunning};
}

}  // namespace

Result<Cloud> Cloud::At(Endpoint endpoint) {
  if (!endpoint.key.empty()) return Cloud(std::move(endpoint));
  if (!endpoint.key_fault.empty()) {
    return Fail(Code::kForbidden, "{}. Try with sudo, or use your own key: --key or PENSTOCK_KEY",
                endpoint.key_fault);
  }
  return Fail(
      Reason::kNoKeyFile,
      "no key for {}: `penstock login {}` asks for one, or use --key. (On the cloud's own machine, the first "
      "`penstock up` creates operator.key in the data directory.)",
      endpoint.url, endpoint.url);
}

Result<Cloud> Cloud::Open(const Config& config) {
  PENSTOCK_ASSIGN(Endpoint endpoint, FindEndpoint(config));
  if (endpoint.login) {
    fmt::print(stderr, "at {}{}\n", endpoint.url, endpoint.who.empty() ? "" : " as " + endpoint.who);
  }
  return At(std::move(endpoint));
}

Result<Cloud> Cloud::OpenLocal(const Config& config) {
  return At(LocalEndpoint(config));
}

HttpRequest Cloud::Request(const std::string& method, const std::string& path,
                           const std::string& body) const {
  HttpRequest request{.method = method,
                      .url = endpoint_.url + path,
                      .headers = {"Authorization: Bearer " + endpoint_.key},
                      .body = body};
  request.pin = endpoint_.pin;
  if (!body.empty()) request.headers.emplace_back("Content-Type: application/json");
  request.headers.emplace_back("Expect:");
  return request;
}

Result<json::object> Cloud::Send(const std::string& method, const std::string& path, const std::string& body,
                                 Nanos within) const {
  HttpRequest request = Request(method, path, body);
  request.total_timeout = within;
  const auto response = SendHttp(request);
  if (!response.has_value()) return std::unexpected(NotRunning(endpoint_, response.error()));
  if (response->status >= 300) {
    return std::unexpected(ErrorOf(response->status, response->body, response->Header("x-penstock-error"),
                                   request.url, endpoint_));
  }
  return ParseJsonObject(response->body, request.url);
}

Result<json::object> Cloud::Post(const std::string& path, const json::object& body) const {
  return Send("POST", path, json::serialize(body));
}

Status Cloud::Stream(const std::string& path, const json::object& body,
                     const std::function<Status(std::string_view)>& on_line, HttpResponse* response,
                     std::function<bool()> stop) const {
  HttpRequest request = Request("POST", path, json::serialize(body));
  request.stop = std::move(stop);
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
  if (!done.has_value()) return std::unexpected(NotRunning(endpoint_, done.error()));
  if (status >= 300) return std::unexpected(ErrorOf(status, pending, reason, request.url, endpoint_));
  if (response != nullptr) *response = *std::move(done);
  return {};
}

std::string SeatWords(const json::object& seat) {
  const std::string team = GetText(seat, "team");
  return fmt::format("{} ({}{})", GetText(GetObject(seat, "key"), "name"), GetText(seat, "role"),
                     team.empty() ? "" : " of team " + team);
}

bool CloudRuns(const Config& config) {
  const Endpoint endpoint = LocalEndpoint(config);
  const auto answer = SendHttp({.url = endpoint.url + "/livez",
                                .pin = endpoint.pin,
                                .connect_timeout = kSecond,
                                .total_timeout = 2 * kSecond});
  return answer.has_value() && answer->status == 200;
}

std::string WhyNotReady(const Endpoint& endpoint) {
  const auto answer = SendHttp({.url = endpoint.url + "/readyz",
                                .pin = endpoint.pin,
                                .connect_timeout = kSecond,
                                .total_timeout = 2 * kSecond});
  if (!answer.has_value()) return answer.error().message;
  if (answer->status == 200) return "";
  const auto object = ParseJsonObject(answer->body, endpoint.url);
  if (!object.has_value()) return answer->body.substr(0, 200);
  for (const std::string_view key : {"reason", "message"}) {
    if (const std::string words = GetText(*object, key); !words.empty()) return words;
  }
  const std::string words = GetText(GetObject(*object, "error"), "message");
  return words.empty() ? fmt::format("answered {}", answer->status) : words;
}

}  // namespace penstock

#include "app/common/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>
#include <optional>

namespace penstock {
namespace {

struct Transfer {
  const HttpRequest& request;
  CURL* handle;
  HttpResponse response{};
  bool headers_told = false;
  std::optional<Error> refused{};  // the Error of a callback

  bool TellHeaders() {
    if (std::exchange(headers_told, true) || !request.on_headers) return true;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &response.status);
    return Keep(request.on_headers(response));
  }
  bool Keep(const Status& status) {
    if (!status.has_value()) refused = status.error();
    return status.has_value();
  }
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

size_t OnHeader(char* data, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) transfer.response.headers.clear();
  if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(line.substr(0, colon));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    transfer.response.headers[name] = Trimmed(line.substr(colon + 1));
  }
  return size * count;
}

size_t OnBody(char* data, size_t size, size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::string_view bytes(data, size * count);
  if (!transfer.TellHeaders()) return 0;
  if (!transfer.request.on_body) {
    if (transfer.response.body.size() + bytes.size() > (64U << 20)) return 0;  // an answer, not a download
    transfer.response.body += bytes;
    return bytes.size();
  }
  return transfer.Keep(transfer.request.on_body(bytes)) ? bytes.size() : 0;
}

std::string HostOf(const std::string& url) {
  const size_t begin = url.find("://") == std::string::npos ? 0 : url.find("://") + 3;
  return url.substr(begin, url.find('/', begin) - begin);
}

Error Explain(CURLcode code, const HttpRequest& request, const char* detail) {
  const std::string host = HostOf(request.url);
  const auto unavailable = [&](std::string text) { return Error{Code::kUnavailable, std::move(text)}; };
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return unavailable(fmt::format("{}: no such host found from this machine", host));
    case CURLE_COULDNT_RESOLVE_PROXY:
      return unavailable(fmt::format("{}: the configured proxy cannot be found", host));
    case CURLE_COULDNT_CONNECT:
      return unavailable(fmt::format("{}: no server answers there", host));
    case CURLE_OPERATION_TIMEDOUT:
      return unavailable(fmt::format("{}: no answer in time ({})", host, detail));
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return unavailable(fmt::format("{}: the connection was lost", host));
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Code::kUnauthenticated,
              fmt::format("{}: its TLS certificate is not trusted ({})", host, detail)};
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
      return {
          Code::kUnauthenticated,
          fmt::format("{}: its TLS certificate is not the one that was trusted before. If it was changed on "
                      "purpose, log in again; if not, someone may be intercepting the connection",
                      host)};
    case CURLE_SSL_CONNECT_ERROR:
      return unavailable(fmt::format(
          "{}: TLS failed ({}); if the server uses plain HTTP, begin the URL with http://", host, detail));
    case CURLE_TOO_MANY_REDIRECTS:
      return {Code::kInvalid, fmt::format("{}: redirect loop", request.url)};
    case CURLE_URL_MALFORMAT:
    case CURLE_ABORTED_BY_CALLBACK:
      return {Code::kCancelled, "stopped"};
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {Code::kInvalid, fmt::format("'{}' is not an http or https URL", request.url)};
    default:
      return unavailable(fmt::format("{}: {}", host, *detail != '\0' ? detail : curl_easy_strerror(code)));
  }
}

int OnProgress(void* request, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const HttpRequest*>(request)->stop() ? 1 : 0;
}

long Milliseconds(Nanos time) {
  return static_cast<long>(std::max<Nanos>(1, time / kMillisecond));
}

void SetMethod(CURL* handle, const HttpRequest& request) {
  if (request.method == "HEAD") {
    curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  }
}

void SetTrust(CURL* handle, const HttpRequest& request) {
  if (request.show_certificate) curl_easy_setopt(handle, CURLOPT_CERTINFO, 1L);
  if (!request.pin.empty()) curl_easy_setopt(handle, CURLOPT_PINNEDPUBLICKEY, request.pin.c_str());
  if (request.pin.empty() && !request.show_certificate) return;
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 0L);
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
}

// The server's own certificate from the chain that it sent.
std::string CertificateOf(CURL* handle) {
  curl_certinfo* chain = nullptr;
  if (curl_easy_getinfo(handle, CURLINFO_CERTINFO, &chain) != CURLE_OK || chain == nullptr ||
      chain->num_of_certs == 0) {
    return "";
  }
  for (const curl_slist* at = chain->certinfo[0]; at != nullptr; at = at->next) {
    const std::string_view line(at->data);
    if (line.starts_with("Cert:")) return std::string(line.substr(5));
  }
  return "";
}

void SetLimits(CURL* handle, const HttpRequest& request) {
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(request.connect_timeout));
  if (request.total_timeout > 0)
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, Milliseconds(request.total_timeout));
  if (request.stall_timeout > 0) {
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                     std::max(1L, Milliseconds(request.stall_timeout) / 1000));
  }
  // Only HTTP, also after redirects.
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, request.follow_redirects ? 1L : 0L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 10L);
}

}  // namespace

std::string HttpResponse::Header(const std::string& lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? "" : found->second;
}

Result<HttpResponse> SendHttp(const HttpRequest& request) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(), curl_easy_cleanup);
  if (ready != CURLE_OK || !handle) return Fail(Code::kInternal, "libcurl cannot be initialised");
  char detail[CURL_ERROR_SIZE] = {};
  Transfer transfer{.request = request, .handle = handle.get()};
  curl_slist* list = nullptr;
  for (const auto& header : request.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owned(list, curl_slist_free_all);

  curl_easy_setopt(handle.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(handle.get(), CURLOPT_USERAGENT, "penstock/0.1");
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(handle.get(), CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(handle.get(), CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &transfer);
  if (request.stop) {
    curl_easy_setopt(handle.get(), CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle.get(), CURLOPT_XFERINFODATA, &request);
    curl_easy_setopt(handle.get(), CURLOPT_XFERINFOFUNCTION, OnProgress);
  }
  SetMethod(handle.get(), request);
  SetTrust(handle.get(), request);
  SetLimits(handle.get(), request);

  const CURLcode code = curl_easy_perform(handle.get());
  if (transfer.refused) return std::unexpected(*transfer.refused);
  if (code != CURLE_OK) return std::unexpected(Explain(code, request, detail));
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &transfer.response.status);
  if (request.show_certificate) transfer.response.certificate = CertificateOf(handle.get());
  if (!transfer.TellHeaders()) return std::unexpected(*transfer.refused);
  return std::move(transfer.response);
}

Nanos RetryAfter(const HttpResponse& response, Nanos wall_now) {
  const std::string text = response.Header("retry-after");
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) {
    const time_t date = text.empty() ? -1 : curl_getdate(text.c_str(), nullptr);
    seconds = date < 0 ? 0 : date - wall_now / kSecond;
  }
  return std::clamp<int64_t>(seconds, 0, 1'000'000) * kSecond;
}

std::string UrlEscape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("-._~").contains(c);
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace penstock

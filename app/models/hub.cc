#include "app/models/hub.h"

#include <charconv>
#include <ctime>

#include "app/common/http.h"
#include "app/common/json_get.h"
#include "app/common/sha256.h"

namespace penstock {
namespace {

// A busy hub says when to try again: waits as requested, for up to a minute, at most three times.
Result<HttpResponse> SendPatiently(const HttpRequest& request, const Say& say) {
  constexpr int kTries = 3;
  constexpr Nanos kLongest = 60 * kSecond;
  for (int again = 0;; ++again) {
    auto answer = SendHttp(request);
    if (!answer.has_value() || again == kTries || (answer->status != 429 && answer->status != 503))
      return answer;
    const Nanos wait = RetryAfter(*answer, SystemClock().Wall());
    if (wait == 0 || wait > kLongest) return answer;
    if (say)
      say(fmt::format("  {}: answered {}; trying again in {} s", request.url, answer->status,
                      wait / kSecond));
    const timespec pause{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
    nanosleep(&pause, nullptr);
  }
}

uint64_t NumberOrZero(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::vector<std::string> HubAuthorisation(const PullOptions& options) {
  if (options.token.empty()) return {};
  return {"Authorization: Bearer " + options.token};
}

Result<HubFile> AskHub(const PullOptions& options, std::string_view repository, std::string_view file,
                       const Say& say) {
  std::string hub = options.hub;
  while (hub.ends_with('/')) hub.pop_back();
  const std::string url = fmt::format("{}/{}/resolve/main/{}", hub, repository, file);
  PENSTOCK_ASSIGN(const auto answer, SendPatiently({.method = "HEAD",
                                                    .url = url,
                                                    .headers = HubAuthorisation(options),
                                                    .connect_timeout = options.connect_timeout,
                                                    .total_timeout = options.stall_timeout},
                                                   say));
  if (answer.status == 404) return Fail(Code::kNotFound, "{}: no such file (404)", url);
  if (answer.status == 401 || answer.status == 403) {
    return Fail(Reason::kModelToken, "{} needs an access token (or does not exist): set pull.token", url);
  }
  if (answer.status >= 400) return Fail(Code::kUnavailable, "{}: answered {}", url, answer.status);
  std::string tag = answer.Header("x-linked-etag");
  std::erase(tag, '"');
  HubFile found{.url = url,
                .sha256 = NormalSha256(tag),
                .revision = answer.Header("x-repo-commit"),
                .size = NumberOrZero(answer.Header("x-linked-size"))};
  if (found.sha256.empty() || found.size == 0) {
    return Fail(Code::kUnavailable, "{}: does not state its SHA-256 and size as a model hub does", url);
  }
  // The exact revision that was described, even if `main` changes in the meantime.
  if (!found.revision.empty())
    found.url = fmt::format("{}/{}/resolve/{}/{}", hub, repository, found.revision, file);
  return found;
}

Result<HubFile> AskModelScope(const PullOptions& options, std::string_view repository, std::string_view file,
                              const Say& say) {
  std::string base = options.modelscope;
  while (base.ends_with('/')) base.pop_back();
  base = fmt::format("{}/api/v1/models/{}/repo", base, repository);
  const std::string list = base + "/files?Revision=master&Recursive=true";
  PENSTOCK_ASSIGN(const auto answer, SendPatiently({.url = list,
                                                    .follow_redirects = true,
                                                    .connect_timeout = options.connect_timeout,
                                                    .total_timeout = options.stall_timeout},
                                                   say));
  if (answer.status == 404) return Fail(Code::kNotFound, "{}: no such repository (404)", list);
  if (answer.status != 200) return Fail(Code::kUnavailable, "{}: answered {}", list, answer.status);
  const auto parsed = ParseJsonObject(answer.body, list);
  if (!parsed.has_value()) return Fail(Code::kUnavailable, "{}: does not answer as ModelScope does", list);
  for (const auto& value : GetArray(GetObject(*parsed, "Data"), "Files")) {
    if (!value.is_object() || GetText(value.get_object(), "Path") != file) continue;
    const auto& entry = value.get_object();
    HubFile found{.url = fmt::format("{}?Revision=master&FilePath={}", base, UrlEscape(file)),
                  .sha256 = NormalSha256(GetText(entry, "Sha256")),
                  .revision = GetText(entry, "Revision"),
                  .size = static_cast<uint64_t>(std::max<int64_t>(0, GetInt(entry, "Size")))};
    if (found.sha256.empty() || found.size == 0)
      return Fail(Code::kUnavailable, "{}: does not state the SHA-256 and size of {}", list, file);
    return found;
  }
  return Fail(Code::kNotFound, "{}: does not list the file {}", list, file);
}

}  // namespace penstock

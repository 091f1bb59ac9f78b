#include "gateway/common/api_error.h"

namespace penstock::gateway {
namespace {

int RetryAfter(Code code) {
  switch (code) {
    case Code::kOverloaded:
      return 2;
    case Code::kDeadline:
    case Code::kUnavailable:
    case Code::kIo:
      return 5;
    default:
      return 0;
  }
}

}  // namespace

ApiError ToApiError(const Error& error) {
  return {.code = error.code,
          .reason = error.reason,
          .param = {},
          .message = error.message,
          .retry_after = RetryAfter(error.code)};
}

ApiError InvalidField(std::string param, std::string message) {
  return {.code = Code::kInvalid,
          .reason = Reason::kBadField,
          .param = std::move(param),
          .message = std::move(message)};
}

ApiError UnsupportedField(std::string param, std::string message) {
  return {.code = Code::kUnsupported,
          .reason = Reason::kUnsupportedField,
          .param = std::move(param),
          .message = std::move(message)};
}

}  // namespace penstock::gateway

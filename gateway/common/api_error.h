// ApiError: why a request is refused or has failed, before any dialect gives it a form. Each dialect has one
// table that maps code and reason to its own status, type and code (dialects/openai/errors.h).
#pragma once

#include <expected>
#include <string>

#include "base/result.h"

namespace penstock::gateway {

struct ApiError {
  Code code = Code::kInternal;
  Reason reason = Reason::kNone;  // its short code goes into x-penstock-error
  std::string param;              // the request's field, as a path; empty: none
  std::string message;            // for people
  int retry_after = 0;            // seconds, ≤ 60: clients ignore longer ones; 0: not said
  int http_status = 0;            // 431 for headers that are too long; 0: the dialect's table says
};

// With the time after which a client of that code may try again.
ApiError ToApiError(const Error& error);
ApiError InvalidField(std::string param, std::string message);
ApiError UnsupportedField(std::string param, std::string message);

template <class T>
using ApiResult = std::expected<T, ApiError>;

}  // namespace penstock::gateway

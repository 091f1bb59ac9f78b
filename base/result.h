// Result<T>: a value, or an Error that says what is wrong and how to fix it.
//
// No exception crosses a floor: third-party exceptions are caught where that library is called and
// become an Error there. Asserts (base/check.h) are for our own bugs and never judge outside input.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/reason.h"

namespace penstock {

// One value per kind of failure; gateway/ maps each to an HTTP status, app/ to an exit code.
enum class Code {
  kInvalid,          // the caller's input is wrong (400)
  kUnauthenticated,  // no key, or an unknown one (401)
  kForbidden,        // a known key that may not do this (403)
  kNotFound,         // names something that does not exist (404)
  kConflict,         // conflicts with what exists or has already happened (409)
  kTooLarge,         // over a stated limit (413)
  kOverloaded,       // try again soon: a queue or a memory is full (429)
  kUnsupported,      // well-formed, but not supported by this version (400, names the field)
  kCorrupt,          // one of our files or of the user's is damaged
  kUnavailable,      // a required part does not answer (503)
  kDeadline,         // ran out of time (408/504)
  kCancelled,        // the caller cancelled or disconnected
  kIo,               // the operating system refused
  kInternal,         // a bug in Penstock
};
std::string_view CodeName(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;            // for users: names the thing and how to fix it
  Reason reason = Reason::kNone;  // kNone: there is no paragraph about it
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
[[nodiscard]] std::unexpected<Error> Fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same, with the reason's own code.
template <class... Args>
[[nodiscard]] std::unexpected<Error> Fail(Reason reason, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{CodeOf(reason), fmt::format(format, std::forward<Args>(args)...), reason});
}

// `Error` for a failed system call: appends strerror(errno).
[[nodiscard]] std::unexpected<Error> FailErrno(Code code, std::string_view what,
                                               Reason reason = Reason::kNone);

// The same error with another message.
inline Error Reworded(const Error& error, std::string message) {
  return {error.code, std::move(message), error.reason};
}
// As shown to users: "[PS1003] …", or only the message.
std::string Worded(const Error& error);

}  // namespace penstock

// Returns the error of `expression` from the enclosing function, or continues.
#define PENSTOCK_TRY(expression)                                         \
  do {                                                                   \
    if (auto penstock_try_ = (expression); !penstock_try_.has_value()) { \
      return std::unexpected(std::move(penstock_try_).error());          \
    }                                                                    \
  } while (false)

#define PENSTOCK_CONCAT_(a, b) a##b
#define PENSTOCK_CONCAT(a, b) PENSTOCK_CONCAT_(a, b)
// PENSTOCK_ASSIGN(auto x, F()): x is F()'s value, or the error is returned.
#define PENSTOCK_ASSIGN(declaration, expression) \
  PENSTOCK_ASSIGN_(PENSTOCK_CONCAT(penstock_result_, __LINE__), declaration, expression)
#define PENSTOCK_ASSIGN_(name, declaration, expression)                   \
  auto name = (expression);                                               \
  if (!name.has_value()) return std::unexpected(std::move(name).error()); \
  declaration = *std::move(name)

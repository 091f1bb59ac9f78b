#include "gateway/dialects/openai/errors.h"

#include <array>

#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

struct Row {
  Code code;
  Reason reason;  // kNone: every reason of that code that has no row of its own
  OpenAiError error;
};
constexpr std::string_view kRequest = "invalid_request_error", kServer = "server_error";
// The one table. Rows of a reason stand before the row of their code.
constexpr std::array kTable = {
    Row{Code::kInvalid, Reason::kBadJson, {400, kRequest, "invalid_json"}},
    Row{Code::kInvalid, Reason::kContextTooLong, {400, kRequest, "context_length_exceeded"}},
    Row{Code::kInvalid, Reason::kWrongMethod, {405, kRequest, "method_not_allowed"}},
    Row{Code::kInvalid, Reason::kTooSlow, {408, kRequest, ""}},
    Row{Code::kInvalid, Reason::kNone, {400, kRequest, ""}},
    Row{Code::kUnsupported, Reason::kUnsupportedField, {400, kRequest, "unsupported_parameter"}},
    Row{Code::kUnsupported, Reason::kNone, {400, kRequest, "unsupported"}},
    Row{Code::kUnauthenticated, Reason::kNone, {401, kRequest, "invalid_api_key"}},
    Row{Code::kForbidden, Reason::kModelNotAllowed, {403, "permission_error", "model_not_allowed"}},
    Row{Code::kForbidden, Reason::kNone, {403, "permission_error", "permission_denied"}},
    Row{Code::kNotFound, Reason::kModelUnknown, {404, kRequest, "model_not_found"}},
    Row{Code::kNotFound, Reason::kNone, {404, kRequest, "not_found"}},
    Row{Code::kDeadline, Reason::kNone, {503, kServer, "timeout"}},
    Row{Code::kConflict, Reason::kIdempotencyUsed, {409, kRequest, "idempotency_key_used"}},
    Row{Code::kConflict, Reason::kNone, {409, kRequest, "conflict"}},
    Row{Code::kTooLarge, Reason::kNone, {413, kRequest, "too_large"}},
    Row{Code::kOverloaded, Reason::kNone, {429, "rate_limit_error", "overloaded"}},
    Row{Code::kUnavailable, Reason::kNone, {503, kServer, "unavailable"}},
    Row{Code::kIo, Reason::kNone, {503, kServer, "unavailable"}},
    Row{Code::kCorrupt, Reason::kNone, {500, kServer, "corrupt"}},
    Row{Code::kCancelled, Reason::kNone, {500, kServer, "cancelled"}},
    Row{Code::kInternal, Reason::kNone, {500, kServer, "internal_error"}},
};

void AppendStringOrNull(std::string_view text, std::string& out) {
  if (text.empty()) {
    out += "null";
  } else {
    AppendJsonString(text, out);
  }
}

}  // namespace

OpenAiError OpenAiErrorOf(const ApiError& error) {
  for (const Row& row : kTable) {
    if (row.code != error.code || (row.reason != Reason::kNone && row.reason != error.reason)) continue;
    OpenAiError found = row.error;
    if (error.http_status != 0) found.status = error.http_status;
    return found;
  }
  return {500, kServer, "internal_error"};
}

void AppendOpenAiError(const ApiError& error, std::string& out) {
  const OpenAiError form = OpenAiErrorOf(error);
  out += R"({"error":{"message":)";
  AppendJsonString(error.message, out);
  out += R"(,"type":)";
  AppendJsonString(form.type, out);
  out += R"(,"param":)";
  AppendStringOrNull(error.param, out);
  out += R"(,"code":)";
  AppendStringOrNull(form.code, out);
  out += "}}";
}

HttpResponse OpenAiErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = OpenAiErrorOf(error).status;
  if (error.retry_after > 0) response.headers = fmt::format("retry-after: {}\r\n", error.retry_after);
  if (error.code == Code::kConflict) response.headers += "x-should-retry: false\r\n";
  if (response.status == 415) response.headers += fmt::format("accept-encoding: {}\r\n", kAcceptedCodings);
  if (response.status == 401) response.headers += "www-authenticate: Bearer\r\n";
  if (error.reason != Reason::kNone)
    response.headers += fmt::format("x-penstock-error: {}\r\n", ShortCode(error.reason));
  AppendOpenAiError(error, response.body);
  return response;
}

}  // namespace penstock::gateway

// How OpenAI's dialect, and the routes of no dialect, write an error:
// {"error":{"message","type","param","code"}}, all four keys always. The table is in errors.cc.
#pragma once

#include <string>
#include <string_view>

#include "gateway/common/api_error.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

struct OpenAiError {
  int status;
  std::string_view type;
  std::string_view code;  // empty: null
};
OpenAiError OpenAiErrorOf(const ApiError& error);

void AppendOpenAiError(const ApiError& error, std::string& out);
HttpResponse OpenAiErrorResponse(const ApiError& error);

}  // namespace penstock::gateway

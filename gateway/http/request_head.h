// The rules of RFC 9110 and 9112 for a request's head that a general parser leaves to us, as pure functions
// of its text: what could be understood in two ways is an error, each with the status that the RFC names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/common/api_error.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

ApiError BadHttp(std::string message, int status = 400);

// The bytes of a head, complete or not, before anything is read from it: line ends are CRLF, no line is
// continued on the next (obs-fold), and nothing is a control character.
ApiResult<void> CheckHeadBytes(std::string_view head);

// Splits a request-target (9112, 3.2) into host, path and query of `request`: "/path?query",
// "http://host/path?query", or "*" for OPTIONS.
ApiResult<void> ReadTarget(std::string_view method, std::string_view target, HttpRequest& request);

// The headers of which there may be one, or that must agree with each other; kept until the head's end.
struct HeadFields {
  std::vector<std::string> host, authorization, api_key, transfer_encoding, content_length, content_encoding,
      expect;
};
// Checks them, and sets host, bearer, coding and expects_continue of `request`, whose http10 and host are
// known.
ApiResult<void> ReadFields(const HeadFields& fields, HttpRequest& request);

}  // namespace penstock::gateway

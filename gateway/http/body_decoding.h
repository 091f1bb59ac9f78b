// Decodes a request's body on worker threads: a step there, then its memory is counted here, then the next
// step.
//
// Steps are short and the workers fair between teams, so neither the io thread nor another team waits for a
// body that unfolds into megabytes. Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <optional>

#include "base/fair_workers.h"
#include "gateway/common/api_error.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

// What the bodies of all connections share.
struct Bodies {
  BodyMemory memory;
  FairWorkers decoders{{.name = "bodies", .threads = 2, .most_of_one = 1}};
};

struct DecodingLimits {
  size_t body_bytes = 0;  // of the decoded body
  BodyMemoryLimits memory;
};

struct DecodedBody {
  std::string body;
  BodyMemory::Charge memory;
};
// Takes body and charge out of `request`, whose coding is not kIdentity, and calls `done` later, on the io
// thread; never if the workers are stopped first. Errors: 400 (damaged), 413, and those of BodyMemory.
// `left`: nobody waits for the body any more; it is asked between the steps.
void DecodeBody(HttpRequest& request, Bodies& bodies, const DecodingLimits& limits,
                boost::asio::io_context::executor_type io, std::function<bool()> left,
                std::function<void(ApiResult<DecodedBody>)> done);

}  // namespace penstock::gateway

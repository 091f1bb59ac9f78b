#include "gateway/http/body_decoding.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>

namespace penstock::gateway {
namespace {

constexpr size_t kStep = 1 << 20;  // decoded bytes: some milliseconds

// Goes to and fro between the io thread and a worker; only one of them has it at a time.
struct Decoding {
  Coding coding;
  int64_t key, team;
  std::string encoded, decoded;
  std::string_view rest;  // of `encoded`
  BodyMemory::Charge memory;
  size_t charged = 0;  // never less than before, until it is done
  std::unique_ptr<BodyDecoder> decoder;
  BodyDecoder::State state = BodyDecoder::State::kMore;

  Bodies& bodies;
  DecodingLimits limits;
  boost::asio::io_context::executor_type io;
  std::function<bool()> left;
  std::function<void(ApiResult<DecodedBody>)> done;
};
using DecodingPtr = std::unique_ptr<Decoding>;

void Continue(DecodingPtr decoding);

ApiError Damaged(Coding coding) {
  const std::string_view name = CodingName(coding);
  return ToApiError(
      {Code::kInvalid,
       fmt::format("the body is not valid {0} data, or is incomplete; send it whole, or without "
                   "'Content-Encoding: {0}'",
                   name),
       Reason::kBadHttp});
}

// On the io thread, after a step.
void Account(DecodingPtr decoding) {
  Decoding& d = *decoding;
  if (d.left()) return;
  if (d.state == BodyDecoder::State::kDamaged) return d.done(std::unexpected(Damaged(d.coding)));
  if (d.decoded.size() > d.limits.body_bytes) {
    return d.done(std::unexpected(
        ToApiError({Code::kTooLarge,
                    fmt::format("the request's body is larger than {} bytes when it is decoded; send less",
                                d.limits.body_bytes),
                    Reason::kBodyTooLarge})));
  }
  const bool done = d.state == BodyDecoder::State::kDone;
  if (done) {
    d.encoded = {};
    d.memory.Release();
  }
  d.charged = done ? d.decoded.size()
                   : std::max(d.charged, d.decoded.size() + d.encoded.size() + d.decoder->memory());
  if (d.charged > 0) {
    const auto refusal = d.bodies.memory.Grow(d.memory, d.key, d.charged, d.limits.memory);
    if (refusal != BodyMemory::Refusal::kNone)
      return d.done(std::unexpected(ToApiError(refusal, d.limits.memory)));
  }
  if (!done) return Continue(std::move(decoding));
  d.done(DecodedBody{.body = std::move(d.decoded), .memory = std::move(d.memory)});
}

// Moved through std::function, which copies: shared, and taken out where it is used. Work that is dropped
// ends with the workers, on the io thread.
void Continue(DecodingPtr decoding) {
  Bodies& bodies = decoding->bodies;
  const int64_t team = decoding->team;
  const auto held = std::make_shared<DecodingPtr>(std::move(decoding));
  bodies.decoders.Add(team, [held] {
    Decoding& d = **held;
    const size_t room = d.limits.body_bytes + 1 - d.decoded.size();
    d.state = d.decoder->Step(d.rest, std::min(kStep, room), d.decoded);
    const auto io = d.io;
    boost::asio::post(io, [taken = std::move(*held)]() mutable { Account(std::move(taken)); });
  });
}

}  // namespace

void DecodeBody(HttpRequest& request, Bodies& bodies, const DecodingLimits& limits,
                boost::asio::io_context::executor_type io, std::function<bool()> left,
                std::function<void(ApiResult<DecodedBody>)> done) {
  DecodingPtr decoding(new Decoding{.coding = request.coding,
                                    .key = request.key,
                                    .team = request.team,
                                    .encoded = std::move(request.body),
                                    .decoded = {},
                                    .rest = {},
                                    .memory = std::move(request.memory),
                                    .charged = 0,
                                    .decoder = BodyDecoder::Make(request.coding),
                                    .bodies = bodies,
                                    .limits = limits,
                                    .io = io,
                                    .left = std::move(left),
                                    .done = std::move(done)});
  decoding->rest = decoding->encoded;
  Continue(std::move(decoding));
}

}  // namespace penstock::gateway

// Errors on the wire: wire::Error from and to base/result.h's Error, and what an error means for the fleet.
//
// For one release the fields that the previous release knows (old_error, old_fault, old_unable) are written
// beside wire::Error and read where it is missing, so that a rolling restart may mix releases. Header only:
// the gateway's side uses it without linking the engine.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "base/result.h"
#include "engine/wire.pb.h"

namespace penstock {

// Who has to change something before the same request can succeed.
enum class Blame : uint8_t {
  kRequest,  // the client: every engine would refuse it
  kKind,     // nobody: this engine cannot do it, an engine of another kind or size may
  kEngine,   // the engine: it failed, and another may succeed
};

inline Blame BlameOf(const Error& error) {
  if (error.reason == Reason::kContextTooLong) return Blame::kKind;
  switch (error.code) {
    case Code::kInvalid:
    case Code::kUnauthenticated:
    case Code::kForbidden:
    case Code::kCancelled:
      return Blame::kRequest;
    case Code::kUnsupported:
    case Code::kTooLarge:
      return Blame::kKind;
    default:
      return Blame::kEngine;
  }
}

namespace wire_error {

using Row = std::pair<Code, wire::Error::Code>;
inline constexpr std::array<Row, 14> kCodes = {{
    {Code::kInvalid, wire::Error::INVALID},
    {Code::kUnauthenticated, wire::Error::UNAUTHENTICATED},
    {Code::kForbidden, wire::Error::FORBIDDEN},
    {Code::kNotFound, wire::Error::NOT_FOUND},
    {Code::kConflict, wire::Error::CONFLICT},
    {Code::kTooLarge, wire::Error::TOO_LARGE},
    {Code::kOverloaded, wire::Error::OVERLOADED},
    {Code::kUnsupported, wire::Error::UNSUPPORTED},
    {Code::kCorrupt, wire::Error::CORRUPT},
    {Code::kUnavailable, wire::Error::UNAVAILABLE},
    {Code::kDeadline, wire::Error::DEADLINE},
    {Code::kCancelled, wire::Error::CANCELLED},
    {Code::kIo, wire::Error::IO},
    {Code::kInternal, wire::Error::INTERNAL},
}};

}  // namespace wire_error

inline void SetError(const Error& error, wire::Error& out) {
  const auto* const row = std::ranges::find(wire_error::kCodes, error.code, &wire_error::Row::first);
  out.set_code(row == wire_error::kCodes.end() ? wire::Error::INTERNAL : row->second);
  out.set_reason(ShortCode(error.reason));
  out.set_text(error.message);
}

inline Error ErrorOf(const wire::Error& error) {
  const ReasonText* const reason = error.reason().empty() ? nullptr : FindReason(error.reason());
  const auto* const row = std::ranges::find(wire_error::kCodes, error.code(), &wire_error::Row::second);
  Error read;
  read.reason = reason == nullptr ? Reason::kNone : reason->reason;
  read.code = row != wire_error::kCodes.end() ? row->first
              : reason != nullptr             ? reason->code
                                              : Code::kInternal;
  read.message = error.text();
  return read;
}

// ---- the end of a choice with finish ERROR ----

inline void SetError(const Error& error, wire::TokenEvent& event) {
  SetError(error, *event.mutable_error());
  event.set_old_error(error.message);
  event.set_old_fault(BlameOf(error) == Blame::kEngine);
  event.set_old_unable(BlameOf(error) == Blame::kKind);
}

// What an engine of the previous release called neither its fault nor its inability, it blamed on the
// request.
inline Error ErrorOf(const wire::TokenEvent& event) {
  if (event.has_error()) return ErrorOf(event.error());
  const std::string text = event.old_error().empty() ? "the engine gave no reason" : event.old_error();
  if (event.old_fault()) return {Code::kUnavailable, text, Reason::kNone};
  if (event.old_unable()) return {Code::kUnsupported, text, Reason::kUnsupportedField};
  if (event.old_error().empty()) return {Code::kInternal, text, Reason::kEngineGaveUp};
  return {Code::kInvalid, text, Reason::kNone};
}

// ---- a model that FAILED ----

inline void SetError(const Error& error, wire::ModelState& state) {
  SetError(error, *state.mutable_error());
  state.set_old_error(error.message);
}

inline Error ErrorOf(const wire::ModelState& state) {
  if (state.has_error()) return ErrorOf(state.error());
  return {Code::kUnavailable, state.old_error(), Reason::kModelFailedToLoad};
}

}  // namespace penstock

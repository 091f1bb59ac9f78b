// What the driver's files share: its models, requests and choices.
//
//   driver.cc      the gateway's commands, and the reports to it
//   answering.cc   the answer of one choice, from sending the request to its end
//   watching.cc    whether the upstream is reachable, and what it serves
#pragma once

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attach/counter.h"
#include "attach/driver.h"
#include "base/clock.h"
#include "engine/output.h"

// The coroutine's PENSTOCK_TRY.
#define PENSTOCK_CO_TRY(expression)                                      \
  do {                                                                   \
    if (auto penstock_try_ = (expression); !penstock_try_.has_value()) { \
      co_return std::unexpected(std::move(penstock_try_).error());       \
    }                                                                    \
  } while (false)

namespace penstock {

struct Driver::Model {
  wire::ModelState state;
  wire::LoadModel load;
  ModelWords words;
  std::string theirs;
  std::optional<Can> can;  // once asked, until the upstream goes
};

struct Driver::Request {
  uint64_t id = 0;
  std::shared_ptr<const Model> model;
  Can can;
  wire::Submit submit;
  OutputRules rules;
  std::vector<ChoicePtr> choices;
  size_t open = 0;

  // Output tokens that its choices may still emit together (Submit.limit).
  uint64_t LimitLeft() const;
};

struct Driver::Choice {
  std::shared_ptr<Request> request;
  uint32_t index = 0;
  Output output;
  TextCounter counter;
  UpstreamRequest ask;
  uint32_t prompt_tokens = 0, before = 0;  // `before`: emitted by other engines
  uint64_t credits = 0;                    // emitted in all that it may; 0: unlimited
  std::shared_ptr<boost::asio::steady_timer> credit_came;
  Upstream::Call* call = nullptr;
  Nanos queued = 0, sent = 0;
  uint32_t beside = 0;        // that ran when it was sent, itself included
  uint64_t ended_before = 0;  // that had ended by then
  int refusals = 0;
  bool first = false, ended = false, starved = false, admitted = false, done = false;
  wire::Finish end = wire::NONE;  // by our rules, with `done`; told when it is settled
  std::string stop = {};
  std::string finish;  // as the upstream says
  std::optional<UpstreamUsage> usage;
};

inline uint64_t Driver::Request::LimitLeft() const {
  if (submit.limit() == 0) return UINT64_MAX;
  uint64_t emitted = 0;
  for (const ChoicePtr& choice : choices) emitted += choice->output.emitted();
  return submit.limit() - std::min<uint64_t>(submit.limit(), emitted);
}

inline Nanos Driver::Now() {
  return SystemClock().Monotonic();
}

}  // namespace penstock

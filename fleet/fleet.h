// Fleet: which engines exist, what they have loaded, and the fair queue of jobs in front of them.
//
// The gateway hands over a Job; the fleet queues it by its team's virtual counter, sends it to an engine that
// has the model and room, and tells the job's JobSink what happens to it. A job whose engine dies or fails
// goes on elsewhere, without the client noticing: from the beginning when nothing was emitted, otherwise by
// computing again what was and going on from there. Where both engines keep one numeric contract, the answer
// is to the bit what the first would have given; the sink is told where not.
//
// An engine gets work once it has answered its canary prompts rightly (fleet/registry/prover.h), and less of
// it, or none, for a while, when it fails (fleet/registry/health.h).
//
// All decisions are those of a pure state machine (fleet/pool/pool.h); this is its connection to the world.
//
// Threads: everything on the one io_context thread that was given; callbacks come from it, never from
//          within a call to Submit or Cancel.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/wire.pb.h"
#include "fleet/pool/job.h"
#include "fleet/pool/pool.h"
#include "fleet/registry/canary.h"
#include "fleet/registry/engine_view.h"
#include "fleet/registry/served_model.h"
#include "fleet/registry/stats.h"

namespace penstock {

// Hears what happens to one job. Called on the io thread.
class JobSink {
 public:
  virtual ~JobSink() = default;
  // `why` is for people: "engine cpu0 died before the first token".
  virtual void OnEvent(JobEvent event, std::string_view why) = 0;
  // Before any token; again when it goes on elsewhere.
  virtual void OnPlaced(const Placed& placed) = 0;
  // The message is valid during the call. finish != NONE ends that choice; it is never ERROR: see OnFailed.
  virtual void OnTokens(const wire::TokenEvent& event) = 0;
  // Chip time and tokens computed since the last call: cost, never bill.
  virtual void OnCharge(Nanos chip_time, uint32_t computed_tokens) = 0;
  // Nothing follows: the job failed as a whole (engine died, no such model, queue timed out). What an engine
  // refused, or failed at, has the engine's own code and reason.
  virtual void OnFailed(const Error& error) = 0;
};

class Fleet {
 public:
  virtual ~Fleet() = default;

  // Listens for engines on the Unix socket `path` (0600; a stale one is replaced).
  virtual Status Listen(const std::string& path) = 0;

  // The models that engines are to hold; engines are told at once and when they (re)connect.
  virtual void Serve(ServedModel model) = 0;
  virtual void Withdraw(const std::string& name) = 0;
  // What engines must answer rightly before they get requests for the model, and again from time to time.
  // Without prompts nothing is asked.
  virtual void SetCanaries(const std::string& model, std::vector<CanaryPrompt> prompts) = 0;

  // Whether a job of the team `team_name` for `model` may be queued at all. Errors: as Submit's, except for a
  // full queue; kForbidden: the model is served outside the organisation only. A refusal is counted.
  virtual Status MayRun(std::string_view model, std::string_view team_name, bool external_allowed) = 0;
  // Room for `jobs` more in the queue: Submit takes them if it is called at once. Errors: kOverloaded (says
  // how long the queue is). A refusal is counted.
  virtual Status HasRoom(size_t jobs) = 0;

  // Queues a job. `sink` must outlive the job's last callback (a choice's finish for all choices, or
  // OnFailed), or Cancel's return. Errors: kOverloaded (queue full: says how long it is), kUnavailable
  // (draining), kNotFound (model not served), kUnavailable with the load error (model failed to load),
  // kTooLarge (no frame holds the prompt). REQUIRES: job.owner is not empty.
  virtual Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) = 0;
  // No callback comes after this returns. Unknown ids are ignored (the end may be on its way).
  virtual void Cancel(JobId job) = 0;
  // The client took `tokens` more of `choice`: the engine may emit as many again.
  virtual void Grant(JobId job, uint32_t choice, uint32_t tokens) = 0;
  // Lowers the most output tokens of all choices together (Submit.limit), or sets it; never raises it. A job
  // that emitted as many already ends at once, with LENGTH. REQUIRES: tokens > 0 (Cancel stops a job without
  // more).
  virtual void Limit(JobId job, uint64_t tokens) = 0;

  // A request for `model` would be answered now: some connected engine has it READY.
  virtual bool Ready(std::string_view model) const = 0;
  virtual bool AnyReady() const = 0;
  // Some connected engine takes the request's own text: Submit.chat is worth filling in.
  virtual bool WantsText() const = 0;
  virtual std::vector<EngineView> Engines() const = 0;
  // An engine that drains hands over or finishes what it has and gets no new jobs, until this is taken back;
  // also when it reconnects meanwhile. Errors: kNotFound names the engines that there are.
  virtual Status SetDraining(std::string_view engine, bool on) = 0;
  // It hands over or finishes what it has and exits; its supervisor starts it again. Errors: as above, and
  // kUnavailable: it is not connected.
  virtual Status Restart(std::string_view engine) = 0;
  virtual std::vector<TeamQueueView> Queue() const = 0;
  // Jobs in the queue, and jobs that were sent.
  virtual size_t Waiting() const = 0;
  virtual size_t Running() const = 0;

  // How much engines write to their logs, now and when they connect: a word of base/log_level.h.
  virtual void SetLogLevel(std::string_view word) = 0;
  // How many jobs may wait from now on; those that wait already stay.
  virtual void SetMaxWaiting(size_t jobs) = 0;

  virtual FleetStats Stats() const = 0;

  // Refuses new jobs; `drained` is called when none is left.
  virtual void Drain(std::function<void()> drained) = 0;
};

// `truths_file` keeps the right answers to the canaries (fleet/registry/truths.h); empty: they are forgotten
// at the end.
std::unique_ptr<Fleet> MakeFleet(boost::asio::io_context& io, const Clock& clock, PoolOptions options,
                                 std::string truths_file = {});

}  // namespace penstock

// Fleet: which engines exist, what they have loaded, and the pool's fair queue in front of them.
//
// The gateway hands over a Job; the fleet queues it by its team's virtual counter, sends it to an engine
// that has the model and room, and reports every turn of its story to the job's JobSink. A job whose engine
// dies or fails goes on elsewhere, unseen by the client: from the beginning when nothing was emitted, else by
// computing again what was and going on from there. Where both engines keep one numeric contract, the answer
// is to the bit what the first would have given; the sink is told where not.
//
// An engine gets work once it has answered its canary prompts rightly (fleet/registry/prover.h), and less of
// it, or none, for a while, when it makes trouble (fleet/registry/health.h).
//
// Threads: everything on the one io_context thread that was given; callbacks come from it, never from
//          within a call to Submit or Cancel.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/tokens.h"
#include "engine/wire.pb.h"
#include "fleet/placement/profile.h"
#include "fleet/registry/canary.h"
#include "fleet/registry/stats.h"

namespace penstock {

using JobId = uint64_t;

enum class JobEvent : uint8_t { kQueued, kSent, kAdmitted, kPaused, kResumed, kRequeued };

// Where a job was sent.
struct Placed {
  std::string_view engine, model;     // the variant of the model that was asked for
  std::string_view path;              // its file
  std::string_view contract, kernel;  // what computes it there
  bool exact_usage = true;            // it counts its tokens itself
};

// Hears one job's story. Called on the io thread.
class JobSink {
 public:
  virtual ~JobSink() = default;
  // `why` is for people: "engine cpu0 died before the first token".
  virtual void OnEvent(JobEvent event, std::string_view why) = 0;
  // Before any token; again when it goes on elsewhere.
  virtual void OnPlaced(const Placed& /*placed*/) {}
  // The message is valid during the call. finish != NONE ends that choice; it is never ERROR: see OnFailed.
  virtual void OnTokens(const wire::TokenEvent& event) = 0;
  // Chip time and tokens computed since the last call: cost, never bill.
  virtual void OnCharge(Nanos chip_time, uint32_t computed_tokens) = 0;
  // Nothing follows: the job failed as a whole (engine died, no such model, queue timed out). What an engine
  // refused, or failed at, has the engine's own code and reason.
  virtual void OnFailed(const Error& error) = 0;
};

struct Job {
  // `request` is filled in by the fleet. `model` may name a family: any served variant will do.
  wire::Submit submit;
  std::vector<std::string> variants = {};  // of a family, those that may be used; empty: all
  uint64_t team = 0;                       // whose virtual counter pays
  std::string team_name;                   // for people
  bool external_allowed = false;           // its text may go to engines outside the organisation
  Nanos deadline = 0;                      // Clock::Monotonic; 0: none. Only waiting is limited by it.
};

// How fast an engine computes a model, as it was learnt from its steps.
struct ProfileView {
  std::string model;
  Speed speed;       // as of now
  double drift = 1;  // what steps take of late, over what they used to
  uint64_t steps = 0;
};

struct EngineView {
  std::string name, runner, chip, kernel;
  std::string place, note;  // for people: where it runs, and what else is to be known
  uint64_t pid = 0, memory_bytes = 0;
  bool connected = false;
  bool draining = false;  // gets no new jobs: it was set aside, or is about to end
  std::string health;     // fleet/registry/health.h: "proving", "good", "recovering", "quarantined"
  std::string why;        // of a quarantine, or of the last trouble
  uint32_t may_run = 0;   // sequences at once, as it is trusted now
  std::string contract;
  wire::Abilities abilities;
  bool external = false;
  wire::Load load;
  uint32_t sent = 0;  // jobs sent and not ended
  std::vector<wire::ModelState> models;
  std::vector<ProfileView> profiles;  // of the models that it has computed

  // One word: "up", "draining", "proving", "recovering", "quarantined", "down".
  std::string_view State() const {
    if (connected && draining) return "draining";
    if (connected && health == "proving" && models.empty()) return "up";  // it has nothing to prove
    return !connected ? "down" : health.empty() || health == "good" ? "up" : std::string_view(health);
  }
};

struct TeamQueueView {
  uint64_t team = 0;
  std::string name;
  uint32_t waiting = 0, running = 0;
  double virtual_seconds = 0;  // its VTC counter, chip seconds
  uint64_t chip_ns = 0;        // measured, since start
  uint64_t tokens = 0;         // that engines emitted for it, since start
};

// A model may have variants, which differ in file, precision or place and share one vocabulary: "qwen:q4" and
// "qwen:q8" are of the family "qwen". Who asks for the family gets whichever is expected to cost least.
inline std::string_view FamilyOf(std::string_view model) {
  return model.substr(0, model.find(':'));
}
inline bool Answers(std::string_view served, std::string_view asked) {
  return served == asked || FamilyOf(served) == asked;
}

// A model as the pool serves it. `path` is on the engines' file system.
struct ServedModel {
  std::string name, path;
  uint64_t kv_bytes = 0;
  uint32_t context = 0;
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
  virtual void SetCanaries(const std::string& /*model*/, std::vector<CanaryPrompt> /*prompts*/) {}

  // Whether a job for `model` may be queued at all, of a team of that name. Errors: as Submit's, but for a
  // full queue; kForbidden: the model is served outside the organisation only. A refusal is counted.
  virtual Status MayRun(std::string_view model, std::string_view team_name, bool external_allowed) = 0;
  // Room for `jobs` more in the queue: Submit takes them if it is called at once. Errors: kOverloaded (says
  // how long the queue is). A refusal is counted.
  virtual Status HasRoom(size_t jobs) = 0;

  // Queues a job. `sink` must outlive the job's last callback (a choice's finish for all choices, or
  // OnFailed), or Cancel's return. Errors: kOverloaded (queue full: says how long it is), kUnavailable
  // (draining), kNotFound (model not served), kUnavailable with the load error (model failed to load),
  // kTooLarge (no frame holds the prompt).
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
  virtual bool WantsText() const { return false; }
  virtual std::vector<EngineView> Engines() const = 0;
  // An engine that drains hands over or finishes what it has and gets no new jobs, until it is told off
  // again; also when it reconnects meanwhile. Errors: kNotFound names the engines that there are.
  virtual Status SetDraining(std::string_view engine, bool on) = 0;
  // It hands over or finishes what it has and exits; who keeps it (the supervisor) starts it again. Errors:
  // as above, and kUnavailable: it is not connected.
  virtual Status Restart(std::string_view engine) = 0;
  virtual std::vector<TeamQueueView> Queue() const = 0;
  // Jobs ahead of a new one of this team, for honest waits.
  virtual size_t Waiting() const = 0;
  virtual size_t Running() const = 0;

  // How much engines say in their logs, now and when they connect: a word of base/log_level.h.
  virtual void SetLogLevel(std::string_view) {}

  virtual const FleetStats& Stats() const;

  // Refuses new jobs; `drained` is called when none is left.
  virtual void Drain(std::function<void()> drained) = 0;
};

struct FleetOptions {
  size_t max_waiting = 4096;           // jobs in the queue, over all teams
  Nanos engine_timeout = 3 * kSecond;  // no heartbeat for so long: the engine is taken as dead
  Nanos step_timeout = 10 * kSecond;   // a step that takes longer, and far longer than expected, hangs
  Nanos resume_within = 60 * kSecond;  // an answer that broke off waits so long for an engine to go on
  int max_requeues = 2;                // a job that kills engines must not kill them for ever; < 128
  std::string truths = "";             // file that keeps the canaries' right answers; empty: none
  Nanos canary_period = 60 * kSecond;
  Nanos tick = 50 * kMillisecond;  // how often deadlines and heartbeats are looked at
};
std::unique_ptr<Fleet> MakeFleet(boost::asio::io_context& io, const Clock& clock, FleetOptions options);

}  // namespace penstock

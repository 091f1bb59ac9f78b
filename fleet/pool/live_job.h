// LiveJob: a job from Submit to its end, in parts by who changes them.
//
// After a cancel it stays until its engine says that it ended: it occupies the engine until then, and its
// chip time is still charged to its team.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/tokens.h"
#include "fleet/placement/affinity.h"
#include "fleet/pool/assignment.h"
#include "fleet/pool/job.h"
#include "fleet/queue/fair_queue.h"
#include "fleet/registry/served_model.h"

namespace penstock {

// What was asked. Constant after Submit, but for `submit.limit`.
struct JobRequest {
  wire::Submit submit;
  std::vector<std::string> variants;  // that may be used; empty: all
  OwnerPath owner;
  uint8_t tier = 0;
  bool external_allowed = false;
  PrefixChain prefix;

  TeamKey team() const { return owner.back(); }
  const std::string& model() const { return submit.model(); }
  uint32_t prompt() const { return static_cast<uint32_t>(submit.prompt_size()); }  // tokens
  uint32_t pages() const { return static_cast<uint32_t>(PagesFor(submit.prompt_size())); }
};

// What of the answer was sent to the client. Changed by token events and credits.
struct Answer {
  struct Choice {
    std::vector<int32_t> ids;
    uint64_t granted = 0;  // credits since the beginning
    bool ended = false;
  };
  std::vector<Choice> choices;
  uint32_t choices_left = 0;
  bool begun = false;      // something was sent
  bool can_resume = true;  // every token came with its id, from an engine that is not known to be wrong
  Nanos chip_time = 0;

  bool Ended(uint32_t choice) const { return choices[choice].ended; }
  // Tokens of the longest choice.
  size_t longest() const {
    size_t tokens = 0;
    for (const Choice& choice : choices) tokens = std::max(tokens, choice.ids.size());
    return tokens;
  }
  size_t tokens() const {
    size_t tokens = 0;
    for (const Choice& choice : choices) tokens += choice.ids.size();
    return tokens;
  }
  // Whether the event said anything. REQUIRES: its choice exists and has not ended.
  bool Add(const wire::TokenEvent& event) {
    const bool said = event.new_tokens() > 0 || !event.text().empty() || event.finish() != wire::NONE;
    begun |= said;
    Choice& choice = choices[event.choice()];
    choice.ids.insert(choice.ids.end(), event.ids().begin(), event.ids().end());
    can_resume &= static_cast<uint32_t>(event.ids_size()) == event.new_tokens();
    choice.ended |= event.finish() != wire::NONE;
    if (choice.ended) --choices_left;
    return said;
  }
};

// Where it runs. Changed by sending it, by moves, and by its engine's notes.
struct Whereabouts {
  Assignment here;       // none: it waits
  Assignment reserved;   // at the engine that it moves to
  std::string variant;   // that it was sent for; it goes on with the same once it has begun
  std::string contract;  // of the engine that began it
  bool admitted = false;
  bool emitted = false;  // by the engine that has it now
  uint32_t room = 0;     // tokens of its answer that its engine has memory for
  // room - 1 where that is not all of it: there the answer stops for want of credits, to go on elsewhere;
  // else 0.
  uint32_t cap = 0;
  Nanos outgrown = 0;  // time at which it came to `cap`; 0: it has not
};

// What its last engine computed, on its way to the next. Changed by moves.
struct Transfer {
  struct Choice {
    uint32_t tokens = 0;  // of prompt and answer
    std::vector<std::string> parts;
  };
  std::string form;             // Hello.state of the engines that can use it
  EngineKey from = 0;           // that computed it
  std::vector<Choice> choices;  // empty: nothing came
  size_t bytes = 0;

  void Forget() {
    choices.clear();
    bytes = 0;
  }
  uint32_t tokens() const {
    uint32_t tokens = 0;
    for (const Choice& choice : choices) tokens += choice.tokens;
    return tokens;
  }
};

// How often it was sent, and where to send it no more.
struct Attempts {
  int requeues = 0;               // after a failure
  int moves = 0;                  // to another engine, through no failure
  EngineKey avoid = 0;            // an engine that failed it; 0: none
  std::vector<EngineKey> unable;  // engines that cannot do what it asks
};

// Its time in the queue.
struct Wait {
  Nanos since = 0;
  Nanos until = 0;        // 0: without end
  size_t ahead = 0;       // jobs that waited when it came
  bool any_room = false;  // no larger engine came: one that has room for a token will do
};

struct LiveJob {
  JobId id = 0;
  bool cancelled = false;
  JobRequest request;
  Answer answer;
  Whereabouts where;
  Transfer transfer;
  Attempts attempts;
  Wait wait;

  // An engine knows it by another number each time that it is sent; the first time by its own.
  static constexpr int kAttemptShift = 56, kMostMoves = 64;
  uint64_t wire_id() const {
    return id | (static_cast<uint64_t>(attempts.requeues + attempts.moves) << kAttemptShift);
  }
  static JobId IdOf(uint64_t wire_id) { return wire_id & ((uint64_t{1} << kAttemptShift) - 1); }

  static constexpr uint32_t kMostChoices = 1024;  // engines refuse fewer; this bounds what a job costs here
  // REQUIRES: at most kMostChoices.
  void Start(Job&& job) {
    request.submit.Swap(&job.submit);
    wire::Submit& submit = request.submit;
    submit.set_choices(std::max(submit.choices(), 1U));
    request.variants = std::move(job.variants);
    request.owner = std::move(job.owner);
    request.tier = job.tier;
    request.external_allowed = job.external_allowed;
    request.prefix = Affinity::Chain(submit.model(), submit.prefix_scope(),
                                     {submit.prompt().data(), static_cast<size_t>(submit.prompt_size())});
    answer.choices_left = submit.choices();
    answer.choices.resize(submit.choices());
    for (Answer::Choice& choice : answer.choices) choice.granted = submit.credits();
    wait.until = job.deadline;
  }

  bool MayRunAs(std::string_view served) const {
    if (!Answers(served, request.model())) return false;
    if (answer.begun) return served == where.variant;
    return request.variants.empty() || std::ranges::find(request.variants, served) != request.variants.end();
  }

  // `context`: the longest text that its engine has memory for; 0: unknown.
  void FitInto(uint32_t context) {
    const int64_t most = request.submit.max_tokens();
    const int64_t fits = context == 0 ? INT64_MAX : int64_t{context} - request.prompt();
    where.room = static_cast<uint32_t>(std::min(std::max<int64_t>(fits, 1), most));
    const bool moves_on =
        request.submit.choices() == 1 && where.room < most && answer.longest() + 1 < where.room;
    where.cap = moves_on ? where.room - 1 : 0;
  }

  // Tokens of a choice that its engine may emit.
  uint64_t Allowed(const Answer::Choice& choice) const {
    const uint64_t granted = request.submit.credits() == 0 ? UINT64_MAX : choice.granted;
    return where.cap == 0 ? granted : std::min<uint64_t>(granted, where.cap);
  }

  // What the next engine gets: the request, and where to go on.
  void Fill(wire::Submit& out) const {
    out = request.submit;
    out.set_request(wire_id());
    out.set_model(where.variant);
    out.set_max_tokens(where.room);
    if (where.cap > 0) out.set_credits(static_cast<uint32_t>(Allowed(answer.choices[0])));
    if (!answer.begun) return;
    for (size_t i = 0; i < answer.choices.size(); ++i) {
      const Answer::Choice& choice = answer.choices[i];
      wire::Resume& resume = *out.add_resume();
      resume.set_choice(static_cast<uint32_t>(i));
      resume.mutable_ids()->Add(choice.ids.begin(), choice.ids.end());
      resume.set_ended(choice.ended);
      const uint64_t allowed = Allowed(choice);
      resume.set_credits(static_cast<uint32_t>(allowed - std::min<uint64_t>(allowed, choice.ids.size())));
    }
  }
};

}  // namespace penstock

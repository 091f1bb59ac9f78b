// LiveJob: a job from Submit to its end, and what of its answer was told, so that another engine can go on.
//
// After Cancel it lives on without a sink until its engine says that it ended: its place there is taken until
// then, and its chip time is still its team's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/tokens.h"
#include "fleet/fleet.h"
#include "fleet/placement/affinity.h"
#include "fleet/queue/fair_queue.h"

namespace penstock {

struct Member;

struct LiveJob {
  // What one choice said so far.
  struct Choice {
    std::vector<int32_t> ids;
    uint64_t granted = 0;  // credits since the beginning
    bool ended = false;
  };
  // What its last engine had computed of a choice, on its way to the next.
  struct State {
    uint32_t tokens = 0;  // of prompt and answer
    std::vector<std::string> parts;
  };

  JobId id = 0;
  wire::Submit submit;
  TeamKey team = 0;
  std::shared_ptr<JobSink> sink;  // null: cancelled
  Nanos deadline = 0, queued_at = 0;
  Nanos chip_time = 0;
  size_t ahead = 0;          // jobs that waited when it came
  Member* engine = nullptr;  // null: it waits
  std::vector<Choice> choices;
  uint32_t choices_left = 0;
  PrefixChain prefix;
  int requeues = 0;              // after a failure
  int moves = 0;                 // to another engine, through no failure
  uint32_t avoid = 0;            // the key of an engine that failed it; 0: none
  std::vector<uint32_t> unable;  // the keys of those that cannot do what it asks
  Member* next = nullptr;        // keeps `kept` sequences free for it
  uint32_t kept = 0;
  uint32_t room = 0;  // tokens of its answer that its engine has memory for
  // One less, where that is not all of it: there the answer stops for want of credits, to go on elsewhere;
  // else 0.
  uint32_t cap = 0;
  Nanos outgrown = 0;         // since when it has stood there
  std::vector<State> states;  // by choice, in `state_form`; empty: nothing came
  std::string state_form;
  size_t state_bytes = 0;
  uint32_t state_from = 0;            // the key of the engine that computed it
  std::vector<std::string> variants;  // that may be used; empty: all
  std::string variant;                // that it was sent for; whoever goes on with it has the same
  std::string contract;               // of the engine that began it
  double prefill_left = 0;            // tokens sent and not computed yet
  double context = 0;                 // positions that its sequences hold
  bool admitted = false, emitted = false;
  bool emitted_there = false;  // by the engine that has it now
  bool any_room = false;       // no larger engine came: one that has room for a token will do
  bool external_allowed = false;
  bool can_resume = true;  // every token of it came with its id

  uint32_t pages() const { return static_cast<uint32_t>(PagesFor(submit.prompt_size())); }

  // An engine knows it by another number each time that it is sent; the first time by its own.
  static constexpr int kAttemptShift = 56, kMostMoves = 64;
  uint64_t wire_id() const { return id | (static_cast<uint64_t>(requeues + moves) << kAttemptShift); }
  static JobId IdOf(uint64_t wire_id) { return wire_id & ((uint64_t{1} << kAttemptShift) - 1); }

  bool Ended(uint32_t choice) const { return choice < choices.size() && choices[choice].ended; }

  bool MayRunAs(std::string_view served) const {
    if (!Answers(served, submit.model())) return false;
    if (emitted) return served == variant;
    return variants.empty() || std::ranges::find(variants, served) != variants.end();
  }

  void ForgetStates() {
    states.clear();
    state_bytes = 0;
  }
  uint32_t StateTokens() const {
    uint32_t tokens = 0;
    for (const State& state : states) tokens += state.tokens;
    return tokens;
  }

  // `context`: the longest text that its engine has memory for; 0: unknown.
  void FitInto(uint32_t context) {
    const int64_t fits = context == 0 ? INT64_MAX : int64_t{context} - submit.prompt_size();
    room = static_cast<uint32_t>(std::min<int64_t>(std::max<int64_t>(fits, 1), submit.max_tokens()));
    const bool moves_on = submit.choices() == 1 && room < submit.max_tokens() && longest_told() + 1 < room;
    cap = moves_on ? room - 1 : 0;
  }

  // Of one choice, the most.
  size_t longest_told() const {
    size_t tokens = 0;
    for (const Choice& choice : choices) tokens = std::max(tokens, choice.ids.size());
    return tokens;
  }

  size_t told() const {
    size_t tokens = 0;
    for (const Choice& choice : choices) tokens += choice.ids.size();
    return tokens;
  }

  void Start(wire::Submit&& from) {
    submit.Swap(&from);
    submit.set_choices(std::max(submit.choices(), 1U));
    choices_left = submit.choices();
    choices.resize(std::min(choices_left, kMostChoices));
    for (Choice& choice : choices) choice.granted = submit.credits();
    prefix = Affinity::Chain(submit.model(), submit.prefix_scope(),
                             {submit.prompt().data(), static_cast<size_t>(submit.prompt_size())});
  }

  void Hear(const wire::TokenEvent& event) {
    emitted_there |= event.new_tokens() > 0 || !event.text().empty() || event.finish() != wire::NONE;
    emitted |= emitted_there;
    if (event.choice() >= choices.size()) return;
    Choice& choice = choices[event.choice()];
    choice.ids.insert(choice.ids.end(), event.ids().begin(), event.ids().end());
    can_resume &= static_cast<uint32_t>(event.ids_size()) == event.new_tokens();
    choice.ended |= event.finish() != wire::NONE;
  }

  // Tokens of a choice that its engine may emit.
  uint64_t Allowed(const Choice& choice) const {
    const uint64_t granted = submit.credits() == 0 ? UINT64_MAX : choice.granted;
    return cap == 0 ? granted : std::min<uint64_t>(granted, cap);
  }

  // What the next engine gets: the same, and where to go on.
  void Fill(wire::Submit& out) const {
    out = submit;
    out.set_request(wire_id());
    out.set_model(variant);
    out.set_max_tokens(room);
    if (cap > 0) out.set_credits(static_cast<uint32_t>(Allowed(choices[0])));
    if (!emitted) return;
    for (size_t i = 0; i < choices.size(); ++i) {
      wire::Resume& resume = *out.add_resume();
      resume.set_choice(static_cast<uint32_t>(i));
      resume.mutable_ids()->Add(choices[i].ids.begin(), choices[i].ids.end());
      resume.set_ended(choices[i].ended);
      const uint64_t allowed = Allowed(choices[i]);
      resume.set_credits(static_cast<uint32_t>(allowed - std::min<uint64_t>(allowed, choices[i].ids.size())));
    }
  }

 private:
  static constexpr uint32_t kMostChoices =
      1024;  // engines refuse fewer; this bounds what a Submit costs here
};

}  // namespace penstock

// Which engines answer rightly (canaries), and which get no work for a while (quarantine).
#include <algorithm>

#include "fleet/pool/pool.h"

namespace penstock {

// A model is ready on an engine: it gets requests once its answers are known to be right.
void Pool::Prove(Member& member, const std::string& model) {
  if (member.health.standing() == Health::Standing::kQuarantined || member.leaving) return;
  if (!prover_.Needs(model)) return Proved(member, model);
  for (wire::Submit& submit :
       prover_.Ask(member.key, member.hello.contract(), model, now_, [this] { return ++last_id_; })) {
    *Send(member).mutable_submit() = std::move(submit);
    ++stats_.canaries;
  }
}

void Pool::Proved(Member& member, const std::string& model) {
  member.proved[model] = now_;
  member.health.Proved(now_);
  member.Touch();
  AskForTurn();
}

void Pool::OnVerdict(const Prover::Verdict& verdict) {
  if (auto truths = prover_.TakeChangedTruths()) actions_.Add(KeepTruths{*std::move(truths)});
  Member* member = members_.Find(verdict.engine);
  if (member == nullptr || !member->connected()) return;
  if (verdict.status) return Proved(*member, verdict.model);
  const std::string why = fmt::format("model {}: {}", verdict.model, verdict.status.error().message);
  if (verdict.status.error().code == Code::kCorrupt) return AnsweredWrongly(*member, why);
  // One that was proved is asked again after the period; another at once, until its troubles are too many.
  if (const auto proved = member->proved.find(verdict.model); proved != member->proved.end())
    proved->second = now_;
  NoteTrouble(*member, Health::kFault, why);
}

void Pool::NoteTrouble(Member& member, double weight, std::string_view why) {
  const bool before = member.health.standing() == Health::Standing::kQuarantined;
  member.trouble = why;
  member.health.Trouble(now_, weight, why);
  member.Touch();
  if (before || member.health.standing() != Health::Standing::kQuarantined) return;
  ++stats_.quarantines;
  member.proved.clear();
  Log(spdlog::level::warn, "engine {} is in quarantine for {} s: {}", member.name(),
      (member.health.until() - now_) / kSecond, why);
}

// What runs there is not to be believed either.
void Pool::AnsweredWrongly(Member& member, std::string_view why) {
  ++stats_.canaries_wrong;
  ++stats_.quarantines;
  member.trouble = why;
  member.proved.clear();
  member.health.Wrong(now_, why);
  member.Touch();
  Log(spdlog::level::err, "engine {} answers wrongly and gets no requests for {} s: {}", member.name(),
      (member.health.until() - now_) / kSecond, why);
  for (auto& [id, job] : jobs_) {
    if (job->transfer.from == member.key) job->transfer.Forget();
  }
  for (const JobId id : JobsOf(member)) {
    LiveJob& job = *Find(id);
    CancelAt(member, job);
    if (job.answer.begun) job.answer.can_resume = false;
  }
  RequeueAll(member, {Code::kUnavailable, fmt::format("engine {} was found to answer wrongly", member.name()),
                      Reason::kEngineGone});
  AskForTurn();
}

void Pool::CheckCanaries() {
  for (const auto& verdict : prover_.Late(now_)) OnVerdict(verdict);
  for (const auto& member : members_) {
    if (!member->connected()) continue;
    if (member->health.standing() == Health::Standing::kQuarantined) {
      member->health.Tick(now_);
      member->Touch();
    }
    for (const auto& [model, state] : member->models) {
      if (state.state() != wire::ModelState::READY) continue;
      const auto proved = member->proved.find(model);
      const bool unproved = proved == member->proved.end();
      const bool due = !unproved && prover_.Needs(model) && now_ - proved->second >= options_.canary_period;
      if (unproved || due) Prove(*member, model);  // once; what is being asked is not asked again
    }
  }
}

void Pool::SetCanaries(const std::string& model, const std::string& identity,
                       std::vector<CanaryPrompt> prompts, Nanos now) {
  now_ = now;
  if (!served_.contains(model)) return;
  prover_.SetPrompts(model, identity, std::move(prompts));
  for (const auto& member : members_) {
    const wire::ModelState* state = member->connected() ? member->Find(model) : nullptr;
    if (state == nullptr || state->state() != wire::ModelState::READY) continue;
    member->proved.erase(model);
    member->Touch();
    Prove(*member, model);
  }
}

}  // namespace penstock

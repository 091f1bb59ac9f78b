// Which engines may be believed: canaries, trouble, quarantine.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "fleet/fleet_impl.h"

namespace penstock {

Member* FleetImpl::Find(Prover::Engine key) {
  const auto found = std::ranges::find(members_, key, [](const auto& member) { return member->key; });
  return found == members_.end() ? nullptr : found->get();
}

// A model is ready on an engine: it gets requests once its answers are known to be right.
void FleetImpl::Prove(Member& member, const std::string& model) {
  if (member.health.state() == Health::State::kQuarantined || member.leaving) return;
  if (!prover_.Needs(model)) return Proved(member, model);
  const Nanos now = clock_.Monotonic();
  for (wire::Submit& submit :
       prover_.Ask(member.key, member.hello.contract(), model, now, [this] { return ++last_id_; })) {
    submit.Swap(member.link->Send().mutable_submit());
    ++stats_.canaries;
  }
}

void FleetImpl::Proved(Member& member, const std::string& model) {
  member.proved[model] = clock_.Monotonic();
  member.health.Proved(clock_.Monotonic());
  Wake();
}

void FleetImpl::OnVerdict(const Prover::Verdict& verdict) {
  Member* member = Find(verdict.engine);
  if (member == nullptr || !member->connected()) return;
  if (verdict.status) return Proved(*member, verdict.model);
  const std::string why = fmt::format("model {}: {}", verdict.model, verdict.status.error().message);
  if (verdict.status.error().code == Code::kCorrupt) return Distrust(*member, why);
  // One that was proved is asked again after the period; another at once, until its troubles are too many.
  if (member->proved.contains(verdict.model)) member->proved[verdict.model] = clock_.Monotonic();
  Trouble(*member, Health::kFault, why);
}

void FleetImpl::Trouble(Member& member, double weight, std::string_view why) {
  const bool before = member.health.state() == Health::State::kQuarantined;
  member.trouble = why;
  member.health.Trouble(clock_.Monotonic(), weight, why);
  if (before || member.health.state() != Health::State::kQuarantined) return;
  ++stats_.quarantines;
  member.proved.clear();
  spdlog::warn("engine {} is in quarantine for {} s: {}", member.name(),
               (member.health.until() - clock_.Monotonic()) / kSecond, why);
}

// Its answers are wrong: what runs there cannot be believed either.
void FleetImpl::Distrust(Member& member, std::string_view why) {
  ++stats_.canaries_wrong;
  ++stats_.quarantines;
  member.trouble = why;
  member.proved.clear();
  member.health.Wrong(clock_.Monotonic(), why);
  spdlog::error("engine {} answers wrongly and gets no requests for {} s: {}", member.name(),
                (member.health.until() - clock_.Monotonic()) / kSecond, why);
  // What it wrote and computed may be wrong: nothing must be built on it.
  for (auto& [id, job] : jobs_) {
    if (job->state_from == member.key) job->ForgetStates();
    if (job->engine != &member) continue;
    member.link->Send().mutable_cancel()->set_request(job->wire_id());
    if (job->emitted) job->can_resume = false;
  }
  RequeueAll(member, {Code::kUnavailable, fmt::format("engine {} was found to answer wrongly", member.name()),
                      Reason::kEngineGone});
  Wake();
}

void FleetImpl::CheckTrust(Nanos now) {
  for (const auto& verdict : prover_.Late(now)) OnVerdict(verdict);
  for (const auto& member : members_) {
    if (!member->connected()) continue;
    member->health.Tick(now);
    for (const auto& [model, state] : member->models) {
      if (state.state() != wire::ModelState::READY) continue;
      const auto proved = member->proved.find(model);
      const bool unproved = proved == member->proved.end();
      const bool due = !unproved && prover_.Needs(model) && now - proved->second >= options_.canary_period;
      if (unproved || due) Prove(*member, model);  // once; what is being asked is not asked again
    }
  }
}

void FleetImpl::SetCanaries(const std::string& model, std::vector<CanaryPrompt> prompts) {
  const auto served = served_.find(model);
  if (served == served_.end()) return;
  prover_.SetPrompts(model, served->second.path, std::move(prompts));
  for (const auto& member : members_) {
    const wire::ModelState* state = member->connected() ? member->Find(model) : nullptr;
    if (state == nullptr || state->state() != wire::ModelState::READY) continue;
    member->proved.erase(model);
    Prove(*member, model);
  }
}

}  // namespace penstock

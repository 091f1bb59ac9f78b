#include "fleet/pool/pool.h"

#include <algorithm>
#include <utility>

namespace penstock {

Pool::Pool(PoolOptions options, Nanos now, std::string_view truths)
    : options_(std::move(options)), now_(now), last_tick_(now), prover_({}, truths) {
  actions_.Add(CallTick{now + options_.tick});
}

void Pool::AskForTurn() {
  if (!std::exchange(turn_asked_, true)) actions_.Add(CallTurn{});
}

void Pool::Turn(Nanos now) {
  now_ = now;
  turn_asked_ = false;
  for (const JobId id : std::exchange(fresh_, {})) {
    if (const LiveJob* job = Find(id))
      TellEventOf(*job, JobEvent::kQueued, fmt::format("{} requests ahead of it", job->wait.ahead));
  }
  if (std::exchange(check_hopeless_, false)) FailHopeless();
  Dispatch();
}

void Pool::Tick(Nanos now) {
  now_ = now;
  CheckHeartbeats();
  CheckCanaries();
  for (const auto& member : members_) MoveNext(*member);  // there may be room elsewhere by now
  CheckOutgrown();
  CheckDeadlines();
  ForgetCancelled();
  const auto useless = [](const Member& member) { return !member.open && member.name().empty(); };
  if (std::ranges::any_of(members_, useless, [](const auto& member) -> const Member& { return *member; }))
    members_.RemoveIf(useless);
  last_tick_ = now;
  actions_.Add(CallTick{now + options_.tick});
}

void Pool::Drain(Nanos now) {
  now_ = now;
  draining_ = true;
  CheckDrained();
}

void Pool::CheckDrained() {
  if (!draining_ || live_ > 0 || std::exchange(drained_told_, true)) return;
  actions_.Add(Drained{});
}

bool Pool::WantsText() const {
  return std::ranges::any_of(members_, [](const auto& member) {
    return member->connected() && member->hello.abilities().wants_text();
  });
}

std::vector<EngineView> Pool::Engines() const {
  std::vector<EngineView> views;
  for (const auto& member : members_) {
    if (!member->name().empty()) views.push_back(member->View());
  }
  std::ranges::sort(views, {}, &EngineView::name);
  return views;
}

std::vector<TeamQueueView> Pool::Queue() const {
  std::vector<TeamQueueView> views;
  for (const auto& team : queue_.View()) {
    const auto found = teams_.find(team.team);
    const TeamFacts facts = found == teams_.end() ? TeamFacts() : found->second;
    views.push_back({team.team, facts.name, team.waiting, team.running, team.counter / kSecond, team.received,
                     facts.tokens});
  }
  return views;
}

}  // namespace penstock

#include "fleet/fleet.h"

#include <algorithm>

#include "engine/wire_error.h"
#include "fleet/fleet_impl.h"

namespace penstock {

void FleetImpl::Serve(ServedModel model) {
  const std::string name = model.name;
  const ServedModel& served = served_[name] = std::move(model);
  for (const auto& member : members_) {
    if (member->connected()) Load(*member, served);
  }
}

void FleetImpl::Withdraw(const std::string& name) {
  if (served_.erase(name) == 0) return;
  for (const auto& member : members_) {
    if (member->connected()) Unload(*member, name);
  }
  Post([this] { FailHopeless(); });
}

bool FleetImpl::Offers(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Answers(served.first, model); });
}

bool FleetImpl::Ready(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) {
    return Answers(served.first, model) && std::ranges::any_of(members_, [&](const auto& member) {
             return member->health.trusted() && member->SeatFor(served.first).model == Seat::Model::kReady;
           });
  });
}

bool FleetImpl::AnyReady() const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Ready(served.first); });
}

// No connected engine has the model or is about to, and one says why.
std::optional<Error> FleetImpl::Hopeless(std::string_view model) const {
  const wire::ModelState* failed = nullptr;
  for (const auto& member : members_) {
    if (!member->connected()) continue;
    for (const auto& [name, state] : member->models) {
      if (!Answers(name, model)) continue;
      if (state.state() != wire::ModelState::FAILED) return std::nullopt;
      failed = &state;
    }
  }
  if (failed == nullptr) return std::nullopt;
  return Error{Code::kUnavailable,
               fmt::format("model {} could not be loaded: {}", model, ErrorOf(*failed).message),
               Reason::kModelFailedToLoad};
}

// Every connected engine that has the model is outside the organisation.
bool FleetImpl::OnlyExternal(std::string_view model) const {
  bool any = false;
  for (const auto& member : members_) {
    const bool has = member->connected() && std::ranges::any_of(member->models, [&](const auto& state) {
                       return Answers(state.first, model);
                     });
    if (has && !member->hello.external()) return false;
    any |= has;
  }
  return any;
}

Error FleetImpl::Unserved(std::string_view model) const {
  std::string names;
  for (const auto& [name, served] : served_) names += (names.empty() ? "" : ", ") + name;
  return {Code::kNotFound,
          names.empty() ? fmt::format("no model '{}': none is served yet", model)
                        : fmt::format("no model '{}'; served are: {}", model, names),
          Reason::kModelUnknown};
}

std::vector<TeamQueueView> FleetImpl::Queue() const {
  std::vector<TeamQueueView> views;
  for (const auto& team : queue_.View()) {
    const auto found = teams_.find(team.team);
    const TeamFacts facts = found == teams_.end() ? TeamFacts() : found->second;
    views.push_back({team.team, facts.name, team.waiting, team.running, team.counter / kSecond, team.received,
                     facts.tokens});
  }
  return views;
}

void FleetImpl::Drain(std::function<void()> drained) {
  draining_ = true;
  drained_ = std::move(drained);
  CheckDrained();
}

void FleetImpl::CheckDrained() {
  if (!draining_ || live_ > 0 || !drained_) return;
  Post(std::exchange(drained_, nullptr));
}

void FleetImpl::ScheduleTick() {
  timer_.expires_after(std::chrono::nanoseconds(options_.tick));
  timer_.async_wait(Guarded([this](const boost::system::error_code& error) {
    if (error) return;
    Tick();
    ScheduleTick();
  }));
}

void FleetImpl::Tick() {
  const Nanos now = clock_.Monotonic();
  CheckHeartbeats(now);
  CheckTrust(now);
  for (const auto& member : members_) MoveNext(*member);  // there may be room elsewhere by now
  CheckOutgrown(now);
  CheckDeadlines(now);
  ForgetCancelled(now);
  std::erase_if(members_, [](const auto& member) { return !member->link && member->name().empty(); });
  last_tick_ = now;
}

const FleetStats& Fleet::Stats() const {
  static const FleetStats none;
  return none;
}

std::unique_ptr<Fleet> MakeFleet(boost::asio::io_context& io, const Clock& clock, FleetOptions options) {
  return std::make_unique<FleetImpl>(io, clock, options);
}

}  // namespace penstock

#include "fleet/registry/member.h"

namespace penstock {

Occupancy& Occupancy::operator+=(const Occupancy& other) {
  jobs += other.jobs;
  sequences += other.sequences;
  pages += other.pages;
  prefill += other.prefill;
  context += other.context;
  return *this;
}

Occupancy& Occupancy::operator-=(const Occupancy& other) {
  jobs -= other.jobs;
  sequences -= other.sequences;
  pages -= other.pages;
  prefill -= other.prefill;
  context -= other.context;
  return *this;
}

Candidate Member::CandidateFor(std::string_view variant) const {
  Candidate candidate{.engine = key,
                      .variant = variant,
                      .sequences = occupied_.sequences,
                      .max_sequences = MayRun(),
                      .free_pages = load.free_pages() - std::min(load.free_pages(), occupied_.pages),
                      .prefill = static_cast<double>(occupied_.prefill),
                      .context = static_cast<double>(occupied_.context),
                      .external = hello.external(),
                      .resumes = hello.abilities().resume()};
  const wire::ModelState* state = takes_jobs() ? Find(variant) : nullptr;
  if (state == nullptr) return candidate;
  candidate.longest = state->context();
  candidate.stops_exactly = hello.abilities().reclaim();
  if (const auto profile = profiles.find(variant); profile != profiles.end()) {
    candidate.speed = profile->second.speed();
    candidate.chunk = profile->second.chunk();
  }
  using enum Candidate::Model;
  candidate.model = state->state() == wire::ModelState::READY ? (proved.contains(variant) ? kReady : kLoading)
                    : state->state() == wire::ModelState::FAILED ? kFailed
                                                                 : kLoading;
  return candidate;
}

EngineView Member::View() const {
  EngineView view;
  view.name = name();
  view.runner = hello.runner();
  view.chip = hello.chip();
  view.kernel = hello.kernel();
  view.place = hello.place();
  view.note = hello.note();
  view.pid = hello.pid();
  view.memory_bytes = hello.memory_bytes();
  view.connected = connected();
  view.health = HealthWord(health.standing());
  view.why = health.why().empty() ? trouble : health.why();
  view.may_run = connected() ? MayRun() : 0;
  view.contract = hello.contract();
  view.abilities = hello.abilities();
  view.external = hello.external();
  view.draining = set_aside || leaving;
  view.load = load;
  view.sent = occupied_.jobs;
  for (const auto& [name, state] : models) view.models.push_back(state);
  for (const auto& [model, profile] : profiles)
    view.profiles.push_back({model, profile.speed(), profile.drift(), profile.steps()});
  return view;
}

}  // namespace penstock

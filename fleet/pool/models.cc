// Which models are served, and which engines hold them.
#include <algorithm>

#include "engine/wire_error.h"
#include "fleet/pool/pool.h"

namespace penstock {

void Pool::Serve(ServedModel model, Nanos now) {
  now_ = now;
  const std::string name = model.name;
  const ServedModel& served = served_[name] = std::move(model);
  members_.AddModel(name);
  for (const auto& member : members_) {
    if (member->connected()) LoadModel(*member, served);
  }
}

void Pool::Withdraw(const std::string& model, Nanos now) {
  now_ = now;
  if (served_.erase(model) == 0) return;
  members_.RemoveModel(model);
  for (const auto& member : members_) {
    if (member->connected()) UnloadModel(*member, model);
  }
  check_hopeless_ = true;
  AskForTurn();
}

const ServedModel* Pool::Served(std::string_view model) const {
  const auto found = served_.find(model);
  return found == served_.end() ? nullptr : &found->second;
}

void Pool::LoadModel(Member& member, const ServedModel& model) {
  if (!member.Takes(model.name)) return;
  member.proved.erase(model.name);
  auto& message = *Send(member).mutable_load();
  message.set_name(model.name);
  message.set_path(model.path);
  message.set_kv_bytes(model.kv_bytes);
  message.set_context(model.context);
  wire::ModelState& state = member.models[model.name];
  state.Clear();
  state.set_name(model.name);
  state.set_path(model.path);
  state.set_state(wire::ModelState::LOADING);
  member.Touch();
}

void Pool::UnloadModel(Member& member, const std::string& name) {
  member.models.erase(name);
  Send(member).mutable_unload()->set_name(name);
  member.Touch();
}

void Pool::OnModel(Member& member, const wire::ModelState& state) {
  if (state.state() == wire::ModelState::UNLOADED || !served_.contains(state.name())) {
    member.models.erase(state.name());
    return;
  }
  member.models[state.name()] = state;
  if (state.state() == wire::ModelState::READY) return Prove(member, state.name());
  member.proved.erase(state.name());
  if (state.state() != wire::ModelState::FAILED) return;
  Log(spdlog::level::err, "engine {} could not load {}: {}", member.name(), state.name(),
      ErrorOf(state).message);
  FailHopeless();
}

bool Pool::Offers(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Answers(served.first, model); });
}

bool Pool::Ready(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) {
    return Answers(served.first, model) && std::ranges::any_of(members_, [&](const auto& member) {
             return member->health.serves() &&
                    member->CandidateFor(served.first).model == Candidate::Model::kReady;
           });
  });
}

bool Pool::AnyReady() const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Ready(served.first); });
}

// No connected engine has the model or is about to, and one says why.
std::optional<Error> Pool::Hopeless(std::string_view model) const {
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
bool Pool::OnlyExternal(std::string_view model) const {
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

Error Pool::Unserved(std::string_view model) const {
  std::string names;
  for (const auto& [name, served] : served_) names += (names.empty() ? "" : ", ") + name;
  return {Code::kNotFound,
          names.empty() ? fmt::format("no model '{}': none is served yet", model)
                        : fmt::format("no model '{}'; served are: {}", model, names),
          Reason::kModelUnknown};
}

// Jobs that wait for a model that is not served any more, or that no engine could load.
void Pool::FailHopeless() {
  std::vector<JobId> waiting;
  for (const auto& [id, job] : jobs_) {
    if (job->where.here.member() == nullptr) waiting.push_back(id);
  }
  std::ranges::sort(waiting);
  for (const JobId id : waiting) {
    LiveJob& job = *Find(id);
    const std::string& model = job.request.model();
    const auto error = Offers(model) ? Hopeless(model) : Unserved(model);
    if (error) FailJob(job, *error);
  }
}

}  // namespace penstock

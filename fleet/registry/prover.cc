#include "fleet/registry/prover.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "engine/wire_error.h"

namespace penstock {
namespace {

Status AllAgree(const std::vector<CanaryAnswer>& truth, const std::vector<CanaryAnswer>& given, bool same) {
  for (size_t i = 0; i < truth.size(); ++i) PENSTOCK_TRY(Agrees(truth[i], given[i], same));
  return {};
}

}  // namespace

void Prover::SetPrompts(const std::string& model, const std::string& identity,
                        std::vector<CanaryPrompt> prompts) {
  models_[model] = {.file = identity, .prompts = std::move(prompts), .latest = {}};
}

bool Prover::Needs(std::string_view model) const {
  const auto found = models_.find(model);
  return found != models_.end() && !found->second.prompts.empty();
}

bool Prover::Asking(Engine engine, std::string_view model) const {
  return runs_.contains({engine, std::string(model)});
}

std::vector<wire::Submit> Prover::Ask(Engine engine, const std::string& contract, const std::string& model,
                                      Nanos now, const std::function<uint64_t()>& next) {
  std::vector<wire::Submit> asked;
  if (!Needs(model) || Asking(engine, model)) return asked;
  const Key key{engine, model};
  Run& run = runs_[key];
  run.contract = contract;
  run.since = now;
  for (const CanaryPrompt& prompt : models_.find(model)->second.prompts) {
    wire::Submit& submit = asked.emplace_back(AskCanary(model, prompt));
    submit.set_request(next());
    requests_[submit.request()] = {key, run.requests.size()};
    run.requests.push_back(submit.request());
  }
  run.left = asked.size();
  run.answers.resize(asked.size());
  return asked;
}

bool Prover::Hear(Engine engine, const wire::TokenEvent& event, std::optional<Verdict>& verdict) {
  const auto request = requests_.find(event.request());
  if (request == requests_.end() || request->second.first.first != engine) return false;
  const auto [key, index] = request->second;
  const auto found = runs_.find(key);
  Run& run = found->second;
  Append(event, run.answers[index]);
  if (event.finish() == wire::NONE) return true;
  if (event.finish() == wire::CANCELLED) run.error = "it gave up";
  if (event.finish() == wire::ERROR) {
    const Error error = ErrorOf(event);
    (BlameOf(error) == Blame::kEngine ? run.error : run.refusal) = error.message;
  }
  requests_.erase(request);
  if (--run.left > 0) return true;
  Run ended = std::move(run);
  Drop(found);
  verdict = Judge(key, std::move(ended));
  return true;
}

Prover::Verdict Prover::Judge(const Key& key, Run run) {
  if (!run.error.empty()) {
    return {key.first, key.second, Fail(Code::kUnavailable, "it could not be asked: {}", run.error)};
  }
  // Not the engine's fault: its context is too short for the question, say. Nothing can be known then.
  if (!run.refusal.empty()) {
    spdlog::warn("model {} is served unproved by an engine that refuses its canaries: {}", key.second,
                 run.refusal);
    return {key.first, key.second, {}};
  }
  Status status = Compare(key, run);
  if (const auto model = models_.find(key.second); model != models_.end()) {
    model->second.latest[key.first] = std::move(run.answers);
  }
  return {key.first, key.second, std::move(status)};
}

Status Prover::Compare(const Key& key, const Run& run) {
  const auto found = models_.find(key.second);
  if (found == models_.end() || found->second.prompts.size() != run.answers.size()) return {};
  const Model& model = found->second;
  const bool tells_tokens = std::ranges::none_of(
      run.answers, [](const CanaryAnswer& answer) { return answer.tokens.size() != kCanaryTokens; });
  const auto keep = [&](std::string_view why) {
    spdlog::info("model {}: the answers of an engine are from now on what engines are held to ({})",
                 key.second, why);
    truths_changed_ = true;
    truths_.Keep(key.second, {.file = model.file, .contract = run.contract, .answers = run.answers});
  };
  const Truth* truth = truths_.Find(key.second, model.file, model.prompts.size());
  if (truth == nullptr) {
    if (tells_tokens) keep("the first");
    return {};
  }
  if (tells_tokens && run.contract == options_.own && truth->contract != options_.own) {
    keep("of our own kernels");
    return {};
  }
  const bool same = !run.contract.empty() && run.contract == truth->contract;
  Status status = AllAgree(truth->answers, run.answers, same);
  if (!status && tells_tokens && Outvoted(model, *truth, run.answers)) {
    keep("of most engines");
    return {};
  }
  return status;
}

// More engines gave this answer than the one that is taken for true.
bool Prover::Outvoted(const Model& model, const Truth& truth, const std::vector<CanaryAnswer>& given) const {
  size_t with = 1, against = 0;
  for (const auto& [engine, answers] : model.latest) {
    if (answers.size() != given.size()) continue;
    with += AllAgree(given, answers, true).has_value();
    against += AllAgree(truth.answers, answers, true).has_value();
  }
  return with > 1 && with > against;
}

std::vector<Prover::Verdict> Prover::Late(Nanos now) {
  std::vector<Verdict> late;
  for (auto run = runs_.begin(); run != runs_.end();) {
    const auto next = std::next(run);
    if (now - run->second.since > options_.patience) {
      late.push_back({run->first.first, run->first.second,
                      Fail(Code::kUnavailable, "it has not answered its canaries for {} s",
                           options_.patience / kSecond)});
      Drop(run);
    }
    run = next;
  }
  return late;
}

void Prover::Drop(std::map<Key, Run>::iterator run) {
  for (const uint64_t request : run->second.requests) requests_.erase(request);
  runs_.erase(run);
}

void Prover::Forget(Engine engine) {
  for (auto run = runs_.begin(); run != runs_.end();) {
    const auto next = std::next(run);
    if (run->first.first == engine) Drop(run);
    run = next;
  }
  for (auto& [name, model] : models_) model.latest.erase(engine);
}

}  // namespace penstock

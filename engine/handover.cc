#include "engine/handover.h"

#include <spdlog/spdlog.h>

#include <span>

namespace penstock {
namespace {

constexpr size_t kPart = 1 << 20;  // bytes of one message

}  // namespace

void Arrivals::Add(const wire::State& state) {
  State& arriving = states_[{state.request(), state.choice()}];
  arriving.tokens = state.tokens();
  arriving.bytes += state.data();
}

void Arrivals::Give(Runner& runner, Scheduler& scheduler, const EngineModel& model, SequenceId sequence,
                    uint64_t request, uint32_t choice) {
  auto found = states_.extract({request, choice});
  if (!found) return;
  auto& [tokens, bytes] = found.mapped();
  const std::span<const Token> known = scheduler.Find(sequence)->tokens;
  if (tokens == 0 || tokens >= known.size()) return;
  const Status given = runner.GiveState(model.loaded.id, sequence, known.first(tokens), std::move(bytes));
  if (!given) return spdlog::warn("a sequence is computed again: {}", given.error().message);
  scheduler.PutAside(sequence, static_cast<int32_t>(tokens));
}

uint64_t GiveAway(Runner& runner, const LoadedModel& model, const Sequence& sequence, uint64_t request,
                  uint32_t choice, uint64_t most_bytes,
                  const std::function<void(const wire::FromEngine&)>& send) {
  if (sequence.computed == 0) return 0;
  const auto state = runner.TakeState(model.id, sequence.id, sequence.computed, sequence.pages);
  if (!state || state->size() > most_bytes) return 0;
  wire::FromEngine message;
  wire::State& part = *message.mutable_state();
  part.set_request(request);
  part.set_choice(choice);
  part.set_tokens(static_cast<uint32_t>(sequence.computed));
  for (size_t at = 0; at < state->size(); at += kPart) {
    part.set_data(state->substr(at, kPart));
    send(message);
  }
  return state->size();
}

}  // namespace penstock

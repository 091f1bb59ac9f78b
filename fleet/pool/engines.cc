// The engines: who connects, what they report, how they leave.
#include <algorithm>

#include "fleet/pool/pool.h"

namespace penstock {
namespace {

constexpr uint32_t kProtocol = 1;
constexpr double kHang = 30;           // a step that takes so many times what it should
constexpr double kLargestStep = 2048;  // tokens of a step, to judge whether it hangs

}  // namespace

void Pool::Connected(EngineKey engine, Nanos now) {
  now_ = now;
  members_.Add(engine).heard = now;
}

void Pool::Gone(EngineKey engine, std::string_view why, Nanos now) {
  now_ = now;
  if (Member* member = members_.Find(engine); member != nullptr && member->open) Lose(*member, why);
}

void Pool::Heard(EngineKey engine, const wire::FromEngine& message, Nanos now) {
  now_ = now;
  Member* const found = members_.Find(engine);
  if (found == nullptr || !found->open) return;
  Member& member = *found;
  member.heard = now;
  member.Touch();
  if (message.has_hello() == member.connected()) return Lose(member, "it breaks the protocol");
  switch (message.kind_case()) {
    case wire::FromEngine::kHello:
      OnHello(member, message.hello());
      break;
    case wire::FromEngine::kModel:
      OnModel(member, message.model());
      break;
    case wire::FromEngine::kStep:
      OnStep(member, message.step());
      break;
    case wire::FromEngine::kHeartbeat:
      OnHeartbeat(member, message.heartbeat());
      break;
    case wire::FromEngine::kLeaving:
      LetLeave(member);
      break;
    case wire::FromEngine::kState:
      OnState(member, message.state());
      break;
    case wire::FromEngine::kReleased:
      OnReleased(member, message.released());
      break;
    case wire::FromEngine::KIND_NOT_SET:
      break;  // of a later version
  }
  if (queue_.waiting() > 0) AskForTurn();
}

void Pool::OnHello(Member& member, const wire::Hello& hello) {
  if (hello.protocol() != kProtocol || hello.engine().empty()) {
    return Lose(member, fmt::format("engine '{}' speaks protocol {}, this gateway {}", hello.engine(),
                                    hello.protocol(), kProtocol));
  }
  member.hello = hello;
  InheritFromFormer(member);
  member.health.Connected(now_);
  member.set_aside = set_aside_.contains(hello.engine());
  for (const auto& state : hello.models()) member.models[state.name()] = state;
  Send(member).mutable_welcome()->set_protocol(kProtocol);
  if (!log_level_.empty()) Send(member).mutable_log()->set_level(log_level_);
  Log(spdlog::level::info, "engine {} connected: {} on {}, pid {}", hello.engine(), hello.runner(),
      hello.chip(), hello.pid());

  for (const auto& state : hello.models()) {
    if (!served_.contains(state.name())) UnloadModel(member, state.name());
  }
  for (const auto& [name, model] : served_) {
    const wire::ModelState* has = member.Find(name);
    const bool same = has != nullptr && has->state() == wire::ModelState::READY && has->path() == model.path;
    if (same) {
      Prove(member, name);
    } else {
      LoadModel(member, model);
    }
  }
}

// An engine of this name that was here before is replaced. What was learnt of it is still true of the chip.
void Pool::InheritFromFormer(Member& member) {
  for (const auto& other : members_) {
    if (other.get() == &member || other->name() != member.name()) continue;
    if (other->open) Lose(*other, "a new one of its name connected");
    member.health = other->health;
    member.trouble = std::move(other->trouble);
    member.profiles = std::move(other->profiles);
  }
  members_.RemoveIf([&](const Member& other) { return &other != &member && other.name() == member.name(); });
}

void Pool::OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat) {
  member.load = heartbeat.load();
  const Nanos stepping = heartbeat.stepping_ms() * kMillisecond;
  if (stepping < options_.step_timeout) return;
  // What the largest step should take, by the slowest of its models.
  double expected = 0;
  const auto context = static_cast<double>(member.occupied().context);
  for (const auto& [model, profile] : member.profiles)
    expected = std::max(expected, profile.speed().Expect({.prefill = kLargestStep, .context = context}));
  if (static_cast<double>(stepping) < kHang * expected) return;
  const std::string why = fmt::format("a step has hung for {} s", stepping / kSecond);
  NoteTrouble(member, Health::kHang, why);
  Lose(member, why);
}

void Pool::OnStep(Member& member, const wire::StepReport& step) {
  if (step.has_load()) member.load = step.load();
  if (step.prefill() + step.decode() > 0 && !step.model().empty()) {
    const auto took = static_cast<Nanos>(std::min<uint64_t>(step.chip_ns(), kLongestStep));
    member.profiles[step.model()].Note({.prefill = static_cast<double>(step.prefill()),
                                        .decode = static_cast<double>(step.decode()),
                                        .context = static_cast<double>(step.context())},
                                       took);
  }
  // Charges before tokens: a job's last token is the last that is told about it.
  for (const auto& note : step.notes()) OnNote(member, note);
  for (const auto& charge : step.charges()) OnCharge(member, charge);
  for (const auto& event : step.tokens()) OnTokens(member, event);
}

// It gets nothing new after Drain: what runs there goes on elsewhere, or it still finishes it.
void Pool::LetLeave(Member& member) {
  if (!std::exchange(member.leaving, true)) Send(member).mutable_drain();
  member.Touch();
  MoveNext(member);
}

void Pool::Lose(Member& member, std::string_view why) {
  const std::string name = member.name();
  if (member.leaving) {
    Log(spdlog::level::info, "engine {} has left", name);
  } else {
    Log(spdlog::level::warn, "engine {} is gone: {}", name.empty() ? "(unnamed)" : name, why);
  }
  actions_.Add(Disconnect{member.key});
  member.open = false;
  member.models.clear();
  member.proved.clear();
  member.load.Clear();
  member.Touch();
  prover_.Forget(member.key);
  for (const auto& [id, job] : jobs_) {
    if (job->where.reserved.member() == &member) job->where.reserved.Release();
  }
  if (name.empty()) return;
  if (!member.leaving) ++stats_.engine_deaths;
  RequeueAll(member,
             {Code::kUnavailable, fmt::format("engine {} is gone: {}", name, why), Reason::kEngineGone});
  if (!std::exchange(member.leaving, false)) NoteTrouble(member, Health::kDeath, why);
  AskForTurn();
}

void Pool::CheckHeartbeats() {
  // If this process itself was stopped, the engines' silence says nothing.
  const bool we_slept = now_ - last_tick_ > options_.engine_timeout / 2;
  for (const auto& member : members_) {
    if (!member->open) continue;
    if (we_slept) member->heard = now_;
    const Nanos silence = now_ - member->heard;
    if (silence > options_.engine_timeout) Lose(*member, fmt::format("silent for {} s", silence / kSecond));
  }
}

Result<Member*> Pool::Named(std::string_view engine) {
  for (const auto& member : members_) {
    if (member->name() == engine && !engine.empty()) return member.get();
  }
  std::string names;
  for (const auto& view : Engines()) names += (names.empty() ? "" : ", ") + view.name;
  return Fail(Code::kNotFound, "no engine '{}'; there {}", engine,
              names.empty() ? "is none" : "are: " + names);
}

Status Pool::SetDraining(std::string_view engine, bool on, Nanos now) {
  now_ = now;
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (std::exchange(member->set_aside, on) == on) return {};
  member->Touch();
  Log(spdlog::level::info, "engine {} {}", engine,
      on ? "is set aside: it gets no new requests" : "takes requests again");
  if (on) {
    set_aside_.emplace(engine);
    MoveNext(*member);
  } else {
    set_aside_.erase(member->name());
    AskForTurn();
  }
  return {};
}

Status Pool::Restart(std::string_view engine, Nanos now) {
  now_ = now;
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (!member->connected()) return Fail(Code::kUnavailable, "engine {} is not connected", engine);
  LetLeave(*member);
  return {};
}

void Pool::SetLogLevel(std::string_view word) {
  log_level_ = word;
  for (const auto& member : members_) {
    if (member->connected()) Send(*member).mutable_log()->set_level(log_level_);
  }
}

}  // namespace penstock

// The engines of the fleet: who connects, what they hold and say, how they leave.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "engine/wire_error.h"
#include "fleet/fleet_impl.h"
#include "fleet/registry/listener.h"

namespace penstock {
namespace {

constexpr uint32_t kProtocol = 1;
constexpr Nanos kLongestStep = 3600 * kSecond;  // a charge above it is a peer's mistake
constexpr double kHang = 30;                    // a step that takes so many times what it should
constexpr double kLargestStep = 2048;           // tokens of a step, as far as hanging goes

}  // namespace

namespace asio = boost::asio;

Status FleetImpl::Listen(const std::string& path) {
  PENSTOCK_ASSIGN(acceptor_, ListenUnix(io_, path));
  path_ = path;
  Accept();
  return {};
}

void FleetImpl::Accept() {
  acceptor_.async_accept(Guarded([this](boost::system::error_code error, EngineLink::Socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      spdlog::error("cannot accept an engine: {}", error.message());
    } else {
      Welcome(std::move(socket));
    }
    Accept();
  }));
}

void FleetImpl::Welcome(EngineLink::Socket socket) {
  Member& member = *members_.emplace_back(std::make_unique<Member>());
  member.key = ++last_key_;
  member.link = std::make_shared<EngineLink>(std::move(socket), stats_);
  member.heard = clock_.Monotonic();
  member.link->Start({
      .message = [this, &member](const wire::FromEngine& message) { OnMessage(member, message); },
      .closed = [this, &member](std::string_view why) { Lose(member, why); },
  });
}

void FleetImpl::OnMessage(Member& member, const wire::FromEngine& message) {
  member.heard = clock_.Monotonic();
  if (message.has_hello() == member.connected()) return Lose(member, "it does not keep to the protocol");
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
      LetGo(member);
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
  if (queue_.waiting() > 0) Wake();
}

void FleetImpl::OnHello(Member& member, const wire::Hello& hello) {
  if (hello.protocol() != kProtocol || hello.engine().empty()) {
    return Lose(member, fmt::format("engine '{}' speaks protocol {}, this gateway {}", hello.engine(),
                                    hello.protocol(), kProtocol));
  }
  for (const auto& other : members_) {
    if (other->name() == hello.engine() && other->link) Lose(*other, "a new one of its name connected");
  }
  // What was learnt of it before is still true of the chip.
  for (const auto& other : members_) {
    if (other->name() != hello.engine()) continue;
    member.health = other->health;
    member.trouble = std::move(other->trouble);
    member.profiles = std::move(other->profiles);
  }
  std::erase_if(members_, [&](const auto& other) { return other->name() == hello.engine(); });
  member.hello = hello;
  member.health.Connected(clock_.Monotonic());
  member.set_aside = set_aside_.contains(hello.engine());
  for (const auto& state : hello.models()) member.models[state.name()] = state;
  member.link->Send().mutable_welcome()->set_protocol(kProtocol);
  if (!log_level_.empty()) member.link->Send().mutable_log()->set_level(log_level_);
  spdlog::info("engine {} connected: {} on {}, pid {}", hello.engine(), hello.runner(), hello.chip(),
               hello.pid());

  for (const auto& state : hello.models()) {
    if (!served_.contains(state.name())) Unload(member, state.name());
  }
  for (const auto& [name, model] : served_) {
    const wire::ModelState* has = member.Find(name);
    const bool same = has != nullptr && has->state() == wire::ModelState::READY && has->path() == model.path;
    if (same) {
      Prove(member, name);
    } else {
      Load(member, model);
    }
  }
}

void FleetImpl::OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat) {
  member.load = heartbeat.load();
  const Nanos stepping = heartbeat.stepping_ms() * kMillisecond;
  if (stepping < options_.step_timeout) return;
  // What the largest step should take, by the slowest of its models.
  double expected = 0;
  for (const auto& [model, profile] : member.profiles) {
    expected =
        std::max(expected, profile.speed().Expect({.prefill = kLargestStep, .context = member.context}));
  }
  if (static_cast<double>(stepping) < kHang * expected) return;
  const std::string why = fmt::format("a step has hung for {} s", stepping / kSecond);
  Trouble(member, Health::kHang, why);
  Lose(member, why);
}

void FleetImpl::Load(Member& member, const ServedModel& model) {
  if (!member.Takes(model.name)) return;
  member.proved.erase(model.name);
  auto& message = *member.link->Send().mutable_load();
  message.set_name(model.name);
  message.set_path(model.path);
  message.set_kv_bytes(model.kv_bytes);
  message.set_context(model.context);
  wire::ModelState& state = member.models[model.name];
  state.Clear();
  state.set_name(model.name);
  state.set_path(model.path);
  state.set_state(wire::ModelState::LOADING);
}

void FleetImpl::Unload(Member& member, const std::string& name) {
  member.models.erase(name);
  member.link->Send().mutable_unload()->set_name(name);
}

void FleetImpl::OnModel(Member& member, const wire::ModelState& state) {
  if (state.state() == wire::ModelState::UNLOADED || !served_.contains(state.name())) {
    member.models.erase(state.name());
    return;
  }
  member.models[state.name()] = state;
  if (state.state() == wire::ModelState::READY) return Prove(member, state.name());
  member.proved.erase(state.name());
  if (state.state() != wire::ModelState::FAILED) return;
  spdlog::error("engine {} could not load {}: {}", member.name(), state.name(), ErrorOf(state).message);
  FailHopeless();
}

void FleetImpl::OnStep(Member& member, const wire::StepReport& step) {
  if (step.has_load()) member.load = step.load();
  if (step.prefill() + step.decode() > 0 && !step.model().empty()) {
    const auto took = static_cast<Nanos>(std::min<uint64_t>(step.chip_ns(), kLongestStep));
    member.profiles[step.model()].Note({.prefill = static_cast<double>(step.prefill()),
                                        .decode = static_cast<double>(step.decode()),
                                        .context = static_cast<double>(step.context())},
                                       took);
  }
  // Charges before tokens: a job's last token is the last that its sink hears.
  for (const auto& note : step.notes()) OnNote(member, note);
  for (const auto& charge : step.charges()) OnCharge(member, charge);
  for (const auto& event : step.tokens()) OnTokens(member, event);
}

// It gets nothing new after the drain: what is under way there goes on elsewhere, or it still finishes it.
void FleetImpl::LetGo(Member& member) {
  if (!std::exchange(member.leaving, true)) member.link->Send().mutable_drain();
  MoveNext(member);
}

Result<Member*> FleetImpl::Named(std::string_view engine) {
  for (const auto& member : members_) {
    if (member->name() == engine && !engine.empty()) return member.get();
  }
  std::string names;
  for (const auto& view : Engines()) names += (names.empty() ? "" : ", ") + view.name;
  return Fail(Code::kNotFound, "no engine '{}'; there {}", engine,
              names.empty() ? "is none" : "are: " + names);
}

Status FleetImpl::SetDraining(std::string_view engine, bool on) {
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (std::exchange(member->set_aside, on) == on) return {};
  spdlog::info("engine {} {}", engine, on ? "is set aside: it gets no new requests" : "takes requests again");
  if (on) {
    set_aside_.emplace(engine);
    MoveNext(*member);
  } else {
    set_aside_.erase(member->name());
    Wake();
  }
  return {};
}

Status FleetImpl::Restart(std::string_view engine) {
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (!member->connected()) return Fail(Code::kUnavailable, "engine {} is not connected", engine);
  LetGo(*member);
  return {};
}

void FleetImpl::Lose(Member& member, std::string_view why) {
  const std::string name = member.name();
  if (member.leaving) {
    spdlog::info("engine {} has left", name);
  } else {
    spdlog::warn("engine {} is gone: {}", name.empty() ? "(unnamed)" : name, why);
  }
  member.link->Close();
  member.link = nullptr;
  member.models.clear();
  member.proved.clear();
  member.load.Clear();
  prover_.Forget(member.key);
  for (const auto& [id, job] : jobs_) {
    if (job->next == &member) GiveUpSeat(*job);
  }
  if (name.empty()) return;
  if (!member.leaving) ++stats_.engine_deaths;
  RequeueAll(member,
             {Code::kUnavailable, fmt::format("engine {} is gone: {}", name, why), Reason::kEngineGone});
  if (!std::exchange(member.leaving, false)) Trouble(member, Health::kDeath, why);
  Wake();
}

void FleetImpl::CheckHeartbeats(Nanos now) {
  // If this process itself was stopped, the engines' silence says nothing.
  const bool we_slept = now - last_tick_ > options_.engine_timeout / 2;
  for (const auto& member : members_) {
    if (!member->link) continue;
    if (we_slept) member->heard = now;
    const Nanos silence = now - member->heard;
    if (silence > options_.engine_timeout) Lose(*member, fmt::format("silent for {} s", silence / kSecond));
  }
}

void FleetImpl::SetLogLevel(std::string_view word) {
  log_level_ = word;
  for (const auto& member : members_) {
    if (member->connected()) member->link->Send().mutable_log()->set_level(log_level_);
  }
}

std::vector<EngineView> FleetImpl::Engines() const {
  std::vector<EngineView> views;
  for (const auto& member : members_) {
    if (!member->name().empty()) views.push_back(member->View());
  }
  std::ranges::sort(views, {}, &EngineView::name);
  return views;
}

}  // namespace penstock

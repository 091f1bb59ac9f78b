// For tests of the pool: engines and clients that exist in memory only, with connections that deliver
// messages in order and late. Time moves when told to; after every event the pool's integrity is checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "engine/wire_error.h"
#include "fleet/pool/pool.h"

namespace penstock::testing {

// The answer that every engine gives: token `position` of the choice that draws from `seed`.
inline int32_t AnswerToken(uint64_t seed, size_t position) {
  return static_cast<int32_t>(Draw(seed, position) % 50'000);
}
// After how many tokens the answer ends by itself.
inline uint32_t AnswerLength(uint64_t seed) {
  return 1 + static_cast<uint32_t>(Draw(seed, 1'000'000) % 120);
}

// An engine that computes nothing: it keeps to the protocol and says what AnswerToken says.
class FormulaEngine {
 public:
  struct Choice {
    uint64_t seed = 0;
    uint32_t emitted = 0;
    int64_t credits = -1;  // negative: no limit
    bool ended = false;
  };
  struct Request {
    std::string model;
    uint32_t prompt = 0, max_tokens = 0;
    uint64_t limit = 0;
    bool admitted = false, canary = false;
    std::vector<Choice> choices;
  };

  EngineKey key = 0;
  wire::Hello hello;
  uint32_t context = 0;        // the longest text; 0: it does not say
  bool lies = false;           // answers canaries wrongly
  bool fails_to_load = false;  // every model
  bool silent = false;         // says nothing any more
  bool hangs = false;          // its step never ends
  bool drained = false;        // was told to end when it has finished
  std::map<std::string, bool> models;
  std::map<uint64_t, Request> requests;
  std::deque<wire::ToEngine> in;
  std::deque<wire::FromEngine> out;

  void Say(wire::FromEngine message) { out.push_back(std::move(message)); }
  void SayHello() {
    wire::FromEngine message;
    *message.mutable_hello() = hello;
    Say(std::move(message));
  }
  void Heartbeat() {
    wire::FromEngine message;
    message.mutable_heartbeat()->mutable_load()->set_free_pages(64);
    if (hangs) message.mutable_heartbeat()->set_stepping_ms(3'600'000);
    Say(std::move(message));
  }

  // Obeys the next message.
  void Obey() {
    const wire::ToEngine message = std::move(in.front());
    in.pop_front();
    switch (message.kind_case()) {
      case wire::ToEngine::kLoad:
        return Load(message.load());
      case wire::ToEngine::kUnload:
        return Unload(message.unload().name());
      case wire::ToEngine::kSubmit:
        return Submit(message.submit());
      case wire::ToEngine::kCancel:
        return Cancel(message.cancel().request());
      case wire::ToEngine::kCredit:
        return Credit(message.credit());
      case wire::ToEngine::kLimit:
        if (const auto found = requests.find(message.limit().request()); found != requests.end()) {
          uint64_t& limit = found->second.limit;
          limit = limit == 0 ? message.limit().tokens() : std::min(limit, message.limit().tokens());
        }
        return;
      case wire::ToEngine::kRelease:
        return Release(message.release().request());
      case wire::ToEngine::kDrain:
        drained = true;
        return;
      default:
        return;
    }
  }

  // One step of all requests: first their prompts, then up to `most` tokens of each choice.
  void Step(uint32_t most) {
    if (hangs || requests.empty()) return;
    wire::FromEngine message;
    wire::StepReport& step = *message.mutable_step();
    step.set_chip_ns(10 * kMillisecond);
    for (auto& [id, request] : requests) {
      auto& charge = *step.add_charges();
      charge.set_request(id);
      charge.set_chip_ns(kMillisecond);
      if (!request.admitted) {
        request.admitted = true;
        step.add_notes()->set_request(id);
        charge.set_computed(request.prompt);
        step.set_prefill(step.prefill() + request.prompt);
        step.set_model(request.model);
        continue;
      }
      for (size_t i = 0; i < request.choices.size(); ++i) Emit(id, request, i, most, step);
      charge.set_computed(most);
    }
    std::erase_if(requests, [](const auto& request) {
      return std::ranges::all_of(request.second.choices, &Choice::ended);
    });
    Say(std::move(message));
  }

  // Ends a request with this error.
  void Refuse(uint64_t id, const Error& error) {
    const auto found = requests.find(id);
    wire::FromEngine message;
    for (size_t i = 0; i < found->second.choices.size(); ++i) {
      if (found->second.choices[i].ended) continue;
      wire::TokenEvent& event = *message.mutable_step()->add_tokens();
      event.set_request(id);
      event.set_choice(static_cast<uint32_t>(i));
      event.set_finish(wire::ERROR);
      SetError(error, event);
    }
    requests.erase(found);
    Say(std::move(message));
  }

 private:
  void Load(const wire::LoadModel& load) {
    models[load.name()] = !fails_to_load;
    wire::FromEngine message;
    wire::ModelState& state = *message.mutable_model();
    state.set_name(load.name());
    state.set_path(load.path());
    state.set_state(fails_to_load ? wire::ModelState::FAILED : wire::ModelState::READY);
    if (fails_to_load) SetError({Code::kIo, "no such file", Reason::kNone}, state);
    state.set_context(context);
    state.set_page_bytes(1024);
    Say(std::move(message));
  }
  void Unload(const std::string& name) {
    models.erase(name);
    std::vector<uint64_t> gone;
    for (const auto& [id, request] : requests) {
      if (request.model == name) gone.push_back(id);
    }
    for (const uint64_t id : gone) Refuse(id, {Code::kUnavailable, "unloaded", Reason::kNone});
    wire::FromEngine message;
    message.mutable_model()->set_name(name);
    message.mutable_model()->set_state(wire::ModelState::UNLOADED);
    Say(std::move(message));
  }
  void Submit(const wire::Submit& submit) {
    Request& request = requests[submit.request()];
    request = {.model = submit.model(),
               .prompt = static_cast<uint32_t>(submit.prompt_size()),
               .max_tokens = submit.max_tokens(),
               .limit = submit.limit(),
               .canary = submit.lenient(),
               .choices = {}};
    request.choices.resize(submit.choices());
    for (uint32_t i = 0; i < submit.choices(); ++i) {
      request.choices[i].seed = submit.sampling().seed() + i;
      if (submit.credits() > 0) request.choices[i].credits = submit.credits();
    }
    for (const wire::Resume& resume : submit.resume()) {
      Choice& choice = request.choices[resume.choice()];
      choice.emitted = static_cast<uint32_t>(resume.ids_size());
      choice.ended = resume.ended();
      if (submit.credits() > 0) choice.credits = resume.credits();
    }
    const auto model = models.find(submit.model());
    if (model == models.end() || !model->second)
      Refuse(submit.request(), {Code::kNotFound, "not loaded", Reason::kNone});
  }
  void Cancel(uint64_t id) {
    const auto found = requests.find(id);
    if (found == requests.end()) return;
    wire::FromEngine message;
    for (size_t i = 0; i < found->second.choices.size(); ++i) {
      if (found->second.choices[i].ended) continue;
      wire::TokenEvent& event = *message.mutable_step()->add_tokens();
      event.set_request(id);
      event.set_choice(static_cast<uint32_t>(i));
      event.set_finish(wire::CANCELLED);
    }
    requests.erase(found);
    Say(std::move(message));
  }
  void Credit(const wire::Credit& credit) {
    const auto found = requests.find(credit.request());
    if (found == requests.end() || credit.choice() >= found->second.choices.size()) return;
    Choice& choice = found->second.choices[credit.choice()];
    if (choice.credits >= 0) choice.credits += credit.tokens();
  }
  void Release(uint64_t id) {
    const auto found = requests.find(id);
    if (found == requests.end()) return;
    for (size_t i = 0; i < found->second.choices.size() && found->second.admitted; ++i) {
      if (found->second.choices[i].ended) continue;
      wire::FromEngine message;
      message.mutable_state()->set_request(id);
      message.mutable_state()->set_choice(static_cast<uint32_t>(i));
      message.mutable_state()->set_tokens(found->second.prompt + found->second.choices[i].emitted);
      message.mutable_state()->set_data("bytes");
      Say(std::move(message));
    }
    requests.erase(found);
    wire::FromEngine message;
    message.mutable_released()->set_request(id);
    Say(std::move(message));
  }

  void Emit(uint64_t id, Request& request, size_t index, uint32_t most, wire::StepReport& step) {
    Choice& choice = request.choices[index];
    if (choice.ended) return;
    uint64_t all = 0;
    for (const Choice& other : request.choices) all += other.emitted;
    wire::TokenEvent event;
    event.set_request(id);
    event.set_choice(static_cast<uint32_t>(index));
    const bool reached = request.limit > 0 && all >= request.limit;
    for (uint32_t i = 0; i < most && !reached && choice.credits != 0; ++i) {
      if (choice.emitted >= request.max_tokens || (request.limit > 0 && all >= request.limit)) break;
      if (!request.canary && choice.emitted >= AnswerLength(choice.seed)) break;
      const int32_t token = AnswerToken(choice.seed, choice.emitted++) + (request.canary && lies ? 1 : 0);
      ++all;
      event.add_ids(token);
      if (choice.credits > 0) --choice.credits;
      if (request.canary) event.add_logprobs()->set_token(token);
    }
    event.set_new_tokens(static_cast<uint32_t>(event.ids_size()));
    event.set_emitted(choice.emitted);
    if (!request.canary && choice.emitted >= AnswerLength(choice.seed)) {
      event.set_finish(wire::STOP);
    } else if (choice.emitted >= request.max_tokens || (request.limit > 0 && all >= request.limit)) {
      event.set_finish(wire::LENGTH);
    }
    choice.ended = event.finish() != wire::NONE;
    if (event.new_tokens() > 0 || choice.ended) *step.add_tokens() = std::move(event);
  }
};

// A client: what it asked for and what it heard.
struct Client {
  struct Choice {
    uint32_t tokens = 0, granted = 0;
    wire::Finish finish = wire::NONE;
  };
  uint64_t seed = 0;
  uint32_t max_tokens = 0, credits = 0;
  uint64_t limit = 0;
  std::vector<Choice> choices;
  int ends = 0;  // how often it was told that nothing follows
  bool cancelled = false;
  std::optional<Error> error;
  std::vector<JobEvent> events;

  bool over() const { return ends > 0 || cancelled; }
};

class PoolWorld {
 public:
  explicit PoolWorld(PoolOptions options = {}) : pool(std::move(options), 0) { After(); }

  // ---- clients ----

  struct Wish {
    std::string model = "m";
    uint64_t team = 1, seed = 1;
    int prompt = 3;
    uint32_t max_tokens = 8, choices = 1, credits = 0;
    Nanos patience = 0;
  };
  Result<JobId> Submit(const Wish& wish) {
    Job job;
    job.submit.set_model(wish.model);
    for (int i = 0; i < wish.prompt; ++i) job.submit.add_prompt(i);
    job.submit.set_max_tokens(wish.max_tokens);
    job.submit.set_choices(wish.choices);
    job.submit.set_credits(wish.credits);
    job.submit.set_prefix_scope("team");
    job.submit.mutable_sampling()->set_seed(wish.seed);
    job.owner = {wish.team};
    job.owner_name = "team";
    if (wish.patience > 0) job.deadline = now + wish.patience;
    auto id = pool.Submit(std::move(job), now);
    if (id) {
      Client& client = clients[*id];
      client.seed = wish.seed;
      client.max_tokens = wish.max_tokens;
      client.credits = wish.credits;
      client.choices.resize(wish.choices);
      for (Client::Choice& choice : client.choices) choice.granted = wish.credits;
    }
    After();
    return id;
  }
  void Cancel(JobId id) {
    clients.at(id).cancelled = true;
    pool.Cancel(id, now);
    After();
  }
  // The client has read everything.
  void GrantAll(JobId id) {
    Client& client = clients.at(id);
    if (client.credits == 0) return;
    for (uint32_t i = 0; i < client.choices.size(); ++i) {
      Client::Choice& choice = client.choices[i];
      const uint32_t more =
          choice.tokens + client.credits - std::min(choice.granted, choice.tokens + client.credits);
      if (more == 0 || client.over()) continue;
      choice.granted += more;
      pool.Grant(id, i, more, now);
      After();
    }
  }
  void Limit(JobId id, uint64_t tokens) {
    Client& client = clients.at(id);
    client.limit = client.limit == 0 ? tokens : std::min(client.limit, tokens);
    pool.Limit(id, tokens, now);
    After();
  }

  // ---- engines ----

  static wire::Hello Named(const std::string& name, uint32_t max_sequences = 4) {
    wire::Hello hello;
    hello.set_protocol(1);
    hello.set_engine(name);
    hello.set_max_sequences(max_sequences);
    hello.set_contract("formula");
    hello.set_state("formula");
    hello.mutable_abilities()->set_resume(true);
    hello.mutable_abilities()->set_reclaim(true);
    return hello;
  }
  FormulaEngine& Connect(wire::Hello hello) {
    auto& engine = *engines.emplace_back(std::make_unique<FormulaEngine>());
    engine.key = ++last_key_;
    engine.hello = std::move(hello);
    engine.SayHello();
    engine.Heartbeat();
    pool.Connected(engine.key, now);
    After();
    return engine;
  }
  // Hears the engine's next message. The engine may be gone afterwards.
  void Deliver(FormulaEngine& engine) {
    const wire::FromEngine message = std::move(engine.out.front());
    engine.out.pop_front();
    pool.Heard(engine.key, message, now);
    After();
  }
  void DeliverAll(EngineKey key) {
    for (FormulaEngine* engine = Find(key); engine != nullptr && !engine->out.empty(); engine = Find(key))
      Deliver(*engine);
  }
  void Die(FormulaEngine& engine) {
    const EngineKey key = engine.key;
    Remove(key);
    pool.Gone(key, "its connection ended", now);
    After();
  }
  FormulaEngine* Find(EngineKey key) {
    for (const auto& engine : engines) {
      if (engine->key == key) return engine.get();
    }
    return nullptr;
  }

  // ---- time ----

  // Heartbeats come each half second, ticks when the pool asked for them.
  void Advance(Nanos by) {
    const Nanos until = now + by;
    while (wrong.empty() && std::min(tick_at_, beat_at_) <= until) {
      now = std::max(now, std::min(tick_at_, beat_at_));
      if (beat_at_ <= now) {
        beat_at_ = now + kSecond / 2;
        std::vector<EngineKey> keys;
        for (const auto& engine : engines) {
          if (engine->silent) continue;
          engine->Heartbeat();
          keys.push_back(engine->key);
        }
        for (const EngineKey key : keys) DeliverAll(key);
      } else {
        pool.Tick(now);
        After();
      }
    }
    now = until;
  }
  void Turn() {
    if (!std::exchange(turn_asked_, false)) return;
    pool.Turn(now);
    After();
  }
  // Everything that can happen now happens: messages arrive, engines step, clients read.
  void Run(int rounds = 200) {
    for (int i = 0; i < rounds && wrong.empty(); ++i) {
      Turn();
      std::vector<EngineKey> keys;
      for (const auto& engine : engines) keys.push_back(engine->key);
      for (const EngineKey key : keys) {
        FormulaEngine* engine = Find(key);
        if (engine == nullptr || engine->silent) continue;
        while (!engine->in.empty()) engine->Obey();
        engine->Step(4);
        DeliverAll(key);
        engine = Find(key);
        if (engine != nullptr && engine->drained && engine->requests.empty()) Die(*engine);
      }
      for (const auto& [id, client] : clients) {
        if (!client.over()) GrantAll(id);
      }
      Advance(20 * kMillisecond);
    }
  }

  // To be called after every event: carries out the actions and checks what must always hold.
  void After() {
    while (auto action = pool.Next()) std::visit([this](auto& what) { Do(what); }, *action);
    if (const Status holds = pool.CheckIntegrity(); !holds) Wrong(holds.error().message);
  }
  void Wrong(const std::string& what) {
    if (wrong.empty()) wrong = what;
  }

  Pool pool;
  Nanos now = 0;
  std::vector<std::unique_ptr<FormulaEngine>> engines;  // connected
  std::map<JobId, Client> clients;
  std::string wrong;  // the first that should not have been
  int drained = 0;
  uint64_t moved_with_bytes = 0, capped = 0, released = 0;  // messages of these kinds that engines got
  uint64_t outgrown = 0;  // jobs that moved on to an engine with more memory

 private:
  void Remove(EngineKey key) {
    std::erase_if(engines, [&](const auto& engine) { return engine->key == key; });
  }
  // Null: its client cancelled it and does not want to hear of it.
  Client* Hearing(JobId id) {
    Client& client = clients.at(id);
    if (client.ends > 0) Wrong(fmt::format("job {} is told something after its end", id));
    return client.cancelled ? nullptr : &client;
  }

  void Do(const SendToEngine& send) {
    FormulaEngine* engine = Find(send.engine);
    if (engine == nullptr) return;
    moved_with_bytes += send.message->has_state();
    released += send.message->has_release();
    if (send.message->has_submit() && !send.message->submit().lenient()) {
      const auto client = clients.find(send.message->submit().request() & ((uint64_t{1} << 56) - 1));
      capped += client != clients.end() && send.message->submit().max_tokens() < client->second.max_tokens;
    }
    engine->in.push_back(*send.message);
  }
  void Do(const Disconnect& disconnect) { Remove(disconnect.engine); }
  void Do(const TellEvent& tell) {
    outgrown += tell.event == JobEvent::kRequeued && tell.why.ends_with("has no memory for a longer text");
    if (Client* client = Hearing(tell.job)) client->events.push_back(tell.event);
  }
  void Do(const TellPlaced& tell) { Hearing(tell.job); }
  void Do(const TellCharge& tell) { Hearing(tell.job); }
  void Do(const TellTokens& tell) {
    Client* client = Hearing(tell.job);
    if (client == nullptr) return;
    const wire::TokenEvent& event = *tell.event;
    Client::Choice& choice = client->choices.at(event.choice());
    if (choice.finish != wire::NONE) Wrong(fmt::format("job {}: a choice goes on after its end", tell.job));
    const uint64_t seed = client->seed + event.choice();
    for (const int32_t id : event.ids()) {
      if (id != AnswerToken(seed, choice.tokens))
        Wrong(fmt::format("job {}: token {} is not the answer's", tell.job, choice.tokens));
      ++choice.tokens;
    }
    if (choice.tokens > client->max_tokens || (client->credits > 0 && choice.tokens > choice.granted))
      Wrong(fmt::format("job {}: {} tokens are more than it allowed", tell.job, choice.tokens));
    choice.finish = event.finish();
    if (choice.finish == wire::STOP && choice.tokens != AnswerLength(seed))
      Wrong(fmt::format("job {} stops after {} tokens instead of {}", tell.job, choice.tokens,
                        AnswerLength(seed)));
    const bool all_ended = std::ranges::none_of(
        client->choices, [](const Client::Choice& other) { return other.finish == wire::NONE; });
    if (all_ended != tell.last) Wrong(fmt::format("job {}: `last` is not its last", tell.job));
    client->ends += tell.last;
  }
  void Do(const TellFailed& tell) {
    Client* client = Hearing(tell.job);
    if (client == nullptr) return;
    client->error = tell.error;
    ++client->ends;
  }
  void Do(const CallTurn&) { turn_asked_ = true; }
  void Do(const CallTick& call) { tick_at_ = call.at; }
  void Do(const Drained&) { ++drained; }
  void Do(const KeepTruths&) {}
  void Do(const LogLine&) {}

  bool turn_asked_ = false;
  Nanos tick_at_ = 0, beat_at_ = 0;
  EngineKey last_key_ = 0;
};

}  // namespace penstock::testing

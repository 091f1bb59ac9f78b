// Which waiting job goes where, now.
#include <algorithm>
#include <iterator>

#include "fleet/fleet_impl.h"

namespace penstock {
namespace {

constexpr double kFirstOutput = 64;   // tokens of an answer, before any was counted
constexpr double kLongOutput = 4096;  // that an engine has room for where no answer can be moved on

}  // namespace

void FleetImpl::Wake() {
  if (std::exchange(turn_posted_, true)) return;
  Post([this] {
    turn_posted_ = false;
    Turn();
  });
}

void FleetImpl::Turn() {
  for (const JobId id : std::exchange(fresh_, {})) {
    const LiveJob* job = Find(id);
    if (job == nullptr || !job->sink) continue;
    const auto sink = job->sink;
    sink->OnEvent(JobEvent::kQueued, fmt::format("{} waited before it", job->ahead));
  }
  Dispatch();
}

void FleetImpl::Dispatch() {
  const auto has_room = [](const auto& member) { return member->HasRoom(); };
  while (queue_.waiting() > 0 && std::ranges::any_of(members_, has_room)) {
    const auto job = queue_.Pop([this](JobId id) { return Fits(id); }, estimate_);
    if (!job) return;
    Send(*Find(*job));
  }
}

// As placing sees an engine for this job. `others`: engines that have not failed it hold its model.
Seat FleetImpl::SeatFor(const Member& member, const std::string& variant, const LiveJob& job,
                        bool others) const {
  Seat seat = member.SeatFor(variant);
  if (job.emitted && !member.hello.abilities().resume()) seat.model = Seat::Model::kAbsent;
  if (job.avoid == member.key && others) seat.model = Seat::Model::kAbsent;
  if (std::ranges::find(job.unable, member.key) != job.unable.end()) seat.model = Seat::Model::kAbsent;
  if (member.hello.external() && !job.external_allowed && seat.model != Seat::Model::kAbsent)
    seat.model = Seat::Model::kForbidden;
  return seat;
}

// `from`: only engines that can go on with what it computed of the job.
Placement FleetImpl::PlaceJob(const LiveJob& job, const Member* from) const {
  options_of_.clear();
  for (const auto& [variant, served] : served_) {
    if (from == nullptr ? !job.MayRunAs(variant) : variant != job.variant) continue;
    for (const auto& member : members_) {
      if (from == nullptr || member->hello.state() == from->hello.state())
        options_of_.push_back({member.get(), &variant});
    }
  }
  const bool others = job.avoid != 0 && std::ranges::any_of(options_of_, [&](const Option& option) {
                        return option.member->key != job.avoid &&
                               option.member->SeatFor(*option.variant).model == Seat::Model::kReady;
                      });
  seats_.clear();
  for (const Option& option : options_of_) {
    seats_.push_back(SeatFor(*option.member, *option.variant, job, others));
  }
  affinity_.Each(job.prefix, [&](Affinity::EngineKey key, size_t tokens) {
    for (size_t i = 0; i < seats_.size(); ++i) {
      if (options_of_[i].member->key != key) continue;
      seats_[i].cached = std::max(seats_[i].cached, static_cast<double>(tokens));
    }
  });
  const auto usual = outputs_.find(job.submit.model());
  const auto told = static_cast<double>(job.told());
  const auto longest = static_cast<double>(job.longest_told());
  const double most = std::max(job.submit.max_tokens() - longest, 1.0);
  const double output = std::min(most, usual == outputs_.end() ? kFirstOutput : usual->second);
  // An answer that outgrows its engine goes on elsewhere; several at once would have to do so together.
  const bool alone = job.submit.choices() == 1;
  const double room = job.any_room ? 1 : alone ? std::min(most, std::max(output, kFirstOutput)) : most;
  const double known = job.submit.prompt_size() + longest;
  return Place(seats_, {.sequences = job.choices_left,
                        .pages = job.pages(),
                        .longest = known + room,
                        .longest_inexact = known + (alone ? std::min(most, kLongOutput) : most),
                        .prompt = job.submit.prompt_size() + told,
                        .output = output});
}

bool FleetImpl::Fits(JobId id) {
  placement_ = PlaceJob(*Find(id));
  return placement_.seat.has_value();
}

// For people: why this engine.
std::string FleetImpl::WhyThere(const LiveJob& job, const Member& member) const {
  std::string why = fmt::format("engine {}, beside {} others", member.name(), member.sequences);
  const auto seconds = [](double nanos) { return nanos / kSecond; };
  if (placement_.second) {
    fmt::format_to(std::back_inserter(why), "; {:.2f} s expected there, {:.2f} s on {}",
                   seconds(placement_.time), seconds(placement_.second_time),
                   options_of_[*placement_.second].member->name());
  }
  if (const uint32_t tokens = job.StateTokens(); tokens > 0) {
    fmt::format_to(std::back_inserter(why), "; it takes over {} computed tokens, {:.1f} MB", tokens,
                   static_cast<double>(job.state_bytes) / 1e6);
  }
  if (!job.emitted) return why;
  const bool exact = !job.contract.empty() && job.contract == member.hello.contract();
  fmt::format_to(
      std::back_inserter(why), "; it goes on after {} tokens{}", job.told(),
      exact ? ", to the bit as it would have" : " under another numeric contract: what follows may differ");
  return why;
}

// What was computed of it elsewhere, before its Submit. Returns how many tokens that stands for.
uint32_t FleetImpl::SendStates(LiveJob& job, Member& member) {
  const uint32_t tokens = job.StateTokens();
  for (size_t choice = 0; choice < job.states.size(); ++choice) {
    for (std::string& part : job.states[choice].parts) {
      wire::State& state = *member.link->Send().mutable_state();
      state.set_request(job.wire_id());
      state.set_choice(static_cast<uint32_t>(choice));
      state.set_tokens(job.states[choice].tokens);
      state.set_data(std::move(part));
    }
  }
  job.ForgetStates();
  return tokens;
}

// Where the last placing, which was this job's, said.
void FleetImpl::Send(LiveJob& job) {
  const auto [chosen, variant] = options_of_[*placement_.seat];
  Member& member = *chosen;
  if (job.deadline > 0) deadlines_.erase({job.deadline, job.id});
  if (job.state_form != member.hello.state() || job.variant != *variant) job.ForgetStates();
  const std::string why = WhyThere(job, member);
  job.variant = *variant;
  job.engine = &member;
  job.admitted = job.emitted_there = job.any_room = false;
  if (!job.emitted) job.contract = member.hello.contract();
  const wire::ModelState* state = member.Find(job.variant);
  job.FitInto(state == nullptr ? 0 : state->context());
  const double known = job.submit.prompt_size() + static_cast<double>(job.told());
  const double there = std::max<double>(seats_[*placement_.seat].cached, SendStates(job, member));
  job.prefill_left = std::max(known - there, 1.0);
  job.context = known * job.choices_left;
  ++member.jobs;
  member.sequences += job.choices_left;
  member.promised_pages += job.pages();
  member.prefill += job.prefill_left;
  member.context += job.context;
  affinity_.Note(member.key, job.prefix);
  wire::Submit& submit = *member.link->Send().mutable_submit();
  job.Fill(submit);
  if (!member.hello.abilities().wants_text()) submit.clear_chat();
  ++stats_.sent;
  stats_.queue_wait_ns += static_cast<uint64_t>(clock_.Monotonic() - job.queued_at);
  const auto sink = job.sink;
  sink->OnPlaced({.engine = member.name(),
                  .model = job.variant,
                  .path = served_.at(job.variant).path,
                  .contract = member.hello.contract(),
                  .kernel = state == nullptr ? std::string_view() : std::string_view(state->kernel()),
                  .exact_usage = member.hello.abilities().exact_usage()});
  sink->OnEvent(JobEvent::kSent, why);
}

}  // namespace penstock

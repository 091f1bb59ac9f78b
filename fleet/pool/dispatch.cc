// Which waiting job goes where, now.
#include <algorithm>
#include <iterator>

#include "fleet/pool/pool.h"

namespace penstock {
namespace {

constexpr double kLongOutput = 4096;  // tokens that must have room where an answer cannot be moved on

}  // namespace

void Pool::Dispatch() {
  const auto has_room = [](const auto& member) { return member->HasRoom(); };
  while (queue_.waiting() > 0 && (options_.may_pause || std::ranges::any_of(members_, has_room))) {
    Placement placement;
    const auto id = queue_.Pop(
        [&](JobId job) {
          placement = PlaceJob(*Find(job));
          return placement.chosen.has_value();
        },
        estimate_);
    if (!id) return;
    SendJob(*Find(*id), placement);
  }
}

// Whether the candidates are the same for it as for any other job. REQUIRES: they are up to date.
bool Pool::IsPlain(const LiveJob& job) const {
  return !options_.may_pause && !job.answer.begun && job.attempts.avoid == 0 && job.attempts.unable.empty() &&
         (job.request.external_allowed || !members_.any_external());
}

// A candidate as it is for this job. `others`: engines that have not failed it hold its model.
void Pool::Adapt(Candidate& candidate, const LiveJob& job, bool others) const {
  const Attempts& attempts = job.attempts;
  if (options_.may_pause) candidate.may_pause = options_.may_pause(job.request, candidate);
  const bool cannot = (job.answer.begun && !candidate.resumes) ||
                      (attempts.avoid == candidate.engine && others) ||
                      std::ranges::find(attempts.unable, candidate.engine) != attempts.unable.end();
  if (cannot) {
    candidate.model = Candidate::Model::kAbsent;
  } else if (candidate.external && !job.request.external_allowed &&
             candidate.model != Candidate::Model::kAbsent) {
    candidate.model = Candidate::Model::kForbidden;
  }
}

// The engines that should still hold a beginning of its prompt, and how many tokens of it.
std::vector<std::pair<EngineKey, size_t>> Pool::HoldersOf(const LiveJob& job) const {
  std::vector<std::pair<EngineKey, size_t>> holders;
  affinity_.Each(job.request.prefix, [&](EngineKey key, size_t tokens) {
    const auto known = std::ranges::find(holders, key, &std::pair<EngineKey, size_t>::first);
    if (known == holders.end()) holders.emplace_back(key, tokens);  // the longest of each comes first
  });
  return holders;
}

Need Pool::NeedOf(const LiveJob& job) const {
  const wire::Submit& submit = job.request.submit;
  const auto usual = outputs_.find(job.request.model());
  const auto longest = static_cast<double>(job.answer.longest());
  const double most = std::max(submit.max_tokens() - longest, 1.0);
  const double output = std::min(most, usual == outputs_.end() ? kFirstOutput : usual->second);
  // An answer that outgrows its engine goes on elsewhere; several at once would have to do so together.
  const bool alone = submit.choices() == 1;
  const double room = job.wait.any_room ? 1 : alone ? std::min(most, std::max(output, kFirstOutput)) : most;
  const double known = job.request.prompt() + longest;
  return {.sequences = job.answer.choices_left,
          .pages = job.request.pages(),
          .longest = known + room,
          .longest_inexact = known + (alone ? std::min(most, kLongOutput) : most),
          .prompt = job.request.prompt() + static_cast<double>(job.answer.tokens()),
          .output = output};
}

// `from`: only engines that can use what it computed of the job.
Placement Pool::PlaceJob(const LiveJob& job, const Member* from) {
  const Need need = NeedOf(job);
  const auto holders = HoldersOf(job);
  std::vector<std::span<const Candidate>> rows;
  for (const auto& [variant, served] : served_) {
    if (from == nullptr ? job.MayRunAs(variant) : variant == job.where.variant)
      rows.push_back(members_.Candidates(variant));
  }
  // The usual case, without a copy of a thousand candidates: one variant, and nothing special about the job.
  if (rows.size() == 1 && from == nullptr && holders.empty() && IsPlain(job))
    return options_.place(rows.front(), need);
  candidates_.clear();
  for (const auto row : rows) candidates_.insert(candidates_.end(), row.begin(), row.end());
  if (from != nullptr) {
    std::erase_if(candidates_, [&](const Candidate& candidate) {
      return members_.Find(candidate.engine)->hello.state() != from->hello.state();
    });
  }
  const EngineKey avoid = job.attempts.avoid;
  const bool others = avoid != 0 && std::ranges::any_of(candidates_, [&](const Candidate& candidate) {
                        return candidate.engine != avoid && candidate.model == Candidate::Model::kReady;
                      });
  for (Candidate& candidate : candidates_) {
    Adapt(candidate, job, others);
    const auto holder = std::ranges::find(holders, candidate.engine, &std::pair<EngineKey, size_t>::first);
    if (holder != holders.end()) candidate.cached = static_cast<double>(holder->second);
  }
  return options_.place(candidates_, need);
}

// For people: why this engine.
std::string Pool::WhyThere(const LiveJob& job, const Member& member, const Placement& placement) const {
  std::string why = fmt::format("engine {}, beside {} others", member.name(), member.occupied().sequences);
  const auto seconds = [](double nanos) { return nanos / kSecond; };
  if (placement.second) {
    fmt::format_to(std::back_inserter(why), "; {:.2f} s expected there, {:.2f} s on {}",
                   seconds(placement.time), seconds(placement.second_time),
                   members_.Find(placement.second->engine)->name());
  }
  if (const uint32_t tokens = job.transfer.tokens(); tokens > 0) {
    fmt::format_to(std::back_inserter(why), "; it takes over {} computed tokens, {:.1f} MB", tokens,
                   static_cast<double>(job.transfer.bytes) / 1e6);
  }
  if (!job.answer.begun) return why;
  const std::string& contract = job.where.contract;
  const bool exact = !contract.empty() && contract == member.hello.contract();
  fmt::format_to(
      std::back_inserter(why), "; it goes on after {} tokens{}", job.answer.tokens(),
      exact ? ", to the bit as it would have" : " under another numeric contract: what follows may differ");
  return why;
}

// What was computed of it elsewhere, before its Submit. Returns how many tokens that stands for.
uint32_t Pool::SendTransfer(LiveJob& job, Member& member) {
  const uint32_t tokens = job.transfer.tokens();
  for (size_t choice = 0; choice < job.transfer.choices.size(); ++choice) {
    for (std::string& part : job.transfer.choices[choice].parts) {
      wire::State& state = *Send(member).mutable_state();
      state.set_request(job.wire_id());
      state.set_choice(static_cast<uint32_t>(choice));
      state.set_tokens(job.transfer.choices[choice].tokens);
      state.set_data(std::move(part));
    }
  }
  job.transfer.Forget();
  return tokens;
}

// REQUIRES: it occupies nothing; placement.chosen.
void Pool::SendJob(LiveJob& job, const Placement& placement) {
  const Candidate& chosen = *placement.chosen;
  Member& member = *members_.Find(chosen.engine);
  const ServedModel& served = *Served(chosen.variant);
  Whereabouts& where = job.where;
  if (job.wait.until > 0) deadlines_.erase({job.wait.until, job.id});
  if (job.transfer.form != member.hello.state() || where.variant != served.name) job.transfer.Forget();
  std::string why = WhyThere(job, member, placement);
  where.variant = served.name;
  where.admitted = where.emitted = job.wait.any_room = false;
  if (!job.answer.begun) where.contract = member.hello.contract();
  const wire::ModelState* state = member.Find(where.variant);
  job.FitInto(state == nullptr ? 0 : state->context());
  const uint64_t known = job.request.prompt() + job.answer.tokens();
  const uint64_t there = std::max(static_cast<uint64_t>(chosen.cached), uint64_t{SendTransfer(job, member)});
  where.here.Acquire(member, {.jobs = 1,
                              .sequences = job.answer.choices_left,
                              .pages = job.request.pages(),
                              .prefill = known - std::min(there, known - 1),
                              .context = known * job.answer.choices_left});
  affinity_.Note(member.key, job.request.prefix);
  wire::Submit& submit = *Send(member).mutable_submit();
  job.Fill(submit);
  if (!member.hello.abilities().wants_text()) submit.clear_chat();
  ++stats_.sent;
  stats_.queue_wait_ns += static_cast<uint64_t>(now_ - job.wait.since);
  actions_.Add(TellPlaced{.job = job.id,
                          .engine = member.name(),
                          .model = where.variant,
                          .path = served.path,
                          .contract = member.hello.contract(),
                          .kernel = state == nullptr ? "" : state->kernel(),
                          .exact_usage = member.hello.abilities().exact_usage()});
  TellEventOf(job, JobEvent::kSent, std::move(why));
}

}  // namespace penstock

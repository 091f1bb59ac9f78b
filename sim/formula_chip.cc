#include "sim/formula_chip.h"

#include <algorithm>
#include <iterator>

#include "base/tokens.h"

namespace penstock {
namespace {

constexpr double kChunk = 512;  // prompt tokens of a step

constexpr auto kEndsLater = [](const auto& a, const auto& b) { return a.last_step > b.last_step; };

}  // namespace

double ChipKind::StepTime(double prefill_tokens, double sequences, double positions) const {
  const auto above = std::ranges::lower_bound(decode, sequences, {}, &std::pair<double, double>::first);
  double time = 0;
  if (above == decode.begin()) {
    time = decode.front().second;
  } else {
    // Beyond the table its last slope goes on.
    const auto right = above == decode.end() ? std::prev(above) : above, left = std::prev(right);
    const double slope = (right->second - left->second) / (right->first - left->first);
    time = left->second + slope * (sequences - left->first);
  }
  return time + context * positions + prefill * prefill_tokens;
}

wire::FromEngine FormulaChip::Hello() const {
  wire::FromEngine message;
  wire::Hello& hello = *message.mutable_hello();
  hello.set_protocol(1);
  hello.set_engine(name_);
  hello.set_runner("formula");
  hello.set_chip(kind_.name);
  hello.set_contract("formula");
  hello.set_max_sequences(kind_.slots);
  hello.mutable_abilities()->set_resume(true);
  hello.mutable_abilities()->set_reclaim(true);
  return message;
}

wire::FromEngine FormulaChip::Ready(const std::string& model, const std::string& path) {
  model_ = model;
  wire::FromEngine message;
  message.mutable_model()->set_name(model);
  message.mutable_model()->set_path(path);
  message.mutable_model()->set_state(wire::ModelState::READY);
  return message;
}

void FormulaChip::Submit(uint64_t request, uint32_t prompt, uint32_t output, uint32_t emitted) {
  const auto pages = static_cast<uint32_t>(PagesFor(static_cast<int32_t>(prompt + output)));
  waiting_.push_back({.id = request,
                      .known = prompt + emitted,
                      .left = prompt + emitted,
                      .output = output,
                      .before = emitted,
                      .told = emitted,
                      .pages = std::min(pages, kind_.pages)});
}

void FormulaChip::Admit() {
  while (!waiting_.empty()) {
    if (waiting_.front().pages > free_) return;
    free_ -= waiting_.front().pages;
    message_.mutable_step()->add_notes()->set_request(waiting_.front().id);
    prompts_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

Nanos FormulaChip::Begin(double jitter) {
  message_.Clear();
  Admit();
  double room = kChunk;
  chunk_ = 0;
  for (const Request& request : prompts_) {
    const double part = std::min<double>(room, request.left);
    chunk_ += part;
    room -= part;
    if (room <= 0) break;
  }
  const auto sequences = static_cast<double>(decoding_.size());
  took_ = static_cast<Nanos>(jitter * kind_.StepTime(chunk_, sequences, context_));
  token_cost_ = static_cast<double>(took_) / std::max(chunk_ + sequences, 1.0);
  wire::StepReport& report = *message_.mutable_step();
  report.set_model(model_);
  report.set_chip_ns(static_cast<uint64_t>(took_));
  report.set_prefill(static_cast<uint32_t>(chunk_));
  report.set_decode(static_cast<uint32_t>(decoding_.size()));
  report.set_context(static_cast<uint64_t>(context_));
  busy_ += took_;
  return took_;
}

const wire::FromEngine& FormulaChip::End() {
  ++step_;
  Decoded();
  Computed();
  Report();
  return message_;
}

// Every decoding sequence got a token.
void FormulaChip::Decoded() {
  decode_cost_ += token_cost_;
  context_ += static_cast<double>(decoding_.size());
  while (!decoding_.empty() && decoding_.front().last_step <= step_) {
    std::ranges::pop_heap(decoding_, kEndsLater);
    Request request = decoding_.back();
    decoding_.pop_back();
    context_ -= request.known + (request.output - request.before);
    Tell(request, request.output, /*last=*/true);
  }
  if (step_ % kReportSteps != 0) return;
  for (Request& request : decoding_) Tell(request, EmittedOf(request), /*last=*/false);
}

// The chunk of prompts; a prompt that is computed gives its first token.
void FormulaChip::Computed() {
  double chunk = chunk_;
  while (!prompts_.empty() && chunk > 0) {
    Request& request = prompts_.front();
    const auto part = static_cast<uint32_t>(std::min<double>(chunk, request.left));
    request.left -= part;
    request.computed += part;
    request.charge += token_cost_ * part;
    chunk -= part;
    if (request.left > 0) {
      ChargeTo(request, 0);
      break;
    }
    Request started = request;
    prompts_.pop_front();
    started.cost_from = decode_cost_;
    started.last_step = step_ + (started.output - started.told - 1);
    const bool last = started.last_step == step_;
    Tell(started, started.told + 1, last);
    if (last) continue;
    context_ += started.known + 1;
    decoding_.push_back(started);
    std::ranges::push_heap(decoding_, kEndsLater);
  }
}

void FormulaChip::ChargeTo(Request& request, uint32_t decoded) {
  wire::Charge& charge = *message_.mutable_step()->add_charges();
  charge.set_request(request.id);
  charge.set_computed(request.computed + decoded);
  double cost = request.charge;
  if (request.last_step > 0) cost += decode_cost_ - request.cost_from;
  charge.set_chip_ns(static_cast<uint64_t>(cost));
  request.computed = 0;
  request.charge = 0;
  request.cost_from = decode_cost_;
}

void FormulaChip::Tell(Request& request, uint32_t emitted, bool last) {
  const uint32_t fresh = emitted - request.told;
  if (last) free_ += request.pages;
  ChargeTo(request, fresh);
  request.told = emitted;
  wire::TokenEvent& event = *message_.mutable_step()->add_tokens();
  event.set_request(request.id);
  event.set_new_tokens(fresh);
  event.mutable_ids()->Resize(static_cast<int>(fresh), 1);
  event.set_emitted(emitted);
  if (last) event.set_finish(wire::STOP);
}

const wire::FromEngine& FormulaChip::LastWords() {
  message_.Clear();
  for (Request& request : decoding_) {
    if (EmittedOf(request) > request.told) Tell(request, EmittedOf(request), /*last=*/false);
  }
  return message_;
}

void FormulaChip::Report() {
  wire::Load& load = *message_.mutable_step()->mutable_load();
  load.set_free_pages(free_);
  load.set_running(static_cast<uint32_t>(prompts_.size() + decoding_.size()));
  load.set_waiting(static_cast<uint32_t>(waiting_.size()));
}

}  // namespace penstock

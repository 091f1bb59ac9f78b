// Watches the upstream: whether it is reachable, what it serves, and what it can do.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "attach/discover.h"
#include "attach/driver_parts.h"
#include "engine/wire_error.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

std::string Names(const std::vector<UpstreamModel>& listed) {
  std::string names;
  for (const auto& model : listed) names += (names.empty() ? "" : ", ") + model.id;
  return names.empty() ? "none" : names;
}

}  // namespace

void Driver::TellModel(const Model& model) {
  wire::FromEngine message;
  *message.mutable_model() = model.state;
  send_(message);
}

void Driver::SetState(Model& model, wire::ModelState::State state, const Error* error) {
  const std::string_view text = error == nullptr ? std::string_view() : error->message;
  if (model.state.state() == state && model.state.error().text() == text &&
      state != wire::ModelState::LOADING)
    return;
  model.state.set_state(state);
  model.state.clear_error();
  model.state.clear_old_error();
  if (error != nullptr) {
    SetError(*error, model.state);
    spdlog::warn("model {}: {}", model.load.name(), text);
  }
  TellModel(model);
}

void Driver::LookSoon() {
  look_again_ = true;
  look_.cancel();
}

void Driver::Lost(const Error& why) {
  up_ = false;
  down_why_ = Reworded(why, fmt::format("engine {}: {}: {}", options_.name, where_, why.message));
  upstream_->CloseIdle();
  concurrency_ = Concurrency(options_.concurrency);  // who comes back may be another
  for (const auto& [name, model] : std::map(models_)) {
    model->can.reset();
    if (model->words.tokenizer) SetState(*model, wire::ModelState::FAILED, &*down_why_);
  }
  LookSoon();
}

asio::awaitable<void> Driver::Watch() {
  const std::weak_ptr<char> alive = alive_;
  Nanos retry = options_.first_retry;
  while (true) {
    Nanos wait = options_.probe;
    if (std::exchange(look_again_, false) || !Answering()) {
      const auto body = co_await upstream_->Fetch("/v1/models", "");
      if (alive.expired()) co_return;
      const auto listed = body ? ParseModels(*body) : std::unexpected(body.error());
      if (listed) {
        up_ = true;
        retry = options_.first_retry;
        co_await Look(*listed);
        if (alive.expired()) co_return;
      } else {
        if (up_ || !down_why_) spdlog::warn("{}: {}", where_, listed.error().message);
        up_ = true;
        Lost(listed.error());
        look_again_ = false;
        wait = retry;
        retry = std::min(2 * retry, options_.last_retry);
      }
    }
    if (look_again_) continue;
    look_.expires_after(std::chrono::nanoseconds(wait));
    co_await look_.async_wait(kTuple);
    if (alive.expired()) co_return;
  }
}

// It needs no probe while it sends answers, and a server that handles one request at a time would abort its
// answer.
bool Driver::Answering() const {
  return !running_.empty() && (OneAtATime() || Now() - heard_ < options_.probe);
}

// A configured name is tried even if it is not listed: not every server lists all its models.
std::string Driver::TheirName(const Model& model, const std::vector<UpstreamModel>& listed) const {
  const std::string& ours = model.load.name();
  const auto mapped = options_.names.find(ours);
  if (mapped != options_.names.end() && mapped->second == "*")
    return listed.size() == 1 ? listed.front().id : "";
  if (mapped != options_.names.end()) return mapped->second;
  return std::ranges::find(listed, ours, &UpstreamModel::id) == listed.end() ? "" : ours;
}

asio::awaitable<void> Driver::Look(std::vector<UpstreamModel> listed) {
  const std::weak_ptr<char> alive = alive_;
  for (const auto& [name, model] : std::map(models_)) {
    if (!model->words.tokenizer) continue;
    const std::string theirs = TheirName(*model, listed);
    if (theirs.empty()) {
      model->can.reset();
      const Error error{Code::kNotFound, fmt::format("engine {}: {} serves no model '{}'; it lists: {}",
                                                     options_.name, where_, name, Names(listed))};
      SetState(*model, wire::ModelState::FAILED, &error);
      continue;
    }
    if (model->can && model->theirs == theirs) continue;
    model->theirs = theirs;
    const auto can = co_await Discover(
        upstream_,
        {.name = theirs, .tokenizer = model->words.tokenizer, .end_tokens = model->words.end_tokens});
    if (alive.expired()) co_return;
    if (const auto now = models_.find(name); now == models_.end() || now->second != model) continue;
    if (!can) {
      const Error error =
          Reworded(can.error(), fmt::format("engine {}: {}, asked for '{}': {}; it lists: {}", options_.name,
                                            where_, theirs, can.error().message, Names(listed)));
      SetState(*model, wire::ModelState::FAILED, &error);
      continue;
    }
    model->can = *can;
    spdlog::info("model {}: the upstream at {} can: {}", name, upstream_->url().Text(), can->Text());
    uint32_t context = model->words.context;
    const auto entry = std::ranges::find(listed, theirs, &UpstreamModel::id);
    const uint32_t said = entry == listed.end() ? 0 : entry->context;
    for (const uint32_t limit : {said, model->load.context()}) {
      if (limit > 0) context = context == 0 ? limit : std::min(context, limit);
    }
    model->state.set_context(context);
    wire::FromEngine load;
    *load.mutable_heartbeat()->mutable_load() = Load();
    send_(load);
    SetState(*model, wire::ModelState::READY);
  }
}

}  // namespace penstock

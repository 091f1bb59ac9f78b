#include "attach/discover.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <chrono>

#include "attach/answer.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr std::string_view kWords = "One, two, three, four, five, six, seven,";
constexpr std::string_view kRepeating = "a b a b a b a b a b a b a b a b";
constexpr int kTokens = 8, kLong = 32, kTries = 20;
constexpr double kNoise = 2;  // the highest temperature that OpenAI's API allows

class Asker {
 public:
  Asker(std::shared_ptr<Upstream> upstream, AskedModel model)
      : upstream_(std::move(upstream)), model_(std::move(model)) {}

  asio::awaitable<Result<Can>> Run() {
    if (auto found = co_await AskPrompt(); !found) co_return std::unexpected(found.error());
    co_await AskIds();
    co_await AskStream();
    co_await AskTogether();
    co_await AskStop();
    co_await AskSampling();
    co_await AskPenalties();
    co_await AskEnd();
    co_return can_;
  }

 private:
  using Answer = Result<UpstreamChunk>;

  void SetPrompt(std::string_view words, json::object& body) const {
    if (can_.prompt == Can::Prompt::kChat) {
      body["messages"] = json::array{json::object{{"role", "user"}, {"content", words}}};
    } else if (const auto tokens = model_.tokenizer->Encode(words, false);
               can_.prompt == Can::Prompt::kTokens && tokens) {
      body["prompt"] = json::array(tokens->begin(), tokens->end());
    } else {
      body["prompt"] = words;
    }
  }

  std::string Path() const {
    return can_.prompt == Can::Prompt::kChat ? "/v1/chat/completions" : "/v1/completions";
  }

  asio::awaitable<Answer> Ask(std::string_view words, json::object more) {
    json::object body{{"model", model_.name}, {"max_tokens", kTokens}, {"temperature", 0}};
    SetPrompt(words, body);
    for (const auto& [name, value] : more) body[name] = value;
    const auto text = co_await Fetch(json::serialize(body));
    if (!text) co_return std::unexpected(text.error());
    co_return ParseChunk(*text);
  }

  // A server that has no room now says nothing of what it can.
  asio::awaitable<Result<std::string>> Fetch(std::string body) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    Result<std::string> text;
    for (int i = 0; i < kTries; ++i) {
      text = co_await upstream_->Fetch(Path(), body);
      if (text || text.error().code != Code::kOverloaded) break;
      timer.expires_after(std::chrono::milliseconds(500));
      co_await timer.async_wait(asio::use_awaitable);
    }
    co_return text;
  }
  asio::awaitable<Answer> Ask(json::object more) { return Ask(kWords, std::move(more)); }

  // Tokens, if it understood as many as were sent; else text; else a chat.
  asio::awaitable<Status> AskPrompt() {
    std::string said;
    for (const auto prompt : {Can::Prompt::kTokens, Can::Prompt::kText, Can::Prompt::kChat}) {
      can_.prompt = prompt;
      const auto answer = co_await Ask({});
      if (!answer) {
        said += (said.empty() ? "" : "; ") + answer.error().message;
        if (answer.error().code == Code::kOverloaded) break;  // not now: nothing follows from that
        continue;
      }
      const auto sent = model_.tokenizer->Encode(kWords, false);
      const bool misread =
          prompt == Can::Prompt::kTokens && sent && answer->usage && answer->usage->prompt > sent->size() + 1;
      if (misread) continue;
      greedy_ = answer->text;
      co_return Status();
    }
    co_return Fail(Code::kUnavailable, "it answered none of the test requests: {}", said);
  }

  asio::awaitable<void> AskIds() {
    if (const auto answer = co_await Ask({{"return_token_ids", true}}); answer && !answer->ids.empty()) {
      can_.ids = Can::Ids::kField;
    }
    json::object wanted{{"return_tokens_as_token_ids", true}};
    if (can_.prompt == Can::Prompt::kChat) {
      wanted["logprobs"] = true;
      wanted["top_logprobs"] = 2;
    } else {
      wanted["logprobs"] = 2;
    }
    const auto answer = co_await Ask(wanted);
    if (!answer || answer->logprobs.empty() || answer->logprobs.front().token < 0) co_return;
    can_.logprobs = true;
    if (can_.ids == Can::Ids::kNone) can_.ids = Can::Ids::kLogprobs;
  }

  // Streams are what requests get: each is one, with usage if it may be.
  asio::awaitable<void> AskStream() {
    json::object body{{"model", model_.name}, {"max_tokens", 2}, {"temperature", 0}, {"stream", true}};
    body["stream_options"] = json::object{{"include_usage", true}};
    SetPrompt(kWords, body);
    const auto text = co_await Fetch(json::serialize(body));
    if (!text) co_return;
    EventReader reader;
    std::vector<std::string> events;
    if (!reader.Feed(*text, events)) co_return;
    reader.End(events);
    for (const std::string& event : events) {
      if (const auto chunk = ParseChunk(event); chunk && chunk->usage && chunk->usage->completion > 0)
        can_.stream_usage = true;
    }
  }

  // Some break off an answer when another request comes, and say nothing of it.
  asio::awaitable<void> AskTogether() {
    json::object body{{"model", model_.name}, {"max_tokens", kLong}, {"temperature", 0}, {"stream", true}};
    SetPrompt(kWords, body);
    Upstream::Call call(upstream_);
    const auto started = co_await upstream_->Start(call, Path(), json::serialize(body));
    if (!started || call.head().status() != 200) co_return;
    auto piece = co_await call.Read();
    // Whatever becomes of the other one; it ends before this does.
    const auto executor = co_await asio::this_coro::executor;
    const auto other = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
    body.erase("stream");
    body["max_tokens"] = 1;
    asio::co_spawn(executor, upstream_->Fetch(Path(), json::serialize(body)),
                   [other](const std::exception_ptr&, const auto&) {
                     other->expires_at(asio::steady_timer::time_point::min());
                   });
    EventReader reader;
    std::vector<std::string> events;
    for (; piece && !piece->empty(); piece = co_await call.Read()) {
      if (!reader.Feed(*piece, events)) break;
    }
    reader.End(events);
    can_.together = std::ranges::any_of(events, [](const std::string& event) {
      const auto chunk = ParseChunk(event);
      return chunk && !chunk->finish.empty();
    });
    co_await other->async_wait(asio::as_tuple(asio::use_awaitable));
  }

  asio::awaitable<void> AskStop() {
    if (greedy_.size() < 3) co_return;
    const std::string stop = greedy_.substr(greedy_.size() / 2);
    if (static_cast<uint8_t>(stop.front()) >= 0x80) co_return;
    const auto answer = co_await Ask({{"stop", json::array{stop}}});
    can_.stop = answer && answer->text.size() < greedy_.size() && greedy_.starts_with(answer->text);
  }

  asio::awaitable<void> AskSampling() {
    const auto noisy = co_await Ask({{"temperature", kNoise}, {"seed", 1}});
    const auto again = co_await Ask({{"temperature", kNoise}, {"seed", 1}});
    const auto other = co_await Ask({{"temperature", kNoise}, {"seed", 2}});
    can_.seed = noisy && again && other && noisy->text == again->text && noisy->text != other->text;
    if (!noisy || !other || (noisy->text == greedy_ && other->text == greedy_))
      co_return;  // nothing would show
    const auto calm = [&](std::string_view name, double value) -> asio::awaitable<bool> {
      json::object more{{"temperature", kNoise}};
      if (value == 1 && name == "top_k")
        more[name] = 1;
      else
        more[name] = value;
      const auto answer = co_await Ask(more);
      co_return answer && answer->text == greedy_;
    };
    can_.top_k = co_await calm("top_k", 1);
    for (const int off : {0, -1}) {  // servers differ in how it is switched off
      if (!can_.top_k || can_.top_k_off) break;
      if (co_await Ask({{"temperature", kNoise}, {"top_k", off}})) can_.top_k_off = off;
    }
    can_.min_p = co_await calm("min_p", 1);
  }

  asio::awaitable<void> AskPenalties() {
    auto plain = co_await Ask(kRepeating, {});
    if (!plain) co_return;
    json::object neutral;
    const auto changes = [&](std::string_view name, double value) -> asio::awaitable<bool> {
      json::object more = neutral;
      more[name] = value;
      const auto answer = co_await Ask(kRepeating, more);
      co_return answer && answer->text != plain->text;
    };
    // Where a server has a penalty of its own, none changes as much as a strong one.
    for (const std::string_view name : {"repetition_penalty", "repeat_penalty"}) {
      for (const double value : {5.0, 1.0}) {
        if (can_.repetition_penalty.empty() && co_await changes(name, value)) can_.repetition_penalty = name;
      }
    }
    if (!can_.repetition_penalty.empty()) {
      neutral[can_.repetition_penalty] = 1;
      plain = co_await Ask(kRepeating, neutral);
      if (!plain) co_return;
    }
    can_.presence_penalty = co_await changes("presence_penalty", 2);
    can_.frequency_penalty = co_await changes("frequency_penalty", 2);
  }

  // A model that must end at once, and does not where its end is ignored.
  asio::awaitable<void> AskEnd() {
    json::object bias;
    for (const Token token : model_.end_tokens) bias[std::to_string(token)] = 100;
    if (bias.empty()) co_return;
    const auto ended = co_await Ask({{"logit_bias", bias}});
    can_.logit_bias = ended && ended->text.size() < greedy_.size();
    if (!can_.logit_bias) co_return;
    const auto went_on = co_await Ask({{"logit_bias", bias}, {"ignore_eos", true}});
    can_.ignore_eos = went_on && (went_on->finish == "length" || went_on->text.size() > ended->text.size());
  }

  const std::shared_ptr<Upstream> upstream_;
  const AskedModel model_;
  Can can_;
  std::string greedy_;
};

}  // namespace

asio::awaitable<Result<Can>> Discover(std::shared_ptr<Upstream> upstream, AskedModel model) {
  Asker asker(std::move(upstream), std::move(model));
  co_return co_await asker.Run();
}

}  // namespace penstock

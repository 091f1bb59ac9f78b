#include "attach/request.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

namespace penstock {
namespace {

namespace json = boost::json;

std::string_view PromptWord(Can::Prompt prompt) {
  switch (prompt) {
    case Can::Prompt::kTokens:
      return "tokens";
    case Can::Prompt::kText:
      return "text";
    case Can::Prompt::kChat:
      return "chat";
  }
  return "";
}

// A float as people write it: 0.1f is 0.1, not 0.10000000149.
double Short(float value) {
  return std::round(static_cast<double>(value) * 1e6) / 1e6;
}

class Maker {
 public:
  Maker(const Can& can, const wire::Submit& submit) : can_(can), submit_(submit) {}

  // A field that the request sets, if the upstream honours it.
  void Want(bool wanted, bool can, std::string_view name, auto value) {
    if (!wanted) return;
    if (can)
      body_[name] = value;
    else
      Lack(name);
  }
  void Lack(std::string_view name) {
    if (submit_.lenient()) return;
    lacking_ += (lacking_.empty() ? "" : ", ") + std::string(name);
  }

  Status AddPrompt(const PromptParts& prompt) {
    if (can_.prompt == Can::Prompt::kTokens) {
      body_["prompt"] = json::array(prompt.tokens.begin(), prompt.tokens.end());
    } else if (can_.prompt == Can::Prompt::kText) {
      body_["prompt"] = prompt.text;
    } else {
      return AddChat(prompt);
    }
    return {};
  }

  // The messages are the client's; the template is the upstream's.
  Status AddChat(const PromptParts& prompt) {
    if (submit_.chat().empty() && !submit_.lenient())
      return Fail(Reason::kUnsupportedField, "this upstream supports only chat requests");
    if (submit_.chat().empty()) {
      body_["messages"] = json::array{json::object{{"role", "user"}, {"content", prompt.text}}};
      return {};
    }
    boost::system::error_code error;
    const json::value chat = json::parse(submit_.chat(), error);
    if (error || !chat.is_object()) return Fail(Code::kInvalid, "the request's chat is not a JSON object");
    for (const std::string_view name : {"messages", "tools", "tool_choice"}) {
      if (const auto* value = chat.get_object().if_contains(name); value != nullptr) body_[name] = *value;
    }
    return {};
  }

  // What is off is said to be off wherever that is known to be heard: servers have defaults of their own.
  void AddSampling(uint32_t choice) {
    const wire::SamplingSpec& sampling = submit_.sampling();
    const bool hot = sampling.temperature() > 0;
    body_["temperature"] = Short(sampling.temperature());
    if (hot) body_["top_p"] = sampling.top_p() > 0 ? Short(sampling.top_p()) : 1;
    if (hot && can_.top_k_off) body_["top_k"] = *can_.top_k_off;
    Want(hot && sampling.top_k() > 0, can_.top_k, "top_k", sampling.top_k());
    if (hot && can_.min_p) body_["min_p"] = 0;
    Want(hot && sampling.min_p() > 0, can_.min_p, "min_p", Short(sampling.min_p()));
    // Every request has a seed, chosen for it where the client names none: so it is no reason to refuse.
    if (hot && can_.seed) body_["seed"] = static_cast<int64_t>((sampling.seed() + choice) & 0x7FFF'FFFF);
    const float repetition = sampling.repetition_penalty();
    if (!can_.repetition_penalty.empty()) body_[can_.repetition_penalty] = 1;
    Want(repetition != 0 && repetition != 1, !can_.repetition_penalty.empty(),
         can_.repetition_penalty.empty() ? "repetition_penalty" : can_.repetition_penalty, Short(repetition));
    Want(sampling.presence_penalty() != 0, can_.presence_penalty, "presence_penalty",
         Short(sampling.presence_penalty()));
    Want(sampling.frequency_penalty() != 0, can_.frequency_penalty, "frequency_penalty",
         Short(sampling.frequency_penalty()));
    json::object bias;
    for (int i = 0; i < std::min(sampling.bias_tokens_size(), sampling.bias_values_size()); ++i) {
      bias[std::to_string(sampling.bias_tokens(i))] = Short(sampling.bias_values(i));
    }
    Want(!bias.empty(), can_.logit_bias, "logit_bias", bias);
  }

  void AddLogprobs() {
    const int top = submit_.sampling().top_logprobs();
    const bool chat = can_.prompt == Can::Prompt::kChat;
    if (top >= 0 && !can_.logprobs) return Lack("logprobs");
    if (top < 0 && can_.ids != Can::Ids::kLogprobs) return;
    if (chat) {
      body_["logprobs"] = true;
      body_["top_logprobs"] = std::max(top, 0);
    } else {
      body_["logprobs"] = std::max(top, 1);  // 0 turns them off in some servers
    }
    body_["return_tokens_as_token_ids"] = can_.ids == Can::Ids::kField;
  }

  // Stop strings are not sent: an upstream that ends at one does not say that it was one, and takes it out of
  // the text. They are found here, and the request is let go then.
  void AddEnds(std::span<const Token> end_tokens) {
    const auto ends_itself = [&](Token token) {
      return std::ranges::find(end_tokens, token) != end_tokens.end();
    };
    if (can_.ids == Can::Ids::kNone && !std::ranges::all_of(submit_.stop_tokens(), ends_itself))
      Lack("stop_token_ids");
    // It would end at the model's ends where the request wants to go on: the client's own stop tokens are
    // then looked for here.
    const bool goes_on = submit_.ignore_eos() || std::ranges::none_of(submit_.stop_tokens(), ends_itself);
    Want(goes_on && !end_tokens.empty(), can_.ignore_eos, "ignore_eos", true);
  }

  Result<UpstreamRequest> Finish() {
    if (!lacking_.empty()) {
      return Fail(Reason::kUnsupportedField,
                  "the upstream that serves this model does not support {}; remove it", lacking_);
    }
    const std::string path = can_.prompt == Can::Prompt::kChat ? "/v1/chat/completions" : "/v1/completions";
    return UpstreamRequest{.path = path, .body = json::serialize(body_)};
  }

  json::object body_;

 private:
  const Can& can_;
  const wire::Submit& submit_;
  std::string lacking_;
};

}  // namespace

std::string Can::Text() const {
  std::string text = fmt::format("prompt {}, ids {}", PromptWord(prompt),
                                 ids == Ids::kField      ? "told"
                                 : ids == Ids::kLogprobs ? "in logprobs"
                                                         : "counted here");
  const auto add = [&](bool can, std::string_view name) {
    text += fmt::format(", {}{}", can ? "" : "no ", name);
  };
  add(stream_usage, "usage in streams");
  add(logprobs, "logprobs");
  add(stop, "stop");
  add(ignore_eos, "ignore_eos");
  add(seed, "seed");
  add(top_k, "top_k");
  add(min_p, "min_p");
  add(logit_bias, "logit_bias");
  add(!repetition_penalty.empty(), repetition_penalty.empty() ? "repetition_penalty" : repetition_penalty);
  add(presence_penalty, "presence_penalty");
  add(frequency_penalty, "frequency_penalty");
  add(together, "several at once");
  return text;
}

Result<UpstreamRequest> MakeRequest(const Can& can, const wire::Submit& submit, uint32_t choice,
                                    const PromptParts& prompt, const RequestFacts& facts) {
  Maker maker(can, submit);
  maker.body_["model"] = facts.model;
  PENSTOCK_TRY(maker.AddPrompt(prompt));
  maker.body_["max_tokens"] = submit.max_tokens() - std::min(submit.max_tokens(), facts.emitted);
  maker.body_["stream"] = true;
  if (can.stream_usage) maker.body_["stream_options"] = json::object{{"include_usage", true}};
  if (can.ids == Can::Ids::kField) maker.body_["return_token_ids"] = true;
  maker.AddSampling(choice);
  maker.AddLogprobs();
  maker.AddEnds(facts.end_tokens);
  return maker.Finish();
}

}  // namespace penstock

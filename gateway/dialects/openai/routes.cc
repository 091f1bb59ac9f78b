// The routes under /v1: OpenAI's, and what a team may ask about its own requests and usage.
#include <boost/asio/post.hpp>

#include "gateway/common/json_out.h"
#include "gateway/dialects/openai/openai.h"
#include "gateway/admin/records.h"
#include "gateway/request/generation.h"

namespace penstock::gateway {
namespace {

// One of the two generating routes.
struct Endpoint {
  std::string_view name, id_prefix;
  ApiResult<ChatRequest> (*parse)(std::string_view body);
};
constexpr Endpoint kChat = {"chat", "chatcmpl-", ParseChat};
constexpr Endpoint kCompletions = {"completions", "cmpl-", ParseCompletion};

// What is kept of a call while its body is parsed elsewhere.
struct Pending {
  Service& service;
  const Endpoint& endpoint;
  Principal principal;
  std::string idempotency_key, body;
  std::shared_ptr<Reply> reply;
};

void Begin(Pending pending, ApiResult<ChatRequest> chat) {
  if (!chat) {
    pending.service.metrics.HttpAnswer(chat.error().status);
    pending.reply->Send(WithRequestId(ErrorResponse(chat.error())));
    return;
  }
  GenerationRequest request{.chat = *std::move(chat),
                       .principal = std::move(pending.principal),
                       .idempotency_key = std::move(pending.idempotency_key),
                       .endpoint = pending.endpoint.name,
                       .body_bytes = pending.body.size(),
                       .renderer = {}};
  const int64_t created = pending.service.clock.Wall() / kSecond;
  request.renderer = [created, prefix = pending.endpoint.id_prefix](const ChatRequest& asked,
                                                                    std::string_view id) {
    return MakeOpenAiRenderer(
        asked, {.id = fmt::format("{}{}", prefix, id), .model = asked.model, .created = created});
  };
  BeginGeneration(pending.service, std::move(request), std::move(pending.reply));
}

void Generate(Call& call, const Endpoint& endpoint) {
  Pending pending{.service = call.service,
                  .endpoint = endpoint,
                  .principal = call.principal,
                  .idempotency_key = std::move(call.request.idempotency_key),
                  .body = std::move(call.request.body),
                  .reply = std::move(call.reply)};
  if (pending.body.size() <= kInlineBody) {
    auto chat = endpoint.parse(pending.body);
    return Begin(std::move(pending), std::move(chat));
  }
  boost::asio::post(call.service.pool, [pending = std::move(pending)]() mutable {
    auto chat = pending.endpoint.parse(pending.body);
    auto& io = pending.service.io;
    boost::asio::post(io, [pending = std::move(pending), chat = std::move(chat)]() mutable {
      Begin(std::move(pending), std::move(chat));
    });
  });
}

// OpenAI's fields, then ours: the longest context, and what every engine that has it can promise.
void AppendModel(std::string_view name, const ModelEntry& entry, const std::vector<EngineView>& engines,
                 JsonWriter& writer) {
  writer.Object().Field("id", name).Field("object", "model");
  writer.Field("created", entry.model.created).Field("owned_by", "penstock");
  if (entry.context > 0) writer.Field("max_model_len", entry.context);
  AppendGuarantees(GuaranteesFor(name, engines), writer);
  writer.EndObject();
}

}  // namespace

void HandleChat(Call& call) {
  Generate(call, kChat);
}

void HandleCompletion(Call& call) {
  Generate(call, kCompletions);
}

void HandleModels(Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("object", "list").Key("data").Array();
  const std::vector<EngineView> engines = call.service.fleet.Engines();
  std::string_view family;  // the last that was told of
  for (const auto& [name, entry] : call.service.models.entries()) {
    if (!entry.served || !call.principal.MayUse(name)) continue;
    // A model of which there are only variants can be asked for by its own name, too.
    if (FamilyOf(name) != family) AppendModel(FamilyOf(name), entry, engines, writer);
    family = FamilyOf(name);
    if (name != family) AppendModel(name, entry, engines, writer);
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void HandleModel(Call& call) {
  const ModelEntry* const entry = call.service.models.Find(call.argument);
  if (entry == nullptr || !(call.principal.MayUse(call.argument) ||
                            !call.service.models.VariantsFor(call.principal, call.argument).empty())) {
    ApiError error =
        ToApiError({Code::kNotFound, fmt::format("the model '{}' does not exist here or is not yours; "
                                                 "GET /v1/models lists yours",
                                                 call.argument)});
    error.code = "model_not_found";
    error.reason = Reason::kModelUnknown;
    error.param = "model";
    return call.SendError(error);
  }
  std::string out;
  JsonWriter writer(out);
  AppendModel(call.argument, *entry, call.service.fleet.Engines(), writer);
  call.SendJson(std::move(out));
}

void HandleRequest(Call& call) {
  const auto record = FindRequest(call);
  if (!record) return call.SendError(ToApiError(record.error()));
  call.SendJson(RequestJson(*record));
}

}  // namespace penstock::gateway

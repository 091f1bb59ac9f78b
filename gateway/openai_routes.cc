// The routes under /v1: OpenAI's, and what a team may ask about its own requests and usage.
#include "gateway/json_out.h"
#include "gateway/openai.h"
#include "gateway/records.h"
#include "gateway/story.h"

namespace penstock::gateway {
namespace {

void Generate(Call& call, ApiResult<ChatRequest> (*parse)(std::string_view), std::string_view endpoint,
              std::string_view id_prefix) {
  auto chat = parse(call.request.body);
  if (!chat) {
    call.service.metrics.HttpAnswer(chat.error().status);
    return call.SendError(chat.error());
  }
  const int64_t created = call.service.clock.Wall() / kSecond;
  StoryRequest request{.chat = *std::move(chat),
                       .principal = call.principal,
                       .idempotency_key = std::move(call.request.idempotency_key),
                       .endpoint = endpoint,
                       .body_bytes = call.request.body.size(),
                       .renderer = {}};
  request.renderer = [created, id_prefix](const ChatRequest& asked, std::string_view id,
                                          const CatalogueEntry& entry) {
    return MakeOpenAiRenderer(asked, {.id = fmt::format("{}{}", id_prefix, id),
                                      .model = asked.model,
                                      .fingerprint = entry.fingerprint,
                                      .created = created});
  };
  BeginStory(call.service, std::move(request), std::move(call.reply));
}

void AppendModel(const CatalogueEntry& entry, JsonWriter& writer) {
  writer.Object().Field("id", entry.model.name).Field("object", "model");
  writer.Field("created", entry.model.created).Field("owned_by", "penstock");
  if (entry.context > 0) writer.Field("max_model_len", entry.context);
  writer.EndObject();
}

}  // namespace

void HandleChat(Call& call) {
  Generate(call, ParseChat, "chat", "chatcmpl-");
}

void HandleCompletion(Call& call) {
  Generate(call, ParseCompletion, "completions", "cmpl-");
}

void HandleModels(Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("object", "list").Key("data").Array();
  for (const auto& [name, entry] : call.service.catalogue.entries()) {
    if (entry.served && call.principal.MayUse(name)) AppendModel(entry, writer);
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void HandleModel(Call& call) {
  const CatalogueEntry* const entry = call.service.catalogue.Find(call.argument);
  if (entry == nullptr || !call.principal.MayUse(call.argument)) {
    ApiError error =
        ToApiError({Code::kNotFound, fmt::format("the model '{}' does not exist here or is not yours; "
                                                 "GET /v1/models lists yours",
                                                 call.argument)});
    error.code = "model_not_found";
    error.param = "model";
    return call.SendError(error);
  }
  std::string out;
  JsonWriter writer(out);
  AppendModel(*entry, writer);
  call.SendJson(std::move(out));
}

void HandleRequest(Call& call) {
  const auto record = FindRequest(call);
  if (!record) return call.SendError(ToApiError(record.error()));
  call.SendJson(RequestJson(*record));
}

void HandleTeamUsage(Call& call) {
  UsageQuery scope;
  if (call.principal.role != Role::kOperator) scope.team = call.principal.team;
  SendUsage(call, std::move(scope));
}

}  // namespace penstock::gateway

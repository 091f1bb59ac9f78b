#include "gateway/dialects/openai/routes.h"

#include <atomic>
#include <boost/asio/post.hpp>

#include "gateway/common/json_out.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/openai.h"
#include "gateway/request/model_json.h"

namespace penstock::gateway {
namespace {

// One of the two generating routes.
struct Endpoint {
  std::string_view name, id_prefix;
  ApiResult<ChatRequest> (*parse)(std::string_view body);
};
constexpr Endpoint kChat = {"chat", "chatcmpl-", ParseChat};
constexpr Endpoint kCompletions = {"completions", "cmpl-", ParseCompletion};

void Begin(GenerationContext& context, const Endpoint& endpoint, Call call, ApiResult<ChatRequest> chat) {
  if (!chat) return call.SendError(chat.error());
  GenerationRequest request{.chat = *std::move(chat),
                            .principal = std::move(call.principal),
                            .idempotency_key = std::move(call.request.idempotency_key),
                            .endpoint = endpoint.name,
                            .body_bytes = call.request.body.size(),
                            .memory = std::move(call.request.memory),
                            .renderer = {},
                            .render_error = call.render_error};
  const int64_t created = context.clock.Wall() / kSecond;
  request.renderer = [created, prefix = endpoint.id_prefix](const ChatRequest& asked, std::string_view id,
                                                            const Tokenizer& tokenizer) {
    return MakeOpenAiRenderer(asked, {.id = fmt::format("{}{}", prefix, id),
                                      .model = asked.model,
                                      .created = created,
                                      .tokenizer = &tokenizer});
  };
  BeginGeneration(context, std::move(request), std::move(call.reply));
}

// A client whose body waits to be parsed.
struct Waiting final : Reply::Listener {
  void OnAccepted(uint64_t) override {}
  void OnGone(std::string_view) override { gone = true; }
  std::atomic<bool> gone = false;
};

void Generate(GenerationContext& context, const Endpoint& endpoint, Call& call) {
  const size_t bytes = call.request.body.size();
  if (bytes <= kInlineBody) {
    auto chat = endpoint.parse(call.request.body);
    return Begin(context, endpoint, std::move(call), std::move(chat));
  }
  const TeamId team = call.principal.team;
  const auto client = std::make_shared<Waiting>();
  call.reply->Listen(client);
  auto shared = std::make_shared<Call>(std::move(call));  // not const: it is moved out of the closure below
  context.workers.Add(team, bytes, [&context, &endpoint, client, shared = std::move(shared)]() mutable {
    ApiResult<ChatRequest> chat;
    if (!client->gone) chat = endpoint.parse(shared->request.body);
    // Moved, not copied: a call must end its life on the io thread.
    boost::asio::post(context.io, [&context, &endpoint, client = std::move(client),
                                   shared = std::move(shared), chat = std::move(chat)]() mutable {
      if (!client->gone) Begin(context, endpoint, std::move(*shared), std::move(chat));
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

void SendModels(const GenerationContext& context, const Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("object", "list").Key("data").Array();
  const std::vector<EngineView> engines = context.fleet.Engines();
  std::string_view family;  // the last that was listed
  for (const auto& [name, entry] : context.models.entries()) {
    if (!entry.served || !call.principal.MayUse(name)) continue;
    // A model of which there are only variants can be asked for by its own name, too.
    if (FamilyOf(name) != family) AppendModel(FamilyOf(name), entry, engines, writer);
    family = FamilyOf(name);
    if (name != family) AppendModel(name, entry, engines, writer);
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void SendModel(const GenerationContext& context, const Call& call) {
  const std::string& name = call.argument;
  const ModelEntry* const entry = context.models.Find(name);
  if (entry == nullptr ||
      !(call.principal.MayUse(name) || !context.models.VariantsFor(call.principal, name).empty())) {
    ApiError error = ToApiError(
        {Code::kNotFound,
         fmt::format("the model '{}' does not exist here or is not yours; GET /v1/models lists yours", name),
         Reason::kModelUnknown});
    error.param = "model";
    return call.SendError(error);
  }
  std::string out;
  JsonWriter writer(out);
  AppendModel(name, *entry, context.fleet.Engines(), writer);
  call.SendJson(std::move(out));
}

}  // namespace

std::vector<Route> OpenAiRoutes(GenerationContext& context) {
  using enum Capability;
  return {
      {Method::kPost, "/v1/chat/completions", kUseModels,
       [&context](Call& call) { Generate(context, kChat, call); }},
      {Method::kPost, "/v1/completions", kUseModels,
       [&context](Call& call) { Generate(context, kCompletions, call); }},
      {Method::kGet, "/v1/models", kUseModels, [&context](Call& call) { SendModels(context, call); }},
      {Method::kGet, "/v1/models/{}", kUseModels, [&context](Call& call) { SendModel(context, call); }},
  };
}

}  // namespace penstock::gateway

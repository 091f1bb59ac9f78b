#include "gateway/request/admission.h"

namespace penstock::gateway {
namespace {

std::string ModelsOf(const GenerationContext& context, const Principal& principal) {
  std::string names;
  for (const auto& [name, _] : context.models.entries()) {
    if (principal.MayUse(name)) names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "none" : names;
}

ApiError NoSuchModel(const GenerationContext& context, const Principal& principal, std::string_view model) {
  ApiError error = ToApiError(
      {Code::kNotFound,
       fmt::format("the model '{}' does not exist here; yours are: {}", model, ModelsOf(context, principal)),
       Reason::kModelUnknown});
  error.param = "model";
  return error;
}

ApiError NotYourModel(const GenerationContext& context, const Principal& principal, std::string_view model) {
  ApiError error = ToApiError(
      {Code::kForbidden,
       fmt::format("this key may not use the model '{}'; yours are: {}", model, ModelsOf(context, principal)),
       Reason::kModelNotAllowed});
  error.param = "model";
  return error;
}

// Whether anything of this model runs now; why not.
Status Available(const GenerationContext& context, const ModelEntry& entry) {
  const std::string& name = entry.model.name;
  if (context.status.draining)
    return Fail(Reason::kStopping, "the server is stopping; try again in a moment");
  if (!context.accounts.healthy()) return std::unexpected(Unstored(context.accounts.fault()));
  if (!entry.served)
    return Fail(Reason::kModelNotReady, "the model '{}' is unloaded; an operator can load it", name);
  if (entry.text != nullptr) return {};
  if (entry.error.empty())
    return Fail(Reason::kModelNotReady, "the model '{}' is being loaded; try again in a moment", name);
  return Fail(Reason::kModelFailedToLoad, "the model '{}' cannot be served: {}", name, entry.error);
}

}  // namespace

Error Unstored(std::string_view why) {
  return {Code::kUnavailable,
          fmt::format("usage cannot be stored ({}), so no request is answered; tell the operator", why),
          Reason::kStoreUnwritable};
}

ApiError RevokedMeanwhile() {
  return ToApiError(
      {Code::kUnauthenticated,
       "the key of this request was revoked, so its answer ends here; ask your team lead for a new key",
       Reason::kKeyRevoked});
}

ApiResult<const ModelEntry*> Admit(GenerationContext& context, const Principal& principal,
                                   std::string_view model) {
  const ModelEntry* const entry = context.models.Find(model);
  if (entry == nullptr) return std::unexpected(NoSuchModel(context, principal, model));
  if (!principal.MayUse(model) && context.models.VariantsFor(principal, model).empty()) {
    return std::unexpected(NotYourModel(context, principal, model));
  }
  Status may = Available(context, *entry);
  if (may) may = context.fleet.MayRun(model, principal.team_name, principal.external);
  if (!may) return std::unexpected(ToApiError(may.error()));
  return entry;
}

}  // namespace penstock::gateway

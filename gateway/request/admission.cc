#include "gateway/request/admission.h"

namespace penstock::gateway {
namespace {

std::string ModelsOf(const Service& service, const Principal& principal) {
  std::string names;
  for (const auto& [name, _] : service.models.entries()) {
    if (principal.MayUse(name)) names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "none" : names;
}

ApiError NoSuchModel(const Service& service, const Principal& principal, std::string_view model) {
  ApiError error =
      ToApiError({Code::kNotFound, fmt::format("the model '{}' does not exist here; yours are: {}", model,
                                               ModelsOf(service, principal))});
  error.param = "model";
  error.code = "model_not_found";
  error.reason = Reason::kModelUnknown;
  return error;
}

ApiError NotYourModel(const Service& service, const Principal& principal, std::string_view model) {
  ApiError error =
      ToApiError({Code::kForbidden, fmt::format("this key may not use the model '{}'; yours are: {}", model,
                                                ModelsOf(service, principal))});
  error.param = "model";
  error.code = "model_not_allowed";
  error.reason = Reason::kModelNotAllowed;
  return error;
}

// Whether anything of this model runs now; why not.
Status Available(const Service& service, const ModelEntry& entry) {
  const std::string& name = entry.model.name;
  if (service.draining) return Fail(Reason::kStopping, "the server is stopping; try again in a moment");
  if (!service.accounts.healthy()) {
    return Fail(Reason::kStoreUnwritable,
                "usage cannot be stored ({}), so nothing new is admitted; tell the operator",
                service.accounts.fault());
  }
  if (!entry.served)
    return Fail(Reason::kModelNotReady, "the model '{}' is unloaded; an operator can load it", name);
  if (entry.text != nullptr) return {};
  if (entry.error.empty())
    return Fail(Reason::kModelNotReady, "the model '{}' is being loaded; try again in a moment", name);
  return Fail(Reason::kModelFailedToLoad, "the model '{}' cannot be served: {}", name, entry.error);
}

ApiError AlreadyUsed(const std::string& before) {
  ApiError error =
      ToApiError({Code::kConflict, fmt::format("this Idempotency-Key was used by request {}; "
                                               "GET /v1/requests/{} tells what became of it (answers "
                                               "are not replayed)",
                                               before, before)});
  error.code = "idempotency_key_used";
  error.reason = Reason::kIdempotencyUsed;
  return error;
}

}  // namespace

ApiResult<const ModelEntry*> Admit(Service& service, const Principal& principal, std::string_view model,
                                       std::string_view idempotency_key) {
  const ModelEntry* const entry = service.models.Find(model);
  if (entry == nullptr) return std::unexpected(NoSuchModel(service, principal, model));
  if (!principal.MayUse(model) && service.models.VariantsFor(principal, model).empty()) {
    return std::unexpected(NotYourModel(service, principal, model));
  }
  if (const Status available = Available(service, *entry); !available) {
    return std::unexpected(ToApiError(available.error()));
  }
  if (idempotency_key.empty()) return entry;
  const std::string* const before =
      service.idempotency.Find(principal.key, idempotency_key, service.clock.Monotonic());
  if (before != nullptr) return std::unexpected(AlreadyUsed(*before));
  return entry;
}

}  // namespace penstock::gateway

#include "gateway/api.h"

#include <array>

#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

using enum Capability;
constexpr std::array kRoutes = {
    Route{Method::kGet, "/", {}, HandleHome},
    Route{Method::kGet, "/console/{}", {}, HandleConsole},
    Route{Method::kGet, "/livez", {}, HandleLive},
    Route{Method::kGet, "/readyz", {}, HandleReady},
    Route{Method::kGet, "/metrics", kReadStatus, HandleMetrics},

    Route{Method::kPost, "/v1/chat/completions", kUseModels, HandleChat},
    Route{Method::kPost, "/v1/completions", kUseModels, HandleCompletion},
    Route{Method::kGet, "/v1/models", kUseModels, HandleModels},
    Route{Method::kGet, "/v1/models/{}", kUseModels, HandleModel},
    Route{Method::kGet, "/v1/requests/{}", kReadRequests, HandleRequest},
    Route{Method::kGet, "/v1/usage", kReadUsage, HandleUsage},
    Route{Method::kGet, "/v1/seat", kReadSeat, HandleSeat},
    Route{Method::kPost, "/v1/logins", kCreateLogins, HandleCreateLogin},
    Route{Method::kGet, "/v1/live", kReadLive, HandleSnapshot},

    Route{Method::kPost, "/admin/v1/teams", kCreateTeams, HandleCreateTeam},
    Route{Method::kGet, "/admin/v1/teams", kReadTeams, HandleTeams},
    Route{Method::kPost, "/admin/v1/teams/{}", kCreateTeams, HandleSetTeam},
    Route{Method::kPost, "/admin/v1/keys", kManageKeys, HandleCreateKey},
    Route{Method::kGet, "/admin/v1/keys", kReadKeys, HandleKeys},
    Route{Method::kPost, "/admin/v1/keys/{}/rotate", kManageKeys, HandleRotateKey},
    Route{Method::kDelete, "/admin/v1/keys/{}", kRevokeKeys, HandleRevokeKey},
    Route{Method::kGet, "/admin/v1/usage", kReadUsage, HandleUsage},
    Route{Method::kGet, "/admin/v1/requests/{}", kReadRequests, HandleRequest},
    Route{Method::kGet, "/admin/v1/status", kReadStatus, HandleStatus},
    Route{Method::kGet, "/admin/v1/log", kReadStatus, HandleLogLevels},
    Route{Method::kPost, "/admin/v1/log", kManageLogs, HandleSetLogLevel},
    Route{Method::kGet, "/admin/v1/engines", kReadStatus, HandleEngines},
    Route{Method::kPost, "/admin/v1/engines/{}/drain", kManageEngines, HandleDrainEngine},
    Route{Method::kPost, "/admin/v1/engines/{}/resume", kManageEngines, HandleResumeEngine},
    Route{Method::kPost, "/admin/v1/engines/{}/restart", kManageEngines, HandleRestartEngine},
    Route{Method::kGet, "/admin/v1/models", kManageModels, HandleInstalledModels},
    Route{Method::kPost, "/admin/v1/models/rescan", kManageModels, HandleRescan},
    Route{Method::kPost, "/admin/v1/models/{}/load", kManageModels, HandleLoad},
    Route{Method::kPost, "/admin/v1/models/{}/unload", kManageModels, HandleUnload},
};

// What {} stands for when `path` is of the form `pattern`.
std::optional<std::string_view> Match(std::string_view pattern, std::string_view path) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos)
    return pattern == path ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = pattern.substr(0, hole), after = pattern.substr(hole + 2);
  if (path.size() <= before.size() + after.size()) return std::nullopt;
  if (!path.starts_with(before) || !path.ends_with(after)) return std::nullopt;
  return path.substr(before.size(), path.size() - before.size() - after.size());
}

Method ServedAs(Method method) {
  return method == Method::kHead ? Method::kGet : method;
}

std::string AllowedMethods(const HttpRequest& request) {
  std::string allowed;
  const auto add = [&](std::string_view name) { allowed.append(allowed.empty() ? "" : ", ").append(name); };
  for (const Route& route : kRoutes) {
    if (!Match(route.path, request.path)) continue;
    add(MethodName(route.method));
    if (route.method == Method::kGet) add("HEAD");
  }
  if (!allowed.empty()) add("OPTIONS");
  return allowed;
}

HttpResponse NotFound(const HttpRequest& request) {
  std::string routes;
  for (const Route& route : kRoutes) {
    routes += fmt::format("{}{} {}", routes.empty() ? "" : ", ", MethodName(route.method), route.path);
  }
  return ErrorResponse(ToApiError(
      {Code::kNotFound, fmt::format("there is nothing at '{}'; there is: {}", request.path, routes),
       Reason::kNoRoute}));
}

HttpResponse WrongMethod(const HttpRequest& request, const std::string& allowed) {
  ApiError error =
      ToApiError({Code::kInvalid, fmt::format("'{}' takes {}", request.path, allowed), Reason::kWrongMethod});
  error.status = 405;
  error.code = "method_not_allowed";
  HttpResponse response = ErrorResponse(error);
  response.headers += "allow: " + allowed + "\r\n";
  return response;
}

HttpResponse Options(const std::string& allowed) {
  HttpResponse response;
  response.status = 204;
  response.headers = "allow: " + allowed + "\r\n";
  return response;
}

}  // namespace

std::span<const Route> Routes() {
  return kRoutes;
}

void Call::Send(HttpResponse response) const {
  service.metrics.HttpAnswer(response.status);
  reply->Send(WithRequestId(std::move(response)));
}

void Call::SendJson(std::string body, int status) const {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  Send(std::move(response));
}

Api::Found Api::Find(const HttpRequest& request) {
  for (const Route& route : kRoutes) {
    if (route.method != ServedAs(request.method)) continue;
    if (const auto argument = Match(route.path, request.path)) return {&route, std::string(*argument)};
  }
  return {};
}

std::optional<Capability> Api::NeedOf(const Route& route) const {
  const bool open = route.handle == HandleMetrics && service_.options.open_metrics;
  return open ? std::nullopt : route.needs;
}

Result<Principal> Api::Authorise(const Route& route, const HttpRequest& request) const {
  const auto need = NeedOf(route);
  if (!need) return Principal{};
  PENSTOCK_ASSIGN(Principal principal, service_.accounts.Authenticate(request.bearer));
  if (May(principal.role, *need)) return principal;
  return Fail(Reason::kNotYourRole, "{} {} wants a key of role {}; this one is of role {}",
              MethodName(route.method), route.path, RolesThatMay(*need), RoleName(principal.role));
}

std::optional<HttpResponse> Api::Refuse(const HttpRequest& request) {
  std::optional<HttpResponse> refusal;
  const Found found = Find(request);
  if (found.route == nullptr) {
    const std::string allowed = AllowedMethods(request);
    if (allowed.empty()) {
      refusal = NotFound(request);
    } else {
      refusal = request.method == Method::kOptions ? Options(allowed) : WrongMethod(request, allowed);
    }
  } else if (const auto principal = Authorise(*found.route, request); !principal) {
    refusal = ErrorResponse(ToApiError(principal.error()));
  }
  if (!refusal) return std::nullopt;
  service_.metrics.HttpAnswer(refusal->status);
  return WithRequestId(*std::move(refusal));
}

void Api::Handle(HttpRequest& request, std::shared_ptr<Reply> reply) {
  Found found = Find(request);
  const auto principal = Authorise(*found.route, request);  // asked again: a key may be revoked meanwhile
  Call call{.service = service_,
            .request = request,
            .principal = *principal,
            .scope = principal && found.route->needs ? ScopeOf(*principal, *found.route->needs) : Scope{},
            .argument = std::move(found.argument),
            .reply = std::move(reply)};
  if (!principal) return call.SendError(ToApiError(principal.error()));
  // The route, not the path: what stands in a path may be a secret that somebody put there.
  service_.log.Debug("http", "{} {}, {} bytes, key {}", MethodName(request.method), found.route->path,
                     request.body.size(), principal->key);
  found.route->handle(call);
}

}  // namespace penstock::gateway

#include "gateway/http/router.h"

#include "gateway/observe/watchdog.h"

namespace penstock::gateway {
namespace {

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

HttpResponse Options(const std::string& allowed) {
  HttpResponse response;
  response.status = 204;
  response.headers = "allow: " + allowed + "\r\n";
  return response;
}

}  // namespace

std::string Router::AllowedMethods(const HttpRequest& request) const {
  std::string allowed;
  const auto add = [&](std::string_view name) { allowed.append(allowed.empty() ? "" : ", ").append(name); };
  for (const Route& route : routes_) {
    if (!Match(route.path, request.path)) continue;
    add(MethodName(route.method));
    if (route.method == Method::kGet) add("HEAD");
  }
  if (!allowed.empty()) add("OPTIONS");
  return allowed;
}

HttpResponse Router::NotFound(const HttpRequest& request) const {
  std::string routes;
  for (const Route& route : routes_) {
    routes += fmt::format("{}{} {}", routes.empty() ? "" : ", ", MethodName(route.method), route.path);
  }
  return render_error_(ToApiError(
      {Code::kNotFound, fmt::format("there is nothing at '{}'; the routes are: {}", request.path, routes),
       Reason::kNoRoute}));
}

HttpResponse Router::WrongMethod(const HttpRequest& request, const std::string& allowed) const {
  HttpResponse response = render_error_(ToApiError(
      {Code::kInvalid, fmt::format("'{}' takes {}", request.path, allowed), Reason::kWrongMethod}));
  response.headers += "allow: " + allowed + "\r\n";
  return response;
}

Router::Found Router::Find(const HttpRequest& request) const {
  for (const Route& route : routes_) {
    if (route.method != ServedAs(request.method)) continue;
    if (const auto argument = Match(route.path, request.path)) return {&route, std::string(*argument)};
  }
  return {};
}

Result<Principal> Router::Authorise(const Route& route, const HttpRequest& request) const {
  if (!route.needs) return Principal{};
  PENSTOCK_ASSIGN(Principal principal, accounts_.Authenticate(request.bearer));
  if (May(principal.role, *route.needs)) return principal;
  return Fail(Reason::kNotYourRole, "{} {} needs a key of role {}; this key has the role {}",
              MethodName(route.method), route.path, RolesThatMay(*route.needs), RoleName(principal.role));
}

std::optional<HttpResponse> Router::Refuse(HttpRequest& request) {
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
    refusal = render_error_(ToApiError(principal.error()));
  } else {
    request.key = principal->key;
  }
  if (!refusal) return std::nullopt;
  metrics_.HttpAnswer(refusal->status);
  return WithRequestId(*std::move(refusal));
}

void Router::Handle(HttpRequest& request, std::shared_ptr<Reply> reply) {
  Found found = Find(request);
  const Route& route = *found.route;
  auto principal = Authorise(route, request);  // checked again: the key may have been revoked since
  Call call{.request = std::move(request),
            .principal = {},
            .scope = {},
            .argument = std::move(found.argument),
            .reply = std::move(reply),
            .render_error = render_error_,
            .metrics = &metrics_};
  if (!principal) return call.SendError(principal.error());
  if (route.needs) call.scope = ScopeOf(*principal, *route.needs);
  call.principal = *std::move(principal);
  // The route, not the path: a path may contain a secret that somebody put there.
  log_.Debug("http", "{} {}, {} bytes, key {}", MethodName(route.method), route.path,
             call.request.body.size(), call.principal.key);
  Watchdog::Doing(route.path.data());  // a literal: it ends with a zero
  route.handle(call);
  Watchdog::Doing("work outside of a handler");
}

}  // namespace penstock::gateway

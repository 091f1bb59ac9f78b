#include "gateway/http/router.h"

#include "gateway/http/path_hint.h"
#include "gateway/observe/watchdog.h"

namespace penstock::gateway {
namespace {

// What {} stands for when `path` is of the form `pattern`. A slash at the end does not make another path.
std::optional<std::string_view> Match(std::string_view pattern, std::string_view path) {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  std::string_view argument;
  return MatchPath(pattern, path, argument) ? std::optional(argument) : std::nullopt;
}

Method ServedAs(Method method) {
  return method == Method::kHead ? Method::kGet : method;
}

HttpResponse Options(std::string_view allowed) {
  HttpResponse response;
  response.status = 204;
  response.headers = fmt::format("allow: {}\r\n", allowed);
  return response;
}

// Probes are asked under any name: by load balancers and container runtimes.
bool IsProbe(std::string_view path) {
  return path == "/livez" || path == "/readyz";
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

// Names the path that was probably meant, and the routes that this key may use.
HttpResponse Router::NotFound(const HttpRequest& request) const {
  const auto principal = accounts_.Authenticate(request.bearer);
  std::vector<std::string_view> usable, known;  // by this key; by whoever may use models
  for (const Route& route : routes_) {
    const bool open = !route.needs;
    const Role role = principal ? principal->role : Role::kDeveloper;
    if (open || (principal && May(role, *route.needs))) usable.push_back(route.path);
    if (open || May(role, *route.needs)) known.push_back(route.path);
  }
  return render_error_(
      ToApiError({Code::kNotFound,
                  NoSuchPath(request.path, usable, known, principal ? "this key" : "requests without a key"),
                  Reason::kNoRoute}));
}

std::optional<HttpResponse> Router::RefuseHost(const HttpRequest& request) const {
  if (AllowsHost(policy_, request.host) || IsProbe(request.path)) return std::nullopt;
  if (!request.bearer.empty()) {
    const Found found = Find(request);
    if (found.route != nullptr && found.route->needs) return std::nullopt;  // its key is checked
    if (accounts_.Authenticate(request.bearer)) return std::nullopt;
  }
  return render_error_(ToApiError(
      {Code::kForbidden,
       fmt::format(
           "requests without a key must be sent to localhost or 127.0.0.1, not to the host '{}'; an operator "
           "can allow this name: penstock config set gateway.hosts NAME",
           HeaderList({request.host})),
       Reason::kHostNotAllowed}));
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

std::optional<HttpResponse> Router::Judge(HttpRequest& request) const {
  if (auto refusal = RefuseHost(request)) return refusal;
  if (request.path == "*") return Options("GET, HEAD, POST, DELETE, OPTIONS");  // of the server as a whole
  const Found found = Find(request);
  if (found.route == nullptr) {
    const std::string allowed = AllowedMethods(request);
    if (allowed.empty()) return NotFound(request);
    if (auto preflight = Preflight(policy_, request, allowed)) return preflight;
    return request.method == Method::kOptions ? Options(allowed) : WrongMethod(request, allowed);
  }
  const auto principal = Authorise(*found.route, request);
  if (!principal) return render_error_(ToApiError(principal.error()));
  request.key = principal->key;
  request.team = principal->team;
  return std::nullopt;
}

std::optional<HttpResponse> Router::Refuse(HttpRequest& request) {
  request.answer_headers = AnswerHeaders(policy_, request);
  std::optional<HttpResponse> refusal = Judge(request);
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

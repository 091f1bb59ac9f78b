// Call: one request on its way through a handler; Route: which requests a handler gets.
//
// A handler gets the call by reference and answers it once, now or later: to answer later, it moves the
// call away, which owns all that it holds. Handlers are closures over exactly what they need; each room makes
// its own (dialects/openai/routes.h, admin/routes.h). Threads: the io thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/common/api_error.h"
#include "gateway/http/http.h"
#include "gateway/http/reply.h"
#include "gateway/observe/metrics.h"
#include "teams/roles.h"
#include "teams/teams.h"

namespace penstock::gateway {

// Gives an error a dialect's form.
using ErrorRenderer = HttpResponse (*)(const ApiError&);

struct Call {
  HttpRequest request;
  Principal principal;   // empty where no key is needed
  Scope scope;           // what the route's capability reaches for this principal
  std::string argument;  // what the route's {} stood for
  std::shared_ptr<Reply> reply;
  ErrorRenderer render_error = nullptr;
  Metrics* metrics = nullptr;

  void Send(HttpResponse response) const;
  void SendJson(std::string body, int status = 200) const;
  void SendError(const ApiError& error) const { Send(render_error(error)); }
  void SendError(const Error& error) const { SendError(ToApiError(error)); }
};

struct Route {
  Method method;
  std::string_view path;            // may hold one {}: any text that is not empty, slashes included
  std::optional<Capability> needs;  // none: anyone may go there, without a key
  std::function<void(Call&)> handle;
};

}  // namespace penstock::gateway

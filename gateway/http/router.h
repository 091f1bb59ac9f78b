// Router: finds the route of a request and checks that its key may go there.
// Threads: the io thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/http/call.h"
#include "gateway/http/http_connection.h"
#include "gateway/http/web_policy.h"
#include "gateway/observe/log.h"

namespace penstock::gateway {

class Router final : public HttpHandler {
 public:
  // Paths and methods of `routes` are distinct. `render_error` writes errors of every route.
  Router(std::vector<Route> routes, const Accounts& accounts, Metrics& metrics, Log& log,
         ErrorRenderer render_error)
      : routes_(std::move(routes)),
        accounts_(accounts),
        metrics_(metrics),
        log_(log),
        render_error_(render_error) {}

  std::span<const Route> routes() const { return routes_; }
  // For the requests to come.
  void SetPolicy(WebPolicy policy) { policy_ = std::move(policy); }

  std::optional<HttpResponse> Refuse(HttpRequest& request) override;
  void Handle(HttpRequest& request, std::shared_ptr<Reply> reply) override;
  HttpResponse ErrorPage(const ApiError& error) override { return render_error_(error); }

 private:
  struct Found {
    const Route* route = nullptr;
    std::string argument;
  };
  Found Find(const HttpRequest& request) const;
  Result<Principal> Authorise(const Route& route, const HttpRequest& request) const;
  std::string AllowedMethods(const HttpRequest& request) const;
  std::optional<HttpResponse> Judge(HttpRequest& request) const;
  std::optional<HttpResponse> RefuseHost(const HttpRequest& request) const;
  HttpResponse NotFound(const HttpRequest& request) const;
  HttpResponse WrongMethod(const HttpRequest& request, const std::string& allowed) const;

  const std::vector<Route> routes_;
  const Accounts& accounts_;
  Metrics& metrics_;
  Log& log_;
  const ErrorRenderer render_error_;
  WebPolicy policy_;
};

}  // namespace penstock::gateway

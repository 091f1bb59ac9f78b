// Api: which path and method leads where, who may go there, and the pages that are no dialect's.
// Threads: the io thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/http/http_connection.h"
#include "gateway/service.h"
#include "teams/roles.h"

namespace penstock::gateway {

// One request on its way through a handler.
struct Call {
  Service& service;
  HttpRequest& request;
  const Principal& principal;  // empty where no key is needed
  Scope scope;                 // whose things the route's capability reaches for this principal
  std::string argument;        // what the route's {} stood for
  std::shared_ptr<Reply> reply;

  void Send(HttpResponse response) const;
  void SendJson(std::string body, int status = 200) const;
  void SendError(const ApiError& error) const { Send(ErrorResponse(error)); }
};

struct Route {
  Method method;
  std::string_view path;            // may hold one {}: any text that is not empty, slashes included
  std::optional<Capability> needs;  // none: anyone may go there, without a key
  void (*handle)(Call&);
};
std::span<const Route> Routes();

class Api final : public HttpHandler {
 public:
  explicit Api(Service& service) : service_(service) {}
  std::optional<HttpResponse> Refuse(const HttpRequest& request) override;
  void Handle(HttpRequest& request, std::shared_ptr<Reply> reply) override;

 private:
  struct Found {
    const Route* route = nullptr;
    std::string argument;
  };
  static Found Find(const HttpRequest& request);
  std::optional<Capability> NeedOf(const Route& route) const;
  Result<Principal> Authorise(const Route& route, const HttpRequest& request) const;

  Service& service_;
};

// ---- handlers, by file ----

// openai_routes.cc
void HandleChat(Call& call);
void HandleCompletion(Call& call);
void HandleModels(Call& call);
void HandleModel(Call& call);
void HandleRequest(Call& call);

// seat.cc
void HandleSeat(Call& call);

// console.cc
void HandleHome(Call& call);     // GET /: the page to browsers, a few lines of text to others
void HandleConsole(Call& call);  // GET /console/{}

// live.cc
void HandleSnapshot(Call& call);  // GET /v1/live

// pages.cc
void HandleLive(Call& call);
void HandleReady(Call& call);
void HandleMetrics(Call& call);

// admin.cc
void HandleCreateTeam(Call& call);
void HandleSetTeam(Call& call);  // POST /admin/v1/teams/{}
void HandleTeams(Call& call);
void HandleCreateKey(Call& call);
void HandleKeys(Call& call);
void HandleRotateKey(Call& call);
void HandleRevokeKey(Call& call);
void HandleCreateLogin(Call& call);  // POST /v1/logins

// admin_state.cc
void HandleUsage(Call& call);
void HandleStatus(Call& call);
void HandleEngines(Call& call);
void HandleDrainEngine(Call& call);
void HandleResumeEngine(Call& call);
void HandleRestartEngine(Call& call);
void HandleLogLevels(Call& call);
void HandleSetLogLevel(Call& call);
void HandleInstalledModels(Call& call);
void HandleRescan(Call& call);
void HandleLoad(Call& call);
void HandleUnload(Call& call);

}  // namespace penstock::gateway

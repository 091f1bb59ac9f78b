#include "gateway/console.h"

#include <algorithm>

namespace penstock::gateway {
namespace {

// What the page may do, whatever it is made to show: load from here, talk to here, nothing else. No inline
// script and no inline style runs.
constexpr std::string_view kPolicy =
    "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "referrer-policy: no-referrer\r\n";

const ConsoleFile* FindFile(std::string_view name) {
  const auto files = ConsoleFiles();
  const auto found = std::ranges::find(files, name, &ConsoleFile::name);
  return found == files.end() ? nullptr : &*found;
}

// Browsers revalidate by the etag each time, so a new program shows its new page at once.
HttpResponse Serve(const ConsoleFile& file, const HttpRequest& request) {
  HttpResponse response;
  response.content_type = file.type;
  response.headers = fmt::format("{}etag: {}\r\ncache-control: no-cache\r\nvary: accept, accept-encoding\r\n",
                                 kPolicy, file.etag);
  if (request.if_none_match.find(file.etag) != std::string::npos) {
    response.status = 304;
    return response;
  }
  response.body = request.takes_gzip ? file.gzip : file.bytes;
  if (request.takes_gzip) response.headers += "content-encoding: gzip\r\n";
  return response;
}

HttpResponse Hello() {
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.headers = "vary: accept, accept-encoding\r\n";
  response.body = "Penstock " PENSTOCK_VERSION
                  ": a private AI cloud. A browser gets its console here.\n\n"
                  "With a key (Authorization: Bearer sk-penstock-...), as in OpenAI's API:\n"
                  "  POST /v1/chat/completions\n"
                  "  POST /v1/completions\n"
                  "  GET  /v1/models\n"
                  "  GET  /v1/requests/{x-request-id}   outcome and usage of a request\n"
                  "  GET  /v1/usage                     your key's usage, or your team's\n"
                  "  GET  /v1/seat                      role, team and rights of this key\n"
                  "  GET  /v1/live                      what runs and waits now\n\n"
                  "  GET  /livez, /readyz, /metrics\n"
                  "  /admin/v1/...                      as far as your role goes\n";
  return response;
}

void SendHome(Call& call) {
  const ConsoleFile* const page = call.request.wants_html ? FindFile("index.html") : nullptr;
  call.Send(page == nullptr ? Hello() : Serve(*page, call.request));
}

void SendFile(Call& call) {
  if (const ConsoleFile* const file = FindFile(call.argument)) return call.Send(Serve(*file, call.request));
  call.SendError(Error{Code::kNotFound, fmt::format("the console has no file '{}'", call.argument)});
}

}  // namespace

std::vector<Route> ConsoleRoutes() {
  return {{Method::kGet, "/", {}, SendHome}, {Method::kGet, "/console/{}", {}, SendFile}};
}

}  // namespace penstock::gateway

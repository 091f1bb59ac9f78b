// Cloud: a client of the running cloud's HTTP API, for the commands (gateway/admin/admin.h lists the routes).
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "app/client/endpoint.h"
#include "app/common/http.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

class Cloud {
 public:
  // The cloud that app/client/endpoint.h finds; prints its URL on stderr if it comes from a login. Errors:
  // kNotFound: no key is known; the message says how to get one.
  static Result<Cloud> Open(const Config& config);
  // This machine's cloud, even if the user is logged in to another one.
  static Result<Cloud> OpenLocal(const Config& config);
  static Result<Cloud> At(Endpoint endpoint);

  // Errors: kUnavailable ("the cloud is not running at …"), or the gateway's message with the code for its
  // HTTP status.
  Result<boost::json::object> Get(const std::string& path, Nanos within = 60 * kSecond) const {
    return Send("GET", path, "", within);
  }
  Result<boost::json::object> Post(const std::string& path, const boost::json::object& body) const;
  Result<boost::json::object> Delete(const std::string& path) const { return Send("DELETE", path, ""); }

  // A streamed request; `on_line` gets each line of the answer. `stop`: see HttpRequest::stop.
  Status Stream(const std::string& path, const boost::json::object& body,
                const std::function<Status(std::string_view line)>& on_line, HttpResponse* response,
                std::function<bool()> stop = {}) const;

  const std::string& url() const { return endpoint_.url; }
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  explicit Cloud(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}
  Result<boost::json::object> Send(const std::string& method, const std::string& path,
                                   const std::string& body, Nanos within = 60 * kSecond) const;
  HttpRequest Request(const std::string& method, const std::string& path, const std::string& body) const;

  Endpoint endpoint_;
};

// "ann (developer of team red)": the owner of a key (from GET /v1/seat), as shown to users.
std::string SeatWords(const boost::json::object& seat);

// Whether this machine's cloud answers /livez: for commands that work with and without a running cloud.
bool CloudRuns(const Config& config);
// From /readyz: empty if requests would be answered; else why not.
std::string WhyNotReady(const Endpoint& endpoint);

}  // namespace penstock

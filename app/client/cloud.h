// Cloud: the running cloud, as the commands see it: its HTTP API (gateway/admin/admin.h lists the routes).
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
  // Where app/client/endpoint.h says; names the cloud on stderr where it is a login's. Errors: kNotFound: no
  // key is known, saying how to get one.
  static Result<Cloud> Open(const Config& config);
  // This machine's, whoever is logged in elsewhere.
  static Result<Cloud> OpenLocal(const Config& config);
  static Result<Cloud> At(Endpoint endpoint);

  // Errors: kUnavailable ("the cloud is not running at …"), or the gateway's own words with the code that
  // its status stands for.
  Result<boost::json::object> Get(const std::string& path, Nanos within = 60 * kSecond) const {
    return Send("GET", path, "", within);
  }
  Result<boost::json::object> Post(const std::string& path, const boost::json::object& body) const;
  Result<boost::json::object> Delete(const std::string& path) const { return Send("DELETE", path, ""); }

  // A streamed request; `on_line` gets each line of the answer.
  Status Stream(const std::string& path, const boost::json::object& body,
                const std::function<Status(std::string_view line)>& on_line, HttpResponse* response) const;

  const std::string& url() const { return endpoint_.url; }
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  explicit Cloud(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}
  Result<boost::json::object> Send(const std::string& method, const std::string& path,
                                   const std::string& body, Nanos within = 60 * kSecond) const;
  HttpRequest Request(const std::string& method, const std::string& path, const std::string& body) const;

  Endpoint endpoint_;
};

// "ann (developer of team red)": who a seat is (GET /v1/seat), for people.
std::string SeatWords(const boost::json::object& seat);

// Whether this machine's cloud answers /livez: for commands that work with and without a running cloud.
bool CloudRuns(const Config& config);
// /readyz: a request would be answered. Empty: ready; else why not.
std::string WhyNotReady(const Endpoint& endpoint);

}  // namespace penstock

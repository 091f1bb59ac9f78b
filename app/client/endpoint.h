// Endpoint: which cloud a command uses, how it authenticates that cloud, and with which key.
//
// In this order: the setting `url`; the login of `penstock login`, unless a data directory was named; the
// cloud of the data directory, which `penstock up` records there in cloud.json while it runs.
#pragma once

#include <optional>
#include <string>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct Endpoint {
  std::string url;  // without a trailing slash
  std::string pin;  // of its public key, in libcurl's format; empty: certificates are checked as usual
  std::string key;  // empty: none is known
  std::string who;  // of a login, as shown to users: "ann (developer of team red)"
  bool login = false;
  std::string key_fault{};  // why there is no key, if a key file exists but cannot be read
};
// Errors: kCorrupt, naming the login file.
Result<Endpoint> FindEndpoint(const Config& config);
// The same without the login: for commands that concern this machine.
Endpoint LocalEndpoint(const Config& config);

// What `penstock up` records for the commands on its machine.
struct Note {
  std::string url;
  std::string certificate;  // the PEM file of its TLS certificate; empty: plain HTTP
};
Status WriteNote(const std::string& data, const Note& note);
void RemoveNote(const std::string& data);
std::optional<Note> ReadNote(const std::string& data);

// What `penstock login` stores: one cloud, for one user of this machine, in a file of mode 0600.
struct Login {
  std::string url, pin, token;
  int64_t id = 0;  // of the token, at the cloud
  std::string who;
};
// $XDG_CONFIG_HOME/penstock/login.json, else under ~/.config. Errors: kNotFound: neither variable is set.
Result<std::string> LoginFile();
// nullopt: not logged in. Errors: kCorrupt.
Result<std::optional<Login>> ReadLogin();
Status WriteLogin(const Login& login);
Status RemoveLogin();

// Whether every address of `host` is this machine's loopback.
bool IsLoopback(const std::string& host);
// The host of a URL, without port and brackets.
std::string HostOf(const std::string& url);

}  // namespace penstock

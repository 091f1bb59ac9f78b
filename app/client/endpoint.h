// Endpoint: which cloud a command speaks to, how it knows that it is that one, and with which key.
//
// In this order: `url` of the settings; the login of `penstock login`, unless a data directory was named; the
// cloud of the data directory, which `penstock up` notes there in cloud.json while it runs.
#pragma once

#include <optional>
#include <string>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct Endpoint {
  std::string url;  // without a trailing slash
  std::string pin;  // of its public key, as libcurl takes it; empty: certificates are checked as usual
  std::string key;  // empty: none is known
  std::string who;  // of a login, for people: "ann (developer of team red)"
  bool login = false;
  std::string key_fault{};  // why there is no key, where one lies that cannot be read
};
// Errors: kCorrupt, naming the login file.
Result<Endpoint> FindEndpoint(const Config& config);
// The same without the login: for what concerns this machine.
Endpoint LocalEndpoint(const Config& config);

// What `penstock up` notes for the commands on its machine.
struct Note {
  std::string url;
  std::string certificate;  // the PEM file by which its TLS is known; empty: plain HTTP
};
Status WriteNote(const std::string& data, const Note& note);
void RemoveNote(const std::string& data);
std::optional<Note> ReadNote(const std::string& data);

// What `penstock login` keeps: one cloud, for one user of this machine, in a file of mode 0600.
struct Login {
  std::string url, pin, token;
  int64_t id = 0;  // the token's, at the cloud
  std::string who;
};
// $XDG_CONFIG_HOME/penstock/login.json, else under ~/.config. Errors: kNotFound: there is neither.
Result<std::string> LoginFile();
// Nothing: not logged in. Errors: kCorrupt.
Result<std::optional<Login>> ReadLogin();
Status WriteLogin(const Login& login);
Status RemoveLogin();

// Whether every address of `host` is this machine's loopback.
bool IsLoopback(const std::string& host);
// The host of a URL, without port and brackets.
std::string HostOf(const std::string& url);

}  // namespace penstock

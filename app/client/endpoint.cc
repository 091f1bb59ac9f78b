#include "app/client/endpoint.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "gateway/http/certificate.h"

namespace penstock {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

std::string NoteFile(const std::string& data) {
  return data + "/cloud.json";
}

// Without a request by the user, the operator key is sent only to this machine's own cloud.
void AddOperatorKey(const Config& config, Endpoint& endpoint) {
  const auto key = ReadTextFile(config.data + "/operator.key");
  if (key.has_value()) {
    endpoint.key = *key;
  } else if (key.error().code != Code::kNotFound) {
    endpoint.key_fault = key.error().message;
  }
}

// Reads the file each time, because it may have been renewed since the cloud started.
std::string PinOf(const std::string& certificate_file) {
  const auto pem = ReadTextFile(certificate_file);
  const auto certificate = pem.has_value() ? ReadCertificate(*pem) : std::unexpected(pem.error());
  return certificate.has_value() ? certificate->pin : "";
}

bool IsLoopbackAddress(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  }
  if (address->sa_family != AF_INET6) return false;
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

}  // namespace

std::string HostOf(const std::string& url) {
  const size_t scheme = url.find("://");
  std::string host = url.substr(scheme == std::string::npos ? 0 : scheme + 3);
  host = host.substr(0, host.find('/'));
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.rfind(':'));
}

bool IsLoopback(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (!IsLoopbackAddress(at->ai_addr)) return false;
  }
  return true;
}

Endpoint LocalEndpoint(const Config& config) {
  const auto note = ReadNote(config.data);
  Endpoint endpoint{.url = config.BaseUrl(), .pin = "", .key = config.key, .who = ""};
  if (config.url.empty() && note) endpoint.url = note->url;
  if (note && note->url == endpoint.url) endpoint.pin = PinOf(note->certificate);
  const bool own =
      config.url.empty() || (note && note->url == endpoint.url) || IsLoopback(HostOf(endpoint.url));
  if (endpoint.key.empty() && own) AddOperatorKey(config, endpoint);
  return endpoint;
}

Result<Endpoint> FindEndpoint(const Config& config) {
  if (config.url.empty() && config.data_named) return LocalEndpoint(config);
  PENSTOCK_ASSIGN(const auto login, ReadLogin());
  if (!login || (!config.url.empty() && config.BaseUrl() != login->url)) return LocalEndpoint(config);
  Endpoint endpoint{
      .url = login->url, .pin = login->pin, .key = login->token, .who = login->who, .login = true};
  if (!config.key.empty()) {
    endpoint.key = config.key;
    endpoint.who = "";
  }
  return endpoint;
}

Status WriteNote(const std::string& data, const Note& note) {
  return WriteFileAtomically(NoteFile(data),
                             PrettyJson(json::object{{"url", note.url}, {"certificate", note.certificate}}));
}

void RemoveNote(const std::string& data) {
  unlink(NoteFile(data).c_str());
}

std::optional<Note> ReadNote(const std::string& data) {
  const auto text = ReadTextFile(NoteFile(data));
  const auto note = text.has_value() ? ParseJsonObject(*text, NoteFile(data)) : std::unexpected(text.error());
  if (!note.has_value() || GetText(*note, "url").empty()) return std::nullopt;
  return Note{GetText(*note, "url"), GetText(*note, "certificate")};
}

Result<std::string> LoginFile() {
  if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/penstock/login.json";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.config/penstock/login.json";
  }
  return Fail(Code::kNotFound, "no folder for the login: set HOME or XDG_CONFIG_HOME");
}

Result<std::optional<Login>> ReadLogin() {
  const auto path = LoginFile();
  if (!path.has_value()) return std::nullopt;
  const auto text = ReadTextFile(*path);
  if (!text.has_value()) {
    if (text.error().code == Code::kNotFound) return std::nullopt;
    return Fail(Code::kIo, "cannot read the login ({}): `penstock logout` deletes it", text.error().message);
  }
  const auto file = ParseJsonObject(*text, *path);
  Login login;
  if (file.has_value()) {
    login = {.url = GetText(*file, "url"),
             .pin = GetText(*file, "pin"),
             .token = GetText(*file, "token"),
             .id = GetInt(*file, "id"),
             .who = GetText(*file, "who")};
  }
  if (login.url.empty() || login.token.empty()) {
    return Fail(Code::kCorrupt,
                "{} is not a valid login: `penstock login URL` replaces it, `penstock logout` deletes it",
                *path);
  }
  return login;
}

Status WriteLogin(const Login& login) {
  PENSTOCK_ASSIGN(const std::string path, LoginFile());
  const fs::path folder = fs::path(path).parent_path();
  std::error_code error;
  const bool existed = fs::exists(folder, error);
  fs::create_directories(folder, error);
  if (!error && !existed) fs::permissions(folder, fs::perms::owner_all, error);
  if (error) return Fail(Code::kIo, "cannot create {}: {}", folder.string(), error.message());
  return WriteSecretFile(path, PrettyJson(json::object{{"url", login.url},
                                                       {"pin", login.pin},
                                                       {"token", login.token},
                                                       {"id", login.id},
                                                       {"who", login.who}}));
}

Status RemoveLogin() {
  PENSTOCK_ASSIGN(const std::string path, LoginFile());
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return FailErrno(Code::kIo, path);
}

}  // namespace penstock

// `penstock login` and `penstock logout`: let every command on this machine use a cloud on another machine.
#include <openssl/evp.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <iostream>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "gateway/http/certificate.h"

namespace penstock {
namespace json = boost::json;
namespace {

struct Options {
  std::string url, fingerprint;
  bool revoke = false;
};
using Shared = std::shared_ptr<Options>;

// ---- the cloud and its identity --------------------------------------------------------------------

// https:// if no scheme is given; plain HTTP only to this machine, or with --insecure.
Result<std::string> CloudUrl(const std::string& given, bool insecure) {
  Config config;
  config.url = given.contains("://") ? given : "https://" + given;
  std::string url = config.BaseUrl();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  if (!url.starts_with("http://") || insecure || IsLoopback(HostOf(url + "/"))) return url;
  return Fail(Code::kInvalid,
              "{} would send your key unencrypted: use https://, or --insecure on a network that you trust",
              url);
}

bool Confirmed(const std::string& url, const std::string& fingerprint) {
  fmt::print(stderr,
             "The certificate of {} is not trusted (self-signed or unknown CA). Its SHA-256 fingerprint is\n"
             "  {}\n"
             "Does `penstock up` or `penstock status` print the same on that machine? [y/N] ",
             url, fingerprint);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

// How the cloud is authenticated from now on: by this pinned key, or (empty) by a CA that this machine
// trusts.
Result<std::string> PinOf(const std::string& url, const std::string& wanted) {
  const HttpRequest probe{.url = url + "/livez", .total_timeout = 20 * kSecond};
  if (wanted.empty() || url.starts_with("http://")) {
    const auto answer = SendHttp(probe);
    if (answer.has_value()) return "";
    if (answer.error().code != Code::kUnauthenticated) return std::unexpected(answer.error());
  }
  HttpRequest look = probe;
  look.show_certificate = true;
  PENSTOCK_ASSIGN(const HttpResponse shown, SendHttp(look));
  PENSTOCK_ASSIGN(const Certificate certificate, ReadCertificate(shown.certificate));
  if (!wanted.empty()) {
    if (SameFingerprint(wanted, certificate.fingerprint)) return certificate.pin;
    return Fail(
        Code::kUnauthenticated,
        "the certificate of {} does not match --fingerprint: its SHA-256 fingerprint is {}. If you typed "
        "yours correctly, someone may be intercepting the connection",
        url, certificate.fingerprint);
  }
  if (isatty(STDIN_FILENO) == 1 && Confirmed(url, certificate.fingerprint)) return certificate.pin;
  return Fail(
      Code::kUnauthenticated,
      "the certificate of {} is not trusted (self-signed or unknown CA). `penstock up` and `penstock status` "
      "print its SHA-256 fingerprint on that machine; if it is {}, add it with --fingerprint",
      url, certificate.fingerprint);
}

// ---- the key ---------------------------------------------------------------------------------------

// Reads a line from the terminal without showing it. OpenSSL restores the terminal however this ends; after
// that, Ctrl-C ends the program as usual.
std::string AskHidden(const char* question) {
  constexpr int kInterrupted = -2;
  std::array<char, 512> line{};
  const int status = EVP_read_pw_string(line.data(), line.size(), question, 0);
  if (status == kInterrupted) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  return status == 0 ? std::string(line.data()) : "";
}

Result<std::string> KeyToUse(const Config& config) {
  std::string key = config.key;
  if (key.empty() && isatty(STDIN_FILENO) == 1) key = AskHidden("Your key (sk-penstock-…): ");
  if (key.empty() && isatty(STDIN_FILENO) != 1) std::getline(std::cin, key);
  while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back())) != 0) key.pop_back();
  if (!key.empty()) return key;
  return Fail(Code::kInvalid, "no key: type it at the prompt, pipe it to stdin, or use --key");
}

// "login ann@laptop": the name of the new token, which `penstock key ls` shows.
std::string LoginName() {
  const passwd* const user = getpwuid(getuid());
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  std::string name = fmt::format("login {}@{}", user != nullptr ? user->pw_name : "unknown", host);
  name.resize(std::min<size_t>(name.size(), 64));
  return name;
}

// ---- login and logout ------------------------------------------------------------------------------

// Revokes the token of an earlier login at the same URL, which nothing uses any more. It may already be
// revoked.
void RevokeEarlier(const Login& earlier) {
  const auto cloud =
      Cloud::At({.url = earlier.url, .pin = earlier.pin, .key = earlier.token, .who = "", .login = true});
  if (cloud.has_value()) (void)cloud->Delete("/admin/v1/keys/" + std::to_string(earlier.id));
}

Result<int> LogIn(const LoadedConfig& loaded, const Options& options) {
  PENSTOCK_ASSIGN(const std::string url, CloudUrl(options.url, loaded.config.insecure));
  PENSTOCK_ASSIGN(const std::string pin, PinOf(url, options.fingerprint));
  PENSTOCK_ASSIGN(const std::string key, KeyToUse(loaded.config));
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::At({.url = url, .pin = pin, .key = key, .who = ""}));
  PENSTOCK_ASSIGN(const json::object seat, cloud.Get("/v1/seat"));
  PENSTOCK_ASSIGN(const json::object token, cloud.Post("/v1/logins", {{"name", LoginName()}}));
  const auto earlier = ReadLogin();
  const Login login{.url = url,
                    .pin = pin,
                    .token = GetText(token, "secret"),
                    .id = GetInt(token, "id"),
                    .who = SeatWords(seat)};
  PENSTOCK_TRY(WriteLogin(login));
  if (earlier.has_value() && *earlier && (*earlier)->url == url) RevokeEarlier(**earlier);
  PENSTOCK_ASSIGN(const std::string path, LoginFile());
  fmt::print("Logged in to {} as {}.\n", url, login.who);
  fmt::print(stderr,
             "The token is in {}, readable only by you. Commands use this cloud until `penstock logout`.\n",
             path);
  if (loaded.config.data_named || !loaded.config.url.empty()) {
    fmt::print(stderr, "But a setting here names {} and takes precedence: see `penstock config`.\n",
               loaded.config.url.empty() ? "a data directory" : "another url");
  }
  return 0;
}

Result<int> LogOut(const LoadedConfig&, const Options& options) {
  const auto login = ReadLogin();
  if (login.has_value() && !*login) {
    fmt::print("You are not logged in.\n");
    return 0;
  }
  if (options.revoke) {
    if (!login.has_value()) return std::unexpected(login.error());
    PENSTOCK_ASSIGN(
        const Cloud cloud,
        Cloud::At(
            {.url = (*login)->url, .pin = (*login)->pin, .key = (*login)->token, .who = "", .login = true}));
    const auto revoked = cloud.Delete("/admin/v1/keys/" + std::to_string((*login)->id));
    // A token that the cloud no longer accepts is revoked already.
    if (!revoked.has_value() && revoked.error().code != Code::kUnauthenticated) {
      return Fail(revoked.error().code,
                  "could not revoke the token: {}. `penstock logout` without --revoke only deletes it here",
                  revoked.error().message);
    }
  }
  PENSTOCK_TRY(RemoveLogin());
  if (!login.has_value()) {
    fmt::print("Deleted the unreadable login.\n");
  } else if (options.revoke) {
    fmt::print("Logged out of {}; the token is revoked.\n", (*login)->url);
  } else {
    fmt::print(
        "Logged out of {}; the token (key {}) still works for anyone who has it (`logout --revoke` also "
        "revokes it).\n",
        (*login)->url, (*login)->id);
  }
  return 0;
}

}  // namespace

void AddLoginCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* login = app.add_subcommand("login", "Use a cloud on another machine for all commands");
  login->add_option("url", options->url, "URL of the cloud, such as https://cloud.example:8700")->required();
  login->add_option("--fingerprint", options->fingerprint,
                    "SHA-256 fingerprint of a self-signed certificate: `penstock up` prints it");
  login->footer(
      "The command asks for your key, reads it from stdin, or takes it from --key. It does not store the "
      "key: it\n"
      "stores a separate token (file mode 0600), which `penstock key ls` lists. `penstock logout --revoke` "
      "or\n"
      "`penstock key revoke` revokes that token.\n\n"
      "Example:\n  penstock login https://cloud.example:8700");
  login->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return LogIn(loaded, *options); };
  });

  CLI::App* logout = app.add_subcommand("logout", "Delete the login");
  logout->add_flag("--revoke", options->revoke, "also revoke its token at the cloud");
  logout->footer("Example:\n  penstock logout --revoke");
  logout->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return LogOut(loaded, *options); };
  });
}

}  // namespace penstock

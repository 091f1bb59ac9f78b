// `penstock login` and `penstock logout`: another machine's cloud for every command of this one.
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

// ---- which cloud, and is it that one ---------------------------------------------------------------

// https:// where no scheme is given; plain HTTP only to this machine, or when it is wanted in so many words.
Result<std::string> CloudUrl(const std::string& given, bool insecure) {
  Config config;
  config.url = given.contains("://") ? given : "https://" + given;
  std::string url = config.BaseUrl();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  if (!url.starts_with("http://") || insecure || IsLoopback(HostOf(url + "/"))) return url;
  return Fail(
      Code::kInvalid,
      "{} would carry your key in plain sight: use https://, or --insecure in a network that you trust", url);
}

bool Confirmed(const std::string& url, const std::string& fingerprint) {
  fmt::print(stderr,
             "{} has a certificate that nobody vouches for. Its SHA-256 fingerprint is\n  {}\n"
             "Is that what `penstock up` printed there, or `penstock status` says there? [y/N] ",
             url, fingerprint);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

// How the cloud is known from here on: by a pinned key, or (empty) by those who vouch for its certificate.
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
        "{} has another certificate than you expect: its SHA-256 fingerprint is {}. If you did not mistype "
        "yours, somebody may stand between you and it",
        url, certificate.fingerprint);
  }
  if (isatty(STDIN_FILENO) == 1 && Confirmed(url, certificate.fingerprint)) return certificate.pin;
  return Fail(
      Code::kUnauthenticated,
      "nobody vouches for the certificate of {}. `penstock up` prints its fingerprint there, and `penstock "
      "status` shows it; if it is {}, add --fingerprint with it",
      url, certificate.fingerprint);
}

// ---- with which key --------------------------------------------------------------------------------

// A line from the terminal that is not shown while it is typed. OpenSSL sees to it that the terminal is as it
// was whatever ends this; Ctrl-C then ends the program as it does elsewhere.
std::string AskUnseen(const char* question) {
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
  if (key.empty() && isatty(STDIN_FILENO) == 1) key = AskUnseen("Your key (sk-penstock-…): ");
  if (key.empty() && isatty(STDIN_FILENO) != 1) std::getline(std::cin, key);
  while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back())) != 0) key.pop_back();
  if (!key.empty()) return key;
  return Fail(Code::kInvalid, "no key: type it when asked, pipe it in, or give --key");
}

// "login ann@laptop", as the cloud's people will see it.
std::string LoginName() {
  const passwd* const user = getpwuid(getuid());
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  std::string name = fmt::format("login {}@{}", user != nullptr ? user->pw_name : "somebody", host);
  name.resize(std::min<size_t>(name.size(), 64));
  return name;
}

// ---- login and logout ------------------------------------------------------------------------------

// The token of an earlier login at the same place is of no use any more. It may be dead already.
void EndEarlier(const Login& earlier) {
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
  if (earlier.has_value() && *earlier && (*earlier)->url == url) EndEarlier(**earlier);
  PENSTOCK_ASSIGN(const std::string path, LoginFile());
  fmt::print("logged in to {} as {}\n", url, login.who);
  fmt::print(stderr,
             "The token is in {}, for you alone. Commands go to that cloud until `penstock logout`.\n", path);
  if (loaded.config.data_named || !loaded.config.url.empty()) {
    fmt::print(stderr, "But here a setting names {}, which wins: see `penstock config`.\n",
               loaded.config.url.empty() ? "a data directory" : "another url");
  }
  return 0;
}

Result<int> LogOut(const LoadedConfig&, const Options& options) {
  const auto login = ReadLogin();
  if (login.has_value() && !*login) {
    fmt::print("you are not logged in\n");
    return 0;
  }
  if (options.revoke) {
    if (!login.has_value()) return std::unexpected(login.error());
    PENSTOCK_ASSIGN(
        const Cloud cloud,
        Cloud::At(
            {.url = (*login)->url, .pin = (*login)->pin, .key = (*login)->token, .who = "", .login = true}));
    const auto revoked = cloud.Delete("/admin/v1/keys/" + std::to_string((*login)->id));
    // A token that the cloud no longer takes needs no revoking.
    if (!revoked.has_value() && revoked.error().code != Code::kUnauthenticated) {
      return Fail(revoked.error().code,
                  "the token is not revoked: {}. `penstock logout` alone forgets it here",
                  revoked.error().message);
    }
  }
  PENSTOCK_TRY(RemoveLogin());
  if (!login.has_value()) {
    fmt::print("what was there is forgotten\n");
  } else if (options.revoke) {
    fmt::print("logged out of {}; the token is revoked\n", (*login)->url);
  } else {
    fmt::print(
        "logged out of {}; the token (key {}) still works for whoever has it: `logout --revoke` ends it, "
        "too\n",
        (*login)->url, (*login)->id);
  }
  return 0;
}

}  // namespace

void AddLoginCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* login = app.add_subcommand("login", "Make the commands here go to a cloud elsewhere");
  login->add_option("url", options->url, "where it is, such as https://cloud.example:8700")->required();
  login->add_option("--fingerprint", options->fingerprint,
                    "SHA-256 of its certificate, where that is self-signed: `penstock up` prints it");
  login->footer(
      "Your key is asked for, or read from stdin, or given by --key. It is not kept: what is kept (mode "
      "0600) is a\n"
      "token of its own, which `penstock key ls` lists and `penstock logout --revoke` or `penstock key "
      "revoke` ends.\n\n"
      "Example:\n  penstock login https://cloud.example:8700");
  login->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return LogIn(loaded, *options); };
  });

  CLI::App* logout = app.add_subcommand("logout", "Forget the login");
  logout->add_flag("--revoke", options->revoke, "end its token at the cloud, too");
  logout->footer("Example:\n  penstock logout --revoke");
  logout->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return LogOut(loaded, *options); };
  });
}

}  // namespace penstock

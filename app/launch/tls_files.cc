#include "app/launch/tls_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/client/endpoint.h"
#include "app/common/data_dir.h"
#include "gateway/http/certificate.h"

namespace penstock {
namespace {

// By which names other machines may know this one.
std::vector<std::string> Hosts(const Config& config) {
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) == 0 && *name != '\0') hosts.emplace_back(name);
  const std::string listen = HostOf(config.gateway.listen);
  const bool everywhere = listen == "0.0.0.0" || listen == "::" || listen == "*";
  if (!everywhere && std::ranges::find(hosts, listen) == hosts.end()) hosts.push_back(listen);
  return hosts;
}

// The key first: a certificate without its key is made anew, one with it is complete.
Status MakeOnce(const Config& config, const TlsFiles& files) {
  std::error_code error;
  if (std::filesystem::exists(files.certificate, error) && std::filesystem::exists(files.key, error))
    return {};
  std::filesystem::create_directories(std::filesystem::path(files.key).parent_path(), error);
  PENSTOCK_ASSIGN(const SelfSigned made, MakeSelfSigned(Hosts(config)));
  PENSTOCK_TRY(WriteSecretFile(files.key, made.key));
  return WriteFileAtomically(files.certificate, made.certificate);
}

}  // namespace

TlsFiles TlsFilesOf(const Config& config) {
  if (config.tls_self_signed) return {config.data + "/tls/cert.pem", config.data + "/tls/key.pem"};
  return {config.gateway.tls_certificate,
          config.gateway.tls_key.empty() ? config.gateway.tls_certificate : config.gateway.tls_key};
}

Result<TlsFiles> PrepareTls(const Config& config) {
  if (config.tls_self_signed && !config.gateway.tls_certificate.empty()) {
    return Fail(Code::kInvalid, "--tls-cert and --tls-self-signed are both given: choose one");
  }
  if (!config.gateway.tls_key.empty() && config.gateway.tls_certificate.empty()) {
    return Fail(Code::kInvalid, "--tls-key {} is given without its certificate: add --tls-cert FILE",
                config.gateway.tls_key);
  }
  const TlsFiles files = TlsFilesOf(config);
  if (!files.on() && !config.insecure && !IsLoopback(HostOf(config.gateway.listen))) {
    return Fail(
        Code::kInvalid,
        "{} can be reached from other machines, and without TLS whoever is between can read keys and "
        "answers. "
        "Choose one:\n"
        "  --tls-self-signed               a certificate made here once; clients trust its fingerprint\n"
        "  --tls-cert FILE --tls-key FILE  a certificate of yours, in PEM\n"
        "  --insecure                      plain HTTP: in a network that you trust, or behind a proxy "
        "with TLS",
        config.gateway.listen);
  }
  if (config.tls_self_signed) PENSTOCK_TRY(MakeOnce(config, files));
  if (!files.on()) return files;
  const auto loaded = ReadTextFile(files.certificate);
  if (!loaded.has_value())
    return Fail(Code::kInvalid, "the TLS certificate cannot be read: {}", loaded.error().message);
  return files;
}

}  // namespace penstock

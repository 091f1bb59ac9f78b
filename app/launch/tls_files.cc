#include "app/launch/tls_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/client/endpoint.h"
#include "app/common/data_dir.h"
#include "gateway/http/certificate.h"

namespace penstock {
namespace {

// The names by which other machines may reach this one.
std::vector<std::string> Hosts(const Config& config) {
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) == 0 && *name != '\0') hosts.emplace_back(name);
  const std::string listen = HostOf(config.gateway.listen);
  const bool everywhere = listen == "0.0.0.0" || listen == "::" || listen == "*";
  if (!everywhere && std::ranges::find(hosts, listen) == hosts.end()) hosts.push_back(listen);
  return hosts;
}

// Writes the key first: if both files exist, they belong together; otherwise both are created again.
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
    return Fail(Code::kInvalid, "--tls-cert and --tls-self-signed cannot be used together: choose one");
  }
  if (!config.gateway.tls_key.empty() && config.gateway.tls_certificate.empty()) {
    return Fail(Code::kInvalid, "--tls-key {} needs its certificate: add --tls-cert FILE",
                config.gateway.tls_key);
  }
  const TlsFiles files = TlsFilesOf(config);
  if (!files.on() && !config.insecure && !IsLoopback(HostOf(config.gateway.listen))) {
    return Fail(
        Code::kInvalid,
        "other machines can reach {}, and without TLS anyone on the network path can read keys and answers. "
        "Choose one:\n"
        "  --tls-self-signed               a certificate that is created once; clients trust its "
        "fingerprint\n"
        "  --tls-cert FILE --tls-key FILE  your own certificate, in PEM\n"
        "  --insecure                      plain HTTP: on a network that you trust, or behind a proxy with "
        "TLS",
        config.gateway.listen);
  }
  if (config.tls_self_signed) PENSTOCK_TRY(MakeOnce(config, files));
  if (!files.on()) return files;
  const auto loaded = ReadTextFile(files.certificate);
  if (!loaded.has_value())
    return Fail(Code::kInvalid, "cannot read the TLS certificate: {}", loaded.error().message);
  return files;
}

}  // namespace penstock

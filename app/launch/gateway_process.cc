#include "app/launch/gateway_process.h"

#include <filesystem>

#include "app/backup/upgrade.h"
#include "app/client/endpoint.h"
#include "app/launch/log_keeper.h"
#include "app/launch/tls_files.h"
#include "app/models/model_store.h"
#include "app/settings/table.h"
#include "gateway/gateway.h"
#include "teams/mailbox.h"
#include "teams/teams.h"

namespace penstock {
namespace {

// Anyone who can write the data directory is an operator. If operator.key is missing (at the first start, or
// when the file was lost), this creates a new key and writes it there, before the gateway opens the same
// store.
Status EnsureOperatorKeyFile(const DataDir& data) {
  if (std::filesystem::exists(data.OperatorKeyFile())) return {};
  Mailbox mailbox;
  PENSTOCK_ASSIGN(
      const auto accounts,
      OpenAccounts({.data_dir = data.path(), .post = [&](auto done) { mailbox.Post(std::move(done)); }},
                   SystemClock()));
  // The key of a lost file still works, and keeps its name.
  const size_t earlier = accounts->Keys(0).size();
  const std::string name = earlier == 0 ? "operator" : fmt::format("operator {}", earlier + 1);
  const NewKey key{.team = "", .name = name, .role = Role::kOperator, .models = {}, .expires = 0};
  PENSTOCK_ASSIGN(const CreatedKey created,
                  mailbox.Await<Result<CreatedKey>>([&](auto done) { accounts->CreateKey(key, done); }));
  return WriteSecretFile(data.OperatorKeyFile(), created.secret + "\n");
}

}  // namespace

Result<int> RunGatewayProcess(const LoadedConfig& loaded, const ChildOptions& child) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  const LogKeeper log(LogFile(data, config, "gateway"));
  GatewayOptions options = config.gateway;
  options.data_dir = data.path();
  options.listen_fd = child.listen_fd;
  const TlsFiles tls = TlsFilesOf(config);
  options.tls_certificate = tls.certificate;
  options.tls_key = tls.key;
  options.open_metrics = IsLoopback(HostOf(config.gateway.listen));
  options.engine_socket = child.socket;
  options.log_level = config.log_level;
  options.change = ChangeSetting;
  options.rescan = [data, &config] {
    auto models = ModelStore(data).Installed();
    for (auto& model : models) {
      if (model.context == 0) model.context = config.engine.context;
    }
    return models;
  };
  options.models = options.rescan();
  if (auto there = RequireStore(data); !there.has_value()) return FailChild(there.error());
  if (auto upgraded = UpgradeData(data); !upgraded.has_value()) return FailChild(upgraded.error());
  if (auto ensured = EnsureOperatorKeyFile(data); !ensured.has_value()) return FailChild(ensured.error());
  const auto status = RunGateway(std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

}  // namespace penstock

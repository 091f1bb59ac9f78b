// `penstock status`: the cloud at a glance.
#include "app/cli.h"
#include "app/cloud.h"
#include "app/json_get.h"
#include "app/table.h"
#include "base/tokens.h"

namespace penstock {
namespace json = boost::json;
namespace {

// An engine names its kernel, or its models do.
std::string KernelOf(const json::object& engine) {
  std::string kernel = GetText(engine, "kernel");
  for (const auto& model : GetArray(engine, "models")) {
    if (kernel.empty()) kernel = GetText(model.as_object(), "kernel");
  }
  return kernel;
}

void PrintEngines(const json::object& status) {
  Table engines(
      {"ENGINE", "RUNNER", "KERNEL", "STATE", ">MEMORY", ">RUNNING", ">WAITING", ">TOKENS COMPUTED", "CHIP"});
  Table models({"MODEL", "ENGINE", "STATE", ">WEIGHTS", ">CONTEXT", ">KV TOKENS", "NOTE"});
  for (const auto& value : GetArray(status, "engines")) {
    const auto& engine = value.as_object();
    const std::string name = GetText(engine, "name");
    engines.Row({name, GetText(engine, "runner"), KernelOf(engine),
                 GetBool(engine, "connected") ? "connected" : "gone",
                 HumanBytes(static_cast<uint64_t>(GetInt(engine, "resident_bytes"))),
                 std::to_string(GetInt(engine, "running")), std::to_string(GetInt(engine, "waiting")),
                 HumanCount(GetInt(engine, "computed_tokens")), GetText(engine, "chip")});
    for (const auto& item : GetArray(engine, "models")) {
      const auto& model = item.as_object();
      models.Row({GetText(model, "name"), name, GetText(model, "state"),
                  HumanBytes(static_cast<uint64_t>(GetInt(model, "weight_bytes"))),
                  HumanCount(GetInt(model, "context")), HumanCount(GetInt(model, "pages") * kPageTokens),
                  GetText(model, "error")});
    }
  }
  if (!engines.empty()) fmt::print("\n{}", engines.Text());
  if (!models.empty()) fmt::print("\n{}", models.Text());
}

void PrintQueue(const json::object& status) {
  Table queue({"TEAM", ">WAITING", ">RUNNING", ">CHIP TIME"});
  for (const auto& value : GetArray(status, "queue")) {
    const auto& team = value.as_object();
    queue.Row({GetText(team, "team"), std::to_string(GetInt(team, "waiting")),
               std::to_string(GetInt(team, "running")), HumanSeconds(GetReal(team, "chip_ms") / 1e3)});
  }
  if (!queue.empty()) fmt::print("\n{}", queue.Text());
}

Result<int> ShowStatus(const LoadedConfig& loaded, bool as_json) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  PENSTOCK_ASSIGN(const json::object status, cloud.Get("/admin/v1/status"));
  if (as_json) {
    fmt::print("{}", PrettyJson(status));
    return 0;
  }
  const bool ready = GetBool(status, "ready");
  const std::string state = GetBool(status, "draining") ? "stopping" : ready ? "ready" : "not ready";
  const std::string reason = GetText(status, "reason");
  fmt::print("{} is {}{}, up for {}\n", cloud.url(), state, reason.empty() ? "" : " (" + reason + ")",
             HumanSeconds(GetReal(status, "uptime_s")));
  fmt::print("{} running, {} waiting, {} open streams, {} connections\n", GetInt(status, "running"),
             GetInt(status, "waiting"), GetInt(status, "open_streams"), GetInt(status, "connections"));
  const auto& store = GetObject(status, "store");
  if (!store.empty() && !GetBool(store, "healthy")) fmt::print("store: {}\n", GetText(store, "fault"));
  PrintEngines(status);
  PrintQueue(status);
  return 0;
}

}  // namespace

void AddStatusCommand(CLI::App& app, Cli& cli) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* status = app.add_subcommand("status", "Show engines, models, and who waits");
  status->add_flag("--json", *as_json, "as JSON");
  status->footer("Example:\n  penstock status");
  status->callback([&cli, as_json] {
    cli.run = [as_json](const LoadedConfig& loaded) { return ShowStatus(loaded, *as_json); };
  });
}

}  // namespace penstock

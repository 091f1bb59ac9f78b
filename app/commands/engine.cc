// `penstock engine`: lists engines and takes one out of service for maintenance; `penstock restart`: restarts
// one process after another with the installed binary, without losing a request.
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <thread>

#include "app/client/cloud.h"
#include "app/client/guarantees.h"
#include "app/client/settled.h"
#include "app/commands/commands.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/table.h"

namespace penstock {
namespace json = boost::json;
namespace {

constexpr std::string_view kStatus = "/admin/v1/status";
constexpr Nanos kGone = 120 * kSecond;  // an engine that is absent this long will not come back by itself

std::string ModelsOf(const json::object& engine) {
  std::string text;
  for (const auto& value : GetArray(engine, "models")) {
    const auto& model = value.get_object();
    const std::string state = GetText(model, "state");
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", GetText(model, "name"),
                        state == "ready" ? "" : " (" + state + ")");
  }
  return text;
}

void PrintEngines(const json::object& answer) {
  Table table({"ENGINE", "STATE", ">RUNNING", ">MEMORY", "RUNNER", "KERNEL", "PLACE", "MODELS", "NOTE"});
  for (const auto& value : GetArray(answer, "data")) {
    const auto& engine = value.get_object();
    table.Row({GetText(engine, "name"), GetText(engine, "state"), std::to_string(GetInt(engine, "sent")),
               HumanBytes(static_cast<uint64_t>(std::max<int64_t>(GetInt(engine, "memory_bytes"), 0))),
               GetText(engine, "runner"), GetText(engine, "kernel"), GetText(engine, "place"),
               ModelsOf(engine), GetText(engine, "note")});
  }
  fmt::print("{}", table.empty() ? "no engine is connected\n" : table.Text());
}

// What each engine guarantees (docs/chips.md).
void PrintGuarantees(const json::object& answer) {
  std::vector<std::string> columns = GuaranteeColumns();
  columns.insert(columns.begin(), "ENGINE");
  columns.emplace_back("CONTRACT");
  Table table(std::move(columns));
  for (const auto& value : GetArray(answer, "data")) {
    const auto& engine = value.get_object();
    const std::string contract = GetText(engine, "contract");
    std::vector<std::string> cells = GuaranteeCells(GetObject(engine, "guarantees"));
    cells.insert(cells.begin(), GetText(engine, "name"));
    cells.push_back(contract.empty() ? "none" : contract);
    table.Row(std::move(cells));
  }
  fmt::print("{}", table.empty() ? "no engine is connected\n" : table.Text());
}

// How fast each engine computes, measured from its steps. Placement uses these figures.
void PrintProfiles(const json::object& answer) {
  Table table({"ENGINE", "MODEL", ">PER STEP", ">PER PROMPT TOKEN", ">PER OUTPUT TOKEN", ">PER 1,000 CONTEXT",
               ">RECENT", ">STEPS"});
  const auto micros = [](double us) {
    return us < 1000 ? fmt::format("{:.0f} us", us) : fmt::format("{:.2f} ms", us / 1e3);
  };
  for (const auto& value : GetArray(answer, "data")) {
    const auto& engine = value.get_object();
    for (const auto& each : GetArray(engine, "profiles")) {
      const auto& profile = each.get_object();
      table.Row({GetText(engine, "name"), GetText(profile, "model"), micros(GetReal(profile, "step_us")),
                 micros(GetReal(profile, "prefill_token_us")), micros(GetReal(profile, "decode_token_us")),
                 micros(GetReal(profile, "position_ns")), fmt::format("x{:.2f}", GetReal(profile, "drift")),
                 HumanCount(GetInt(profile, "steps"))});
    }
  }
  fmt::print("{}", table.empty() ? "no engine has computed anything yet\n" : table.Text());
}

struct ListOptions {
  bool as_json = false, guarantees = false, profiles = false;
};

Result<int> List(const LoadedConfig& loaded, const ListOptions& options) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  PENSTOCK_ASSIGN(const json::object answer, cloud.Get("/admin/v1/engines"));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(answer));
  } else if (options.guarantees) {
    PrintGuarantees(answer);
  } else if (options.profiles) {
    PrintProfiles(answer);
  } else {
    PrintEngines(answer);
  }
  return 0;
}

Result<int> PostToEngine(const LoadedConfig& loaded, const std::string& engine, const std::string& what) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  PENSTOCK_ASSIGN(const json::object answer,
                  cloud.Post(fmt::format("/admin/v1/engines/{}/{}", engine, what), {}));
  PrintEngines(answer);
  return 0;
}

// Models that only this engine serves: once it drains, their requests are refused.
std::vector<std::string> OnlyServedBy(const json::object& engines, const std::string& name) {
  std::vector<std::string> only, others;
  for (const auto& value : GetArray(engines, "data")) {
    const auto& engine = value.get_object();
    const bool this_one = GetText(engine, "name") == name;
    if (!this_one && GetText(engine, "state") != "up") continue;
    for (const auto& model : GetArray(engine, "models")) {
      if (GetText(model.get_object(), "state") != "ready") continue;
      (this_one ? only : others).push_back(GetText(model.get_object(), "name"));
    }
  }
  std::erase_if(only,
                [&](const std::string& model) { return std::ranges::find(others, model) != others.end(); });
  return only;
}

Result<int> Drain(const LoadedConfig& loaded, const std::string& engine, bool force) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  PENSTOCK_ASSIGN(const json::object engines, cloud.Get("/admin/v1/engines"));
  if (const auto only = OnlyServedBy(engines, engine); !only.empty() && !force) {
    return Fail(
        Code::kConflict,
        "{} is the last engine that serves {}: while it drains, requests for that are refused. To drain it "
        "nevertheless: penstock engine drain {} --force",
        engine, fmt::join(only, ", "), engine);
  }
  PENSTOCK_ASSIGN(const json::object answer,
                  cloud.Post(fmt::format("/admin/v1/engines/{}/drain", engine), {}));
  PrintEngines(answer);
  return 0;
}

// ---- restart ---------------------------------------------------------------------------------------

// Pids by engine.
std::map<std::string, pid_t> Processes(const json::object& status) {
  std::map<std::string, pid_t> pids;
  for (const auto& value : GetArray(status, "engines")) {
    const auto& engine = value.get_object();
    if (GetBool(engine, "connected"))
      pids[GetText(engine, "name")] = static_cast<pid_t>(GetInt(engine, "pid"));
  }
  return pids;
}

// Prints a line for each process that is back, until all of them are.
Result<int> Follow(const Cloud& cloud, std::map<std::string, pid_t> old, pid_t old_gateway) {
  const auto now = [] { return SystemClock().Monotonic(); };
  std::map<std::string, Nanos> seen;
  for (const auto& [name, pid] : old) seen[name] = now();
  Nanos gateway_seen = now();
  while (!old.empty() || old_gateway != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto status = cloud.Get(std::string(kStatus), 5 * kSecond);
    if (!status.has_value()) {  // the gateway is restarting
      if (now() - gateway_seen > kGone + 600 * kSecond) return std::unexpected(status.error());
      continue;
    }
    gateway_seen = now();
    for (const auto& [name, pid] : Processes(*status)) seen[name] = now();
    for (auto at = old.begin(); at != old.end();) {
      const auto& [name, pid] = *at;
      const Settled settled = Settle(*status, name, pid);
      if (settled.state == Settled::State::kFailed) {
        return Fail(Code::kUnavailable, "engine {} is back, but a model did not load: {}", name,
                    settled.errors);
      }
      if (settled.state == Settled::State::kNotYet && now() - seen[name] > kGone) {
        return Fail(Code::kUnavailable, "engine {} did not come back within {} s; see its log", name,
                    kGone / kSecond);
      }
      if (settled.state == Settled::State::kReady) fmt::print("engine {} is back\n", name);
      at = settled.state == Settled::State::kReady ? old.erase(at) : std::next(at);
    }
    if (old_gateway != 0 && GetInt(*status, "pid") != old_gateway) {
      fmt::print("the gateway is back\n");
      old_gateway = 0;
    }
  }
  return 0;
}

Result<int> Restart(const LoadedConfig& loaded, const std::string& engine) {
  if (!engine.empty()) {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
    PENSTOCK_ASSIGN(const json::object status, cloud.Get(std::string(kStatus)));
    auto pids = Processes(status);
    PENSTOCK_TRY(cloud.Post(fmt::format("/admin/v1/engines/{}/restart", engine), {}));
    std::erase_if(pids, [&](const auto& one) { return one.first != engine; });
    return Follow(cloud, std::move(pids), 0);
  }
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(loaded.config.data));
  const pid_t supervisor = data.LockedBy();
  if (supervisor <= 0) {
    return Fail(
        Reason::kNotRunning,
        "no cloud runs on {}: a full restart works only on the cloud's own machine. To restart one engine of "
        "a remote cloud: penstock restart ENGINE",
        data.path());
  }
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::OpenLocal(loaded.config));
  PENSTOCK_ASSIGN(const json::object status, cloud.Get(std::string(kStatus)));
  if (kill(supervisor, SIGHUP) != 0) {
    return FailErrno(Code::kForbidden, fmt::format("cannot signal the supervisor (process {})", supervisor));
  }
  return Follow(cloud, Processes(status), static_cast<pid_t>(GetInt(status, "pid")));
}

}  // namespace

void AddEngineCommands(CLI::App& app, Cli& cli) {
  CLI::App* engine = app.add_subcommand("engine", "List engines, and take one out of service");
  engine->footer("Example:\n  penstock engine ls\n  penstock engine drain cpu0");
  auto options = std::make_shared<ListOptions>();
  auto name = std::make_shared<std::string>();
  CLI::App* list = engine->add_subcommand("ls", "List engines, where they run, and their models");
  list->add_flag("--json", options->as_json, "print JSON");
  list->add_flag("--guarantees", options->guarantees, "show what each engine guarantees");
  list->add_flag("--profiles", options->profiles, "show how fast each engine computes, as measured");
  list->footer("Example:\n  penstock engine ls\n  penstock engine ls --guarantees");
  list->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return List(loaded, *options); };
  });
  const auto add = [&](const char* word, const char* help) {
    CLI::App* command = engine->add_subcommand(word, help);
    command->add_option("engine", *name, "name of the engine")->type_name("ENGINE")->required();
    command->footer(fmt::format("Example:\n  penstock engine {} cpu0", word));
    command->callback([&cli, name, word = std::string(word)] {
      cli.run = [name, word](const LoadedConfig& loaded) { return PostToEngine(loaded, *name, word); };
    });
  };
  auto force = std::make_shared<bool>(false);
  CLI::App* drain =
      engine->add_subcommand("drain", "Send an engine no new requests; move or finish those it has");
  drain->add_option("engine", *name, "name of the engine")->type_name("ENGINE")->required();
  drain->add_flag("--force", *force, "also if no other engine serves one of its models");
  drain->footer("Example:\n  penstock engine drain cpu0");
  drain->callback([&cli, name, force] {
    cli.run = [name, force](const LoadedConfig& loaded) { return Drain(loaded, *name, *force); };
  });
  add("resume", "Send requests to an engine again");

  CLI::App* restart = app.add_subcommand("restart", "Restart one process after another; no request is lost");
  restart->add_option("engine", *name, "restart only this engine; default: all engines, then the gateway")
      ->type_name("ENGINE");
  restart->footer(
      "Each process moves or finishes its requests, starts again with the installed binary, and is ready "
      "before\n"
      "the next one restarts. While the gateway restarts, new connections wait. `systemctl reload penstock` "
      "does\n"
      "the same. Settings stay as they were when `up` started.\n\n"
      "Example:\n  penstock restart\n  penstock restart cpu0");
  restart->callback(
      [&cli, name] { cli.run = [name](const LoadedConfig& loaded) { return Restart(loaded, *name); }; });
}

}  // namespace penstock

// `penstock up`, and the hidden commands of its child processes.
#include "app/launch/up.h"

#include <signal.h>

#include <chrono>
#include <thread>

#include "app/commands/commands.h"
#include "app/launch/await.h"
#include "app/launch/engine_process.h"
#include "app/launch/gateway_process.h"
#include "app/models/inspect.h"

namespace penstock {
namespace {

Result<int> Stop(const LoadedConfig& loaded) {
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(loaded.config.data));
  const int supervisor = data.LockedBy();
  if (supervisor <= 0) {
    return Fail(Reason::kNotRunning, "no cloud runs on {}: `stop` works only on the cloud's own machine",
                data.path());
  }
  fmt::print(stderr, "stopping the cloud on {} (process {}) when its running requests are finished\n",
             data.path(), supervisor);
  if (kill(supervisor, SIGTERM) != 0)
    return FailErrno(Code::kForbidden, fmt::format("cannot signal the supervisor (process {})", supervisor));
  const Nanos until = SystemClock().Monotonic() + loaded.config.gateway.drain_timeout + 60 * kSecond;
  while (data.LockedBy() == supervisor) {
    if (SystemClock().Monotonic() > until)
      return Fail(Code::kDeadline, "it has not ended yet (process {})", supervisor);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  fmt::print("stopped\n");
  return 0;
}

}  // namespace

void AddUpCommand(CLI::App& app, Cli& cli) {
  CLI::App* up = app.add_subcommand("up", "Start the cloud on this machine and keep it running until Ctrl-C");
  up->footer(
      "Every setting is also a flag: --listen, --engine-memory, --gateway-max-waiting, …; `penstock config`\n"
      "lists all of them.\n\n"
      "Example:\n"
      "  penstock up\n"
      "  penstock up --listen 0.0.0.0:8700 --tls-self-signed --data /srv/penstock --engine-memory 48GiB");
  up->callback([&cli] { cli.run = Up; });

  CLI::App* stop = app.add_subcommand("stop", "Stop the cloud that runs on this machine's data directory");
  stop->footer("It takes no new requests, finishes those that run, and ends.\n\nExample:\n  penstock stop");
  stop->callback([&cli] { cli.run = Stop; });
}

void AddHiddenCommands(CLI::App& app, Cli& cli) {
  auto child = std::make_shared<ChildOptions>();
  CLI::App* gateway = app.add_subcommand("gateway", "")->group("");
  gateway->add_option("--listen-fd", child->listen_fd, "the supervisor's listening socket");
  gateway->add_option("--engine-socket", child->socket, "where engines connect")->required();
  gateway->callback([&cli, child] {
    cli.run = [child](const LoadedConfig& loaded) { return RunGatewayProcess(loaded, *child); };
  });

  // `engine` is also the user's command (`engine ls`); with --socket it runs an engine process.
  CLI::App* engine = app.get_subcommand("engine");
  engine->require_subcommand(0, 1);
  engine->add_option("--name", child->name, "its name in the fleet")->group("");
  engine->add_option("--socket", child->socket, "where the gateway listens for engines")->group("");
  engine->add_option("--memory", child->memory, "its reduced memory budget; 0: as configured")->group("");
  engine->add_option("--machine-memory", child->machine_memory, "its part of this machine's memory")
      ->group("");
  engine->add_option("--place", child->place, "what it runs on, as shown to users")->group("");
  engine->add_option("--note", child->note, "a note about it, as shown to users")->group("");
  engine->callback([&cli, engine, child] {
    if (!engine->get_subcommands().empty()) return;
    if (child->socket.empty() || child->name.empty()) throw CLI::RequiredError::Subcommand(1);
    cli.run = [child](const LoadedConfig& loaded) { return RunEngineProcess(loaded, *child); };
  });

  CLI::App* await = app.add_subcommand("await", "")->group("");
  await->add_option("--engine", child->name, "an engine's name; none: the gateway");
  await->add_option("--replaces", child->replaces, "the process that it replaces");
  await->callback([&cli, child] {
    cli.run = [child](const LoadedConfig& loaded) { return AwaitChild(loaded, *child); };
  });

  auto path = std::make_shared<std::string>();
  CLI::App* inspect = app.add_subcommand("inspect", "")->group("");
  inspect->add_option("path", *path)->required();
  inspect->callback([&cli, path] {
    cli.run = [path](const LoadedConfig&) -> Result<int> { return RunInspectCommand(*path); };
  });
}

}  // namespace penstock

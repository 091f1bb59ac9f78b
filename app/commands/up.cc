// `penstock up`: the supervisor's command; and the hidden commands that are its children.
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "app/backup/backup.h"
#include "app/client/cloud.h"
#include "app/client/endpoint.h"
#include "app/client/settled.h"
#include "app/command_line/cli.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/launch/engines.h"
#include "app/launch/listen.h"
#include "app/launch/log_keeper.h"
#include "app/launch/memory_budget.h"
#include "app/launch/supervisor.h"
#include "app/launch/tls_files.h"
#include "app/machine/cpu_group.h"
#include "app/models/inspect.h"
#include "app/models/model_store.h"
#include "attach/attach.h"
#include "attach/trust.h"
#include "base/log_level.h"
#include "chip/cpu.h"
#include "engine/engine.h"
#include "engine/memory.h"
#include "gateway/gateway.h"
#include "gateway/tls.h"
#include "runner/fake.h"
#include "runner/ggml_plugin.h"
#include "runner/native.h"
#include "teams/mailbox.h"
#include "teams/teams.h"

namespace penstock {
namespace {

// ---- what children are told ------------------------------------------------------------------------

std::string LogFile(const DataDir& data, const Config& config, std::string_view name) {
  if (config.logs == "stderr") return "";
  const std::string path = fmt::format("{}/{}.log", data.Logs(), name);
  std::error_code ignored;
  std::filesystem::create_directories(data.Logs(), ignored);
  return path;
}

std::vector<std::string> ChildArgs(std::string command, const LoadedConfig& loaded) {
  std::vector<std::string> args = {std::move(command), "--config", "/dev/null", "--data", loaded.config.data};
  for (auto& flag : AsFlags(loaded)) args.push_back(std::move(flag));
  return args;
}

ChildSpec GatewayChild(const LoadedConfig& loaded, const DataDir& data, int listen_fd,
                       const std::string& socket) {
  ChildSpec child{.name = "gateway", .args = ChildArgs("gateway", loaded)};
  for (const auto& word :
       {std::string("--listen-fd"), std::to_string(listen_fd), std::string("--engine-socket"), socket}) {
    child.args.push_back(word);
  }
  child.keep_fd = listen_fd;
  child.log = LogFile(data, loaded.config, "gateway");
  child.stop_within = loaded.config.drain_timeout.value + 15 * kSecond;
  child.oom_score = 100;
  child.drain_within = child.stop_within;
  child.await = {"await", "--data", data.path(), "--replaces"};
  return child;
}

// What its models' weights take, and the least KV for each.
uint64_t NeededMemory(const DataDir& data, const std::vector<std::string>& takes) {
  uint64_t needed = 0;
  for (const auto& manifest : ModelStore(data).List()) {
    if (takes.empty() || std::ranges::find(takes, manifest.name) != takes.end()) {
      needed += manifest.Bytes() + kLeastKvBytes;
    }
  }
  return needed;
}

// What an engine is told again at each start: its budget, and what is to be known of it.
struct EngineBudget {
  uint64_t memory = 0, machine_memory = 0;
  std::string note;
};

std::vector<std::string> EngineArgs(const EnginePlan& plan, const std::string& socket,
                                    const EngineBudget& budget) {
  std::vector<std::string> args = ChildArgs("engine", plan.loaded);
  const auto add = [&](const char* flag, const std::string& value) {
    args.emplace_back(flag);
    args.push_back(value);
  };
  add("--name", plan.name);
  add("--socket", socket);
  if (budget.memory > 0) add("--memory", std::to_string(budget.memory));
  if (budget.machine_memory > 0) add("--machine-memory", std::to_string(budget.machine_memory));
  if (const std::string place = plan.Place(); !place.empty()) add("--place", place);
  if (!budget.note.empty()) add("--note", budget.note);
  return args;
}

// The engine was killed for memory: from here on it has less.
std::string LearnBudget(EngineBudget& budget, const EnginePlan& plan, const DataDir& data, uint64_t peak) {
  const Config& config = plan.loaded.config;
  uint64_t had = budget.memory > 0 ? budget.memory : config.engine_memory.value;
  if (had == 0) had = budget.machine_memory;
  const int64_t free = chip::QueryMemory().available;
  const uint64_t now =
      BudgetAfter({.had = had,
                   .peak = peak,
                   .needed = NeededMemory(data, config.takes),
                   .free = static_cast<uint64_t>(std::max<int64_t>(free - kNativeHeadroom, 0))});
  if (now == 0 || (now >= had && had > 0)) {
    return fmt::format("it held {}, and its models need {}: unload one, or take a smaller quantisation",
                       HumanBytes(peak), HumanBytes(NeededMemory(data, config.takes)));
  }
  budget.memory = now;
  budget.note =
      fmt::format("{} since it was killed for memory, holding {}", HumanBytes(now), HumanBytes(peak));
  return fmt::format("it held {} and gets a budget of {} from here on{}", HumanBytes(peak), HumanBytes(now),
                     had > 0 ? ", instead of " + HumanBytes(had) : "");
}

std::string KeyVariable(const std::string& engine) {
  return "PENSTOCK_URL_KEY_OF_" + engine;
}

// What can be known to be wrong before the engine starts.
Status CheckTrust(const EnginePlan& plan) {
  const Config& config = plan.loaded.config;
  if (config.engine_url_ca.empty()) return {};
  if (!config.engine_url.starts_with("https://")) {
    return Fail(Reason::kBadSetting,
                "engine {}: url_ca says who vouches for an https:// server, and its url is '{}'", plan.name,
                config.engine_url);
  }
  if (const auto trust = Trust::In(config.engine_url_ca); !trust)
    return Fail(Reason::kBadSetting, "engine {}: {}", plan.name, trust.error().message);
  return {};
}

Result<ChildSpec> EngineChild(const EnginePlan& plan, const DataDir& data, const std::string& socket,
                              CpuGroups& groups) {
  const Config& config = plan.loaded.config;
  PENSTOCK_TRY(CheckTrust(plan));
  // A secret is in no command line: the engine reads it where the environment holds it.
  if (!config.engine_url_key.empty())
    setenv(KeyVariable(plan.name).c_str(), config.engine_url_key.c_str(), 1);
  EngineBudget budget{.memory = 0, .machine_memory = plan.machine_memory, .note = ""};
  ChildSpec child{.name = fmt::format("engine {}", plan.name), .args = EngineArgs(plan, socket, budget)};
  child.log = LogFile(data, config, fmt::format("engine-{}", plan.name));
  child.stop_within = 15 * kSecond;
  child.oom_score = 500;
  child.cores = plan.cores;
  child.numa = plan.numa;
  child.drain_within = config.drain_timeout.value + 15 * kSecond;
  child.await = {"await", "--data", data.path(), "--engine", plan.name, "--replaces"};
  child.out_of_memory = [plan, data, socket, budget](ChildSpec& spec, uint64_t peak) mutable {
    std::string words = LearnBudget(budget, plan, data, peak);
    spec.args = EngineArgs(plan, socket, budget);
    return words;
  };
  if (plan.quota == 0) return child;
  auto group = groups.Make(plan.name, plan.quota);
  if (!group.has_value()) {
    return Fail(
        Code::kUnsupported,
        "no CPU quota can be set for engine {}: {}. Leave `quota` out (`cores` needs no control group), run "
        "`up` as root, or let systemd delegate one (Delegate=cpu and ProtectControlGroups=no)",
        plan.name, group.error().message);
  }
  child.group = *group;
  return child;
}

// ---- what people are told --------------------------------------------------------------------------

// How other machines reach it: by this machine's name, where it listens on every interface.
std::string UrlFromOutside(const Config& config, const std::string& url) {
  const std::string listen = HostOf(config.listen);
  char name[256] = {};
  const bool everywhere = listen == "0.0.0.0" || listen == "::";
  if (!everywhere || gethostname(name, sizeof name - 1) != 0) return url;
  return url.substr(0, url.find("://") + 3) + name + url.substr(url.rfind(':'));
}

void Introduce(const Config& config, const DataDir& data, const std::string& url,
               const std::string& fingerprint, const std::vector<InstalledModel>& models,
               const EnginePlans& plans) {
  std::string names;
  for (const auto& model : models) names += (names.empty() ? "" : ", ") + model.name;
  fmt::print(stderr, "Penstock\n  url     {}\n  data    {}\n", url, data.path());
  if (!fingerprint.empty()) fmt::print(stderr, "  tls     SHA-256 fingerprint {}\n", fingerprint);
  if (!IsLoopback(HostOf(config.listen))) {
    const bool pinned = config.tls_self_signed;
    fmt::print(stderr, "  login   penstock login {}{}\n", UrlFromOutside(config, url),
               pinned ? " --fingerprint " + fingerprint : "");
    if (fingerprint.empty()) fmt::print(stderr, "  beware  plain HTTP: whoever is between can read keys\n");
  }
  if (config.logs == "files") fmt::print(stderr, "  logs    {}\n", data.Logs());
  for (const auto& plan : plans.engines) {
    const std::string place = plan.Place();
    if (plans.engines.size() > 1 || !place.empty())
      fmt::print(stderr, "  engine  {}{}{}\n", plan.name, place.empty() ? "" : ": ", place);
  }
  fmt::print(stderr, "  models  {}\n", names.empty() ? "none yet: penstock model pull smollm2-135m" : names);
}

// The gateway's process makes the operator key on its first start; whoever started the cloud sees it this
// once. Not in a service's journal, where it would stay (systemd sets JOURNAL_STREAM).
void ShowNewOperatorKey(const DataDir& data) {
  const auto key = ReadTextFile(data.OperatorKeyFile());
  if (!key.has_value()) return;
  if (std::getenv("JOURNAL_STREAM") != nullptr) {
    fmt::print(stderr, "penstock: the operator key is in {}, for this user alone\n", data.OperatorKeyFile());
    return;
  }
  fmt::print(stderr, "penstock: operator key, shown this once (kept in {}, for you alone):\n  {}\n",
             data.OperatorKeyFile(), *key);
}

// Models that an engine could not load, and why; empty: none, or nobody to ask. Soon: the listening socket is
// the supervisor's, so while no gateway runs a request waits for an answer that never comes.
std::string FailedModels(const Config& config) {
  std::string failed;
  const auto cloud = Cloud::OpenLocal(config);
  const auto answer =
      cloud.has_value() ? cloud->Get("/admin/v1/models", 2 * kSecond) : std::unexpected(cloud.error());
  if (!answer.has_value()) return failed;
  for (const auto& value : GetArray(*answer, "data")) {
    const std::string error = value.is_object() ? GetText(value.get_object(), "error") : "";
    if (!error.empty()) failed += fmt::format("\n  {}", error);
  }
  return failed;
}

// Says when requests would be answered, and why not yet. A thread of its own: the supervisor's loop never
// waits for anything but its children.
class Announcer {
 public:
  Announcer(const Config& config, const std::string& url, DataDir data, bool first_start)
      : config_(config), data_(std::move(data)), first_start_(first_start) {
    config_.url = url;  // the one that starts here, whatever the settings say for commands
    // Signals are for the supervisor's own thread: this one must never be chosen to take them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { Run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Announcer() {
    stop_ = true;
    thread_.join();
  }
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

 private:
  void Run() {
    const Nanos began = SystemClock().Monotonic();
    std::string told;
    const Endpoint endpoint = LocalEndpoint(config_);
    while (!stop_) {
      std::string why = WhyNotReady(endpoint);
      if (first_start_ && std::filesystem::exists(data_.OperatorKeyFile())) {
        ShowNewOperatorKey(data_);
        first_start_ = false;
      }
      const double seconds = static_cast<double>(SystemClock().Monotonic() - began) / 1e9;
      if (why.empty()) {
        fmt::print(stderr, "penstock: ready after {:.1f} s: requests are answered at {}/v1\n", seconds,
                   endpoint.url);
        return;
      }
      if (seconds > 2) why += FailedModels(config_);
      if (seconds > 2 && why != told) {
        fmt::print(stderr, "penstock: not ready yet: {}\n", why);
        told = why;
      }
      for (int tick = 0; tick < 10 && !stop_; ++tick)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  Config config_;
  const DataDir data_;
  bool first_start_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Where the cloud answers, as commands here find it. The port may have been left to the system.
std::string UrlOf(const Config& config, int listener) {
  const std::string url = config.ListenUrl();
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&name), &size) != 0) return url;
  const auto port = name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port
                                               : reinterpret_cast<sockaddr_in&>(name).sin_port;
  return url.substr(0, url.rfind(':') + 1) + std::to_string(ntohs(port));
}

// Empty: plain HTTP. A certificate that cannot be used is better said here than by a child.
Result<std::string> FingerprintOf(const TlsFiles& tls) {
  if (!tls.on()) return "";
  PENSTOCK_ASSIGN(const auto context, gateway::TlsContext::Load(tls.certificate, tls.key));
  return context->fingerprint();
}

Result<int> Up(const LoadedConfig& loaded) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  PENSTOCK_TRY(data.RequireOwner());
  PENSTOCK_ASSIGN(const TlsFiles tls, PrepareTls(config));
  PENSTOCK_ASSIGN(const EnginePlans plans, PlanEngines(loaded, LookAtPremises()));
  PENSTOCK_ASSIGN(const Fd lock, data.Lock());
  PENSTOCK_ASSIGN(const Fd listener, Listen(config.listen));
  PENSTOCK_ASSIGN(const std::string socket, data.EngineSocket());
  PENSTOCK_TRY(RequireDisk(data.path(), 64ULL << 20, "the usage records"));
  PENSTOCK_TRY(UpgradeData(data));
  PENSTOCK_ASSIGN(const std::string fingerprint, FingerprintOf(tls));
  const std::string url = UrlOf(config, listener.get());
  std::error_code ignored;
  const auto certificate = tls.on() ? std::filesystem::absolute(tls.certificate, ignored).string() : "";
  PENSTOCK_TRY(WriteNote(data.path(), {.url = url, .certificate = certificate}));
  const bool first_start = !std::filesystem::exists(data.OperatorKeyFile());
  CpuGroups groups;
  std::vector<ChildSpec> children = {GatewayChild(loaded, data, listener.get(), socket)};
  for (const auto& plan : plans.engines) {
    PENSTOCK_ASSIGN(ChildSpec child, EngineChild(plan, data, socket, groups));
    children.push_back(std::move(child));
  }
  Introduce(config, data, url, fingerprint, ModelStore(data).Installed(), plans);
  for (const auto& warning : plans.warnings) fmt::print(stderr, "penstock: {}\n", warning);
  const Announcer announcer(config, url, data, first_start);
  const auto status = Supervise(children);
  RemoveNote(data.path());
  return status;
}

// ---- the children ----------------------------------------------------------------------------------

// Errors that another try cannot mend end the supervisor too.
int FailChild(const Error& error) {
  fmt::print(stderr, "{}\n", Worded(error));
  const bool useless =
      error.code == Code::kInvalid || error.code == Code::kCorrupt || error.code == Code::kUnsupported;
  return useless ? kExitDoNotRetry : 1;
}

// Whoever holds the data directory is the operator: where operator.key is missing (the first start, or a file
// that was lost), a new key is made and written there. Before the gateway opens the same store.
Status EnsureOperatorKeyFile(const DataDir& data) {
  if (std::filesystem::exists(data.OperatorKeyFile())) return {};
  Mailbox mailbox;
  PENSTOCK_ASSIGN(
      const auto accounts,
      OpenAccounts({.data_dir = data.path(), .post = [&](auto done) { mailbox.Post(std::move(done)); }},
                   SystemClock()));
  const NewKey key{.team = "", .name = "operator", .role = Role::kOperator, .models = {}, .expires = 0};
  PENSTOCK_ASSIGN(const CreatedKey created,
                  mailbox.Await<Result<CreatedKey>>([&](auto done) { accounts->CreateKey(key, done); }));
  return WriteSecretFile(data.OperatorKeyFile(), created.secret + "\n");
}

struct ChildOptions {
  int listen_fd = -1;
  std::string socket, name, path, place, note;
  uint64_t memory = 0, machine_memory = 0;
  pid_t replaces = 0;
};

Result<int> Gateway(const LoadedConfig& loaded, const ChildOptions& child) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  const LogKeeper log(LogFile(data, config, "gateway"));
  GatewayOptions options;
  options.data_dir = data.path();
  options.listen_fd = child.listen_fd;
  options.listen = config.listen;
  options.tls_certificate = TlsFilesOf(config).certificate;
  options.tls_key = TlsFilesOf(config).key;
  options.open_metrics = IsLoopback(HostOf(config.listen));
  options.engine_socket = child.socket;
  options.max_body_bytes = config.max_body.value;
  options.max_header_bytes = config.max_header.value;
  options.max_connections = static_cast<size_t>(config.max_connections);
  options.max_waiting = static_cast<size_t>(config.max_waiting);
  options.header_timeout = config.header_timeout.value;
  options.body_timeout = config.body_timeout.value;
  options.write_timeout = config.write_timeout.value;
  options.queue_timeout = config.queue_timeout.value;
  options.drain_timeout = config.drain_timeout.value;
  options.canary_period = config.canary_period.value;
  options.engine_timeout = config.engine_timeout.value;
  options.log_level = ParseLogLevel(config.log_level).value_or(LogLevel::info);
  options.rescan = [data, &config] {
    auto models = ModelStore(data).Installed();
    for (auto& model : models) {
      if (model.context == 0) model.context = static_cast<uint32_t>(config.context);
    }
    return models;
  };
  options.models = options.rescan();
  if (auto upgraded = UpgradeData(data); !upgraded.has_value()) return FailChild(upgraded.error());
  if (auto ensured = EnsureOperatorKeyFile(data); !ensured.has_value()) return FailChild(ensured.error());
  const auto status = RunGateway(std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

// Where libllama is looked for: as it was said, else in the data directory, else where the build has it.
std::vector<std::string> GgmlFolders(const Config& config) {
  if (!config.ggml_libraries.empty()) return {config.ggml_libraries};
  const auto beside = std::filesystem::path(GgmlPluginPath()).parent_path() / "ggml";
  return {config.data + "/ggml", beside.string()};
}

Result<std::unique_ptr<Runner>> MakeRunner(const Config& config) {
  if (config.runner == "ggml") {
    return MakeGgmlRunner(
        {.device = config.ggml_device,
         .layers = static_cast<int32_t>(std::min<int64_t>(config.ggml_layers, INT32_MAX)),
         .max_sequences = static_cast<int32_t>(std::min<int64_t>(config.max_sequences, INT32_MAX)),
         .threads = 0,
         .pause_bytes = static_cast<int64_t>(config.pause_memory.value),
         .libraries = GgmlFolders(config)});
  }
  if (config.runner == "native") {
    NativeOptions options;
    if (!config.kernel.empty()) {
      PENSTOCK_ASSIGN(options.isa, kernels::BestIsa(config.kernel));
    }
    return MakeNativeRunner(options);
  }
  const size_t options = std::min(config.runner.find('?'), config.runner.size() - 1) + 1;
  PENSTOCK_ASSIGN(const FakeOptions fake, ParseFakeOptions(std::string_view(config.runner).substr(options)));
  return MakeFakeRunner(fake);
}

Result<int> Attached(const Config& config, const ChildOptions& child) {
  spdlog::set_level(ParseLogLevel(config.log_level).value_or(LogLevel::info));
  const char* key = std::getenv(KeyVariable(child.name).c_str());
  AttachOptions options{.name = child.name,
                        .socket = child.socket,
                        .url = config.engine_url,
                        .launch = config.engine_launch,
                        .key = key == nullptr ? "" : key,
                        .authorities = config.engine_url_ca,
                        .external = config.engine_external,
                        .takes = config.takes,
                        .names = {},
                        .max_sequences = static_cast<uint32_t>(config.max_sequences)};
  for (const std::string& pair : config.upstream_models) {
    const size_t equals = std::min(pair.find('='), pair.size());
    options.names[pair.substr(0, equals)] = equals < pair.size() ? pair.substr(equals + 1) : pair;
  }
  const auto status = RunAttached(std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

Result<int> Engine(const LoadedConfig& loaded, const ChildOptions& child) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  const LogKeeper log(LogFile(data, config, fmt::format("engine-{}", child.name)));
  if (!config.engine_url.empty() || !config.engine_launch.empty()) return Attached(config, child);
  auto runner = MakeRunner(config);
  if (!runner.has_value()) return FailChild(runner.error());
  spdlog::set_level(ParseLogLevel(config.log_level).value_or(LogLevel::info));
  EngineOptions options;
  options.name = child.name;
  options.socket = child.socket;
  options.memory_bytes = child.memory > 0 ? child.memory : config.engine_memory.value;
  options.machine_memory = child.machine_memory;
  options.kv_bytes = config.kv_memory.value;
  options.context = static_cast<uint32_t>(config.context);
  options.takes = config.takes;
  options.place = child.place;
  options.note = child.note;
  options.max_sequences = static_cast<uint32_t>(config.max_sequences);
  options.step_tokens = static_cast<int32_t>(config.step_tokens);
  options.prefix_cache = config.prefix_cache;
  const auto status = RunEngine(*std::move(runner), std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

// ---- whether a child is back -----------------------------------------------------------------------

// Ends with 0 when the engine of that name that took the old one's place has its models; without a name: when
// the gateway answers.
Result<int> AwaitChild(const LoadedConfig& loaded, const ChildOptions& child) {
  constexpr Nanos kPatience = 1800 * kSecond;
  const Nanos until = SystemClock().Monotonic() + kPatience;
  while (SystemClock().Monotonic() < until) {
    const auto cloud = Cloud::OpenLocal(loaded.config);
    const auto status =
        cloud.has_value() ? cloud->Get("/admin/v1/status", 5 * kSecond) : std::unexpected(cloud.error());
    if (status.has_value()) {
      if (child.name.empty()) return 0;
      const Settled settled = Settle(*status, child.name, child.replaces);
      if (settled.state != Settled::State::kNotYet) {
        if (!settled.errors.empty())
          fmt::print(stderr, "penstock: engine {}: {}\n", child.name, settled.errors);
        return settled.state == Settled::State::kReady ? 0 : 1;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return Fail(Code::kUnavailable, "{} was not back after {} minutes",
              child.name.empty() ? "the gateway" : "engine " + child.name, kPatience / kSecond / 60);
}

}  // namespace

void AddUpCommand(CLI::App& app, Cli& cli) {
  CLI::App* up = app.add_subcommand("up", "Start the cloud here and keep it running until Ctrl-C");
  up->footer(
      "Settings of `up` are flags too: --listen, --engine-memory, --gateway-max-waiting, …; `penstock "
      "config` lists\n"
      "them all.\n\n"
      "Example:\n"
      "  penstock up\n"
      "  penstock up --listen 0.0.0.0:8700 --tls-self-signed --data /srv/penstock --engine-memory 48GiB");
  up->callback([&cli] { cli.run = Up; });
}

void AddHiddenCommands(CLI::App& app, Cli& cli) {
  auto child = std::make_shared<ChildOptions>();
  CLI::App* gateway = app.add_subcommand("gateway", "")->group("");
  gateway->add_option("--listen-fd", child->listen_fd, "the supervisor's listening socket");
  gateway->add_option("--engine-socket", child->socket, "where engines dial in")->required();
  gateway->callback(
      [&cli, child] { cli.run = [child](const LoadedConfig& loaded) { return Gateway(loaded, *child); }; });

  // The same word that people use for `engine ls`: with a socket it is the process itself.
  CLI::App* engine = app.get_subcommand("engine");
  engine->require_subcommand(0, 1);
  engine->add_option("--name", child->name, "its name in the fleet")->group("");
  engine->add_option("--socket", child->socket, "where the gateway listens for engines")->group("");
  engine->add_option("--memory", child->memory, "its budget, as learnt; 0: as configured")->group("");
  engine->add_option("--machine-memory", child->machine_memory, "its part of this machine's memory")
      ->group("");
  engine->add_option("--place", child->place, "what it runs on, for people")->group("");
  engine->add_option("--note", child->note, "what is to be known of it, for people")->group("");
  engine->callback([&cli, engine, child] {
    if (!engine->get_subcommands().empty()) return;
    if (child->socket.empty() || child->name.empty()) throw CLI::RequiredError::Subcommand(1);
    cli.run = [child](const LoadedConfig& loaded) { return Engine(loaded, *child); };
  });

  CLI::App* await = app.add_subcommand("await", "")->group("");
  await->add_option("--engine", child->name, "an engine's name; none: the gateway");
  await->add_option("--replaces", child->replaces, "the process that it took the place of");
  await->callback([&cli, child] {
    cli.run = [child](const LoadedConfig& loaded) { return AwaitChild(loaded, *child); };
  });

  CLI::App* inspect = app.add_subcommand("inspect", "")->group("");
  inspect->add_option("path", child->path)->required();
  inspect->callback([&cli, child] {
    cli.run = [child](const LoadedConfig&) -> Result<int> { return RunInspectCommand(child->path); };
  });
}

}  // namespace penstock

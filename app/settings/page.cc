#include "app/settings/page.h"

#include "app/settings/table.h"

namespace penstock {

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
  for (const auto& setting : Settings()) {
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

}  // namespace penstock

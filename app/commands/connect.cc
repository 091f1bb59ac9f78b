// `penstock connect`: how to configure a client for this cloud.
#include "app/client/cloud.h"
#include "app/commands/client_configs.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "base/nearest.h"

namespace penstock {
namespace {

struct Options {
  std::string client, model;
  bool markdown = false;
};

int ListClients() {
  Table table({"CLIENT", "", "TESTED"});
  for (const auto& client : ClientConfigs()) {
    table.Row({std::string(client.name), std::string(client.title), client.tested ? "yes" : ""});
  }
  fmt::print("{}", table.Text());
  fmt::print(stderr, "\nFor one of them: penstock connect CLIENT\n");
  return 0;
}

// The first model that this key may use; empty: none is ready, or the cloud does not answer.
std::string FirstModel(const Endpoint& endpoint) {
  const auto cloud = Cloud::At(endpoint);
  const auto models =
      cloud.has_value() ? cloud->Get("/v1/models", 5 * kSecond) : std::unexpected(cloud.error());
  if (!models.has_value()) {
    fmt::print(stderr, "The models are not known: {}\n", models.error().message);
    return "";
  }
  const auto& data = GetArray(*models, "data");
  return data.empty() ? "" : GetText(data.front().as_object(), "id");
}

Result<int> Connect(const Config& config, const Options& options) {
  if (options.markdown) {
    fmt::print("{}", ClientsPage());
    return 0;
  }
  if (options.client.empty()) return ListClients();
  const ClientConfig& client = *FindClient(options.client);
  PENSTOCK_ASSIGN(const Endpoint endpoint, FindEndpoint(config));
  std::string model = options.model.empty() ? FirstModel(endpoint) : options.model;
  if (model.empty()) {
    fmt::print(stderr, "Replace MODEL with the name of a model.\n");
    model = "MODEL";
  }
  fmt::print(stderr, "{}, with a team's key in PENSTOCK_KEY (penstock key create --team TEAM):\n",
             client.title);
  if (!client.note.empty()) fmt::print(stderr, "{}\n", client.note);
  if (!endpoint.pin.empty()) {
    fmt::print(stderr, "The certificate is self-signed: add it to the client's trusted certificates.\n");
  }
  fmt::print(stderr, "\n");
  fmt::print("{}", ConfigText(client, endpoint.url + "/v1", model));
  return 0;
}

std::string CheckClient(const std::string& name) {
  if (FindClient(name) != nullptr) return "";
  std::vector<std::string> known;
  for (const auto& client : ClientConfigs()) known.emplace_back(client.name);
  return fmt::format("is not a known client: '{}'{}; `penstock connect` lists them", name,
                     DidYouMean(name, known));
}

}  // namespace

void AddConnectCommand(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* connect =
      app.add_subcommand("connect", "Print how to configure a client; without a name, list the clients");
  connect->add_option("client", options->client, "the client, such as openai-python or open-webui")
      ->type_name("CLIENT")
      ->check(CLI::Validator([](const std::string& name) { return CheckClient(name); }, ""));
  connect
      ->add_option("--model", options->model, "the model to name (default: the first that your key may use)")
      ->type_name("MODEL");
  connect->add_flag("--markdown", options->markdown, "print all of them, as in docs/clients.md");
  connect->footer("Example:\n  penstock connect\n  penstock connect openai-python");
  connect->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return Connect(loaded.config, *options); };
  });
}

}  // namespace penstock

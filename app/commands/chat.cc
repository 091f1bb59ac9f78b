// `penstock chat MODEL`: chats with a model in the terminal, through the HTTP API that every client uses.
#include <signal.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"

namespace penstock {
namespace json = boost::json;
namespace {

struct Options {
  std::string model, system;
  std::vector<std::string> words;
  int64_t max_tokens = 0;
  double temperature = 0.6;  // with the API's default, 1, the answers of small models are incoherent
  bool as_json = false;
};

// One answer and its timing.
struct Answer {
  std::string text, finish, request_id;
  int64_t prompt_tokens = 0, tokens = 0;
  double first_token_s = 0, total_s = 0;

  double Rate() const {
    const double seconds = total_s - first_token_s;
    return tokens > 1 && seconds > 0 ? static_cast<double>(tokens - 1) / seconds : 0;
  }
};

json::object Body(const Options& options, const json::array& messages) {
  json::object body = {{"model", options.model},
                       {"messages", messages},
                       {"stream", true},
                       {"temperature", options.temperature},
                       {"stream_options", json::object{{"include_usage", true}}}};
  if (options.max_tokens > 0) body["max_tokens"] = options.max_tokens;
  return body;
}

// One "data: {…}" of the stream.
Status TakeChunk(std::string_view data, Answer& answer,
                 const std::function<void(const std::string&)>& print) {
  PENSTOCK_ASSIGN(const json::object chunk, ParseJsonObject(data, "the answer's stream"));
  if (const auto& error = GetObject(chunk, "error"); !error.empty()) {
    return Fail(Code::kUnavailable, "the answer was interrupted: {}", GetText(error, "message"));
  }
  if (const auto& usage = GetObject(chunk, "usage"); !usage.empty()) {
    answer.prompt_tokens = GetInt(usage, "prompt_tokens");
    answer.tokens = GetInt(usage, "completion_tokens");
  }
  for (const auto& value : GetArray(chunk, "choices")) {
    const auto& choice = value.as_object();
    const auto& delta = GetObject(choice, "delta");
    const std::string text = GetText(delta, "reasoning_content") + GetText(delta, "content");
    if (!text.empty()) print(text);
    answer.text += GetText(delta, "content");
    if (const std::string finish = GetText(choice, "finish_reason"); !finish.empty()) answer.finish = finish;
  }
  return {};
}

// While it lives, Ctrl-C sets `interrupted` instead of ending the program.
volatile std::sig_atomic_t interrupted = 0;
class Interruptible {
 public:
  Interruptible() {
    interrupted = 0;
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &before_);
  }
  ~Interruptible() { sigaction(SIGINT, &before_, nullptr); }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  struct sigaction before_{};
};

// The server says how many requests wait before this one, as a comment in the stream.
void ShowWaiting(std::string_view comment) {
  if (isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K\033[2m{}\033[0m\r", comment);
}

Status Ask(const Cloud& cloud, const Options& options, const json::array& messages, Answer& answer) {
  const Nanos began = SystemClock().Monotonic();
  const auto elapsed = [&] { return static_cast<double>(SystemClock().Monotonic() - began) / 1e9; };
  const auto print = [&](const std::string& text) {
    if (answer.first_token_s == 0) answer.first_token_s = elapsed();
    if (!options.as_json) fmt::print("{}", text);
    std::fflush(stdout);
  };
  HttpResponse response;
  PENSTOCK_TRY(cloud.Stream(
      "/v1/chat/completions", Body(options, messages),
      [&](std::string_view line) -> Status {
        if (line.starts_with(": ")) ShowWaiting(line.substr(2));
        if (!line.starts_with("data: ") || line == "data: [DONE]") return {};
        return TakeChunk(line.substr(6), answer, print);
      },
      &response, [] { return interrupted != 0; }));
  answer.total_s = elapsed();
  answer.request_id = response.Header("x-request-id");
  return {};
}

void ShowFigures(const Answer& answer) {
  std::fflush(stdout);  // stdout and stderr may be one file: the answer comes before the statistics
  const bool colour = isatty(STDERR_FILENO) == 1;
  fmt::print(stderr, "{}[{} tokens, TTFT {:.2f} s, then {:.1f} tokens/s{}]{}\n", colour ? "\033[2m" : "",
             answer.tokens, answer.first_token_s, answer.Rate(),
             answer.finish == "length" ? "; stopped at the length limit" : "", colour ? "\033[0m" : "");
}

void ShowJson(const Answer& answer) {
  fmt::print("{}", PrettyJson(json::object{{"text", answer.text},
                                           {"finish_reason", answer.finish},
                                           {"request", answer.request_id},
                                           {"prompt_tokens", answer.prompt_tokens},
                                           {"tokens", answer.tokens},
                                           {"first_token_s", answer.first_token_s},
                                           {"total_s", answer.total_s},
                                           {"tokens_per_s", answer.Rate()}}));
}

json::object Message(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", content}};
}

Result<int> Converse(const Cloud& cloud, const Options& options, json::array messages) {
  if (isatty(STDIN_FILENO) == 1)
    fmt::print(stderr, "Chat with {}. Ctrl-C stops an answer, Ctrl-D ends the chat.\n", options.model);
  for (std::string line;;) {
    if (isatty(STDIN_FILENO) == 1) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line)) return 0;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    messages.push_back(Message("user", line));
    Answer answer;
    {
      const Interruptible here;
      const Status asked = Ask(cloud, options, messages, answer);
      if (!asked && !interrupted) return std::unexpected(asked.error());
    }
    fmt::print("\n");
    if (interrupted) {
      fmt::print(stderr, "[stopped]\n");
    } else {
      ShowFigures(answer);
    }
    messages.push_back(Message("assistant", answer.text));
  }
}

Result<int> Chat(const LoadedConfig& loaded, const Options& options) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  json::array messages;
  if (!options.system.empty()) messages.push_back(Message("system", options.system));
  if (options.words.empty()) return Converse(cloud, options, std::move(messages));
  messages.push_back(Message("user", fmt::format("{}", fmt::join(options.words, " "))));
  Answer answer;
  PENSTOCK_TRY(Ask(cloud, options, messages, answer));
  if (options.as_json) {
    ShowJson(answer);
  } else {
    fmt::print("\n");
    ShowFigures(answer);
  }
  return 0;
}

}  // namespace

void AddChatCommand(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* chat = app.add_subcommand("chat", "Ask a model one question, or chat with it");
  chat->add_option("model", options->model, "name of the model; `penstock model ls` lists them")
      ->required()
      ->type_name("MODEL");
  chat->add_option("prompt", options->words, "one question; without it, an interactive chat starts");
  chat->add_option("--system", options->system, "the system message");
  chat->add_option("--max-tokens", options->max_tokens, "maximum length of an answer, in tokens")
      ->check(Count());
  chat->add_option("--temperature", options->temperature, "0: always the most likely token; default 0.6")
      ->check(NotNegative());
  chat->add_flag("--json", options->as_json, "print the answer and its statistics as JSON");
  chat->footer(
      "The answer goes to stdout, the statistics to stderr.\n\n"
      "Example:\n  penstock chat smollm2-135m \"Why is the sky blue?\"\n  penstock chat smollm2-135m");
  chat->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return Chat(loaded, *options); };
  });
}

}  // namespace penstock

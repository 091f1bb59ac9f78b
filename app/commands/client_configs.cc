#include "app/commands/client_configs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "app/common/ask.h"

namespace penstock {
namespace {

constexpr std::string_view kNoTools =
    "It works with tools, which Penstock refuses in this version: only what it does without tools works.";

constexpr std::array kClients = {
    ClientConfig{"curl", "curl", "sh", R"(curl -s @URL@/chat/completions \
  -H "Authorization: Bearer $PENSTOCK_KEY" -H 'Content-Type: application/json' \
  -d '{"model": @JSON@, "messages": [{"role": "user", "content": "Say hello."}]}'
)"},
    ClientConfig{"openai-python", "OpenAI's Python library", "python", R"(import os
from openai import OpenAI

client = OpenAI(base_url=@URLSTRING@, api_key=os.environ["PENSTOCK_KEY"])
answer = client.chat.completions.create(model=@JSON@, messages=[{"role": "user", "content": "Say hello."}])
print(answer.choices[0].message.content)
)",
                 true},
    ClientConfig{"openai-node", "OpenAI's Node library", "js", R"(import OpenAI from "openai";

const client = new OpenAI({ baseURL: @URLSTRING@, apiKey: process.env.PENSTOCK_KEY });
const messages = [{ role: "user", content: "Say hello." }];
const answer = await client.chat.completions.create({ model: @JSON@, messages });
console.log(answer.choices[0].message.content);
)",
                 true},
    ClientConfig{"ai-sdk", "Vercel's AI SDK", "js",
                 R"(import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText } from "ai";

const penstock = createOpenAICompatible({ name: "penstock", baseURL: @URLSTRING@, apiKey: process.env.PENSTOCK_KEY });
const { text } = await generateText({ model: penstock(@JSON@), prompt: "Say hello." });
console.log(text);
)",
                 true},
    ClientConfig{
        "langchain", "LangChain", "python", R"(import os
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(base_url=@URLSTRING@, api_key=os.environ["PENSTOCK_KEY"], model=@JSON@)
print(chat.invoke("Say hello.").content)
)",
        false, "Agents and structured output need tools or schemas, which Penstock refuses in this version."},
    ClientConfig{"llama-index", "LlamaIndex", "python", R"(import os
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(api_base=@URLSTRING@, api_key=os.environ["PENSTOCK_KEY"], model=@JSON@, is_chat_model=True)
print(llm.complete("Say hello."))
)",
                 false, "Embeddings are refused in this version: use a local embedding model."},
    ClientConfig{"open-webui", "Open WebUI", "sh", R"(export OPENAI_API_BASE_URL=@URL@
export OPENAI_API_KEY="$PENSTOCK_KEY"
export ENABLE_OLLAMA_API=false
export DEFAULT_MODELS=@MODEL@
open-webui serve
)",
                 false, "Chat works; speech, images and embeddings do not. All its users count as one key."},
    ClientConfig{"litellm", "LiteLLM's proxy", "yaml", R"(model_list:
  - model_name: @JSON@
    litellm_params:
      model: @OPENAIMODEL@
      api_base: @URLSTRING@
      api_key: os.environ/PENSTOCK_KEY
)"},
    ClientConfig{"aider", "aider", "sh", R"(export OPENAI_API_BASE=@URL@
export OPENAI_API_KEY="$PENSTOCK_KEY"
aider --model openai/@MODEL@
)"},
    ClientConfig{"qwen-code", "Qwen Code", "sh", R"(export OPENAI_BASE_URL=@URL@
export OPENAI_API_KEY="$PENSTOCK_KEY"
export OPENAI_MODEL=@MODEL@
qwen
)",
                 false, kNoTools},
    ClientConfig{"continue", "Continue", "yaml", R"(name: Penstock
version: 0.0.1
schema: v1
models:
  - name: @JSON@
    provider: openai
    model: @JSON@
    apiBase: @URLSTRING@
    apiKey: ${{ secrets.PENSTOCK_KEY }}
    roles: [chat, edit]
)",
                 false,
                 "Its agent mode needs tools, which Penstock refuses in this version; chat and edit do not."},
    ClientConfig{"cline", "Cline", "text", R"(In Cline's settings:
  API Provider:  OpenAI Compatible
  Base URL:      @URL@
  API Key:       the content of PENSTOCK_KEY
  Model ID:      @MODEL@
)",
                 false, kNoTools},
};

void Replace(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::string Quoted(std::string_view text) {
  return boost::json::serialize(boost::json::value(text));
}

}  // namespace

std::span<const ClientConfig> ClientConfigs() {
  return kClients;
}

const ClientConfig* FindClient(std::string_view name) {
  const auto* const found = std::ranges::find(kClients, name, &ClientConfig::name);
  return found == kClients.end() ? nullptr : found;
}

std::string ConfigText(const ClientConfig& client, std::string_view url, std::string_view model) {
  const bool shell = client.language == "sh";
  std::string text(client.text);
  Replace(text, "@URLSTRING@", Quoted(url));
  Replace(text, "@OPENAIMODEL@", Quoted(fmt::format("openai/{}", model)));
  Replace(text, "@JSON@", Quoted(model));
  Replace(text, "@URL@", shell ? ShellWord(url) : std::string(url));
  Replace(text, "@MODEL@", shell ? ShellWord(model) : std::string(model));
  return text;
}

std::string ClientsPage() {
  std::string page =
      "# Clients\n\n"
      "`penstock connect CLIENT` prints the configuration of a client for your cloud and one of its models; "
      "`penstock\nconnect` lists the clients. This page shows the same for `http://127.0.0.1:8700` and the "
      "demo "
      "model.\n\n"
      "The key is never printed: each configuration reads it from the variable `PENSTOCK_KEY`. Give a client "
      "the key of a\nteam, not the operator's:\n\n"
      "```sh example\nexport PENSTOCK_KEY=$(penstock key create --team research --name laptop)\n```\n\n"
      "*Tested* means that `./dev bench clients` runs the client against a cloud. The others were never run "
      "with "
      "Penstock:\nplease check them. Which request fields are supported: [api.md](api.md).\n\n"
      "| `CLIENT` | | tested | limits |\n|---|---|---|---|\n";
  for (const auto& client : kClients) {
    page += fmt::format("| [`{0}`](#{0}) | {1} | {2} | {3} |\n", client.name, client.title,
                        client.tested ? "yes" : "", client.note);
  }
  for (const auto& client : kClients) {
    page += fmt::format("\n## {}\n\n```{}\n{}```\n", client.name,
                        client.language == "sh" ? "sh example" : client.language,
                        ConfigText(client, "http://127.0.0.1:8700/v1", "smollm2-135m"));
  }
  return page;
}

}  // namespace penstock

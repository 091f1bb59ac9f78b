#include "gateway/request/models.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <functional>
#include <set>

#include "base/random.h"
#include "engine/wire_error.h"
#include "model/files/assets.h"

namespace penstock::gateway {
namespace {

uint32_t Least(uint32_t a, uint32_t b) {
  return a == 0 || (b != 0 && b < a) ? b : a;
}

// Different scripts, digits, spaces, code: vocabularies that differ cut at least one of them differently.
constexpr std::string_view kSample =
    "The quick brown fox jumps over 1234567890 lazy dogs' tails, isn't it?\n\n\tif (a != b) { return x[0] * "
    "3.14; }\n"
    "    \u00c4rger mit \u00dcbergr\u00f6\u00dfe; "
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u3053\u3093\u306b\u3061\u306f "
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \U0001f600 <|im_start|> </s> "
    "<think>";

uint64_t HashOfReading(const ModelText& text, std::string_view chat_template) {
  uint64_t hash = std::hash<std::string_view>()(chat_template);
  if (const auto tokens = text.tokenizer->Encode(kSample, true)) {
    for (const Token token : *tokens) hash = Mix(hash ^ static_cast<uint32_t>(token));
  }
  for (const Token token : text.end_tokens) hash = Mix(hash ^ static_cast<uint32_t>(token));
  return hash;
}

}  // namespace

std::string FingerprintOf(const Placed& placed) {
  const std::string_view arithmetic = placed.contract.empty() ? placed.kernel : placed.contract;
  const size_t hash =
      std::hash<std::string>()(fmt::format("{}\n{}\n{}", placed.model, placed.path, arithmetic));
  return fmt::format("fp_{:012x}", hash & 0xffff'ffff'ffffULL);
}

Result<ModelTextPtr> LoadModelText(const InstalledModel& model) {
  PENSTOCK_ASSIGN(TextAssets assets, ReadTextAssets(model.path));
  auto text = std::make_shared<ModelText>();
  if (assets.vocabulary) {
    PENSTOCK_ASSIGN(text->tokenizer, TokenizerFromVocabulary(*assets.vocabulary));
  } else {
    PENSTOCK_ASSIGN(text->tokenizer, TokenizerFromJson(assets.tokenizer_json));
  }
  text->controls = ControlTexts(*text->tokenizer);
  text->rewrites = MayRewrite(assets.chat_template);
  text->thinks = assets.chat_template.find("<think>") != std::string::npos;
  text->reads_effort = assets.chat_template.find("reasoning_effort") != std::string::npos;
  const std::string chat_template = assets.chat_template;
  if (!chat_template.empty()) {
    PENSTOCK_ASSIGN(text->chat, CompileTemplate(std::move(assets.chat_template)));
  }
  text->bos_token = assets.bos_token;
  text->eos_token = assets.eos_token;
  text->before = assets.before;
  text->after = assets.after;
  text->end_tokens = assets.end_tokens;
  text->context = static_cast<uint32_t>(std::max(assets.context, 0));
  for (Token token = 0; token < text->tokenizer->size(); ++token) {
    const size_t bytes = std::max(text->tokenizer->Bytes(token).size(), text->tokenizer->Piece(token).size());
    text->longest_token = std::max(text->longest_token, bytes);
  }
  text->reads = HashOfReading(*text, chat_template);  // and the first text builds tables that later ones use
  return text;
}

// What engines are asked before they get requests: plain text that any model can continue, as tokens of the
// model's own tokenizer. Short, so that an engine answers in a few steps.
static std::vector<CanaryPrompt> CanariesOf(const ModelText& text) {
  std::vector<CanaryPrompt> prompts;
  for (const std::string_view words :
       {"One, two, three, four, five, six,", "The capital of France is Paris. The capital of Italy is"}) {
    auto tokens = text.tokenizer->Encode(words, false);
    if (!tokens || tokens->empty()) continue;
    CanaryPrompt& prompt = prompts.emplace_back();
    prompt.text = words;
    prompt.tokens = text.before;
    prompt.tokens.insert(prompt.tokens.end(), tokens->begin(), tokens->end());
  }
  return prompts;
}

Models::Models(boost::asio::io_context& io, boost::asio::thread_pool& pool, Fleet& fleet,
               ModelTextLoader loader)
    : io_(io),
      pool_(pool),
      fleet_(fleet),
      loader_(std::move(loader)),
      self_(std::make_shared<Models*>(this)) {}

Models::~Models() {
  *self_ = nullptr;
}

ModelsChange Models::Install(std::vector<InstalledModel> models) {
  ModelsChange change;
  std::set<std::string, std::less<>> installed;
  for (InstalledModel& model : models) {
    installed.insert(model.name);
    const auto known = entries_.find(model.name);
    if (known != entries_.end() && known->second.model.path == model.path) continue;
    if (known != entries_.end()) fleet_.Withdraw(model.name);
    change.added.push_back(model.name);
    ModelEntry& entry = entries_[model.name];
    entry = {};
    entry.model = std::move(model);
    Serve(entry);
    LoadText(entry.model);
  }
  for (const auto& [name, entry] : entries_) {
    if (!installed.contains(name)) change.removed.push_back(name);
  }
  for (const std::string& name : change.removed) {
    fleet_.Withdraw(name);
    entries_.erase(name);
  }
  return change;
}

void Models::Serve(const ModelEntry& entry) {
  fleet_.Serve({.name = entry.model.name,
                .path = entry.model.path,
                .kv_bytes = entry.model.kv_bytes,
                .context = entry.model.context});
}

void Models::LoadText(const InstalledModel& model) {
  boost::asio::post(pool_, [this, model, self = self_, &io = io_, loader = loader_] {
    auto loaded = loader(model);
    boost::asio::post(
        io, [this, self, name = model.name, path = model.path, loaded = std::move(loaded)]() mutable {
          if (*self == nullptr) return;
          const auto entry = entries_.find(name);
          if (entry == entries_.end() || entry->second.model.path != path) return;
          if (loaded) {
            OnText(entry->second, *std::move(loaded));
          } else {
            entry->second.error = loaded.error().message;
          }
          Refresh();
        });
  });
}

void Models::OnText(ModelEntry& entry, ModelTextPtr text) {
  const std::string_view family = FamilyOf(entry.model.name);
  for (const auto& [name, other] : entries_) {
    if (&other == &entry || FamilyOf(name) != family || !other.text || other.text->reads == text->reads)
      continue;
    entry.error = fmt::format(
        "it tokenises text differently from {}, so it is no variant of the same model; install it under "
        "another "
        "name "
        "than {}:…",
        name, family);
    return fleet_.Withdraw(entry.model.name);
  }
  entry.text = std::move(text);
  fleet_.SetCanaries(entry.model.name, CanariesOf(*entry.text));
}

Status Models::SetServed(std::string_view name, bool served) {
  const auto entry = entries_.find(name);
  if (entry == entries_.end())
    return Fail(Reason::kModelNotInstalled, "no model '{}' is installed here", name);
  if (entry->second.served == served) return {};
  entry->second.served = served;
  if (served) {
    Serve(entry->second);
  } else {
    fleet_.Withdraw(entry->first);
  }
  Refresh();
  return {};
}

void Models::Refresh() {
  const std::vector<EngineView> engines = fleet_.Engines();
  for (auto& [name, entry] : entries_) {
    entry.ready = false;
    std::string failed;
    bool all_there = true;
    uint32_t longest = 0;
    for (const EngineView& engine : engines) {
      all_there &= engine.connected;
      for (const wire::ModelState& state : engine.models) {
        if (state.name() != name || !engine.connected) continue;
        all_there &= state.state() != wire::ModelState::LOADING;
        if (state.state() == wire::ModelState::FAILED) failed = ErrorOf(state).message;
        if (state.state() != wire::ModelState::READY) continue;
        entry.ready = entry.served && entry.text != nullptr;
        longest = std::max(longest, state.context());
      }
    }
    entry.longest = all_there ? longest : std::max(entry.longest, longest);
    entry.context = Least(Least(entry.model.context, entry.text ? entry.text->context : 0), entry.longest);
    entry.ready = entry.ready && fleet_.Ready(name);  // its answers were checked
    if (entry.text) entry.error = entry.ready ? "" : failed;
  }
}

const ModelEntry* Models::Find(std::string_view name) const {
  const ModelEntry* found = nullptr;
  for (auto entry = entries_.lower_bound(name); entry != entries_.end() && entry->first.starts_with(name);
       ++entry) {
    if (!Answers(entry->first, name)) continue;
    if (entry->second.ready) return &entry->second;
    if (found == nullptr) found = &entry->second;
  }
  return found;
}

std::vector<std::string> Models::VariantsFor(const Principal& principal, std::string_view name) const {
  std::vector<std::string> variants;
  if (principal.MayUse(name)) return variants;
  for (const auto& [served, entry] : entries_) {
    if (Answers(served, name) && principal.MayUse(served)) variants.push_back(served);
  }
  return variants;
}

bool Models::TextsLoaded() const {
  return std::ranges::all_of(entries_, [](const auto& entry) {
    return entry.second.text != nullptr || !entry.second.error.empty();
  });
}

bool Models::AnyReady() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.ready; });
}

}  // namespace penstock::gateway

#include "gateway/catalogue.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <functional>
#include <set>

#include "model/assets.h"

namespace penstock::gateway {
namespace {

uint32_t Least(uint32_t a, uint32_t b) {
  return a == 0 || (b != 0 && b < a) ? b : a;
}

std::string Fingerprint(std::string_view name, const wire::ModelState& state) {
  const size_t hash = std::hash<std::string>()(
      fmt::format("{}\n{}\n{}\n{}", name, state.path(), state.kernel(), state.weight_bytes()));
  return fmt::format("fp_{:012x}", hash & 0xffff'ffff'ffffULL);
}

}  // namespace

Result<ModelTextPtr> LoadModelText(const InstalledModel& model) {
  PENSTOCK_ASSIGN(TextAssets assets, ReadTextAssets(model.path));
  auto text = std::make_shared<ModelText>();
  if (assets.vocabulary) {
    PENSTOCK_ASSIGN(text->tokenizer, TokenizerFromVocabulary(*assets.vocabulary));
  } else {
    PENSTOCK_ASSIGN(text->tokenizer, TokenizerFromJson(assets.tokenizer_json));
  }
  text->thinks = assets.chat_template.find("<think>") != std::string::npos;
  if (!assets.chat_template.empty()) {
    PENSTOCK_ASSIGN(text->chat, CompileTemplate(std::move(assets.chat_template)));
  }
  text->bos_token = assets.bos_token;
  text->eos_token = assets.eos_token;
  text->bos = assets.bos;
  text->add_bos = assets.add_bos && assets.bos >= 0;
  text->end_tokens = assets.end_tokens;
  text->context = static_cast<uint32_t>(std::max(assets.context, 0));
  PENSTOCK_TRY(text->tokenizer->Encode("The first text builds tables that every later one uses.", true));
  return text;
}

// What engines are asked before they get requests: plain text that any model goes on from, in tokens that its
// tokenizer makes. Short: an engine answers them in a few steps.
static std::vector<CanaryPrompt> CanariesOf(const ModelText& text) {
  std::vector<CanaryPrompt> prompts;
  for (const std::string_view words :
       {"One, two, three, four, five, six,", "The capital of France is Paris. The capital of Italy is"}) {
    auto tokens = text.tokenizer->Encode(words, false);
    if (!tokens || tokens->empty()) continue;
    CanaryPrompt& prompt = prompts.emplace_back();
    prompt.text = words;
    if (text.add_bos) prompt.tokens.push_back(text.bos);
    prompt.tokens.insert(prompt.tokens.end(), tokens->begin(), tokens->end());
  }
  return prompts;
}

Catalogue::Catalogue(boost::asio::io_context& io, boost::asio::thread_pool& pool, Fleet& fleet,
                     ModelTextLoader loader)
    : io_(io),
      pool_(pool),
      fleet_(fleet),
      loader_(std::move(loader)),
      self_(std::make_shared<Catalogue*>(this)) {}

Catalogue::~Catalogue() {
  *self_ = nullptr;
}

CatalogueChange Catalogue::Install(std::vector<InstalledModel> models) {
  CatalogueChange change;
  std::set<std::string, std::less<>> installed;
  for (InstalledModel& model : models) {
    installed.insert(model.name);
    const auto known = entries_.find(model.name);
    if (known != entries_.end() && known->second.model.path == model.path) continue;
    if (known != entries_.end()) fleet_.Withdraw(model.name);
    change.added.push_back(model.name);
    CatalogueEntry& entry = entries_[model.name];
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

void Catalogue::Serve(const CatalogueEntry& entry) {
  fleet_.Serve({.name = entry.model.name,
                .path = entry.model.path,
                .kv_bytes = entry.model.kv_bytes,
                .context = entry.model.context});
}

void Catalogue::LoadText(const InstalledModel& model) {
  boost::asio::post(pool_, [this, model, self = self_, &io = io_, loader = loader_] {
    auto loaded = loader(model);
    boost::asio::post(
        io, [this, self, name = model.name, path = model.path, loaded = std::move(loaded)]() mutable {
          if (*self == nullptr) return;
          const auto entry = entries_.find(name);
          if (entry == entries_.end() || entry->second.model.path != path) return;
          if (loaded) {
            entry->second.text = *std::move(loaded);
            fleet_.SetCanaries(name, CanariesOf(*entry->second.text));
          } else {
            entry->second.error = loaded.error().message;
          }
          Refresh();
        });
  });
}

Status Catalogue::SetServed(std::string_view name, bool served) {
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

void Catalogue::Refresh() {
  const std::vector<EngineView> engines = fleet_.Engines();
  for (auto& [name, entry] : entries_) {
    entry.ready = false;
    entry.context = Least(entry.model.context, entry.text ? entry.text->context : 0);
    std::string failed;
    for (const EngineView& engine : engines) {
      for (const wire::ModelState& state : engine.models) {
        if (state.name() != name || !engine.connected) continue;
        if (state.state() == wire::ModelState::FAILED) failed = state.error();
        if (state.state() != wire::ModelState::READY) continue;
        entry.ready = entry.served && entry.text != nullptr;
        entry.context = Least(entry.context, state.context());
        entry.fingerprint = Fingerprint(name, state);
      }
    }
    entry.ready = entry.ready && fleet_.Ready(name);  // and its answers are known to be right
    if (entry.text) entry.error = entry.ready ? "" : failed;
  }
}

const CatalogueEntry* Catalogue::Find(std::string_view name) const {
  const auto entry = entries_.find(name);
  return entry == entries_.end() ? nullptr : &entry->second;
}

bool Catalogue::AnyReady() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.ready; });
}

}  // namespace penstock::gateway

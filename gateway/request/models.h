// Models: the installed models, each with its tokenizer and template kept loaded.
//
// Loading takes up to a second and runs on the pool; until then a model is known and not ready. What the
// engines say of a model (context, kernel, readiness) is looked up once a second, not for each request.
// Threads: the io thread. ModelText is immutable and may be used by any thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fleet/fleet.h"
#include "fleet/installed_model.h"
#include "gateway/request/control_texts.h"
#include "teams/teams.h"
#include "text/text.h"

namespace penstock::gateway {

// How one model's text becomes tokens, and back.
struct ModelText {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;  // nullptr: the model has no template, so it cannot chat
  std::string bos_token, eos_token;    // for templates
  std::vector<Token> before, after;    // of a plain completion's prompt
  ControlTexts controls;               // what text from messages must not become
  bool rewrites = false;               // the template takes parts out of texts
  bool thinks = false;                 // the template knows <think>
  bool reads_effort = false;           // the template reads reasoning_effort
  uint64_t reads = 0;                  // a hash of its tokenisation: variants of a model have the same
  std::vector<Token> end_tokens;       // each ends a generation
  uint32_t context = 0;                // the model's own limit
  size_t longest_token = 0;            // bytes of text that one token can stand for; 0: unknown
};
using ModelTextPtr = std::shared_ptr<const ModelText>;
using ModelTextLoader = std::function<Result<ModelTextPtr>(const InstalledModel&)>;

// By model/files/assets.h; warmed up: the first text costs no more than the second.
Result<ModelTextPtr> LoadModelText(const InstalledModel& model);

struct ModelEntry {
  InstalledModel model;
  ModelTextPtr text;  // nullptr: not yet, or `error` says why not
  std::string error;
  bool served = true;    // false: unloaded by an operator
  bool ready = false;    // an engine has it and its text is loaded
  uint32_t longest = 0;  // the longest sequence that an engine has memory for, also while that engine is down
  uint32_t context = 0;
};

// system_fingerprint: differs if another file or other arithmetic may give another answer. Engines of the
// same numeric contract have the same.
std::string FingerprintOf(const Placed& placed);

struct ModelsChange {
  std::vector<std::string> added, removed;
};

class Models {
 public:
  Models(boost::asio::io_context& io, boost::asio::thread_pool& pool, Fleet& fleet, ModelTextLoader loader);
  ~Models();

  // Makes the installed models these: new ones are loaded and served, missing ones withdrawn.
  ModelsChange Install(std::vector<InstalledModel> models);
  // Offers or withdraws an installed model. Errors: kNotFound.
  Status SetServed(std::string_view name, bool served);
  // Asks the fleet for the models' states.
  void Refresh();

  // The model of that name; else, of a family that is asked for as a whole, a variant: one that is ready if
  // any is.
  const ModelEntry* Find(std::string_view name) const;
  // Those variants of a family that a key may use which may not use all of it: what it is pinned to.
  std::vector<std::string> VariantsFor(const Principal& principal, std::string_view name) const;
  const std::map<std::string, ModelEntry, std::less<>>& entries() const { return entries_; }
  bool AnyReady() const;
  // Each can be read and written, or it is known why not.
  bool TextsLoaded() const;

 private:
  void LoadText(const InstalledModel& model);
  void Serve(const ModelEntry& entry);
  void OnText(ModelEntry& entry, ModelTextPtr text);

  boost::asio::io_context& io_;
  boost::asio::thread_pool& pool_;
  Fleet& fleet_;
  ModelTextLoader loader_;
  std::map<std::string, ModelEntry, std::less<>> entries_;
  std::shared_ptr<Models*> self_;  // what a load that is under way comes back to; null when gone
};

}  // namespace penstock::gateway

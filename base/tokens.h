// Basic types that every floor shares.
#pragma once

#include <cstdint>

namespace penstock {

using Token = int32_t;   // an id in one model's vocabulary; negative: none
using PageId = int32_t;  // a page of KV memory in one engine, for one model

// Tokens in one KV page, on every runner: 16 keys fill the 16 virtual lanes of the numeric contract.
constexpr int32_t kPageTokens = 16;

// Pages that cover `tokens` tokens.
constexpr int32_t PagesFor(int32_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace penstock

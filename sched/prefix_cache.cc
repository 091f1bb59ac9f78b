#include "sched/prefix_cache.h"

#include <algorithm>

#include "base/check.h"
#include "base/random.h"

namespace penstock {

size_t PrefixCache::Hash::operator()(const Key& key) const {
  uint64_t hash = key.parent;
  for (size_t i = 0; i < kPageTokens; i += 2) {
    const uint64_t pair =
        (uint64_t{static_cast<uint32_t>(key.tokens[i])} << 32) | static_cast<uint32_t>(key.tokens[i + 1]);
    hash = Mix(hash ^ pair);
  }
  return hash;
}

PrefixCache::Key PrefixCache::MakeKey(Serial parent, std::span<const Token> tokens) {
  Key key{.parent = parent};
  std::ranges::copy(tokens.first(kPageTokens), key.tokens.begin());
  return key;
}

PrefixCache::Serial PrefixCache::Root(std::string_view scope) {
  if (scope.empty()) return 0;
  auto [it, added] = roots_.try_emplace(std::string(scope), next_);
  if (added) ++next_;
  return it->second;
}

PrefixCache::Hit PrefixCache::Find(Serial root, std::span<const Token> tokens) const {
  Hit hit{.last = root};
  if (root == 0) return hit;
  while (tokens.size() > kPageTokens) {
    const auto it = entries_.find(MakeKey(hit.last, tokens));
    if (it == entries_.end()) break;
    hit.pages.push_back(it->second.page);
    hit.last = it->second.serial;
    tokens = tokens.subspan(kPageTokens);
  }
  return hit;
}

PrefixCache::Inserted PrefixCache::Insert(Serial parent, std::span<const Token> tokens, PageId page) {
  PENSTOCK_CHECK(parent != 0 && tokens.size() == kPageTokens);
  const Key key = MakeKey(parent, tokens);
  auto [it, added] = entries_.try_emplace(key, Entry{.serial = next_, .page = page});
  if (added) {
    ++next_;
    by_page_.emplace(page, key);
  }
  return {.serial = it->second.serial, .remembered = added};
}

void PrefixCache::Forget(PageId page) {
  const auto it = by_page_.find(page);
  PENSTOCK_CHECK(it != by_page_.end());
  entries_.erase(it->second);
  by_page_.erase(it);
}

}  // namespace penstock

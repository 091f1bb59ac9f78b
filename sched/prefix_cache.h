// PrefixCache: finds full pages that already hold the beginning of a prompt.
//
// A tree of pages: each entry is one page's kPageTokens tokens below its parent entry. Each scope has its own
// root, so that one scope's pages are never found from another. Entries have serial numbers that are never
// reused, and a child is looked up by (its parent's serial, its tokens), compared in full: so a hash
// collision or a recycled parent cannot return a page with other content.
//
// Threads: one. Owns no page: PagePool does.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/tokens.h"

namespace penstock {

class PrefixCache {
 public:
  using Serial = uint64_t;  // an entry, or a scope's root; 0: none

  // The root of `scope`; 0 for an empty scope, which shares nothing.
  Serial Root(std::string_view scope);

  // The pages that hold `tokens` from the beginning, full pages only; at most ⌊(tokens − 1) ∕ page⌋, so
  // that something is left whose logits can be sampled. `last` is the serial of the last page found.
  struct Hit {
    std::vector<PageId> pages = {};
    Serial last = 0;
  };
  Hit Find(Serial root, std::span<const Token> tokens) const;

  // Remembers that `page` holds `tokens` (one full page) after `parent`. If another page is already
  // remembered for the same tokens, it stays, and `page` is not remembered. Returns the entry's serial, which
  // is the parent of the next page. REQUIRES: parent != 0, tokens.size() == kPageTokens.
  struct Inserted {
    Serial serial = 0;
    bool remembered = false;
  };
  Inserted Insert(Serial parent, std::span<const Token> tokens, PageId page);

  // Forgets `page`, because it gets a new owner. Its children can no longer be found and will be evicted.
  void Forget(PageId page);

  size_t size() const { return entries_.size(); }

 private:
  struct Key {
    Serial parent = 0;
    std::array<Token, kPageTokens> tokens{};
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    Serial serial = 0;
    PageId page = -1;
  };
  static Key MakeKey(Serial parent, std::span<const Token> tokens);

  std::unordered_map<std::string, Serial> roots_;
  std::unordered_map<Key, Entry, Hash> entries_;
  std::unordered_map<PageId, Key> by_page_;
  Serial next_ = 1;
};

}  // namespace penstock

// What an upstream can do, found by asking it: small real requests whose answers show whether a field was
// honoured. What servers say of themselves, their names and versions are not looked at, for fields are
// ignored in silence more often than refused.
//
//   top_k=1 at a temperature that makes noise gives the greedy answer, if it is honoured; so does min_p=1.
//   A strong penalty, or a bias, changes a greedy answer. A seed twice gives one answer, two seeds two.
//   A stream that ends without an end when another request comes is of a server that does one at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "attach/request.h"
#include "attach/upstream.h"
#include "text/text.h"

namespace penstock {

struct AskedModel {
  std::string name;  // as the upstream calls it
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<Token> end_tokens;
};

// Errors: kUnavailable: it answers none of the ways that are known, with what it said to each.
boost::asio::awaitable<Result<Can>> Discover(std::shared_ptr<Upstream> upstream, AskedModel model);

}  // namespace penstock

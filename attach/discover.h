// Finds what an upstream can do: small real requests whose answers show whether a field was honoured. Server
// names and versions are not used, because servers ignore unknown fields silently more often than they refuse
// them.
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

// Errors: kUnavailable: it answers no known kind of request; the message has its answer to each.
boost::asio::awaitable<Result<Can>> Discover(std::shared_ptr<Upstream> upstream, AskedModel model);

}  // namespace penstock

// Attached engines: a server that speaks OpenAI's API (vLLM, SGLang, llama-server, Ollama, …) as one more
// engine process. It dials the gateway as every engine does, and talks HTTP behind it: so HTTP upstreams and
// their faults stay outside the gateway.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace penstock {

struct AttachOptions {
  std::string name = "attached";
  std::string socket;  // where the gateway listens
  std::string
      url;  // http(s)://HOST[:PORT]; with `launch`, empty: this machine's, at the port that it is given
  std::string launch;       // starts the server (attach/launched.h); empty: somebody else does
  std::string key;          // sent as a bearer token; empty: none
  std::string authorities;  // whom TLS servers must be vouched for by (attach/trust.h); empty: the system's
  bool external = false;
  std::vector<std::string> takes =
      {};  // the models that it holds, by our names; empty: those of `names`, or any
  std::map<std::string, std::string, std::less<>>
      names;                    // ours → theirs, where they differ; "*": its only one
  uint32_t max_sequences = 64;  // however fast it answers
};

// Blocks until the engine ends; returns the process's exit status. Errors: kInvalid: the URL is none, the
// template names no port, or the authorities cannot be read.
Result<int> RunAttached(AttachOptions options);

}  // namespace penstock

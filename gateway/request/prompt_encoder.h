// PromptEncoder: turns requests into tokens without holding up the io thread.
//
// A short chat is rendered by a process that the io thread sends it to (RenderClient) and tokenised on the io
// thread: that takes less time than to hand it to a worker. Everything else goes to the workers.
// Threads: the io thread.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "gateway/request/prompt.h"
#include "gateway/request/prompt_workers.h"
#include "gateway/request/render_client.h"

namespace penstock::gateway {

// Bodies up to this are parsed and encoded on the io thread.
constexpr size_t kInlineBody = 8 << 10;

class PromptEncoder {
 public:
  PromptEncoder(boost::asio::io_context& io, PromptWorkers& workers, const Clock& clock)
      : io_(io), workers_(workers), renders_(io, clock) {}

  // What is encoded. The references live until `done` was called or dropped.
  struct Work {
    const ModelText& text;
    const ChatRequest& request;
    uint32_t context = 0;  // the longest sequence, in tokens; 0: unknown
    TeamId team = 0;
    size_t body_bytes = 0;
    ControlTokens policy = ControlTokens::kText;
    const std::atomic<bool>& gone;  // nobody waits for it any more: `done` may get anything
  };
  using Done = std::function<void(ApiResult<EncodedPrompts>)>;
  // `done` is called on the io thread, possibly before this returns. It ends its life there, too, unless the
  // workers are stopped.
  void Encode(const Work& work, Done done);

 private:
  void OnWorkers(const Work& work, std::optional<std::string> rendered, Done done);

  boost::asio::io_context& io_;
  PromptWorkers& workers_;
  RenderClient renders_;
};

}  // namespace penstock::gateway

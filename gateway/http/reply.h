// Reply: the way back to one request's client. Threads: the io thread.
//
// Bytes go to the socket at once where it takes them; what it does not take waits in order. Every piece
// carries a cookie, and is *accepted* when the socket has taken all of it: before that, nothing of the next
// piece is tried. So billing by acceptance is never more than one piece behind the client.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/clock.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

class Reply {
 public:
  static constexpr uint64_t kNoCookie = ~uint64_t{0};

  class Listener {
   public:
    virtual ~Listener() = default;
    // A piece that Write, Send or Finish could not hand over at once has been taken.
    virtual void OnAccepted(uint64_t cookie) = 0;
    // The client left, or took nothing for too long. Nothing follows, nothing more may be written.
    virtual void OnGone(std::string_view why) = 0;
    // A few times a second while the request lasts.
    virtual void OnTick(Nanos /*monotonic*/) {}
  };

  virtual ~Reply() = default;
  // Until the response is complete, the reply keeps `listener` alive and reports to it what the client does.
  virtual void Listen(std::shared_ptr<Listener> listener) = 0;

  // Each returns true when the socket took everything at once: OnAccepted is not called for it then.
  // A whole response.
  virtual bool Send(const HttpResponse& response, uint64_t cookie = kNoCookie) = 0;
  // The head of a streamed response, then its pieces, the last one by Finish.
  virtual bool Start(const HttpResponse& head) = 0;
  virtual bool Write(std::string_view piece, uint64_t cookie) = 0;
  virtual bool Finish(std::string_view piece, uint64_t cookie) = 0;
  // Ends a stream that cannot be completed; the client sees it cut.
  virtual void Abort() = 0;
};

}  // namespace penstock::gateway

// EngineLink: one engine's socket as messages. Whole messages come in; what goes out within one turn of
// the event loop leaves in one write.
//
// Threads: the io thread. Owns the socket. Handlers never run within a call to this class.
#pragma once

#include <google/protobuf/arena.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/frame.h"
#include "engine/wire.pb.h"
#include "fleet/registry/stats.h"

namespace penstock {

class EngineLink : public std::enable_shared_from_this<EngineLink> {
 public:
  struct Handlers {
    std::function<void(const wire::FromEngine&)> message;  // valid during the call
    std::function<void(std::string_view why)> closed;      // once; nothing follows
  };
  using Socket = boost::asio::local::stream_protocol::socket;

  EngineLink(Socket socket, LinkStats& stats);
  void Start(Handlers handlers);
  // A message to fill in now; it goes out after all others of this turn. Dropped if the connection is lost.
  wire::ToEngine& Send();
  // No handler runs after this returns. What was sent before is lost.
  void Close();

 private:
  void Read();
  void OnRead(size_t bytes);
  void Flush();
  void Seal();
  void Fail(std::string_view why);

  Socket socket_;
  LinkStats& stats_;
  Handlers handlers_;
  bool open_ = true;

  FrameReader reader_;
  std::vector<char> in_block_, out_block_;  // first blocks of the arenas: steady state allocates nothing
  google::protobuf::Arena in_arena_, out_arena_;

  wire::Batch* batch_ = nullptr;  // being filled, on out_arena_
  size_t batch_bytes_ = 0;        // of its messages but the last
  std::string sealed_, writing_;  // frames to write next, frames being written
  bool flush_posted_ = false, too_large_ = false;
};

}  // namespace penstock

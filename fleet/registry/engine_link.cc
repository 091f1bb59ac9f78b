#include "fleet/registry/engine_link.h"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "base/check.h"

namespace penstock {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr size_t kArenaBlock = 64 << 10;
constexpr size_t kBatchBytes = 1 << 20;  // prompts are large: a batch must stay well below kMaxFrame

google::protobuf::ArenaOptions OnBlock(std::vector<char>& block) {
  block.resize(kArenaBlock);
  google::protobuf::ArenaOptions options;
  options.initial_block = block.data();
  options.initial_block_size = block.size();
  return options;
}

}  // namespace

EngineLink::EngineLink(Socket socket, LinkStats& stats)
    : socket_(std::move(socket)),
      stats_(stats),
      in_arena_(OnBlock(in_block_)),
      out_arena_(OnBlock(out_block_)) {}

void EngineLink::Start(Handlers handlers) {
  handlers_ = std::move(handlers);
  Read();
}

void EngineLink::Read() {
  const std::span<char> space = reader_.Space(kReadBytes);
  socket_.async_read_some(boost::asio::buffer(space.data(), space.size()),
                          [self = shared_from_this()](const boost::system::error_code& error, size_t bytes) {
                            if (!self->open_) return;
                            if (error == boost::asio::error::eof) return self->Fail("its connection ended");
                            if (error) return self->Fail(error.message());
                            self->OnRead(bytes);
                          });
}

void EngineLink::OnRead(size_t bytes) {
  reader_.Filled(bytes);
  stats_.bytes_in += bytes;
  while (open_) {
    const auto frame = reader_.Next();
    if (!frame) return Fail(frame.error().message);
    if (!*frame) return Read();
    ++stats_.frames_in;
    auto* message = google::protobuf::Arena::CreateMessage<wire::FromEngine>(&in_arena_);
    if (!message->ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) {
      return Fail("it sent a message that cannot be read");
    }
    handlers_.message(*message);
    in_arena_.Reset();
  }
}

wire::ToEngine& EngineLink::Send() {
  if (batch_ != nullptr) {
    const wire::ToEngine& last = batch_->messages(batch_->messages_size() - 1);
    batch_bytes_ += last.ByteSizeLong();
    if (batch_bytes_ > kBatchBytes || last.has_welcome()) Seal();  // a welcome comes before any batch
  }
  if (batch_ == nullptr) batch_ = google::protobuf::Arena::CreateMessage<wire::Batch>(&out_arena_);
  if (!flush_posted_ && open_) {
    flush_posted_ = true;
    boost::asio::post(socket_.get_executor(), [self = shared_from_this()] {
      self->flush_posted_ = false;
      self->Flush();
    });
  }
  return *batch_->add_messages();
}

// The batch becomes a frame of its own; a single message goes as it is.
void EngineLink::Seal() {
  if (batch_ == nullptr) return;
  wire::ToEngine* frame = batch_->mutable_messages(0);
  if (batch_->messages_size() > 1) {
    frame = google::protobuf::Arena::CreateMessage<wire::ToEngine>(&out_arena_);
    frame->unsafe_arena_set_allocated_batch(batch_);
  }
  too_large_ |= !AppendFrame(*frame, sealed_);  // an answer that its engine made longer than any
  ++stats_.frames_out;
  batch_ = nullptr;
  batch_bytes_ = 0;
  out_arena_.Reset();
}

void EngineLink::Flush() {
  if (!open_) return;  // and `stats_` may be gone
  Seal();
  if (too_large_) return Fail("a message for it is larger than a frame");
  if (!writing_.empty() || sealed_.empty()) return;
  writing_.swap(sealed_);
  ++stats_.writes;
  boost::asio::async_write(socket_, boost::asio::buffer(writing_),
                           [self = shared_from_this()](const boost::system::error_code& error, size_t bytes) {
                             if (!self->open_) return;
                             self->writing_.clear();
                             self->stats_.bytes_out += bytes;
                             if (error) return self->Fail(error.message());
                             self->Flush();
                           });
}

void EngineLink::Fail(std::string_view why) {
  if (!open_) return;
  const auto closed = std::move(handlers_.closed);
  Close();
  closed(why);
}

void EngineLink::Close() {
  open_ = false;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace penstock

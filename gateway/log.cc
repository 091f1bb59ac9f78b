#include "gateway/log.h"

#include <fmt/chrono.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <ctime>

#include "gateway/json_out.h"

namespace penstock::gateway {
namespace {

class BatchSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit BatchSink(int fd) : fd_(fd) {}
  ~BatchSink() override { flush_(); }

 private:
  static constexpr size_t kBatch = 32 << 10;

  void sink_it_(const spdlog::details::log_msg& message) override {
    lines_.append(message.payload.data(), message.payload.size()).append("\n");
    if (lines_.size() >= kBatch) flush_();
  }
  void flush_() override {
    std::string_view rest = lines_;
    while (!rest.empty()) {
      const ssize_t written = ::write(fd_, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) break;  // nobody reads: a log is not worth stopping for
      rest.remove_prefix(static_cast<size_t>(written));
    }
    lines_.clear();
  }

  int fd_;
  std::string lines_;
};

std::string Timestamp(Nanos wall) {
  const std::time_t seconds = wall / kSecond;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), wall % kSecond / kMillisecond);
}

double Millis(Nanos nanos) {
  return static_cast<double>(nanos / kMicrosecond) / 1000;
}

}  // namespace

Log::Log(int fd, const Clock& clock)
    : clock_(clock), logger_(std::make_shared<spdlog::logger>("gateway", std::make_shared<BatchSink>(fd))) {
  logger_->flush_on(spdlog::level::warn);
}

void Log::Ended(const RequestEnd& end) {
  std::string line;
  JsonWriter writer(line);
  writer.Object().Field("time", Timestamp(clock_.Wall())).Field("level", "info").Field("event", "request");
  writer.Field("id", end.id).Field("endpoint", end.endpoint).Field("status", end.status);
  writer.Field("team", end.team)
      .Field("key", end.key)
      .Field("model", end.model)
      .Field("outcome", end.outcome);
  if (!end.detail.empty()) writer.Field("detail", end.detail);
  writer.Field("prompt_tokens", end.usage.prompt).Field("cached_tokens", end.usage.cached);
  writer.Field("completion_tokens", end.usage.billed);
  if (end.first_token > 0) writer.FieldNumber("ttft_ms", Millis(end.first_token));
  writer.FieldNumber("duration_ms", Millis(end.duration)).EndObject();
  logger_->info(line);
}

void Log::Note(std::string_view event, std::string_view detail) {
  Write(spdlog::level::info, event, detail);
  Flush();
}

void Log::Warn(std::string_view event, std::string_view detail) {
  Write(spdlog::level::warn, event, detail);
}

void Log::Write(spdlog::level::level_enum level, std::string_view event, std::string_view detail) {
  std::string line;
  JsonWriter(line)
      .Object()
      .Field("time", Timestamp(clock_.Wall()))
      .Field("level", level == spdlog::level::warn ? "warn" : "info")
      .Field("event", event)
      .Field("detail", detail)
      .EndObject();
  logger_->log(level, line);
}

}  // namespace penstock::gateway

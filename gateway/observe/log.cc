#include "gateway/observe/log.h"

#include <fmt/chrono.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <ctime>
#include <deque>
#include <mutex>

#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

void WriteAll(int fd, std::string_view rest) {
  while (!rest.empty()) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // the pipe is closed: keep running without a log
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

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
    WriteAll(fd_, lines_);
    lines_.clear();
  }

  int fd_;
  std::string lines_;
};

std::string Timestamp(Nanos wall) {
  const std::time_t seconds = wall / kSecond;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), wall % kSecond / kMillisecond);
}

std::string Line(Nanos wall, std::string_view level, std::string_view event, std::string_view detail) {
  std::string line;
  JsonWriter(line)
      .Object()
      .Field("time", Timestamp(wall))
      .Field("level", level)
      .Field("event", event)
      .Field("detail", detail)
      .EndObject();
  return line;
}

constexpr size_t kWarningsKept = 5;

struct Warnings {
  std::mutex mutex;
  std::deque<Warning> latest;

  void Add(Warning warning) {
    const std::lock_guard lock(mutex);
    latest.push_back(std::move(warning));
    if (latest.size() > kWarningsKept) latest.pop_front();
  }
};

Warnings& TheWarnings() {
  static Warnings warnings;
  return warnings;
}

class JsonSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit JsonSink(int fd) : fd_(fd) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const auto level = spdlog::level::to_string_view(message.level);
    const std::string_view level_name(level.data(), level.size());
    const std::string_view text(message.payload.data(), message.payload.size());
    const Nanos wall =
        std::chrono::duration_cast<std::chrono::nanoseconds>(message.time.time_since_epoch()).count();
    WriteAll(fd_, Line(wall, level_name, "note", text) + "\n");
    if (message.level >= LogLevel::warn)
      TheWarnings().Add({.at = wall, .level = message.level, .text = std::string(text)});
  }
  void flush_() override {}

  int fd_;
};

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
  writer.Field("prompt_tokens", end.usage.input).Field("cached_tokens", end.usage.cached);
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

void Log::Write(LogLevel level, std::string_view event, std::string_view detail) {
  const Nanos now = clock_.Wall();
  if (level >= LogLevel::warn)
    TheWarnings().Add({.at = now, .level = level, .text = fmt::format("{}: {}", event, detail)});
  logger_->log(level, Line(now, LogLevelName(level), event, detail));
}

void Log::SetLevel(LogLevel level) {
  logger_->set_level(level);
  spdlog::set_level(level);
}

std::vector<Warning> LatestWarnings() {
  Warnings& warnings = TheWarnings();
  const std::lock_guard lock(warnings.mutex);
  return {warnings.latest.begin(), warnings.latest.end()};
}

void LogOthersAsJson(int fd) {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("", std::make_shared<JsonSink>(fd)));
}

}  // namespace penstock::gateway

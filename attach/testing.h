// Cloud: for tests, the gateway's end of a driver: what it is sent, and what it told.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attach/driver.h"
#include "attach/fake_upstream.h"
#include "engine/wire_error.h"

namespace penstock {

inline ModelWords Words() {
  std::vector<std::string> pieces;
  const auto tokenizer = std::make_shared<ByteTokenizer>();
  for (Token token = 0; token < 256; ++token) pieces.emplace_back(tokenizer->Bytes(token));
  return {.tokenizer = tokenizer,
          .pieces = std::make_shared<const Pieces>(Pieces::Of(pieces)),
          .end_tokens = {0},
          .eos = 0,
          .context = 4096};
}

// What one choice was told, together.
struct Heard {
  std::string text, error, stop;
  std::vector<int32_t> ids;
  uint32_t tokens = 0, emitted = 0;
  wire::Finish finish = wire::NONE;
  bool fault = false, unable = false;
  std::optional<wire::Usage> reported;
  size_t logprobs = 0;
};

class Cloud {
 public:
  explicit Cloud(uint16_t port, DriverOptions options = Quick())
      : Cloud(std::make_shared<Upstream>(*ParseUrl("http://127.0.0.1:" + std::to_string(port)), ""),
              std::move(options)) {}
  explicit Cloud(std::shared_ptr<Upstream> upstream, DriverOptions options = Quick())
      : driver_(io_, std::move(upstream), std::move(options),
                [this](const wire::FromEngine& message) { Hear(message); }) {}
  ~Cloud() {
    driver_.Disconnected();
    io_.run_for(std::chrono::milliseconds(20));
  }

  static DriverOptions Quick() {
    DriverOptions options;
    options.probe = options.first_retry = options.last_retry = 20 * kMillisecond;
    return options;
  }

  bool RunUntil(const std::function<bool()>& done,
                std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!done() && std::chrono::steady_clock::now() < end) io_.run_for(std::chrono::milliseconds(5));
    return done();
  }

  bool LoadAndWait(wire::ModelState::State state = wire::ModelState::READY) {
    wire::LoadModel load;
    load.set_name("m");
    load.set_path("m.gguf");
    driver_.Load(load, Words());
    return RunUntil([&] { return state_.state() == state; });
  }

  wire::Submit Ask(uint64_t id, uint32_t tokens) {
    wire::Submit submit;
    submit.set_request(id);
    submit.set_model("m");
    for (const char c : std::string("hello")) submit.add_prompt(c);
    submit.set_max_tokens(tokens);
    submit.set_choices(1);
    submit.add_stop_tokens(0);
    submit.mutable_sampling()->set_top_logprobs(-1);
    submit.mutable_sampling()->set_top_p(1);
    return submit;
  }
  void Send(const wire::Submit& submit) {
    wire::ToEngine message;
    *message.mutable_submit() = submit;
    driver_.Handle(message);
  }
  Heard& Run(const wire::Submit& submit) {
    Send(submit);
    Heard& heard = heard_[{submit.request(), 0}];
    RunUntil([&] { return heard.finish != wire::NONE; });
    return heard;
  }

  void Hear(const wire::FromEngine& message) {
    if (message.has_model()) state_ = message.model();
    if (!message.has_step()) return;
    load_ = message.step().load();
    uint64_t sum = 0;
    for (const auto& charge : message.step().charges()) sum += charge.chip_ns();
    EXPECT_EQ(sum, message.step().chip_ns());
    for (const auto& event : message.step().tokens()) {
      Heard& heard = heard_[{event.request(), event.choice()}];
      EXPECT_EQ(heard.finish, wire::NONE) << "after its end";
      heard.text += event.text();
      heard.tokens += event.new_tokens();
      heard.ids.insert(heard.ids.end(), event.ids().begin(), event.ids().end());
      heard.logprobs += static_cast<size_t>(event.logprobs_size());
      EXPECT_GE(event.emitted(), heard.emitted);
      heard.emitted = event.emitted();
      heard.finish = event.finish();
      heard.fault = event.has_error() && BlameOf(ErrorOf(event)) == Blame::kEngine;
      heard.unable = event.has_error() && BlameOf(ErrorOf(event)) == Blame::kKind;
      heard.error = event.error().text();
      heard.stop = event.stop();
      if (event.has_reported()) heard.reported = event.reported();
    }
  }

  boost::asio::io_context io_;
  wire::ModelState state_;
  wire::Load load_;
  std::map<std::pair<uint64_t, uint32_t>, Heard> heard_;
  Driver driver_;
};

}  // namespace penstock

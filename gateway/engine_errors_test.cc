// An engine's error on its way to the client: a real engine's loop says it, the fleet carries it, OpenAI's
// table gives it a status, a type and a code.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "engine/loop.h"
#include "engine/wire_error.h"
#include "fleet/testing.h"
#include "gateway/dialects/openai/errors.h"
#include "runner/fake.h"

namespace penstock::gateway {
namespace {

// What the client is told when the engine ends the job's choices with this event. The first failure is final.
Error Carried(const wire::TokenEvent& failed) {
  PoolOptions options;
  options.max_requeues = 0;
  penstock::testing::FleetWorld world(options);
  world.Serve("m");
  const auto engine = world.ReadyEngine("cpu0", "m");
  const auto [id, witness] = world.Submit(penstock::testing::FleetWorld::NewJob("m"));
  EXPECT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  wire::StepReport step;
  *step.add_tokens() = failed;
  step.mutable_tokens(0)->set_request(engine->Submitted().front());
  engine->Report(step);
  EXPECT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_EQ(witness->finished, 0U) << "an error is told by OnFailed alone";
  return witness->error.value_or(Error());
}

// A real engine's answer to a request that it cannot do.
wire::TokenEvent Provoked(const std::function<void(wire::Submit&)>& spoil, FakeOptions fake = {}) {
  const auto runner = MakeFakeRunner(fake);
  wire::TokenEvent failed;
  EngineLoop loop(*runner, {.memory_bytes = 1 << 30}, [&](const wire::FromEngine& message) {
    for (const auto& event : message.step().tokens()) {
      if (event.finish() == wire::ERROR) failed = event;
    }
  });
  wire::ToEngine load, submit;
  load.mutable_load()->set_name("m");
  load.mutable_load()->set_path("fake:m?context=64&pages=8");
  loop.Handle(load);
  loop.FinishLoads();
  submit.mutable_submit()->set_request(1);
  submit.mutable_submit()->set_model("m");
  submit.mutable_submit()->set_max_tokens(4);
  submit.mutable_submit()->add_prompt(1);
  spoil(*submit.mutable_submit());
  loop.Handle(submit);
  while (loop.Step()) {
  }
  failed.set_choice(0);
  return failed;
}

TEST(EngineErrors, EveryReasonThatAnEngineGivesReachesTheClientAsWhatItIs) {
  struct Row {
    std::string_view what;
    std::function<void(wire::Submit&)> spoil;
    FakeOptions fake;
    Code code;
    Reason reason;
    int status;
    std::string_view type, api_code;
  };
  const std::vector<Row> rows = {
      {"no tokens are asked for",
       [](auto& s) { s.set_max_tokens(0); },
       {},
       Code::kInvalid,
       Reason::kBadField,
       400,
       "invalid_request_error",
       ""},
      {"an empty prompt",
       [](auto& s) { s.clear_prompt(); },
       {},
       Code::kInvalid,
       Reason::kNone,
       400,
       "invalid_request_error",
       ""},
      {"a text longer than the context",
       [](auto& s) { s.set_max_tokens(64); },
       {},
       Code::kInvalid,
       Reason::kContextTooLong,
       400,
       "invalid_request_error",
       "context_length_exceeded"},
      {"too many choices",
       [](auto& s) { s.set_choices(200); },
       {},
       Code::kTooLarge,
       Reason::kNone,
       413,
       "invalid_request_error",
       "too_large"},
      {"a model that it does not have",
       [](auto& s) { s.set_model("n"); },
       {},
       Code::kUnavailable,
       Reason::kModelNotReady,
       503,
       "server_error",
       "unavailable"},
      {"a step that fails",
       [](auto&) {},
       {.fail = 1},
       Code::kInternal,
       Reason::kEngineGaveUp,
       500,
       "server_error",
       "internal_error"},
  };
  for (const Row& row : rows) {
    const Error error = Carried(Provoked(row.spoil, row.fake));
    EXPECT_EQ(error.code, row.code) << row.what << ": " << error.message;
    EXPECT_EQ(error.reason, row.reason) << row.what;
    const OpenAiError form = OpenAiErrorOf(ToApiError(error));
    EXPECT_EQ(form.status, row.status) << row.what;
    EXPECT_EQ(form.type, row.type) << row.what;
    EXPECT_EQ(form.code, row.api_code) << row.what;
  }
}

TEST(EngineErrors, EveryReasonThereIsKeepsItsCodeFromAnEngineToTheClient) {
  for (const ReasonText& row : Reasons()) {
    wire::TokenEvent failed;
    failed.set_finish(wire::ERROR);
    SetError({row.code, "why", row.reason}, failed);
    const Error error = Carried(failed);
    EXPECT_EQ(error.code, row.code) << ShortCode(row.reason);
    EXPECT_EQ(error.reason, row.reason) << ShortCode(row.reason);
    EXPECT_NE(error.message.find("why"), std::string::npos) << error.message;
  }
}

}  // namespace
}  // namespace penstock::gateway

#include "engine/wire_error.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

TEST(WireError, EveryCodeAndEveryReasonArriveAsTheyWereSent) {
  for (const auto& [code, sent] : wire_error::kCodes) {
    wire::TokenEvent event;
    SetError({code, "why", Reason::kNone}, event);
    EXPECT_EQ(event.error().code(), sent);
    const Error read = ErrorOf(event);
    EXPECT_EQ(read.code, code);
    EXPECT_EQ(read.reason, Reason::kNone);
    EXPECT_EQ(read.message, "why");
  }
  for (const ReasonText& row : Reasons()) {
    wire::ModelState state;
    SetError({row.code, "why", row.reason}, state);
    const Error read = ErrorOf(state);
    EXPECT_EQ(read.code, row.code) << ShortCode(row.reason);
    EXPECT_EQ(read.reason, row.reason);
  }
}

TEST(WireError, NoTwoCodesShareANumber) {
  std::set<Code> codes;
  std::set<int> numbers;
  for (const auto& [code, number] : wire_error::kCodes) {
    codes.insert(code);
    numbers.insert(number);
  }
  EXPECT_EQ(codes.size(), wire_error::kCodes.size());
  EXPECT_EQ(numbers.size(), wire_error::kCodes.size());
  EXPECT_EQ(codes.size(), static_cast<size_t>(Code::kInternal) + 1) << "a code has no number on the wire";
}

TEST(WireError, AnUnknownCodeFallsBackToThatOfItsReasonAndThenToInternal) {
  wire::Error error;
  error.set_code(static_cast<wire::Error::Code>(99));
  error.set_reason("PS3004");
  EXPECT_EQ(ErrorOf(error).code, CodeOf(Reason::kContextTooLong));
  EXPECT_EQ(ErrorOf(error).reason, Reason::kContextTooLong);
  error.set_reason("PS9999");
  EXPECT_EQ(ErrorOf(error).code, Code::kInternal);
  EXPECT_EQ(ErrorOf(error).reason, Reason::kNone);
  error.set_code(wire::Error::TOO_LARGE);
  EXPECT_EQ(ErrorOf(error).code, Code::kTooLarge) << "an unknown reason does not hide a known code";
}

// An engine that says nothing but what the previous release knew.
TEST(WireError, TheFieldsOfThePreviousReleaseAreRead) {
  struct Row {
    std::string text;
    bool fault, unable;
    Code code;
    Blame blame;
  };
  for (const Row& row : {Row{"step 7 failed", true, false, Code::kUnavailable, Blame::kEngine},
                         Row{"cannot do top_k", false, true, Code::kUnsupported, Blame::kKind},
                         Row{"max_tokens is 0", false, false, Code::kInvalid, Blame::kRequest},
                         Row{"", false, false, Code::kInternal, Blame::kEngine}}) {
    wire::TokenEvent event;
    event.set_finish(wire::ERROR);
    event.set_old_error(row.text);
    event.set_old_fault(row.fault);
    event.set_old_unable(row.unable);
    const Error read = ErrorOf(event);
    EXPECT_EQ(read.code, row.code) << row.text;
    EXPECT_EQ(BlameOf(read), row.blame) << row.text;
    EXPECT_FALSE(read.message.empty());
  }
  wire::ModelState state;
  state.set_old_error("tensor x is short");
  EXPECT_EQ(ErrorOf(state).message, "tensor x is short");
  EXPECT_EQ(ErrorOf(state).reason, Reason::kModelFailedToLoad);
}

TEST(WireError, TheFieldsOfThePreviousReleaseAreWritten) {
  struct Row {
    Error error;
    bool fault, unable;
  };
  for (const Row& row :
       {Row{{Code::kInternal, "a"}, true, false}, Row{{Code::kUnavailable, "b"}, true, false},
        Row{{Code::kUnsupported, "c"}, false, true}, Row{{Code::kTooLarge, "d"}, false, true},
        Row{{Code::kInvalid, "e"}, false, false},
        Row{{Code::kInvalid, "f", Reason::kContextTooLong}, false, true}}) {
    wire::TokenEvent event;
    SetError(row.error, event);
    EXPECT_EQ(event.old_error(), row.error.message);
    EXPECT_EQ(event.old_fault(), row.fault) << row.error.message;
    EXPECT_EQ(event.old_unable(), row.unable) << row.error.message;
  }
}

}  // namespace
}  // namespace penstock

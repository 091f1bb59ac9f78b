#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace penstock {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return Fail(Code::kInvalid, "{} is odd", x);
  return x / 2;
}

Result<int> Quarter(int x) {
  PENSTOCK_ASSIGN(const int half, Half(x));
  return Half(half);
}

Status Check(int x) {
  PENSTOCK_TRY(Quarter(x));
  return {};
}

TEST(Result, AssignReturnsTheFirstError) {
  EXPECT_EQ(Quarter(12).value(), 3);
  ASSERT_FALSE(Quarter(6).has_value());
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
  EXPECT_EQ(Quarter(5).error().message, "5 is odd");
}

TEST(Result, TryPassesTheErrorOn) {
  EXPECT_TRUE(Check(8).has_value());
  EXPECT_EQ(Check(6).error().code, Code::kInvalid);
}

TEST(Result, AssignMovesWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(4); };
  const auto use = [&]() -> Result<int> {
    PENSTOCK_ASSIGN(const std::unique_ptr<int> p, make());
    return *p;
  };
  EXPECT_EQ(use().value(), 4);
}

TEST(Result, FailErrnoNamesTheThingAndTheReason) {
  errno = ENOENT;
  const Status status = FailErrno(Code::kIo, "cannot open models/x.gguf");
  EXPECT_EQ(status.error().message, "cannot open models/x.gguf: No such file or directory");
}

}  // namespace
}  // namespace penstock

#include "model/files/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/test_gguf.h"

namespace penstock {
namespace {

using kernels::Format;
using ::testing::AllOf;
using testing::Bytes;
using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::Put;

Bytes FloatBytes(size_t count) {
  return Bytes(count * sizeof(float));
}

GgufWriter OneTensor() {
  return GgufWriter()
      .String("general.architecture", "llama")
      .Tensor("a", Format::kF32, {4, 2}, FloatBytes(8));
}

// The message of the error that parsing `bytes` must give.
std::string Defect(const Bytes& bytes) {
  const auto gguf = Gguf::Parse(bytes, "m.gguf");
  return gguf.has_value() ? "it was read" : gguf.error().message;
}

TEST(Gguf, ReadsKeysOfEveryKindAndTensorsWhereTheyLie) {
  Bytes data = FloatBytes(8);
  const float seven = 7;
  std::memcpy(data.data() + 4 * sizeof(float), &seven, sizeof(seven));
  const Bytes bytes = GgufWriter()
                          .U32("u", 7)
                          .F32("f", 0.5F)
                          .Key("b", GgufValue::Type::kBool, uint8_t{1})
                          .Key("i", GgufValue::Type::kI64, int64_t{-9})
                          .String("s", "text")
                          .Strings("list", {"a", "", "long"})
                          .Tensor("t", Format::kF32, {4, 2}, data)
                          .Build();
  for (const auto gguf = Gguf::Parse(bytes, "m"); const auto* key : {"u", "f", "b", "i", "s", "list"}) {
    ASSERT_TRUE(gguf->Has(key));
  }
  const auto gguf = Gguf::Parse(bytes, "m");
  EXPECT_EQ(gguf->Int("u", 0, 10)->value(), 7);
  EXPECT_EQ(gguf->Real("f")->value(), 0.5);
  EXPECT_TRUE(gguf->Bool("b")->value());
  EXPECT_EQ(gguf->Int("i", -10, 0)->value(), -9);
  EXPECT_EQ(gguf->String("s")->value(), "text");
  EXPECT_THAT(*gguf->Strings("list"), ::testing::ElementsAre("a", "", "long"));
  ASSERT_EQ(gguf->tensors().size(), 1U);
  const Tensor& t = gguf->tensors()[0];
  EXPECT_EQ(t.rows, 2);
  EXPECT_EQ(t.cols, 4);
  float second_row = 0;
  std::memcpy(&second_row, t.row(1), sizeof(second_row));
  EXPECT_EQ(second_row, 7);
}

TEST(Gguf, Version2IsReadAndOthersAreNamed) {
  EXPECT_TRUE(Gguf::Parse(OneTensor().Build(nullptr, 2), "m").has_value());
  EXPECT_THAT(Defect(OneTensor().Build(nullptr, 1)), HasSubstr("GGUF version 1"));
  EXPECT_THAT(Defect(OneTensor().Build(nullptr, 0x03000000)), HasSubstr("big-endian"));
}

TEST(Gguf, EveryTruncationIsFound) {
  const Bytes whole = OneTensor().Build();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Defect(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size))),
                HasSubstr("m.gguf: "))
        << size;
  }
}

TEST(Gguf, ABeginningGivesTheKeysThatAreWholeAndCountsTheArrayThatIsCut) {
  const Bytes whole = OneTensor().U32("first", 7).Strings("words", {"aa", "bb", "cc"}).Build();
  const std::string_view text(reinterpret_cast<const char*>(whole.data()), whole.size());
  const size_t after_words = text.find("words") + 5 + 4 + 4 + 8;  // the name, two types, the count
  for (size_t size = 24; size < text.find("words") + 5; ++size) {
    const auto gguf = Gguf::ParseBeginning(std::span(whole).first(size), "m");
    ASSERT_TRUE(gguf.has_value()) << size << gguf.error().message;
    EXPECT_FALSE(gguf->Has("words"));
    EXPECT_EQ(gguf->cut().key, "") << size;
  }
  for (size_t size = after_words; size < text.find("cc") + 2; ++size) {
    const auto gguf = Gguf::ParseBeginning(std::span(whole).first(size), "m");
    ASSERT_TRUE(gguf.has_value()) << size;
    EXPECT_EQ(gguf->Int("first", 0, 9)->value_or(0), 7);
    EXPECT_FALSE(gguf->Has("words"));
    EXPECT_EQ(gguf->cut().key, "words");
    EXPECT_EQ(gguf->cut().count, 3U);
  }
  const auto all = Gguf::ParseBeginning(whole, "m");
  EXPECT_TRUE(all->Has("words"));
  EXPECT_EQ(all->cut().key, "");
  EXPECT_TRUE(all->tensors().empty());
}

TEST(Gguf, ABeginningThatIsDamagedOrNoGgufIsNamed) {
  const Bytes twice = OneTensor().U32("k", 1).U32("k", 2).Build();
  EXPECT_THAT(Gguf::ParseBeginning(twice, "m").error().message, HasSubstr("appears twice"));
  const Bytes page = [] {
    Bytes bytes;
    testing::PutString(bytes, "<html>log in</html>");
    return bytes;
  }();
  EXPECT_THAT(Gguf::ParseBeginning(page, "m").error().message, HasSubstr("not a GGUF file"));
}

TEST(Gguf, DefectsAreNamed) {
  EXPECT_THAT(Defect(GgufWriter().U32("k", 1).Build()), HasSubstr("no tensors"));
  EXPECT_THAT(Defect(OneTensor().U32("twice", 1).U32("twice", 2).Build()),
              HasSubstr("key \"twice\" appears twice"));
  EXPECT_THAT(Defect(OneTensor().Tensor("a", Format::kF32, {4}, FloatBytes(4)).Build()),
              HasSubstr("tensor \"a\" appears twice"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", Format::kF32, {0}, {}).Build()), HasSubstr("dimension of zero"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", Format::kF32, {1, 1, 1, 1, 1}, FloatBytes(1)).Build()),
              HasSubstr("5 dimensions"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", Format::kF32, {1U << 31, 1U << 31}, {}).Build()),
              HasSubstr("too many elements"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", Format::kQ4_K, {32}, {}).Build()),
              AllOf(HasSubstr("tensor \"z\""), HasSubstr("Q4_K's block of 256")));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", static_cast<Format>(99), {256}, {}).Build()),
              HasSubstr("\"z\" is stored as ggml type 99, which ggml does not define"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", static_cast<Format>(31), {256}, {}).Build()),
              HasSubstr("\"z\" is stored as Q4_0_4_4, which ggml no longer reads"));
  EXPECT_THAT(Defect(OneTensor().Tensor("z", Format::kF32, {1000}, {}).Build()),
              HasSubstr("outside the file"));
  EXPECT_THAT(Defect(OneTensor().U32("general.alignment", 24).Build()), HasSubstr("general.alignment is 24"));
  EXPECT_THAT(Defect(OneTensor().Key("odd", static_cast<GgufValue::Type>(99), uint8_t{0}).Build()),
              HasSubstr("key \"odd\" has an unknown type (99)"));
}

TEST(Gguf, FormatsThatOnlyLibllamaReadsAreNamed) {
  const Bytes bytes =
      OneTensor().Tensor("z", static_cast<Format>(23), {256, 2}, Bytes(size_t{2} * 136)).Build();
  const auto gguf = Gguf::Parse(bytes, "m.gguf");
  ASSERT_TRUE(gguf.has_value()) << gguf.error().message;
  ASSERT_EQ(gguf->tensors().size(), 1U);
  ASSERT_EQ(gguf->foreign().size(), 1U);
  EXPECT_EQ(gguf->foreign()[0].format, "IQ4_XS");
  EXPECT_EQ(gguf->foreign()[0].elements, 512);
  EXPECT_THAT(gguf->CheckFormats().error().message,
              AllOf(HasSubstr("\"z\" is stored as IQ4_XS"), HasSubstr("Q4_K")));
}

TEST(Gguf, NumbersOfLayersAreOneIfTheyAreEqual) {
  const auto of = [](std::vector<int32_t> numbers) {
    auto writer = OneTensor();
    writer.Ints("n", numbers);
    const Bytes bytes = writer.Build();
    const auto gguf = Gguf::Parse(bytes, "m.gguf");
    const auto number = gguf->IntOfLayers("n", 3, 1, 10);
    return number.has_value() ? fmt::format("{}", number->value_or(-1)) : number.error().message;
  };
  EXPECT_EQ(of({4, 4, 4}), "4");
  EXPECT_THAT(of({4, 4, 2}), HasSubstr("key \"n\" differs between layers"));
  EXPECT_THAT(of({4, 4}), HasSubstr("key \"n\" has 2 numbers for 3 layers"));
  EXPECT_THAT(of({40, 40, 40}), HasSubstr("key \"n\" is 40"));
}

TEST(Gguf, OverlappingTensorsAreFound) {
  Bytes bytes = OneTensor().Tensor("b", Format::kF32, {4, 2}, FloatBytes(8)).Build();
  size_t header = 0;
  OneTensor().Tensor("b", Format::kF32, {4, 2}, FloatBytes(8)).Build(&header);
  // b's offset (32) is the last number of the directory before the padding: change it to a's.
  for (size_t at = header; at-- > 0;) {
    if (bytes[at] == std::byte{32}) {
      bytes[at] = std::byte{0};
      break;
    }
  }
  EXPECT_THAT(Defect(bytes), HasSubstr("\"a\" and \"b\" overlap"));
}

TEST(Gguf, CountsThatCannotFitAreRefusedBeforeMemoryIsTaken) {
  Bytes bytes = OneTensor().Build();
  const uint64_t many = uint64_t{1} << 60;
  std::memcpy(bytes.data() + 8, &many, sizeof(many));
  EXPECT_THAT(Defect(bytes), HasSubstr("tensor count"));
  bytes = OneTensor().Build();
  std::memcpy(bytes.data() + 16, &many, sizeof(many));
  EXPECT_THAT(Defect(bytes), HasSubstr("key count"));
}

TEST(Gguf, AskingForTheWrongTypeNamesTheKey) {
  const Bytes bytes =
      OneTensor().String("s", "x").F32("nan", std::numeric_limits<float>::quiet_NaN()).Build();
  const auto gguf = Gguf::Parse(bytes, "m");
  EXPECT_THAT(gguf->Int("s", 0, 1).error().message,
              HasSubstr("key \"s\" should hold an integer, not string"));
  EXPECT_THAT(gguf->Real("nan").error().message, HasSubstr("not a finite number"));
  EXPECT_FALSE(gguf->Int("absent", 0, 1)->has_value());
}

}  // namespace
}  // namespace penstock

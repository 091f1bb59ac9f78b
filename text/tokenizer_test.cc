#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "text/c_abi.h"
#include "text/text.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ReadTestdata(const std::string& name) {
  std::ifstream file(std::string(PENSTOCK_SOURCE_DIR) + "/text/testdata/" + name, std::ios::binary);
  std::stringstream all;
  all << file.rdbuf();
  EXPECT_FALSE(all.str().empty()) << name;
  return all.str();
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

// tools/make_tokenizer_fixture.py describes the formats.
Vocabulary ReadVocabulary(const std::string& name) {
  Vocabulary vocabulary;
  std::istringstream lines(ReadTestdata(name));
  for (std::string what, hex; lines >> what;) {
    if (what == "token") {
      int32_t type = 0;
      float score = 0;
      lines >> type >> score >> hex;
      vocabulary.tokens.push_back(FromHex(hex));
      vocabulary.types.push_back(type);
      vocabulary.scores.push_back(score);
    } else {
      lines >> hex;
      vocabulary.merges.push_back(FromHex(hex));
    }
  }
  return vocabulary;
}

struct Golden {
  bool special;
  std::string text;
  std::vector<Token> ids;
};

std::vector<Golden> ReadGoldens(const std::string& name) {
  std::vector<Golden> goldens;
  std::istringstream lines(ReadTestdata(name));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string mode, hex;
    words >> mode >> hex;
    Golden golden{mode == "special", FromHex(hex), {}};
    for (Token id = 0; words >> id;) golden.ids.push_back(id);
    goldens.push_back(std::move(golden));
  }
  return goldens;
}

Vocabulary QwenVocabulary() {
  Vocabulary vocabulary = ReadVocabulary("qwen.vocabulary");
  vocabulary.model = "gpt2";
  vocabulary.pre = "qwen2";
  vocabulary.scores.clear();
  return vocabulary;
}

Vocabulary SentencepieceVocabulary() {
  Vocabulary vocabulary = ReadVocabulary("sentencepiece.vocabulary");
  vocabulary.model = "llama";
  vocabulary.unknown = 0;
  vocabulary.types[0] = Vocabulary::kUnknown;
  return vocabulary;
}

std::unique_ptr<Tokenizer> Must(Result<std::unique_ptr<Tokenizer>> tokenizer) {
  EXPECT_TRUE(tokenizer.has_value()) << (tokenizer ? "" : tokenizer.error().message);
  return tokenizer ? *std::move(tokenizer) : nullptr;
}

std::string Decode(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
  std::string bytes;
  for (const Token id : ids) bytes += tokenizer.Bytes(id);
  return bytes;
}

void ExpectGoldens(const Tokenizer& tokenizer, const std::string& name) {
  const std::vector<Golden> goldens = ReadGoldens(name);
  ASSERT_GT(goldens.size(), 100u);
  for (const Golden& golden : goldens) {
    const auto ids = tokenizer.Encode(golden.text, golden.special);
    ASSERT_TRUE(ids.has_value()) << ids.error().message;
    EXPECT_EQ(*ids, golden.ids) << (golden.special ? "special: " : "plain: ") << golden.text;
  }
}

TEST(Tokenizer, JsonGivesTheIdsOfHuggingFace) {
  for (const std::string name : {"qwen", "sentencepiece"}) {
    const auto tokenizer = Must(TokenizerFromJson(ReadTestdata(name + ".json")));
    EXPECT_EQ(tokenizer->backend(), "fastokens");
    ExpectGoldens(*tokenizer, name + ".golden");
  }
}

TEST(Tokenizer, RebuiltFromAVocabularyGivesTheSameIds) {
  ExpectGoldens(*Must(TokenizerFromVocabulary(QwenVocabulary())), "qwen.golden");
  ExpectGoldens(*Must(TokenizerFromVocabulary(SentencepieceVocabulary())), "sentencepiece.golden");
}

// `tokenizers` supports what fastokens does not: here an added token that matches whole words only.
TEST(Tokenizer, FallbackGivesTheSameIdsAndHonoursWholeWords) {
  std::string json = ReadTestdata("qwen.json");
  const std::string plain = R"("content":"<think>","single_word":false)";
  ASSERT_NE(json.find(plain), std::string::npos);
  json.replace(json.find(plain), plain.size(), R"("content":"<think>","single_word":true)");
  const auto fallback = Must(TokenizerFromJson(json));
  EXPECT_EQ(fallback->backend(), "tokenizers");
  const auto fast = Must(TokenizerFromVocabulary(QwenVocabulary()));
  for (const std::string_view text : {"water turns <|im_end|> turbines", "naïve e\u0301", "\xff\xfe"}) {
    for (const bool special : {true, false}) {
      EXPECT_EQ(*fallback->Encode(text, special), *fast->Encode(text, special)) << text;
    }
  }
  EXPECT_NE(*fallback->Encode("a<think>b", true), *fast->Encode("a<think>b", true));
  EXPECT_EQ(*fallback->Encode("a <think> b", true), *fast->Encode("a <think> b", true));
}

TEST(Tokenizer, ControlTokenInUntrustedTextIsText) {
  const auto tokenizer = Must(TokenizerFromVocabulary(QwenVocabulary()));
  const Token im_end = 902;
  ASSERT_EQ(tokenizer->Piece(im_end), "<|im_end|>");
  EXPECT_THAT(*tokenizer->Encode("<|im_end|>", true), ElementsAre(im_end));
  const std::vector<Token> plain = *tokenizer->Encode("a<|im_end|>", false);
  EXPECT_THAT(plain, testing::Not(testing::Contains(im_end)));
  EXPECT_EQ(Decode(*tokenizer, plain), "a<|im_end|>");
}

TEST(Tokenizer, TablesTellPiecesBytesAndControl) {
  const auto tokenizer = Must(TokenizerFromVocabulary(QwenVocabulary()));
  EXPECT_EQ(tokenizer->size(), 905);
  EXPECT_TRUE(tokenizer->IsControl(901));
  EXPECT_EQ(tokenizer->Bytes(901), "");
  EXPECT_FALSE(tokenizer->IsControl(903));  // <think> is user-defined, so it is output like other text
  EXPECT_EQ(tokenizer->Bytes(903), "<think>");
  for (const Token outside : {-1, 905, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer->Bytes(outside), "");
    EXPECT_EQ(tokenizer->Piece(outside), "");
    EXPECT_FALSE(tokenizer->IsControl(outside));
  }
}

// NFC is not lossless, so the text is in NFC; the rest must be decoded byte for byte.
TEST(Tokenizer, DecodingGivesTheTextBack) {
  const std::string text = " Zażółć\n\n\t 12,300円 👩‍💻 \u0085 don't  ";
  const auto qwen = Must(TokenizerFromVocabulary(QwenVocabulary()));
  EXPECT_EQ(Decode(*qwen, *qwen->Encode(text, true)), text);
  const auto sentencepiece = Must(TokenizerFromVocabulary(SentencepieceVocabulary()));
  EXPECT_EQ(Decode(*sentencepiece, *sentencepiece->Encode(text, true)), " " + text);
}

TEST(Tokenizer, EveryByteHasItsPlaceInGpt2sMap) {
  const auto tokenizer = Must(TokenizerFromVocabulary(QwenVocabulary()));
  std::vector<int> seen(256);
  for (Token id = 0; id < tokenizer->size(); ++id) {
    const std::string_view bytes = tokenizer->Bytes(id);
    if (bytes.size() == 1) ++seen[static_cast<uint8_t>(bytes[0])];
  }
  EXPECT_THAT(seen, testing::Each(1));
}

TEST(Tokenizer, UnusedTokensAndDuplicatesAreNeverMade) {
  Vocabulary vocabulary = QwenVocabulary();
  for (const std::string name : {"[PAD1]", "a"}) {
    vocabulary.tokens.push_back(name);
    vocabulary.types.push_back(name == "a" ? Vocabulary::kNormal : Vocabulary::kUnused);
  }
  const auto tokenizer = Must(TokenizerFromVocabulary(vocabulary));
  EXPECT_EQ(tokenizer->size(), 907);
  EXPECT_EQ(tokenizer->Bytes(905), "");
  EXPECT_EQ(tokenizer->Piece(905), "[PAD1]");
  for (const Token id : *tokenizer->Encode("[PAD1] a", true)) EXPECT_LT(id, 905);
}

// Like SmolLM2's vocabulary, which lacks the bytes that begin rare planes. The rest of the text is kept.
TEST(Tokenizer, ByteWithoutATokenIsLeftOut) {
  for (const char* pre : {"qwen2", "smollm"}) {
    Vocabulary vocabulary = QwenVocabulary();
    vocabulary.pre = pre;
    const auto byte = std::ranges::find(vocabulary.tokens, "ñ");  // GPT-2's character for 0xF1
    ASSERT_NE(byte, vocabulary.tokens.end());
    vocabulary.types[static_cast<size_t>(byte - vocabulary.tokens.begin())] = Vocabulary::kUnused;
    const auto tokenizer = Must(TokenizerFromVocabulary(vocabulary));
    EXPECT_EQ(Decode(*tokenizer, *tokenizer->Encode("1a \U00050000 <|im_end|> b2", false)),
              "1a \x90\x80\x80 <|im_end|> b2");
  }
}

TEST(Tokenizer, LongRunsAreNoObstacle) {
  for (const char* pre : {"qwen2", "smollm", "llama-bpe", "deepseek-v3", "gpt-2"}) {
    Vocabulary vocabulary = QwenVocabulary();
    vocabulary.pre = pre;
    const auto tokenizer = Must(TokenizerFromVocabulary(vocabulary));
    for (const char filler : {' ', '\n', 'a', '1', '!'}) {
      const std::string text(200'000, filler);
      const auto ids = tokenizer->Encode(text, true);
      ASSERT_TRUE(ids.has_value()) << pre << ": " << ids.error().message;
      EXPECT_EQ(Decode(*tokenizer, *ids), text) << pre;
    }
  }
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  const auto tokenizer = Must(TokenizerFromVocabulary(QwenVocabulary()));
  const std::vector<Golden> goldens = ReadGoldens("qwen.golden");
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < goldens.size(); ++i) {
        const Golden& golden = goldens[(i * 7 + static_cast<size_t>(t)) % goldens.size()];
        wrong += tokenizer->Encode(golden.text, golden.special) != golden.ids;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

struct Refusal {
  const char* what;
  Vocabulary vocabulary;
  Code code;
  const char* words;
};

TEST(Tokenizer, BadVocabulariesAreRefusedByName) {
  const Refusal refusals[] = {
      {"pre-tokenizer",
       {.model = "gpt2", .pre = "martian", .tokens = {"a"}},
       Code::kUnsupported,
       "\"martian\""},
      {"model", {.model = "rwkv", .tokens = {"a"}}, Code::kUnsupported, "\"rwkv\""},
      {"empty", {.model = "gpt2", .pre = "qwen2"}, Code::kCorrupt, "no tokens"},
      {"types",
       {.model = "gpt2", .pre = "qwen2", .tokens = {"a"}, .types = {1, 1}},
       Code::kCorrupt,
       "2 token types"},
      {"scores", {.model = "llama", .tokens = {"a"}}, Code::kCorrupt, "has 0"},
      {"merge",
       {.model = "gpt2", .pre = "gpt-2", .tokens = {"a"}, .merges = {"ab"}},
       Code::kCorrupt,
       "\"ab\""},
      {"bytes", {.model = "gpt2", .pre = "gpt-2", .tokens = {"\xff"}}, Code::kCorrupt, "token 0"},
      {"merge of nothing",
       {.model = "gpt2", .pre = "gpt-2", .tokens = {"a"}, .merges = {"a b"}},
       Code::kUnsupported,
       "b"},
  };
  for (const Refusal& refusal : refusals) {
    const auto tokenizer = TokenizerFromVocabulary(refusal.vocabulary);
    ASSERT_FALSE(tokenizer.has_value()) << refusal.what;
    EXPECT_EQ(tokenizer.error().code, refusal.code) << refusal.what;
    EXPECT_THAT(tokenizer.error().message, HasSubstr(refusal.words)) << refusal.what;
  }
}

// Ids of single characters, so each test shows where words begin.
TEST(Tokenizer, EachPreTokenizerCutsWordsItsOwnWay) {
  struct Row {
    const char* pre;
    const char* text;
    std::vector<Token> ids;
  };
  // 0 "1", 1 "2", 2 "12", 3 "3", 4 "123", 5 "a", 6 "Ġ", 7 "Ġa", 8 "A", 9 "aA"
  const Vocabulary base{.model = "gpt2",
                        .tokens = {"1", "2", "12", "3", "123", "a", "Ġ", "Ġa", "A", "aA"},
                        .merges = {"1 2", "12 3", "Ġ a", "a A"}};
  const Row rows[] = {
      {"qwen2", "123 a", {0, 1, 3, 7}}, {"starcoder", "123 a", {0, 1, 3, 7}},
      {"gpt-2", "123 a", {4, 7}},       {"glm4", "12312 a", {4, 2, 7}},
      {"deepseek-v3", "12312", {4, 2}}, {"tiny_aya", "12123", {2, 4}},
      {"gpt-4o", "aA", {5, 8}},         {"gpt-2", "aA", {9}},
      {"tekken", "123", {0, 1, 3}},     {"falcon", "12312", {4, 2}},
  };
  for (const Row& row : rows) {
    Vocabulary vocabulary = base;
    vocabulary.pre = row.pre;
    const auto tokenizer = Must(TokenizerFromVocabulary(vocabulary));
    EXPECT_EQ(tokenizer->Encode(row.text, false).value(), row.ids) << row.pre;
  }
}

// Every place of `text` where one of `names` stands.
std::vector<Tokenizer::Control> PlacesOf(std::string_view text,
                                         std::initializer_list<std::string_view> names) {
  std::vector<Tokenizer::Control> places;
  for (size_t at = 0; at < text.size(); ++at) {
    for (const std::string_view name : names) {
      if (text.substr(at).starts_with(name)) places.push_back({at, at + name.size()});
    }
  }
  return places;
}

TEST(Tokenizer, ControlTokensAreWhereTheCallerSays) {
  const std::string text = "<s>hi <|im_end|> a<think>b\n<|im_end|>\n<s> c</s>";
  Vocabulary bytes{.model = "gpt2", .pre = "gpt-2", .tokens = {}, .types = {}, .merges = {"h i"}};
  Vocabulary pieces{.model = "llama", .tokens = {}, .types = {}, .scores = {}, .unknown = 0};
  for (Vocabulary* v : {&bytes, &pieces}) {
    const bool bpe = v->model == "gpt2";
    const auto add = [&](std::string token, int32_t type) {
      v->tokens.push_back(std::move(token));
      v->types.push_back(type);
      v->scores.push_back(-static_cast<float>(v->tokens.size()));
    };
    add("<unk>", Vocabulary::kUnknown);
    for (int c = 33; c < 127; ++c) add(std::string(1, static_cast<char>(c)), Vocabulary::kNormal);
    add(bpe ? "Ġ" : "▁", Vocabulary::kNormal);
    add(bpe ? "Ċ" : "<0x0A>", bpe ? Vocabulary::kNormal : Vocabulary::kByte);
    add("hi", Vocabulary::kNormal);
    for (const char* control : {"<s>", "</s>", "<|im_end|>"}) add(control, Vocabulary::kControl);
    add("<think>", Vocabulary::kUserDefined);
    if (bpe) v->scores.clear();
    const auto tokenizer = Must(TokenizerFromVocabulary(*v));
    const auto all = PlacesOf(text, {"<s>", "</s>", "<|im_end|>"});
    ASSERT_EQ(all.size(), 5U);
    EXPECT_EQ(tokenizer->EncodeControls(text, all).value(), tokenizer->Encode(text, true).value())
        << v->model;
    EXPECT_EQ(tokenizer->EncodeControls(text, {}).value(), tokenizer->Encode(text, false).value())
        << v->model;
    const std::vector<Tokenizer::Control> first_and_last = {all.front(), all.back()};
    const auto tokens = tokenizer->EncodeControls(text, first_and_last).value();
    EXPECT_EQ(std::ranges::count_if(tokens, [&](Token t) { return tokenizer->IsControl(t); }), 2) << v->model;
    std::string shown;
    for (const Token token : tokens)
      shown += tokenizer->IsControl(token) ? tokenizer->Piece(token) : tokenizer->Bytes(token);
    std::string without_spaces = text;  // sentencepiece writes one after each control token
    for (std::string* each : {&shown, &without_spaces}) std::erase(*each, ' ');
    EXPECT_EQ(shown, without_spaces) << v->model;
    EXPECT_FALSE(tokenizer->EncodeControls(text, std::vector<Tokenizer::Control>{{3, 5}}).has_value());
    EXPECT_FALSE(tokenizer->EncodeControls(text, std::vector<Tokenizer::Control>{{900, 905}}).has_value());
  }
}

TEST(Tokenizer, WordPieceMarksTheBeginningsOfWords) {
  const auto tokenizer = Must(TokenizerFromVocabulary({.model = "bert",
                                                       .tokens = {"[UNK]", "▁play", "ing", "▁é", "▁e"},
                                                       .types = {2, 1, 1, 1, 1},
                                                       .unknown = 0}));
  EXPECT_EQ(tokenizer->Encode("Playing É zzz", false).value(), (std::vector<Token>{1, 2, 4, 0}));
  EXPECT_EQ(tokenizer->Bytes(1), " play");
  EXPECT_EQ(tokenizer->Bytes(2), "ing");
}

TEST(Tokenizer, UnigramTakesTheLikeliestPieces) {
  const auto tokenizer = Must(TokenizerFromVocabulary({.model = "t5",
                                                       .tokens = {"<unk>", "▁", "▁ab", "a", "b", "▁a", "c"},
                                                       .types = {2, 1, 1, 1, 1, 1, 1},
                                                       .scores = {0, -3, -2, -3, -1, -0.5F, -4},
                                                       .unknown = 0,
                                                       .remove_extra_spaces = true}));
  EXPECT_EQ(tokenizer->Encode("ab  c", false).value(), (std::vector<Token>{5, 4, 1, 6}));
}

// A SentencePiece character map: the size of a trie of 512 units, the trie, and what it puts for a text.
std::string CharacterMap(uint32_t size, uint32_t unit_of_a, uint32_t value) {
  std::vector<uint32_t> words(1 + 512);
  words[0] = size;
  words[1 + 'A'] = unit_of_a;
  words[1 + ('A' ^ 0x100)] = value;
  std::string map(words.size() * sizeof(uint32_t), '\0');
  std::memcpy(map.data(), words.data(), map.size());
  return map + std::string("a\0", 2);
}

// Found by the fuzzer: the library allocates what the size says, and reads where the trie points.
TEST(Tokenizer, ADamagedCharacterMapIsRefused) {
  constexpr uint32_t kSize = 512 * 4, kLeaf = 1U << 8, kNextBlock = 0x100U << 10;
  const auto read = [](std::string map) {
    return TokenizerFromVocabulary({.model = "t5",
                                    .tokens = {"<unk>", "▁", "a"},
                                    .types = {2, 1, 1},
                                    .scores = {0, -3, -2},
                                    .unknown = 0,
                                    .charsmap = std::move(map),
                                    .remove_extra_spaces = true});
  };
  const auto good = Must(read(CharacterMap(kSize, 'A' | kLeaf | kNextBlock, 0)));
  EXPECT_EQ(good->Encode("A", false).value(), (std::vector<Token>{1, 2}));
  for (const std::string& map :
       {CharacterMap(0xeb002cff, 'A' | kLeaf | kNextBlock, 0),  // a size beyond the map
        CharacterMap(0, 0, 0),                                  // no trie
        CharacterMap(kSize, 'A' | kLeaf | kNextBlock << 4, 0),  // a child beyond the trie
        CharacterMap(kSize, 'A' | kLeaf | kNextBlock, 9),       // a text that is not there
        std::string("\1\0", 2)}) {
    const auto damaged = read(map);
    ASSERT_FALSE(damaged.has_value());
    EXPECT_NE(damaged.error().message.find("precompiled_charsmap"), std::string::npos)
        << damaged.error().message;
  }
}

TEST(Tokenizer, BadJsonIsAnError) {
  for (const std::string_view json :
       {"", "{", "[]", "{}",
        R"({"model":{"type":"BPE","vocab":{"a":99999999999},"merges":[]},"decoder":{"type":"ByteLevel"}})",
        R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["x y"]},"decoder":{"type":"ByteLevel"}})"}) {
    const auto tokenizer = TokenizerFromJson(json);
    ASSERT_FALSE(tokenizer.has_value()) << json;
    EXPECT_FALSE(tokenizer.error().message.empty());
  }
}

// Found by the fuzzer: two pieces have the id 5, so the encoder has one more piece than there are ids.
TEST(Tokenizer, AnIdBeyondADamagedVocabularyIsAnError) {
  const auto tokenizer = Must(TokenizerFromJson(
      R"J({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":9,"content":)J"
      R"J("<|end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"spec)J"
      R"J(ial":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretoken)J"
      R"J(izers":[{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}| ?\\p{L}+|\\s+(?!\\S)|\\s+|.)J"
      R"J("},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":fals)J"
      R"J(e,"trim_offsets":true,"use_regex":false}]},"post_processor":null,"decoder":{"type":")J"
      R"J(ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subwor)J"
      R"J(d_prefix":"","end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_)J"
      R"J(merges":false,"vocab":{"a":0,"b":1,"c":2,"Ġ":3,"ab":4,"Ġa":5,"abĠa":5,"abc":6,"1":7,)J"
      R"J("é":8},"merges":[["a","b"],["Ġ","a"],["ab","c"]]}})J"));
  const auto ids = tokenizer->Encode(" abc a1 123\n<|end|><s> é", true);
  ASSERT_FALSE(ids.has_value());
  EXPECT_THAT(ids.error().message, HasSubstr("the tokenizer is damaged"));
}

TEST(TextLibrary, PanicComesBackAsAnError) {
  for (int again = 0; again < 2; ++again) {
    penstock_text_bytes error{};
    ASSERT_EQ(penstock_text_panic(&error), PENSTOCK_TEXT_INTERNAL);
    EXPECT_THAT(std::string(error.data, error.size), HasSubstr("asked to"));
    penstock_text_free_bytes(error);
  }
}

}  // namespace
}  // namespace penstock

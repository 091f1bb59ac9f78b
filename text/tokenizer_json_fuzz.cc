#include "text/fuzzing.h"

namespace {

// A small file with one of each element, so that a few edits can reach every part.
constexpr const char* kSources[] = {
    R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":9,"content":"<|end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}| ?\\p{L}+|\\s+(?!\\S)|\\s+|."},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},"post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"","end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"a":0,"b":1,"c":2,"Ġ":3,"ab":4,"Ġa":5,"abc":6,"1":7,"é":8},"merges":[["a","b"],["Ġ","a"],["ab","c"]]}})",
    R"({"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]},"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<s>":1,"<0x0A>":2,"▁":3,"a":4,"▁a":5},"merges":["▁ a"]}})",
    R"({"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},"model":{"type":"Unigram","unk_id":0,"byte_fallback":false,"vocab":[["<unk>",0.0],["▁",-2.0],["a",-3.5],["▁a",-1.25]]}})",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  const size_t source = data.ConsumeIntegralInRange<size_t>(0, std::size(kSources));
  const std::string json = source < std::size(kSources) ? penstock::Mutated(kSources[source], data)
                                                        : data.ConsumeRandomLengthString(4096);
  const auto tokenizer = penstock::TokenizerFromJson(json);
  if (!tokenizer) {
    PENSTOCK_CHECK(!tokenizer.error().message.empty());
    return 0;
  }
  penstock::Exercise(**tokenizer, " abc a1 123\n<|end|><s> é" + data.ConsumeRemainingBytesAsString());
  return 0;
}

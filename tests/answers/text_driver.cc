// text_driver MODEL: runs Penstock's tokenizer and templates for the scripts that compare them.
// MODEL: a GGUF file, or a tokenizer.json.
//
// Frames on stdin and stdout: one byte of kind, u32 size (little-endian), then the bytes.
//   in   's' text: encode, special tokens parsed      out  'i' u32 ids
//        'p' text: encode, special tokens as text          'i' u32 ids
//        'd' u32 ids: decode                               't' bytes
//        'T' template source: use it from now on           't' nothing
//        'r' context as JSON: render                       't' text
//        'n' n: the tokenizer's library and size           't' text
// A failure answers 'e' and the message.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "model/files/assets.h"
#include "model/files/file.h"
#include "text/text.h"

namespace penstock {
namespace {

struct Frame {
  char kind = 0;
  std::string body = {};
};

bool Read(Frame& frame) {
  uint32_t size = 0;
  if (std::fread(&frame.kind, 1, 1, stdin) != 1 || std::fread(&size, 4, 1, stdin) != 1) return false;
  frame.body.resize(size);
  return std::fread(frame.body.data(), 1, size, stdin) == size;
}

void Write(const Frame& frame) {
  const auto size = static_cast<uint32_t>(frame.body.size());
  std::fwrite(&frame.kind, 1, 1, stdout);
  std::fwrite(&size, 4, 1, stdout);
  std::fwrite(frame.body.data(), 1, size, stdout);
}

Frame Text(Result<std::string> text) {
  return text ? Frame{'t', *std::move(text)} : Frame{'e', std::move(text).error().message};
}

class Driver {
 public:
  static Result<Driver> Open(const std::string& path) {
    Driver driver;
    if (path.ends_with(".json")) {
      PENSTOCK_ASSIGN(const std::string json, ReadSmallFile(path, 256 << 20));
      PENSTOCK_ASSIGN(driver.tokenizer_, TokenizerFromJson(json));
      return driver;
    }
    PENSTOCK_ASSIGN(const TextAssets assets, ReadTextAssets(path));
    PENSTOCK_ASSIGN(driver.tokenizer_, TokenizerFromVocabulary(*assets.vocabulary));
    if (!assets.chat_template.empty()) {
      PENSTOCK_ASSIGN(driver.template_, CompileTemplate(assets.chat_template));
    }
    return driver;
  }

  Frame Answer(const Frame& question) {
    switch (question.kind) {
      case 's':
      case 'p':
        return Encode(question.body, question.kind == 's');
      case 'd':
        return Decode(question.body);
      case 'T':
        return Compile(question.body);
      case 'r':
        return template_ ? Text(template_->Render(question.body)) : Frame{'e', "no template"};
      case 'n':
        return {'t', std::string(tokenizer_->backend()) + " " + std::to_string(tokenizer_->size())};
      default:
        return {'e', "no such question"};
    }
  }

 private:
  Frame Encode(std::string_view text, bool parse_special) const {
    const auto tokens = tokenizer_->Encode(text, parse_special);
    if (!tokens) return {'e', tokens.error().message};
    Frame frame{'i', std::string(tokens->size() * sizeof(Token), '\0')};
    std::memcpy(frame.body.data(), tokens->data(), frame.body.size());
    return frame;
  }
  Frame Decode(std::string_view ids) const {
    std::vector<Token> tokens(ids.size() / sizeof(Token));
    std::memcpy(tokens.data(), ids.data(), tokens.size() * sizeof(Token));
    Frame frame{'t'};
    for (const Token token : tokens) frame.body += tokenizer_->Bytes(token);
    return frame;
  }
  Frame Compile(const std::string& source) {
    auto compiled = CompileTemplate(source);
    if (!compiled) return {'e', compiled.error().message};
    template_ = *std::move(compiled);
    return {'t'};
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
};

int Run(const std::string& path) {
  auto driver = Driver::Open(path);
  if (!driver) {
    std::fprintf(stderr, "text_driver: %s\n", driver.error().message.c_str());
    return 1;
  }
  for (Frame question; Read(question);) {
    Write(driver->Answer(question));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: text_driver MODEL.gguf|tokenizer.json\n");
    return 2;
  }
  return penstock::Run(argv[1]);
}

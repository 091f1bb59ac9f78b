// vocabulary_peer LIB_DIR MODEL.gguf: libllama's tokenizer for the scripts that compare it with Penstock's. Frames on
// stdin and stdout as in text_driver.cc: 's' and 'p' encode (control tokens parsed, or as text), 'd' decodes.
// Built by vocabularies.py after it has downloaded the peer; not part of the build.
#include <ggml-backend.h>
#include <llama.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

void Write(char kind, const std::string& body) {
  const auto size = static_cast<uint32_t>(body.size());
  std::fwrite(&kind, 1, 1, stdout);
  std::fwrite(&size, 4, 1, stdout);
  std::fwrite(body.data(), 1, size, stdout);
  std::fflush(stdout);
}

std::string Encode(const llama_vocab* vocab, const std::string& text, bool special) {
  std::vector<llama_token> tokens(text.size() + 16);
  int32_t count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                 static_cast<int32_t>(tokens.size()), false, special);
  if (count < 0) {
    tokens.resize(static_cast<size_t>(-count));
    count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(), -count, false,
                           special);
  }
  std::string out(static_cast<size_t>(count) * 4, '\0');
  std::memcpy(out.data(), tokens.data(), out.size());
  return out;
}

std::string Decode(const llama_vocab* vocab, const std::string& ids) {
  std::string out;
  for (size_t at = 0; at + 4 <= ids.size(); at += 4) {
    llama_token token = 0;
    std::memcpy(&token, ids.data() + at, 4);
    char piece[4096];
    const int32_t size = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, false);
    if (size > 0) out.append(piece, static_cast<size_t>(size));
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
  }, nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(argv[2], params);
  if (model == nullptr) return 1;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  char kind = 0;
  uint32_t size = 0;
  while (std::fread(&kind, 1, 1, stdin) == 1 && std::fread(&size, 4, 1, stdin) == 1) {
    std::string body(size, '\0');
    if (std::fread(body.data(), 1, size, stdin) != size) return 1;
    if (kind == 'd') Write('t', Decode(vocab, body));
    else Write('i', Encode(vocab, body, kind == 's'));
  }
  return 0;
}

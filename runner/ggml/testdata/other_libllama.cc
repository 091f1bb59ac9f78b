// What a libllama of another release looks like to who opens it.
extern "C" const char* llama_version() {
  return "0.0.1";
}

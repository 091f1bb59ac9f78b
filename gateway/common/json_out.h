// JSON written straight into a string: a token event costs an append, not a tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::gateway {

// `text` quoted and escaped. Bytes that are not UTF-8 become U+FFFD, so that the output always is.
void AppendJsonString(std::string_view text, std::string& out);
// The same without the quotes.
void AppendJsonEscaped(std::string_view text, std::string& out);
void AppendInt(int64_t value, std::string& out);
// The shortest text that reads back as `value`; JSON has no infinities: they become ±1e308 and NaN null.
void AppendNumber(double value, std::string& out);

// Writes objects and arrays with their commas. Keys are ours: plain ASCII, not escaped.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}
  JsonWriter& Object() { return Open('{'); }
  JsonWriter& Array() { return Open('['); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& Number(double value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  JsonWriter& Field(std::string_view key, std::string_view value) { return Key(key).String(value); }
  JsonWriter& Field(std::string_view key, int64_t value) { return Key(key).Int(value); }
  JsonWriter& FieldNumber(std::string_view key, double value) { return Key(key).Number(value); }
  JsonWriter& FieldBool(std::string_view key, bool value) { return Key(key).Bool(value); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();

  std::string& out_;
  bool comma_ = false;
};

}  // namespace penstock::gateway

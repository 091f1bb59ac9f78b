// The C ABI of the Rust library (text/rust/src/lib.rs implements it, text/text.cc is its only user).
//
// Ownership: `view`s and arrays are borrowed for the call; `bytes` and `ids` belong to the caller, which
// frees them with the matching call. Each call that can fail returns a status and, unless it is
// PENSTOCK_TEXT_OK, fills `error` with a UTF-8 message (to be freed). A Rust panic is returned as
// PENSTOCK_TEXT_INTERNAL.
// Threads: any number of threads may use a handle at once; freeing it must be the last use.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

enum penstock_text_status : int32_t {
  PENSTOCK_TEXT_OK = 0,
  PENSTOCK_TEXT_INVALID = 1,
  PENSTOCK_TEXT_UNSUPPORTED = 2,
  PENSTOCK_TEXT_CORRUPT = 3,
  PENSTOCK_TEXT_INTERNAL = 4,
};

struct penstock_text_view {
  const char* data;
  size_t size;
};

struct penstock_text_bytes {
  char* data;
  size_t size, capacity;
};

struct penstock_text_ids {
  uint32_t* data;
  size_t size, capacity;
};

struct penstock_text_vocabulary {
  penstock_text_view model, pre;
  const penstock_text_view* tokens;
  size_t token_count;
  const int32_t* types;  // token_count elements, or null
  const float* scores;   // token_count elements, or null
  const penstock_text_view* merges;
  size_t merge_count;
  int32_t unknown;
  bool add_space_prefix;
  penstock_text_view charsmap;
  bool remove_extra_spaces, lowercase, strip_accents;
};

// Strings by id, concatenated: piece i is pieces[piece_offsets[i], piece_offsets[i + 1]).
// Valid and unchanged as long as the tokenizer exists.
struct penstock_text_tables {
  size_t count;
  const char* pieces;
  const uint32_t* piece_offsets;
  const char* bytes;
  const uint32_t* byte_offsets;
  const bool* control;
  penstock_text_view backend;
};

// Bytes [begin, end) of a text are a control token.
struct penstock_text_control {
  size_t begin, end;
};

struct penstock_tokenizer;
struct penstock_template;

penstock_text_status penstock_tokenizer_from_json(penstock_text_view json, penstock_tokenizer** out,
                                                  penstock_text_bytes* error);
penstock_text_status penstock_tokenizer_from_vocabulary(const penstock_text_vocabulary* vocabulary,
                                                        penstock_tokenizer** out, penstock_text_bytes* error);
void penstock_tokenizer_tables(const penstock_tokenizer* tokenizer, penstock_text_tables* out);
penstock_text_status penstock_tokenizer_encode(const penstock_tokenizer* tokenizer, penstock_text_view text,
                                               bool parse_special, penstock_text_ids* out,
                                               penstock_text_bytes* error);
// Exactly the given places, in order, are control tokens. `text` is UTF-8.
penstock_text_status penstock_tokenizer_encode_controls(const penstock_tokenizer* tokenizer,
                                                        penstock_text_view text,
                                                        const penstock_text_control* controls, size_t count,
                                                        penstock_text_ids* out, penstock_text_bytes* error);
void penstock_tokenizer_free(penstock_tokenizer* tokenizer);

penstock_text_status penstock_template_compile(penstock_text_view source, penstock_template** out,
                                               penstock_text_bytes* error);
penstock_text_status penstock_template_render(const penstock_template* chat_template,
                                              penstock_text_view context_json, penstock_text_bytes* out,
                                              penstock_text_bytes* error);
void penstock_template_free(penstock_template* chat_template);

void penstock_text_free_bytes(penstock_text_bytes bytes);
void penstock_text_free_ids(penstock_text_ids ids);

// Panics inside the library: for the test of how panics are returned.
penstock_text_status penstock_text_panic(penstock_text_bytes* error);
}

// Control tokens' texts in a request: text from messages must never become a control token.
//
// "<|im_end|>" in a user's message would end the user's turn, and what follows could pass for the system
// prompt. A template joins the texts of a request with control tokens of its own, so its output alone does
// not show who wrote what. Where a request contains anything that could become part of a control token, the
// template is rendered again with the first character of each such place replaced by a private-use character
// (a mark), which passes through the template and shows where these texts came to stand. Pure: no rendering
// here, no I/O. Threads: any.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/text.h"

namespace penstock::gateway {

// The control tokens that a tokenizer reads in text. Immutable.
class ControlTexts {
 public:
  ControlTexts() = default;
  explicit ControlTexts(const Tokenizer& tokenizer);

  // The length of the longest one that `text` begins with; 0: none.
  size_t LongestAt(std::string_view text) const;
  // Whether text of this JSON could become a control token: it contains the first two characters of one, or a
  // first character at the end of a text, which may be joined with what follows. `any`: a first character is
  // enough, because the template takes parts out of texts.
  bool MayAppearIn(std::string_view json, bool any) const;
  // The first characters, each once.
  const std::vector<std::string>& firsts() const { return firsts_; }
  bool empty() const { return texts_.empty(); }

 private:
  std::vector<std::string> texts_;   // sorted
  std::vector<std::string> firsts_;  // UTF-8
};

// Whether a template may take parts out of texts, join parts, or change letters, so that the text of a
// control token arises that no text of the request contains.
bool MayRewrite(std::string_view chat_template);

// One private-use character for each of ControlTexts::firsts().
using Marks = std::vector<std::string>;
// Characters that `json` does not contain; nothing: it contains all of them.
std::optional<Marks> ChooseMarks(const ControlTexts& controls, std::string_view json);

enum class Marking {
  kFirsts,  // every first character of a control token
  kWhole,   // only those that begin the whole text of a control token
};
// A template's context with marks in every text that comes from the request: all but roles and the template's
// own variables.
std::string Marked(const boost::json::object& context, const ControlTexts& controls, const Marks& marks,
                   Marking marking);

// A rendered text with its marks taken back, and the control tokens in it that the template wrote.
struct Rendering {
  std::string text;
  std::vector<Tokenizer::Control> controls = {};
  bool theirs = false;  // elsewhere in it is the text of a control token, which must stay text
};
Rendering Unmarked(std::string_view rendered, const ControlTexts& controls, const Marks& marks);

}  // namespace penstock::gateway

#include "gateway/request/control_texts.h"

#include <algorithm>
#include <unordered_set>

namespace penstock::gateway {
namespace {

namespace json = boost::json;

// Private-use characters, U+E000 to U+F8FF, then plane 15.
constexpr char32_t kFirstMark = 0xE000, kLastShortMark = 0xF8FF, kFirstLongMark = 0xF0002,
                   kLastMark = 0xFFFFD;

std::string Utf8(char32_t code) {
  const auto tail = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
}

size_t CharacterSize(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// Which of `candidates` begins at this place; its number, or nothing.
std::optional<size_t> BeginsWith(std::string_view text, const std::vector<std::string>& candidates) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (text.starts_with(candidates[i])) return i;
  }
  return std::nullopt;
}

std::string MarkedText(std::string_view text, const ControlTexts& controls, const Marks& marks,
                       Marking marking) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto first = BeginsWith(text.substr(at), controls.firsts());
    const bool marked = first && (marking == Marking::kFirsts || controls.LongestAt(text.substr(at)) > 0);
    out += marked ? std::string_view(marks[*first]) : text.substr(at, 1);
    at += marked ? controls.firsts()[*first].size() : 1;
  }
  return out;
}

class Marker {
 public:
  Marker(const ControlTexts& controls, const Marks& marks, Marking marking)
      : controls_(controls), marks_(marks), marking_(marking) {}

  void Mark(json::value& value) const {
    if (value.is_string()) {
      value = MarkedText(value.get_string(), controls_, marks_, marking_);
    } else if (value.is_array()) {
      for (json::value& element : value.get_array()) Mark(element);
    } else if (value.is_object()) {
      json::object marked;  // names, too: a template may print them
      for (auto& [key, member] : value.get_object()) {
        Mark(member);
        marked[MarkedText(key, controls_, marks_, marking_)] = std::move(member);
      }
      value = std::move(marked);
    }
  }
  void MarkMembers(json::object& object, std::initializer_list<std::string_view> ours) const {
    for (auto& [key, value] : object) {
      if (std::ranges::find(ours, std::string_view(key)) == ours.end()) Mark(value);
    }
  }

 private:
  const ControlTexts& controls_;
  const Marks& marks_;
  Marking marking_;
};

// Whether a string of JSON ends here, or after blanks that a template may trim (any character beyond ASCII
// may be one).
bool EndsText(std::string_view json) {
  for (size_t at = 0; at < json.size(); ++at) {
    if (json[at] == '"') return true;
    if (json[at] == '\\' && at + 1 < json.size() && std::string_view("nrtfb").contains(json[at + 1])) {
      ++at;
    } else if (json[at] == '\\' && json.substr(at).starts_with("\\u")) {
      at += 5;
    } else if (json[at] != ' ' && static_cast<unsigned char>(json[at]) < 0x80) {
      return false;
    }
  }
  return true;
}

}  // namespace

ControlTexts::ControlTexts(const Tokenizer& tokenizer) {
  for (Token token = 0; token < tokenizer.size(); ++token) {
    const std::string_view piece = tokenizer.Piece(token);
    if (!tokenizer.IsControl(token) || piece.empty()) continue;
    const auto read = tokenizer.Encode(piece, true);
    if (read && *read == std::vector<Token>{token}) texts_.emplace_back(piece);
  }
  std::ranges::sort(texts_);
  for (const std::string& text : texts_) {
    std::string first = text.substr(0, CharacterSize(text[0]));
    if (firsts_.empty() || firsts_.back() != first) firsts_.push_back(std::move(first));
  }
}

size_t ControlTexts::LongestAt(std::string_view text) const {
  // [low, high): those that begin as `text` does, up to `length` bytes.
  auto low = texts_.begin(), high = texts_.end();
  size_t longest = 0;
  for (size_t length = 0; length < text.size() && low != high; ++length) {
    const auto byte_of = [length](const std::string& known) {
      return length < known.size() ? static_cast<unsigned char>(known[length]) : -1;
    };
    const int byte = static_cast<unsigned char>(text[length]);
    low = std::ranges::lower_bound(low, high, byte, {}, byte_of);
    high = std::ranges::upper_bound(low, high, byte, {}, byte_of);
    if (low != high && low->size() == length + 1) longest = length + 1;
  }
  return longest;
}

bool ControlTexts::MayAppearIn(std::string_view json, bool any) const {
  for (const std::string& first : firsts_) {
    for (size_t at = json.find(first); at != std::string_view::npos; at = json.find(first, at + 1)) {
      const size_t next = at + first.size();
      if (any || next >= json.size()) return true;
      if (EndsText(json.substr(next))) return true;
      const std::string begin(json.substr(at, first.size() + 1));
      const auto known = std::ranges::lower_bound(texts_, begin);
      if (known != texts_.end() && known->starts_with(begin)) return true;
    }
  }
  return false;
}

bool MayRewrite(std::string_view chat_template) {
  constexpr std::string_view kWords[] = {"replace", "join",  "split",    "strip('",    "strip(\"",
                                         "upper",   "lower", "title",    "capitalize", "swapcase",
                                         "[:",      ":]",    "partition"};
  return std::ranges::any_of(kWords, [&](std::string_view word) { return chat_template.contains(word); });
}

std::optional<Marks> ChooseMarks(const ControlTexts& controls, std::string_view json) {
  std::unordered_set<std::string_view> used;
  for (size_t at = 0; at < json.size(); ++at) {
    if (static_cast<unsigned char>(json[at]) >= 0xEE) used.insert(json.substr(at, CharacterSize(json[at])));
  }
  Marks marks;
  for (char32_t code = kFirstMark; code <= kLastMark; ++code) {
    if (marks.size() == controls.firsts().size()) return marks;
    if (code == kLastShortMark + 1) code = kFirstLongMark;
    std::string mark = Utf8(code);
    if (!used.contains(mark)) marks.push_back(std::move(mark));
  }
  return std::nullopt;
}

std::string Marked(const json::object& context, const ControlTexts& controls, const Marks& marks,
                   Marking marking) {
  const Marker marker(controls, marks, marking);
  json::object marked = context;
  marker.MarkMembers(marked, {"messages", "add_generation_prompt", "bos_token", "eos_token"});
  if (json::value* const messages = marked.if_contains("messages"); messages != nullptr) {
    for (json::value& message : messages->as_array()) marker.MarkMembers(message.as_object(), {"role"});
  }
  return json::serialize(marked);
}

Rendering Unmarked(std::string_view rendered, const ControlTexts& controls, const Marks& marks) {
  Rendering out;
  out.text.reserve(rendered.size());
  std::vector<size_t> taken_back;  // where marks stood
  for (size_t at = 0; at < rendered.size();) {
    const std::string_view rest = rendered.substr(at);
    if (const auto mark = BeginsWith(rest, marks)) {
      taken_back.push_back(out.text.size());
      out.text += controls.firsts()[*mark];
      at += marks[*mark].size();
      continue;
    }
    const size_t length = controls.LongestAt(rest), step = std::max<size_t>(length, 1);
    if (length > 0) out.controls.push_back({out.text.size(), out.text.size() + length});
    out.text += rest.substr(0, step);
    at += step;
  }
  out.theirs = std::ranges::any_of(taken_back, [&](size_t place) {
    return controls.LongestAt(std::string_view(out.text).substr(place)) > 0;
  });
  return out;
}

}  // namespace penstock::gateway

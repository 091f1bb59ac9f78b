#include "model/files/tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <string>

namespace penstock {
namespace {

constexpr int64_t kMaxToken = 1 << 22;

std::optional<Token> IdOf(const boost::json::value& value) {
  boost::system::error_code error;
  const auto number = value.to_number<int64_t>(error);
  if (error || number < 0 || number >= kMaxToken) return std::nullopt;
  return static_cast<Token>(number);
}

std::string_view TextOf(const boost::json::value* value) {
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

std::unexpected<Error> Unknown(const JsonObject& processor, std::string_view what) {
  return Fail(Reason::kModelUnsupported, "{}: its post_processor {} is not supported", processor.origin(),
              what);
}

// The ids of a special token of a template.
Status AddSpecial(const JsonObject& processor, std::string_view name, std::vector<Token>& out) {
  PENSTOCK_ASSIGN(const auto all, processor.Object("special_tokens"));
  if (!all.has_value()) return Unknown(processor, "without special_tokens");
  PENSTOCK_ASSIGN(const auto token, all->Object(name));
  const auto* ids = token.has_value() ? token->Find("ids") : nullptr;
  if (ids == nullptr || !ids->is_array())
    return Unknown(processor, fmt::format("with an unknown token \"{}\"", name));
  for (const auto& id : ids->get_array()) {
    const auto number = IdOf(id);
    if (!number.has_value()) return Unknown(processor, fmt::format("with wrong ids of \"{}\"", name));
    out.push_back(*number);
  }
  return {};
}

// "single": special tokens around one sequence.
Status AddTemplate(const JsonObject& processor, TokenizerJson::Surroundings& out) {
  const auto* single = processor.Find("single");
  if (single == nullptr || !single->is_array()) return Unknown(processor, "without a template for one text");
  std::vector<Token> before, after;
  int sequences = 0;
  for (const auto& piece : single->get_array()) {
    const auto* object = piece.if_object();
    if (object != nullptr && object->contains("Sequence")) {
      ++sequences;
      continue;
    }
    const auto* special = object == nullptr ? nullptr : object->if_contains("SpecialToken");
    const auto* inner = special == nullptr ? nullptr : special->if_object();
    if (inner == nullptr) return Unknown(processor, "with an unknown piece");
    PENSTOCK_TRY(AddSpecial(processor, TextOf(inner->if_contains("id")), sequences == 0 ? before : after));
  }
  if (sequences != 1) return Unknown(processor, "that does not contain the text once");
  out.before.insert(out.before.begin(), before.begin(), before.end());
  out.after.insert(out.after.end(), after.begin(), after.end());
  return {};
}

// "cls" and "sep": each a pair of text and id.
Status AddPair(const JsonObject& processor, TokenizerJson::Surroundings& out) {
  const auto id = [&](std::string_view key) -> std::optional<Token> {
    const auto* pair = processor.Find(key);
    if (pair == nullptr || !pair->is_array() || pair->get_array().size() != 2) return std::nullopt;
    return IdOf(pair->get_array()[1]);
  };
  const auto cls = id("cls"), sep = id("sep");
  if (!cls.has_value() || !sep.has_value()) return Unknown(processor, "without cls and sep");
  out.before.insert(out.before.begin(), *cls);
  out.after.push_back(*sep);
  return {};
}

Status AddProcessor(const JsonObject& processor, int depth, TokenizerJson::Surroundings& out) {
  const std::string_view type = TextOf(processor.Find("type"));
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return AddTemplate(processor, out);
  if (type == "BertProcessing" || type == "RobertaProcessing") return AddPair(processor, out);
  const auto* parts = processor.Find("processors");
  if (type != "Sequence" || parts == nullptr || !parts->is_array() || depth > 4)
    return Unknown(processor, fmt::format("of type \"{}\"", type));
  for (const auto& part : parts->get_array()) {
    if (!part.is_object()) return Unknown(processor, "with a part that is no object");
    PENSTOCK_TRY(AddProcessor(JsonObject::Of(part.get_object(), processor.origin()), depth + 1, out));
  }
  return {};
}

}  // namespace

TokenizerJson::TokenizerJson(const JsonObject& root) : root_(root) {
  const auto* added = root.Find("added_tokens");
  if (added == nullptr || !added->is_array()) return;
  for (const auto& entry : added->get_array()) {
    const auto* object = entry.if_object();
    const auto* id = object == nullptr ? nullptr : object->if_contains("id");
    const std::string_view text =
        object == nullptr ? std::string_view() : TextOf(object->if_contains("content"));
    if (id == nullptr || text.empty()) continue;
    if (const auto token = IdOf(*id)) added_.emplace_back(*token, text);
  }
}

Token TokenizerJson::Find(std::string_view text) const {
  if (text.empty()) return -1;
  const auto added = std::ranges::find(added_, text, &std::pair<Token, std::string_view>::second);
  if (added != added_.end()) return added->first;
  const auto* model = root_.Find("model");
  const auto* vocabulary =
      model != nullptr && model->is_object() ? model->get_object().if_contains("vocab") : nullptr;
  if (vocabulary == nullptr || !vocabulary->is_object()) return -1;
  const auto* id = vocabulary->get_object().if_contains(text);
  return id == nullptr ? -1 : IdOf(*id).value_or(-1);
}

Result<TokenizerJson::Surroundings> TokenizerJson::Around() const {
  PENSTOCK_ASSIGN(const auto processor, root_.Object("post_processor"));
  Surroundings out;
  if (processor.has_value()) PENSTOCK_TRY(AddProcessor(*processor, 0, out));
  return out;
}

}  // namespace penstock

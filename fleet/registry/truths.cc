#include "fleet/registry/truths.h"

#include <spdlog/spdlog.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace penstock {
namespace {

namespace json = boost::json;

json::value ToJson(const CanaryAnswer& answer) {
  json::array tokens;
  for (const CanaryToken& token : answer.tokens) {
    tokens.push_back({{"id", token.id},
                      {"logprob", token.logprob},
                      {"gap", token.gap},
                      // Bytes of a token need not be whole characters.
                      {"text", json::array(token.text.begin(), token.text.end())}});
  }
  return {{"text", answer.text}, {"tokens", std::move(tokens)}};
}

CanaryAnswer AnswerFrom(const json::value& value) {
  CanaryAnswer answer;
  answer.text = value.at("text").as_string();
  for (const json::value& token : value.at("tokens").as_array()) {
    std::string text;
    for (const json::value& byte : token.at("text").as_array())
      text += static_cast<char>(byte.to_number<int>());
    answer.tokens.push_back({.id = token.at("id").to_number<int32_t>(),
                             .logprob = token.at("logprob").to_number<float>(),
                             .gap = token.at("gap").to_number<float>(),
                             .text = std::move(text)});
  }
  return answer;
}

}  // namespace

Truths::Truths(std::string_view text) {
  if (text.empty()) return;
  try {
    for (const auto& [model, value] : json::parse(text).as_object()) {
      Truth truth{.file = std::string(value.at("file").as_string()),
                  .contract = std::string(value.at("contract").as_string()),
                  .answers = {}};
      for (const json::value& answer : value.at("answers").as_array())
        truth.answers.push_back(AnswerFrom(answer));
      truths_.emplace(model, std::move(truth));
    }
  } catch (const std::exception& error) {
    spdlog::warn(
        "the right answers to the canaries cannot be read ({}): the engines' next answers are taken as right",
        error.what());
    truths_.clear();
  }
}

std::string Truths::Json() const {
  json::object all;
  for (const auto& [model, truth] : truths_) {
    json::array answers;
    for (const CanaryAnswer& answer : truth.answers) answers.push_back(ToJson(answer));
    all[model] = {{"file", truth.file}, {"contract", truth.contract}, {"answers", std::move(answers)}};
  }
  return json::serialize(all);
}

const Truth* Truths::Find(std::string_view model, std::string_view file, size_t prompts) const {
  const auto found = truths_.find(model);
  if (found == truths_.end()) return nullptr;
  const Truth& truth = found->second;
  return truth.file == file && truth.answers.size() == prompts ? &truth : nullptr;
}

void Truths::Keep(const std::string& model, Truth truth) {
  truths_[model] = std::move(truth);
}

std::string ReadTruths(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteTruths(const std::string& path, std::string_view json) {
  const std::string fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << json << '\n';
    file.close();
    if (!file) return spdlog::warn("cannot write {}: the right answers to the canaries are not kept", fresh);
  }
  std::error_code error;
  std::filesystem::rename(fresh, path, error);
  if (error) spdlog::warn("cannot replace {}: {}", path, error.message());
}

std::string FileIdentity(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::is_directory(path, error) ? 0 : std::filesystem::file_size(path, error);
  const auto time = std::filesystem::last_write_time(path, error).time_since_epoch().count();
  return error ? path : fmt::format("{} {} {}", path, size, time);
}

}  // namespace penstock

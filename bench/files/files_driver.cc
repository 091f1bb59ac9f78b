// Reads paths of model files from standard input, one a line, and prints a JSON object for each: what an
// import says, and the native runner's log-probabilities after a fixed prompt. For the files bench.
#include <boost/json.hpp>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "chip/threads.h"
#include "model/files/assets.h"
#include "model/model.h"

namespace penstock {
namespace {

namespace json = boost::json;

constexpr int32_t kTokens = 40, kPages = 4;

std::vector<Token> Prompt(int32_t vocabulary) {
  std::vector<Token> tokens;
  for (int32_t i = 0; i < kTokens; ++i) tokens.push_back((7 * i + 3) % vocabulary);
  return tokens;
}

json::array Ids(const std::vector<Token>& tokens) {
  json::array out;
  for (const Token token : tokens) out.emplace_back(token);
  return out;
}

void AddAssets(const TextAssets& a, json::object& row) {
  row["unserved"] = a.unserved;
  row["before"] = Ids(a.before);
  row["after"] = Ids(a.after);
  row["ends"] = Ids(a.end_tokens);
  if (!a.vocabulary) return;
  json::array control;
  for (size_t i = 0; i < a.vocabulary->types.size(); ++i) {
    if (a.vocabulary->types[i] == Vocabulary::kControl) control.emplace_back(i);
  }
  row["control"] = std::move(control);
}

Status AddLogits(const std::string& path, chip::ThreadPool& pool, json::object& row) {
  PENSTOCK_ASSIGN(auto files, ModelFiles::Open(path));
  const auto& kernels = kernels::KernelsFor(kernels::SupportedIsas().back());
  PENSTOCK_ASSIGN(auto model, Model::Load(std::move(files), WeightMode::kDequantised, kernels, pool));
  row["context"] = model->config().context;
  PENSTOCK_ASSIGN(const auto kv, KvPages::Create(model->config(), kernels::KvType::kF32, kPages));
  const auto tokens = Prompt(model->vocabulary());
  const std::vector<PageId> pages = {0, 1, 2, 3};
  const Chunk chunk{0, tokens, pages, 1};
  const auto logits = model->Run({&chunk, 1}, kv);
  double most = logits[0], sum = 0;
  for (const float logit : logits) most = std::max(most, double{logit});
  for (const float logit : logits) sum += std::exp(logit - most);
  json::array out;
  for (const float logit : logits) out.emplace_back(logit - most - std::log(sum));
  row["logprobs"] = std::move(out);
  return {};
}

int Main() {
  chip::ThreadPool pool(1);
  for (std::string path; std::getline(std::cin, path);) {
    json::object row{{"path", path}};
    if (const auto assets = ReadTextAssets(path); assets.has_value()) {
      AddAssets(*assets, row);
      if (const auto done = AddLogits(path, pool, row); !done.has_value())
        row["native"] = done.error().message;
    } else {
      row["import"] = assets.error().message;
    }
    std::cout << json::serialize(row) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace penstock

int main() {
  return penstock::Main();
}

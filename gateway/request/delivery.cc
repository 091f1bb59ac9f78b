#include "gateway/request/delivery.h"

namespace penstock::gateway {
namespace {

std::string_view FinishName(wire::Finish finish) {
  return finish == wire::LENGTH ? "length" : "stop";
}

}  // namespace

Delivery::Delivery(const ChatRequest& request, size_t prompts, ReasoningSplitter::State start,
                   const std::vector<std::string>& echoes, std::unique_ptr<Renderer> renderer)
    : stream_(request.stream),
      renderer_(std::move(renderer)),
      choices_(prompts * request.choices),
      open_(choices_.size()) {
  for (size_t i = 0; i < choices_.size(); ++i) {
    choices_[i].splitter = ReasoningSplitter(start);
    if (!echoes.empty()) choices_[i].answer.text = echoes[i / request.choices];
  }
}

void Delivery::Add(uint32_t index, std::string_view text, const Logprobs& logprobs, wire::Finish finish,
                   std::string& out) {
  Choice& choice = choices_[index];
  if (finish != wire::NONE) {
    choice.ended = true;
    --open_;
    cut_ |= finish == wire::LENGTH;
  }
  Split(choice, text, finish != wire::NONE);
  if (stream_) return Stream(index, logprobs, finish, out);
  choice.answer.text += answer_;
  choice.answer.reasoning += reasoning_;
  choice.answer.logprobs.MergeFrom(logprobs);
  if (finish != wire::NONE) choice.answer.finish = FinishName(finish);
}

// Parts the text into reasoning_ and answer_.
void Delivery::Split(Choice& choice, std::string_view text, bool ends) {
  choice.splitter.Feed(text, reasoning_, answer_);
  if (!ends || choice.splitter.off()) return;
  std::string reasoning, answer;
  choice.splitter.End(reasoning, answer);
  reasoning_ += reasoning;
  answer_ += answer;
}

void Delivery::Stream(uint32_t index, const Logprobs& logprobs, wire::Finish finish, std::string& out) {
  Choice& choice = choices_[index];
  if (!choice.begun && !choice.answer.text.empty()) answer_.insert(0, choice.answer.text);  // echo
  const bool silent = answer_.empty() && reasoning_.empty() && logprobs.empty();
  if (silent && finish == wire::NONE) return;
  if (!silent || !choice.begun) {
    renderer_->Piece({.choice = index,
                      .text = answer_,
                      .reasoning = reasoning_,
                      .logprobs = &logprobs,
                      .first = !choice.begun},
                     out);
    choice.begun = true;
  }
  if (finish != wire::NONE) renderer_->ChoiceEnd(index, FinishName(finish), out);
}

void Delivery::Whole(const AnswerUsage& usage, std::string& out) {
  std::vector<ChoiceAnswer> answers;
  answers.reserve(choices_.size());
  for (Choice& choice : choices_) answers.push_back(std::move(choice.answer));
  renderer_->Whole(answers, usage, out);
}

}  // namespace penstock::gateway

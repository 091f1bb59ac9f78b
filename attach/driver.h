// Driver: makes an upstream behave like one of our engines. It takes the gateway's commands, sends requests
// to the upstream, and reports the answers as an engine reports steps.
//
//   Handle(command) → one upstream request per choice → answer → Output → StepReport, every few milliseconds
//
// Each choice is a separate upstream request: it has its own seed and credits, and can continue where another
// engine stopped. Requests above the limit (attach/concurrency.h) wait here, unsent; the fleet is told the
// limit and soon sends no more than that.
//
// While an upstream cannot be reached, its models are FAILED with the reason; it is probed every few seconds.
// When it is back, its abilities are tested again, because it may be another server. While it sends answers,
// it is not probed. Threads: the io_context's one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attach/answer.h"
#include "attach/concurrency.h"
#include "attach/request.h"
#include "attach/upstream.h"
#include "engine/pieces.h"
#include "engine/wire.pb.h"

namespace penstock {

// A model's vocabulary, read from its file. Made on another thread: it takes about a second.
struct ModelWords {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const Pieces> pieces;
  std::vector<Token> end_tokens;
  Token eos = -1;
  uint32_t context = 0;
};
Result<ModelWords> ReadModelWords(const std::string& path);

struct DriverOptions {
  std::string name = "attached";
  std::map<std::string, std::string, std::less<>> names;  // ours → theirs; "*": the one that it serves
  Concurrency::Options concurrency = {};
  Nanos probe = 5 * kSecond, first_retry = kSecond, last_retry = 10 * kSecond;
  Nanos report_every = 2 * kMillisecond;
  Nanos refused_for = 60 * kSecond;  // how long a request is tried again that the upstream has no room for
};

class Driver {
 public:
  using Send = std::function<void(const wire::FromEngine&)>;
  Driver(boost::asio::io_context& io, std::shared_ptr<Upstream> upstream, DriverOptions options, Send send);
  ~Driver();

  // All commands but load: see Load.
  void Handle(const wire::ToEngine& command);
  void Load(const wire::LoadModel& load, Result<ModelWords> words);
  // The gateway is gone: all work is cancelled without events; models stay.
  void Disconnected();
  // `drained` is called when nothing runs any more.
  void Drain(std::function<void()> drained);

  wire::Load Load() const;

 private:
  struct Model;
  struct Request;
  struct Choice;
  using ChoicePtr = std::shared_ptr<Choice>;

  // ---- driver.cc ----
  void Submit(const wire::Submit& submit);
  Status Start(const wire::Submit& submit);
  Status MakeChoices(const std::shared_ptr<Request>& request);
  void Cancel(uint64_t request);
  void Grant(const wire::Credit& credit);
  void Lower(const wire::Limit& limit);
  wire::TokenEvent& EventOf(Choice& choice);
  void Account();
  void ReportSoon();
  void Report();
  static Nanos Now();

  // ---- answering.cc ----
  void Pump();
  boost::asio::awaitable<void> Run(ChoicePtr choice);
  bool TryLater(const ChoicePtr& choice, int64_t retry_after, const std::string& said);
  boost::asio::awaitable<Status> Answer(Choice& choice, Upstream::Call& call);
  boost::asio::awaitable<void> WaitForCredit(Choice& choice);
  Status Take(Choice& choice, const std::string& json);
  void TakeChunk(Choice& choice, const UpstreamChunk& chunk);
  void TakeIds(Choice& choice, const UpstreamChunk& chunk);
  void NoteEnd(Choice& choice, wire::TokenEvent& event);
  void EndAsUpstream(Choice& choice);
  void End(Choice& choice, wire::Finish finish, const Error* error = nullptr);
  void FailChoice(Choice& choice, const Error& error);
  void ApplyLimit(Request& request);
  void Settle(Choice& choice);
  bool OneAtATime() const;
  uint32_t Limit() const;
  uint32_t Begun() const;  // that run and whose answers have begun
  void Leave(const Choice& choice);

  // ---- watching.cc ----
  boost::asio::awaitable<void> Watch();
  boost::asio::awaitable<void> Look(std::vector<UpstreamModel> listed);
  bool Answering() const;
  void Lost(const Error& why);
  void LookSoon();
  std::string TheirName(const Model& model, const std::vector<UpstreamModel>& listed) const;
  void SetState(Model& model, wire::ModelState::State state, const Error* error = nullptr);
  void TellModel(const Model& model);

  boost::asio::io_context& io_;
  const std::shared_ptr<Upstream> upstream_;
  const DriverOptions options_;
  const std::string where_;  // whom errors speak of
  const Send send_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  Concurrency concurrency_;

  std::map<std::string, std::shared_ptr<Model>, std::less<>> models_;
  std::map<uint64_t, std::shared_ptr<Request>> requests_;
  std::deque<ChoicePtr> held_;    // not sent yet
  std::vector<Choice*> running_;  // sent and not ended
  uint64_t ended_ = 0;            // of those whose answers had begun
  boost::asio::steady_timer look_, report_, later_;
  bool up_ = false, look_again_ = false, report_posted_ = false;
  std::optional<Error> down_why_;  // empty: it has not been asked yet, or answers
  Nanos hold_until_ = 0;           // the upstream asked for so much patience
  Nanos heard_ = 0;                // when a piece of an answer came last

  // What happened since the last report, by model.
  struct Step {
    wire::StepReport report;
    std::map<std::pair<uint64_t, uint32_t>, int> events;  // by request and choice: index into report.tokens
    std::map<uint64_t, uint32_t> computed;                // by request
    std::map<uint64_t, uint64_t> shares;                  // of the time, by request
  };
  std::map<std::string, Step, std::less<>> steps_;
  Nanos accounted_at_ = 0;
  uint64_t step_ = 0, computed_ = 0;
  std::function<void()> drained_;
  bool draining_ = false;
};

}  // namespace penstock

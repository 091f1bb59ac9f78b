#include "fleet/fleet.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "fleet/registry/engine_link.h"
#include "fleet/registry/listener.h"
#include "fleet/registry/truths.h"

namespace penstock {
namespace {

namespace asio = boost::asio;

// The pool with sockets, timers and sinks: what comes from them becomes the pool's events, and its actions
// are carried out with them.
//
// A sink may call back (Cancel, Grant, Submit) while actions are carried out. The pool takes the event at
// once; the actions that follow from it come after those that are there already (CarryOut).
class FleetImpl final : public Fleet {
 public:
  FleetImpl(asio::io_context& io, const Clock& clock, PoolOptions options, std::string truths_file)
      : io_(io),
        clock_(clock),
        truths_file_(std::move(truths_file)),
        acceptor_(io),
        timer_(io),
        pool_(std::move(options), clock.Monotonic(), truths_file_.empty() ? "" : ReadTruths(truths_file_)) {
    CarryOut();
  }
  ~FleetImpl() override {
    for (const auto& [key, link] : links_) link->Close();
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  Status Listen(const std::string& path) override {
    PENSTOCK_ASSIGN(acceptor_, ListenUnix(io_, path));
    path_ = path;
    Accept();
    return {};
  }

  void Serve(ServedModel model) override {
    pool_.Serve(std::move(model), Now());
    CarryOut();
  }
  void Withdraw(const std::string& name) override {
    pool_.Withdraw(name, Now());
    CarryOut();
  }
  void SetCanaries(const std::string& model, std::vector<CanaryPrompt> prompts) override {
    const ServedModel* served = pool_.Served(model);
    if (served == nullptr) return;
    pool_.SetCanaries(model, FileIdentity(served->path), std::move(prompts), Now());
    CarryOut();
  }

  Status MayRun(std::string_view model, std::string_view team_name, bool external_allowed) override {
    return pool_.MayRun(model, team_name, external_allowed);
  }
  Status HasRoom(size_t jobs) override { return pool_.HasRoom(jobs); }
  Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) override {
    auto id = pool_.Submit(std::move(job), Now());
    if (id) sinks_.emplace(*id, std::move(sink));
    CarryOut();
    return id;
  }
  void Cancel(JobId job) override {
    if (sinks_.erase(job) == 0) return;
    pool_.Cancel(job, Now());
    CarryOut();
  }
  void Grant(JobId job, uint32_t choice, uint32_t tokens) override {
    pool_.Grant(job, choice, tokens, Now());
    CarryOut();
  }
  void Limit(JobId job, uint64_t tokens) override {
    pool_.Limit(job, tokens, Now());
    CarryOut();
  }

  bool Ready(std::string_view model) const override { return pool_.Ready(model); }
  bool AnyReady() const override { return pool_.AnyReady(); }
  bool WantsText() const override { return pool_.WantsText(); }
  std::vector<EngineView> Engines() const override { return pool_.Engines(); }
  std::vector<TeamQueueView> Queue() const override { return pool_.Queue(); }
  size_t Waiting() const override { return pool_.Waiting(); }
  size_t Running() const override { return pool_.Running(); }
  FleetStats Stats() const override { return {pool_.stats(), link_stats_}; }

  Status SetDraining(std::string_view engine, bool on) override {
    Status status = pool_.SetDraining(engine, on, Now());
    CarryOut();
    return status;
  }
  Status Restart(std::string_view engine) override {
    Status status = pool_.Restart(engine, Now());
    CarryOut();
    return status;
  }
  void SetMaxWaiting(size_t jobs) override { pool_.SetMaxWaiting(jobs); }
  void SetLogLevel(std::string_view word) override {
    pool_.SetLogLevel(word);
    CarryOut();
  }
  void Drain(std::function<void()> drained) override {
    drained_ = std::move(drained);
    pool_.Drain(Now());
    CarryOut();
  }

 private:
  Nanos Now() const { return clock_.Monotonic(); }

  // `function`, unless the fleet is gone by then.
  template <class F>
  auto Guarded(F function) {
    return [alive = std::weak_ptr(alive_), function = std::move(function)](auto&&... arguments) {
      if (alive.lock()) function(std::forward<decltype(arguments)>(arguments)...);
    };
  }

  // ---- engines' connections ----

  void Accept() {
    acceptor_.async_accept(Guarded([this](boost::system::error_code error, EngineLink::Socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        spdlog::error("cannot accept an engine: {}", error.message());
      } else {
        Welcome(std::move(socket));
      }
      Accept();
    }));
  }

  void Welcome(EngineLink::Socket socket) {
    const EngineKey key = ++last_key_;
    const auto link = links_[key] = std::make_shared<EngineLink>(std::move(socket), link_stats_);
    pool_.Connected(key, Now());
    CarryOut();
    link->Start({
        .message =
            [this, key](const wire::FromEngine& message) {
              pool_.Heard(key, message, Now());
              CarryOut();
            },
        .closed =
            [this, key](std::string_view why) {
              pool_.Gone(key, why, Now());
              CarryOut();
            },
    });
  }

  // ---- the pool's actions ----

  void CarryOut() {
    if (std::exchange(carrying_out_, true)) return;
    const auto alive = std::weak_ptr(alive_);
    while (auto action = pool_.Next()) {
      std::visit([this](auto& what) { Do(what); }, *action);
      if (alive.expired()) return;  // a sink ended the fleet
    }
    carrying_out_ = false;
  }

  void Do(const SendToEngine& send) {
    if (const auto link = links_.find(send.engine); link != links_.end())
      link->second->Send() = *send.message;
  }
  void Do(const Disconnect& disconnect) {
    const auto link = links_.find(disconnect.engine);
    if (link == links_.end()) return;
    link->second->Close();
    links_.erase(link);
  }

  // Null: it was cancelled meanwhile. The sink may end the job, so it is held during the call.
  std::shared_ptr<JobSink> Sink(JobId job, bool last = false) {
    const auto found = sinks_.find(job);
    if (found == sinks_.end()) return nullptr;
    auto sink = found->second;
    if (last) sinks_.erase(found);
    return sink;
  }
  void Do(const TellEvent& tell) {
    if (const auto sink = Sink(tell.job)) sink->OnEvent(tell.event, tell.why);
  }
  void Do(const TellPlaced& tell) {
    const auto sink = Sink(tell.job);
    if (!sink) return;
    sink->OnPlaced({.engine = tell.engine,
                    .model = tell.model,
                    .path = tell.path,
                    .contract = tell.contract,
                    .kernel = tell.kernel,
                    .exact_usage = tell.exact_usage});
  }
  void Do(const TellTokens& tell) {
    if (const auto sink = Sink(tell.job, tell.last)) sink->OnTokens(*tell.event);
  }
  void Do(const TellCharge& tell) {
    if (const auto sink = Sink(tell.job)) sink->OnCharge(tell.chip_time, tell.computed);
  }
  void Do(const TellFailed& tell) {
    if (const auto sink = Sink(tell.job, /*last=*/true)) sink->OnFailed(tell.error);
  }

  void Do(const CallTurn&) {
    asio::post(io_, Guarded([this] {
                 pool_.Turn(Now());
                 CarryOut();
               }));
  }
  void Do(const CallTick& call) {
    timer_.expires_after(std::chrono::nanoseconds(call.at - Now()));
    timer_.async_wait(Guarded([this](const boost::system::error_code& error) {
      if (error) return;
      pool_.Tick(Now());
      CarryOut();
    }));
  }
  void Do(const Drained&) {
    if (drained_) asio::post(io_, Guarded(std::exchange(drained_, nullptr)));
  }
  void Do(const KeepTruths& keep) {
    if (!truths_file_.empty()) WriteTruths(truths_file_, keep.json);
  }
  void Do(const LogLine& line) { spdlog::log(line.level, "{}", line.text); }

  asio::io_context& io_;
  const Clock& clock_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  const std::string truths_file_;
  std::string path_;
  asio::local::stream_protocol::acceptor acceptor_;
  asio::steady_timer timer_;
  LinkStats link_stats_;
  std::unordered_map<EngineKey, std::shared_ptr<EngineLink>> links_;
  EngineKey last_key_ = 0;
  std::unordered_map<JobId, std::shared_ptr<JobSink>> sinks_;  // of jobs that have not ended
  Pool pool_;
  bool carrying_out_ = false;
  std::function<void()> drained_;
};

}  // namespace

std::unique_ptr<Fleet> MakeFleet(asio::io_context& io, const Clock& clock, PoolOptions options,
                                 std::string truths_file) {
  return std::make_unique<FleetImpl>(io, clock, std::move(options), std::move(truths_file));
}

}  // namespace penstock

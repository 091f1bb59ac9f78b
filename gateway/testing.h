// For tests: a whole gateway on a loopback port, before a fake fleet and fake accounts.
#pragma once

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <future>
#include <thread>

#include "gateway/http/server.h"
#include "gateway/http/tls.h"
#include "gateway/test_client.h"
#include "gateway/test_fakes.h"
#include "gateway/wiring.h"

namespace penstock::gateway::testing {

class World {
 public:
  template <class F>
  auto Ask(F function) {
    std::packaged_task<decltype(function())()> task(std::move(function));
    auto future = task.get_future();
    boost::asio::post(io_, [&task] { task(); });
    return future.get();
  }
  void Do(std::function<void()> function) {
    Ask([&] {
      function();
      return 0;
    });
  }
  static Status AcceptSetting(std::string_view name, std::string_view /*value*/) {
    if (name == "gateway.queue_timeout") return {};
    return Fail(Code::kUnsupported, "{} takes effect at the next start", name);
  }
  // `tail`: what the template ends with; with "<think>" in it the model is one that thinks.
  explicit World(GatewayOptions options = {}, std::string tail = "assistant:")
      : options_(std::move(options)),
        fleet(io_),
        models(io_, pool_, fleet,
               [tail](const InstalledModel&) -> Result<ModelTextPtr> {
                 auto text = std::make_shared<ModelText>();
                 text->tokenizer = std::make_unique<ByteTokenizer>();
                 text->chat = std::make_unique<PlainTemplate>(tail);
                 text->thinks = tail.find("<think>") != std::string::npos || tail.empty();
                 text->end_tokens = {2};
                 return text;
               }),
        log_(-1, SystemClock()),
        wiring(io_, workers_, SystemClock(), options_, accounts, fleet, models, log_, AcceptSetting),
        server_(io_, *ListenTcp("127.0.0.1:0"), wiring.router, SystemClock(), LimitsOf(options_),
                options_.max_connections, tls_.get()) {
    accounts.principals["key-a"] = {
        .key = 1, .team = 1, .team_name = "search", .key_name = "ci", .role = Role::kDeveloper, .models = {}};
    accounts.principals["key-b"] = {.key = 2,
                                    .team = 2,
                                    .team_name = "ads",
                                    .key_name = "x",
                                    .role = Role::kDeveloper,
                                    .models = {"other"}};
    accounts.principals["operator"] = {
        .key = 3, .team = 0, .team_name = "", .key_name = "op", .role = Role::kOperator, .models = {}};
    for (auto& [_, principal] : accounts.principals) principal.shown = principal.key;
    wiring.status.connections = [this] { return server_.connections(); };
    wiring.router.SetPolicy(PolicyOf(options_, /*loopback=*/true));
    models.Install({Installed("other"), Installed("tiny")});
    server_.Run();
    port = server_.port();
    thread_ = std::thread([this] { io_.run(); });
    const auto all_ready = [this] {
      return std::ranges::all_of(models.entries(), [](const auto& entry) { return entry.second.ready; });
    };
    while (!Ask(all_ready)) std::this_thread::yield();
    Do([this] { models.Refresh(); });
  }
  ~World() {
    Do([this] {
      server_.CutAll("the test is over");
      workers_.Stop();  // here, since dropped work ends generations
    });
    pool_.join();
    work_.reset();
    io_.stop();
    thread_.join();
    io_.restart();
    io_.poll();
  }

  static InstalledModel Installed(std::string name) {
    InstalledModel model;
    model.name = std::move(name);
    model.path = "/nowhere";
    model.created = 1'700'000'000;
    return model;
  }

  // Until `condition` holds on the io thread; false after ten seconds.
  bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 10000; ++i) {
      if (Ask(condition)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  RequestRecord Record(const std::string& id) {
    return Ask([&] { return accounts.records[id].record; });
  }
  size_t body_memory() const { return server_.body_memory(); }  // on the io thread
  void StopAccepting() {
    Do([this] {
      wiring.status.draining = true;
      server_.StopAccepting();
      server_.CloseIdle();
    });
  }

 private:
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  boost::asio::thread_pool pool_{1};
  PromptWorkers workers_;
  GatewayOptions options_;

 public:
  FakeAccounts accounts;
  FakeFleet fleet;  // holds the generations, whose tickets end in `accounts`
  Models models;

 private:
  Log log_;

 public:
  Wiring wiring;
  uint16_t port = 0;

 private:
  std::unique_ptr<TlsContext> tls_ = options_.tls_certificate.empty()
                                         ? nullptr
                                         : *TlsContext::Load(options_.tls_certificate, options_.tls_key);
  Server server_;
  std::thread thread_;
};

}  // namespace penstock::gateway::testing

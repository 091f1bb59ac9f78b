#include "gateway/gateway.h"

#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <filesystem>
#include <optional>
#include <utility>

#include "gateway/http/server.h"
#include "gateway/observe/watchdog.h"
#include "gateway/request/prompt_workers.h"
#include "gateway/wiring.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
using namespace penstock::gateway;  // NOLINT: this file is where its parts are put together

constexpr Nanos kLongestStart = 5 * kSecond;      // while models' texts are loaded
constexpr std::chrono::milliseconds kGrace(500);  // for who has just connected when it stops

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// When the certificate and its key were written last.
using TlsFileTimes = std::pair<std::filesystem::file_time_type, std::filesystem::file_time_type>;
TlsFileTimes TimesOf(const GatewayOptions& options) {
  std::error_code ignored;
  return {std::filesystem::last_write_time(options.tls_certificate, ignored),
          std::filesystem::last_write_time(options.tls_key, ignored)};
}

// The running gateway: its parts, its housekeeping and its graceful stop.
class Process {
 public:
  Process(asio::io_context& io, GatewayOptions options, std::unique_ptr<Accounts> accounts, int listen_fd,
          std::unique_ptr<TlsContext> tls)
      : io_(io),
        options_(std::move(options)),
        accounts_(std::move(accounts)),
        log_(STDERR_FILENO, SystemClock()),
        fleet_(MakeFleet(io, SystemClock(),
                         {.max_waiting = options_.max_waiting,
                          .engine_timeout = options_.engine_timeout,
                          .canary_period = options_.canary_period},
                         options_.data_dir + "/canaries.json")),
        models_(io, pool_, *fleet_, LoadModelText),
        wiring_(io, prompt_workers_, SystemClock(), options_, *accounts_, *fleet_, models_, log_,
                [this](std::string_view name, std::string_view value) { return Change(name, value); }),
        tls_(std::move(tls)),
        loopback_(ListensOnLoopback(listen_fd)),
        server_(io, listen_fd, wiring_.router, SystemClock(), LimitsOf(options_), options_.max_connections,
                tls_.get()),
        signals_(io, SIGTERM, SIGINT),
        timer_(io),
        accept_timer_(io) {}
  ~Process();

  Status Start();
  int exit_status() const { return exit_status_; }

 private:
  Status Change(std::string_view name, std::string_view value);
  void StartAccepting();
  void AwaitSignal();
  void Housekeep();
  void RenewTls();
  void StopAccepting();
  void Drain();
  void StopWhenDrained();
  void Stop(int status, std::string_view why);

  asio::io_context& io_;
  GatewayOptions options_;
  std::unique_ptr<Accounts> accounts_;
  Log log_;
  asio::thread_pool pool_{1};  // loads models' texts
  PromptWorkers prompt_workers_;
  std::unique_ptr<Fleet> fleet_;
  Models models_;
  Wiring wiring_;
  std::unique_ptr<TlsContext> tls_;
  const bool loopback_;
  TlsFileTimes tls_times_;
  Server server_;
  asio::signal_set signals_;
  asio::steady_timer timer_, accept_timer_;
  Nanos drain_until_ = 0, accept_by_ = 0;
  bool store_was_healthy_ = true, closing_ = false;
  int exit_status_ = 0;
  std::optional<Watchdog> watchdog_;
};

// Requests that still run refer to the members below, so they end first.
Process::~Process() {
  watchdog_.reset();
  prompt_workers_.Stop();
  pool_.join();
  server_.CutAll("the server stopped");
  boost::system::error_code ignored;
  signals_.cancel(ignored);
  timer_.cancel();
  accept_timer_.cancel();
  io_.restart();
  io_.poll();
  accounts_->Flush();
}

Status Process::Start() {
  PENSTOCK_TRY(fleet_->Listen(options_.engine_socket));
  wiring_.status.started = SystemClock().Monotonic();
  if (tls_) wiring_.status.tls_fingerprint = tls_->fingerprint();
  tls_times_ = TimesOf(options_);
  wiring_.status.connections = [this] { return server_.connections(); };
  if (options_.watchdog > 0) watchdog_.emplace(io_, options_.watchdog);
  wiring_.router.SetPolicy(PolicyOf(options_, loopback_));
  models_.Install(options_.models);
  accept_by_ = SystemClock().Monotonic() + kLongestStart;
  StartAccepting();
  AwaitSignal();
  Housekeep();
  log_.Note("started",
            fmt::format("port {}, {} models, pid {}", server_.port(), models_.entries().size(), ::getpid()));
  return {};
}

Status Process::Change(std::string_view name, std::string_view value) {
  if (!options_.change) return Fail(Code::kUnsupported, "{} takes effect at the next start", name);
  GatewayOptions next = options_;
  PENSTOCK_TRY(options_.change(next, name, value));
  wiring_.Apply(options_, next);
  server_.SetLimits(LimitsOf(next), next.max_connections);
  wiring_.router.SetPolicy(PolicyOf(next, loopback_));
  options_ = std::move(next);
  return {};
}

// A connection that waits a moment in the listening socket's queue is better than an error that the model is
// being loaded: clients do not notice the restart.
void Process::StartAccepting() {
  if (closing_) return;
  if (!models_.TextsLoaded() && SystemClock().Monotonic() < accept_by_) {
    accept_timer_.expires_after(std::chrono::milliseconds(5));
    accept_timer_.async_wait([this](const boost::system::error_code& ec) {
      if (!ec) StartAccepting();
    });
    return;
  }
  server_.Run();
}

void Process::AwaitSignal() {
  signals_.async_wait([this](const boost::system::error_code& ec, int /*signal*/) {
    if (ec) return;
    if (closing_) return Stop(1, "a second signal");
    StopAccepting();
    AwaitSignal();
  });
}

// Once a second: what the fleet and the store say, and the log's batch.
void Process::Housekeep() {
  models_.Refresh();
  const Nanos now = SystemClock().Monotonic();
  wiring_.status.token_rate.Note(now, fleet_->Stats().tokens);
  wiring_.status.computed_rate.Note(now, fleet_->Stats().computed);
  if (accounts_->healthy() != store_was_healthy_) {
    store_was_healthy_ = !store_was_healthy_;
    log_.Warn(store_was_healthy_ ? "store_healthy" : "store_failed", accounts_->fault());
  }
  RenewTls();
  log_.Flush();
  if (wiring_.status.draining) StopWhenDrained();
  if (io_.stopped()) return;
  timer_.expires_after(wiring_.status.draining ? std::chrono::milliseconds(20)
                                               : std::chrono::milliseconds(1000));
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) Housekeep();
  });
}

// Certificates are renewed by other programs, file by file: a pair that does not fit yet is left for later.
void Process::RenewTls() {
  if (!tls_ || TimesOf(options_) == tls_times_) return;
  tls_times_ = TimesOf(options_);
  auto renewed = TlsContext::Load(options_.tls_certificate, options_.tls_key);
  if (!renewed) return log_.Warn("tls_not_renewed", renewed.error().message);
  server_.UseTls(renewed->get());
  tls_ = *std::move(renewed);
  wiring_.status.tls_fingerprint = tls_->fingerprint();
  log_.Note("tls_renewed", wiring_.status.tls_fingerprint);
}

// New connections, and clients that send one request after another, are served for a moment longer: a
// connection that is closed while a request is on its way looks like a fault. After that, new clients wait in
// the listening socket's queue.
void Process::StopAccepting() {
  closing_ = true;
  accept_timer_.cancel();
  server_.StopAccepting();
  log_.Note("draining",
            fmt::format("{} requests run; a second signal stops at once", wiring_.status.open_requests));
  if (server_.connections() == 0) return Drain();
  accept_timer_.expires_after(kGrace);
  accept_timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) Drain();
  });
}

void Process::Drain() {
  wiring_.status.draining = true;
  drain_until_ = SystemClock().Monotonic() + options_.drain_timeout;
  server_.CloseIdle();
  timer_.cancel();
  asio::post(io_, [this] { Housekeep(); });
}

void Process::StopWhenDrained() {
  if (wiring_.status.open_requests == 0 && server_.connections() == 0)
    return Stop(0, "all requests are done");
  if (SystemClock().Monotonic() > drain_until_)
    Stop(0, "the drain timeout passed; running requests were cut");
}

void Process::Stop(int status, std::string_view why) {
  exit_status_ = status;
  log_.Note("stopped", why);
  io_.stop();
}

}  // namespace

Result<int> RunGateway(GatewayOptions options) {
  RaiseDescriptorLimit();
  LogOthersAsJson(STDERR_FILENO);
  std::unique_ptr<TlsContext> tls;
  if (!options.tls_certificate.empty()) {
    PENSTOCK_ASSIGN(tls, TlsContext::Load(options.tls_certificate, options.tls_key));
  }
  asio::io_context io(1);
  int listen_fd = options.listen_fd;
  if (listen_fd < 0) {
    PENSTOCK_ASSIGN(listen_fd, ListenTcp(options.listen));
  }
  PENSTOCK_ASSIGN(
      auto accounts,
      OpenAccounts({.data_dir = options.data_dir,
                    .post = [&io](std::function<void()> done) { asio::post(io, std::move(done)); }},
                   SystemClock()));
  Process process(io, std::move(options), std::move(accounts), listen_fd, std::move(tls));
  PENSTOCK_TRY(process.Start());
  io.run();
  return process.exit_status();
}

}  // namespace penstock

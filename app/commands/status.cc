// `penstock status`: the cloud on one screen; `penstock top`: the same, updated while you watch.
#include <thread>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/commands/status_view.h"
#include "app/common/json_get.h"
#include "app/common/terminal.h"
#include "app/settings/units.h"

namespace penstock {
namespace json = boost::json;
namespace {

// Used without a terminal.
constexpr size_t kPlainRows = 50, kPlainColumns = 100;

// What every key may see: whether the cloud answers requests, and who owns the key.
int ShowSeat(const Cloud& cloud, const json::object& seat, bool as_json) {
  const std::string why = WhyNotReady(cloud.endpoint());
  if (as_json) {
    fmt::print("{}", PrettyJson(json::object{{"ready", why.empty()}, {"reason", why}, {"seat", seat}}));
    return 0;
  }
  fmt::print("{} is {}\n", cloud.url(), why.empty() ? "ready" : "not ready (" + why + ")");
  const std::string& who = cloud.endpoint().who;  // of a login: its token is named after this machine
  fmt::print("you are {}; only operators can see engines and the queue\n",
             who.empty() ? SeatWords(seat) : who);
  return 0;
}

Result<int> ShowStatus(const LoadedConfig& loaded, bool as_json) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  const auto answer = cloud.Get("/admin/v1/status");
  if (!answer.has_value() && answer.error().code == Code::kForbidden) {
    PENSTOCK_ASSIGN(const json::object seat, cloud.Get("/v1/seat"));
    return ShowSeat(cloud, seat, as_json);
  }
  if (!answer.has_value()) return std::unexpected(answer.error());
  const json::object& status = *answer;
  // What is not a terminal gets every line whole.
  const size_t columns =
      IsTerminal() ? std::max<size_t>(SizeOfTerminal().columns, 40) : std::string::npos - 1;
  fmt::print("{}", as_json ? PrettyJson(status) : StatusText(status, cloud.url(), columns));
  // Printed below the screen and never cut: users compare it when they log in.
  const std::string fingerprint = GetText(status, "tls_fingerprint");
  if (!as_json && !fingerprint.empty()) fmt::print("tls       SHA-256 fingerprint {}\n", fingerprint);
  return 0;
}

// ---- top -------------------------------------------------------------------------------------------

// What the key may see now, with at most `rows` requests.
Result<json::object> Snapshot(const Cloud& cloud, size_t rows) {
  return cloud.Get(fmt::format("/v1/live?requests={}", rows));
}

Result<int> TopOnce(const Cloud& cloud, Nanos interval) {
  PENSTOCK_ASSIGN(const json::object before, Snapshot(cloud, 0));
  std::this_thread::sleep_for(std::chrono::nanoseconds(interval));
  PENSTOCK_ASSIGN(const json::object now, Snapshot(cloud, kPlainRows));
  fmt::print("{}", TopText(before, now, cloud.url(), {.rows = kPlainRows, .columns = kPlainColumns}));
  return 0;
}

TopView::Sort Next(TopView::Sort sort) {
  return sort == TopView::Sort::kRate      ? TopView::Sort::kWaiting
         : sort == TopView::Sort::kWaiting ? TopView::Sort::kName
                                           : TopView::Sort::kRate;
}

// Waits until the next sample is due. False: the user quits.
bool Watch(const Terminal& terminal, Nanos interval, TopView& view, const std::function<void()>& draw) {
  const Nanos until = SystemClock().Monotonic() + interval;
  while (true) {
    const TerminalSize size = SizeOfTerminal();
    view.rows = size.rows;
    view.columns = size.columns;
    draw();
    char key = 0;
    switch (terminal.Wait(std::max<Nanos>(until - SystemClock().Monotonic(), kMillisecond), key)) {
      case Terminal::Event::kEnd:
        return false;
      case Terminal::Event::kKey:
        if (key == 'q' || key == 'Q' || key == 4) return false;
        if (key == 's' || key == 'S') view.sort = Next(view.sort);
        break;
      case Terminal::Event::kResized:
        break;
      case Terminal::Event::kTimeout:
        if (SystemClock().Monotonic() >= until) return true;
    }
  }
}

Result<int> Top(const LoadedConfig& loaded, Nanos interval, bool once) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  if (once || !IsTerminal()) return TopOnce(cloud, interval);
  PENSTOCK_ASSIGN(json::object before, Snapshot(cloud, SizeOfTerminal().rows));
  json::object now = before;
  std::string trouble;
  TopView view;
  PENSTOCK_ASSIGN(const Terminal terminal, Terminal::Open());
  while (Watch(terminal, interval, view, [&] {
    terminal.Draw(Fit(trouble + TopText(before, now, cloud.url(), view), view.rows, view.columns));
  })) {
    // Continues when a cloud restarts.
    if (auto next = Snapshot(cloud, view.rows); next.has_value()) {
      trouble.clear();
      before = std::exchange(now, *std::move(next));
    } else {
      trouble = next.error().message + "\n";
    }
  }
  return 0;
}

}  // namespace

void AddStatusCommand(CLI::App& app, Cli& cli) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* status = app.add_subcommand("status", "Show engines, models and the queue");
  status->add_flag("--json", *as_json, "print JSON");
  status->footer("Example:\n  penstock status");
  status->callback([&cli, as_json] {
    cli.run = [as_json](const LoadedConfig& loaded) { return ShowStatus(loaded, *as_json); };
  });

  auto interval = std::make_shared<std::string>("1s");
  auto once = std::make_shared<bool>(false);
  CLI::App* top =
      app.add_subcommand("top", "Watch engines, teams and requests live, as far as your role may see them");
  top->add_option("--interval", *interval, "time between updates (default 1s)")->check(Duration());
  top->add_flag("--once", *once, "print one interval as plain text; the default without a terminal");
  top->footer(
      "A team's usage is shown only to those who may read it.\n"
      "Keys: s sorts teams by another column, q or Ctrl-C quits.\n\n"
      "Example:\n  penstock top\n  penstock top --once");
  top->callback([&cli, interval, once] {
    cli.run = [interval, once](const LoadedConfig& loaded) -> Result<int> {
      PENSTOCK_ASSIGN(const Nanos every, ParseDuration(*interval));
      return Top(loaded, std::max(every, 100 * kMillisecond), *once);
    };
  });
}

}  // namespace penstock

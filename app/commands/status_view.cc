#include "app/commands/status_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "app/common/json_get.h"
#include "app/common/table.h"
#include "base/tokens.h"

namespace penstock {
namespace json = boost::json;
namespace {

constexpr size_t kModelsShown = 5, kTeamsShown = 5, kWarningsShown = 3, kBarWidth = 8;

std::string Bytes(const json::object& object, std::string_view key) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(GetInt(object, key), 0)));
}

std::string Rate(double per_second) {
  return per_second < 10 && per_second > 0 ? fmt::format("{:.1f}", per_second)
                                           : HumanCount(std::llround(per_second));
}

// ---- parts that status and top both show -----------------------------------------------------------

std::string Headline(const json::object& status, const std::string& url) {
  const bool ready = GetBool(status, "ready");
  const std::string state = GetBool(status, "draining") ? "stopping" : ready ? "ready" : "not ready";
  const std::string reason = GetText(status, "reason");
  return fmt::format("{} is {}, up for {} (Penstock {})\n{}", url, state,
                     HumanSeconds(GetReal(status, "uptime_s")), GetText(status, "version"),
                     reason.empty() ? "" : state + ": " + reason + "\n");
}

std::string Memory(const json::object& object, std::string_view used, std::string_view whole) {
  std::string part = Bytes(object, used);
  const std::string all = Bytes(object, whole);
  if (part.substr(part.find(' ')) == all.substr(all.find(' ')))
    part.erase(part.find(' '));  // "1.0 of 4.0 GB"
  return fmt::format("{} {} of {}", Bar(GetReal(object, used), GetReal(object, whole), kBarWidth), part, all);
}

std::string StateOf(const json::object& engine) {
  const std::string state = GetText(engine, "state");
  return state.empty() ? (GetBool(engine, "connected") ? "up" : "down") : state;
}

// "… and 3 more: penstock usage".
std::string More(size_t all, size_t shown, std::string_view command) {
  return all > shown ? fmt::format("… and {} more: {}\n", all - shown, command) : "";
}

std::vector<json::object> Objects(const json::object& status, std::string_view key) {
  std::vector<json::object> objects;
  for (const auto& value : GetArray(status, key)) {
    if (value.is_object()) objects.push_back(value.get_object());
  }
  return objects;
}

// ---- status ----------------------------------------------------------------------------------------

std::string Traffic(const json::object& status) {
  return fmt::format("{} running, {} waiting, {} open streams, {} connections, {} tokens/s\n",
                     GetInt(status, "running"), GetInt(status, "waiting"), GetInt(status, "open_streams"),
                     GetInt(status, "connections"), Rate(GetReal(status, "tokens_per_second")));
}

std::string Engines(const json::object& status) {
  Table table({"ENGINE", "STATE", "MEMORY", ">RUNNING", ">WAITING", "RUNNER", "KERNEL", "CHIP"});
  for (const auto& engine : Objects(status, "engines")) {
    table.Row({GetText(engine, "name"), StateOf(engine), Memory(engine, "resident_bytes", "memory_bytes"),
               std::to_string(GetInt(engine, "running")), std::to_string(GetInt(engine, "waiting")),
               GetText(engine, "runner"), GetText(engine, "kernel"), GetText(engine, "chip")});
  }
  if (table.empty()) return "no engine is connected\n";
  std::string text = table.Text();
  for (const auto& engine : Objects(status, "engines")) {
    const std::string name = GetText(engine, "name"), why = GetText(engine, "why");
    for (const char* key : {"place", "note"}) {
      const std::string words = GetText(engine, key);
      if (!words.empty()) text += fmt::format("{}: {}\n", name, words);
    }
    if (StateOf(engine) != "up" && !why.empty()) text += fmt::format("{}: {}\n", name, why);
  }
  return text;
}

// Each model's state in the gateway, and its memory on an engine that loaded it.
std::string Models(const json::object& status) {
  std::map<std::string, json::object> loaded;
  for (const auto& engine : Objects(status, "engines")) {
    for (const auto& model : Objects(engine, "models")) loaded.emplace(GetText(model, "name"), model);
  }
  auto models = Objects(status, "models");
  std::ranges::sort(models, {}, [](const json::object& m) {
    return std::pair(GetBool(m, "ready"), GetText(m, "name"));  // models that are not ready come first
  });
  Table table({"MODEL", "STATE", ">WEIGHTS", ">CONTEXT", ">KV TOKENS", "NOTE"});
  for (const auto& model : models) {
    if (table.size() == kModelsShown) break;
    const std::string name = GetText(model, "name");
    const json::object engine = loaded.contains(name) ? loaded.at(name) : json::object();
    const std::string state = GetBool(model, "ready")     ? "ready"
                              : !GetBool(model, "served") ? "unloaded"
                              : engine.empty()            ? "waiting"
                                                          : GetText(engine, "state");
    std::string error = GetText(model, "error");
    if (error.empty()) error = GetText(engine, "error");
    table.Row({name, state, Bytes(engine, "weight_bytes"), HumanCount(GetInt(engine, "context")),
               HumanCount(GetInt(engine, "pages") * kPageTokens), error});
  }
  if (table.empty()) return "no models yet: penstock model pull smollm2-135m\n";
  return table.Text() + More(models.size(), kModelsShown, "penstock model ls");
}

std::string Teams(const json::object& status) {
  auto teams = Objects(status, "queue");
  std::ranges::sort(teams, {}, [](const json::object& t) {
    return std::tuple(-GetInt(t, "waiting") - GetInt(t, "running"), -GetInt(t, "tokens"), GetText(t, "team"));
  });
  Table table({"TEAM", ">RUNNING", ">WAITING", ">TOKENS", ">CHIP TIME"});
  for (const auto& team : teams) {
    if (table.size() == kTeamsShown) break;
    table.Row({GetText(team, "team"), std::to_string(GetInt(team, "running")),
               std::to_string(GetInt(team, "waiting")), HumanCount(GetInt(team, "tokens")),
               HumanSeconds(GetReal(team, "chip_ms") / 1e3)});
  }
  if (table.empty()) return "";
  return "\n" + table.Text() + More(teams.size(), kTeamsShown, "penstock usage");
}

std::string Store(const json::object& status) {
  const auto& store = GetObject(status, "store");
  const auto& disk = GetObject(status, "disk");
  const std::string health =
      GetBool(store, "healthy") ? "healthy" : "CANNOT BE WRITTEN: " + GetText(store, "fault");
  return fmt::format("store     {}; {} of {} free at {}\n", health, Bytes(disk, "free_bytes"),
                     Bytes(disk, "bytes"), GetText(disk, "path"));
}

std::string LogPart(const json::object& part) {
  const int64_t left = GetInt(part, "for_seconds");
  return GetText(part, "level") +
         (left > 0 ? fmt::format(" for {} more", HumanSeconds(static_cast<double>(left))) : "");
}

std::string Logs(const json::object& status) {
  const auto& log = GetObject(status, "log");
  const std::string gateway = LogPart(GetObject(log, "gateway")), engine = LogPart(GetObject(log, "engine"));
  return gateway == engine ? fmt::format("logs      {}\n", gateway)
                           : fmt::format("logs      gateway {}, engines {}\n", gateway, engine);
}

std::string Warnings(const json::object& status) {
  const auto warnings = Objects(status, "warnings");
  std::string text;
  const size_t first = warnings.size() - std::min(warnings.size(), kWarningsShown);
  for (size_t i = first; i < warnings.size(); ++i) {
    text += fmt::format("{:8}  {}  {}\n", GetText(warnings[i], "level"),
                        HumanTime(GetReal(warnings[i], "at")), GetText(warnings[i], "text"));
  }
  return text;
}

// ---- top -------------------------------------------------------------------------------------------

// The object of `objects` whose `key` equals that of `like`; empty if there is none.
json::object Same(const std::vector<json::object>& objects, const json::object& like, std::string_view key) {
  for (const auto& object : objects) {
    if (GetText(object, key) == GetText(like, key)) return object;
  }
  return {};
}

// A counter that fell was reset: its value now is everything since the reset.
double PerSecond(const json::object& before, const json::object& now, std::string_view key, double seconds) {
  const double then = GetReal(before, key), current = GetReal(now, key);
  if (before.empty() || seconds <= 0) return 0;
  return (current < then ? current : current - then) / seconds;
}

std::string TopEngines(const json::object& before, const json::object& now, double seconds) {
  const auto previous = Objects(before, "engines");
  Table table({"ENGINE", "STATE", "MEMORY", ">RUNNING", ">WAITING", ">COMPUTED/S", ">PREEMPTED"});
  for (const auto& engine : Objects(now, "engines")) {
    const json::object then = Same(previous, engine, "name");
    table.Row({GetText(engine, "name"), StateOf(engine),
               Memory(GetObject(engine, "memory"), "used_bytes", "total_bytes"),
               std::to_string(GetInt(engine, "running")), std::to_string(GetInt(engine, "waiting")),
               Rate(PerSecond(then, engine, "computed_tokens", seconds)),
               HumanCount(GetInt(engine, "preemptions"))});
  }
  return table.empty() ? "no engine is connected\n" : table.Text();
}

struct TeamLine {
  std::string name;
  int64_t running = 0, waiting = 0;
  bool knows_usage = false;
  double rate = 0, chip = 0;
  int64_t tokens = 0;
};

TeamLine LineOf(const json::object& before, const json::object& team, double seconds) {
  return {.name = GetText(team, "team"),
          .running = GetInt(team, "running"),
          .waiting = GetInt(team, "waiting"),
          .knows_usage = team.contains("tokens"),
          .rate = PerSecond(before, team, "tokens", seconds),
          .chip = PerSecond(before, team, "chip_ms", seconds) / 10,
          .tokens = GetInt(team, "tokens")};
}

// All teams that are listed by name, sorted; then the sum of the others.
std::vector<TeamLine> TeamLines(const json::object& before, const json::object& now, double seconds,
                                TopView::Sort sort) {
  const auto previous = Objects(before, "teams");
  std::vector<TeamLine> lines;
  for (const auto& team : Objects(now, "teams"))
    lines.push_back(LineOf(Same(previous, team, "team"), team, seconds));
  std::ranges::sort(lines, {}, [sort](const TeamLine& line) {
    const double most = sort == TopView::Sort::kRate      ? line.rate
                        : sort == TopView::Sort::kWaiting ? static_cast<double>(line.waiting)
                                                          : 0;
    return std::pair(-most, line.name);
  });
  if (now.contains("other_teams")) {
    lines.push_back(LineOf({}, GetObject(now, "other_teams"), seconds));
    lines.back().name = "all other teams";
  }
  return lines;
}

std::string TopTeams(const std::vector<TeamLine>& lines, size_t most) {
  Table table({"TEAM", ">TOKENS/S", ">DEVICE %", ">RUNNING", ">WAITING", ">TOKENS"});
  for (const auto& line : lines) {
    if (table.size() == most) break;
    const auto if_known = [&](std::string text) { return line.knows_usage ? std::move(text) : "-"; };
    table.Row({line.name, if_known(Rate(line.rate)), if_known(fmt::format("{:.0f}", line.chip)),
               std::to_string(line.running), std::to_string(line.waiting),
               if_known(HumanCount(line.tokens))});
  }
  if (table.empty()) return "no team has sent a request yet\n";
  return table.Text() + More(lines.size(), most, "penstock usage");
}

// Running and waiting requests, in the order in which they arrived.
std::string TopRequests(const json::object& live, size_t most) {
  const auto& listed = GetObject(live, "requests");
  const auto requests = Objects(listed, "data");
  if (requests.empty()) return "no running or waiting requests\n";
  Table table({"REQUEST", "TEAM", "MODEL", "STATE", ">IN", ">OUT", ">AGE"});
  for (const auto& request : requests) {
    if (table.size() == most) break;
    table.Row({GetText(request, "id"), GetText(request, "team"), GetText(request, "model"),
               GetText(request, "state"), HumanCount(GetInt(request, "prompt_tokens")),
               HumanCount(GetInt(request, "tokens")), HumanSeconds(GetReal(request, "age_ms") / 1e3)});
  }
  const auto all = static_cast<size_t>(std::max<int64_t>(GetInt(listed, "total"), 0));
  return table.Text() + (all > table.size() ? fmt::format("… and {} more\n", all - table.size()) : "");
}

size_t Lines(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return c == '\n'; }));
}

std::string_view SortName(TopView::Sort sort) {
  return sort == TopView::Sort::kRate ? "tokens/s" : sort == TopView::Sort::kWaiting ? "waiting" : "name";
}

}  // namespace

std::string Bar(double part, double whole, size_t width) {
  const double share = whole > 0 ? std::clamp(part / whole, 0.0, 1.0) : 0;
  const auto full = static_cast<size_t>(std::lround(share * static_cast<double>(width)));
  return "[" + std::string(full, '#') + std::string(width - full, '.') + "]";
}

std::string Fit(const std::string& text, size_t rows, size_t columns) {
  std::string out;
  size_t row = 0, column = 0;
  for (const char c : text) {
    if (c == '\n') {
      out += c;
      column = 0;
      if (++row == rows) break;
    } else if ((c & 0xC0) == 0x80) {
      if (column <= columns) out += c;  // a later byte of the same character
    } else if (++column <= columns) {
      out += c;
    }
  }
  return out;
}

std::string StatusText(const json::object& status, const std::string& url, size_t columns) {
  const std::string text = Headline(status, url) + Traffic(status) + "\n" + Engines(status) + "\n" +
                           Models(status) + Teams(status) + "\n" + Store(status) + Logs(status) +
                           Warnings(status);
  return Fit(text, std::numeric_limits<size_t>::max(), columns);
}

std::string TopText(const json::object& before, const json::object& now, const std::string& url,
                    const TopView& view) {
  const double seconds = GetReal(now, "at") - GetReal(before, "at");
  const auto& pool = GetObject(now, "pool");
  const std::string text =
      Headline(now, url) +
      fmt::format("{} running, {} waiting, {} tokens/s\n\n", GetInt(pool, "running"), GetInt(pool, "waiting"),
                  Rate(GetReal(pool, "tokens_per_second"))) +
      TopEngines(before, now, seconds) + "\n" +
      TopTeams(TeamLines(before, now, seconds, view.sort), std::max(kTeamsShown, view.rows / 4)) +
      fmt::format("teams sorted by {}; s: change, q: quit\n", SortName(view.sort)) + Warnings(now) + "\n";
  constexpr size_t kHeaderAndRest = 2;
  const size_t left = view.rows - std::min(view.rows, Lines(text) + kHeaderAndRest);
  return Fit(text + TopRequests(now, left), view.rows, view.columns);
}

}  // namespace penstock

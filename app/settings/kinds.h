// Kinds of settings: how a value of each kind is read from text and shown as text.
//
// Parse's errors (kInvalid) complete the sentence "NAME must be …, not '…'". Values with a fixed form are
// checked here, so that a mistake is found at the start.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings/units.h"
#include "attach/url.h"
#include "base/clock.h"
#include "base/log_level.h"
#include "base/result.h"
#include "gateway/request/token_limits.h"
#include "runner/fake.h"

namespace penstock::setting_kinds {

struct Text {
  static Status Parse(std::string& out, std::string_view text) {
    out = text;
    return {};
  }
  static std::string Show(const std::string& value) { return value; }
};

struct Number {
  template <class T>
  static Status Parse(T& out, std::string_view text) {
    constexpr uint64_t kMost = std::min<uint64_t>(std::numeric_limits<T>::max(), INT64_MAX);
    PENSTOCK_ASSIGN(const uint64_t value, ParseNumber(text, kMost));
    out = static_cast<T>(value);
    return {};
  }
  template <class T>
  static std::string Show(const T& value) {
    return std::to_string(value);
  }
};

struct Size {  // bytes
  template <class T>
  static Status Parse(T& out, std::string_view text) {
    PENSTOCK_ASSIGN(const uint64_t value, ParseBytes(text));
    out = static_cast<T>(value);
    return {};
  }
  template <class T>
  static std::string Show(const T& value) {
    return ShowBytes(static_cast<uint64_t>(value));
  }
};

struct Time {
  static Status Parse(Nanos& out, std::string_view text) {
    PENSTOCK_ASSIGN(out, ParseDuration(text));
    return {};
  }
  static std::string Show(Nanos value) { return ShowDuration(value); }
};

struct Flag {
  static Status Parse(bool& out, std::string_view text) {
    if (text != "true" && text != "false") return MustBe("true or false", text);
    out = text == "true";
    return {};
  }
  static std::string Show(bool value) { return value ? "true" : "false"; }
};

struct Share {
  static Status Parse(double& out, std::string_view text) {
    PENSTOCK_ASSIGN(out, ParseShare(text));
    return {};
  }
  static std::string Show(double value) { return ShowShare(value); }
};

struct List {
  static Status Parse(std::vector<std::string>& out, std::string_view text) {
    out.clear();
    while (!text.empty()) {
      const size_t comma = std::min(text.find(','), text.size());
      if (comma > 0) out.emplace_back(text.substr(0, comma));
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return {};
  }
  static std::string Show(const std::vector<std::string>& value) {
    return fmt::format("{}", fmt::join(value, ","));
  }
};

// "ours=theirs,…"; a single name means that both are the same.
struct Names {
  using Map = std::map<std::string, std::string, std::less<>>;
  static Status Parse(Map& out, std::string_view text) {
    out.clear();
    std::vector<std::string> pairs;
    PENSTOCK_TRY(List::Parse(pairs, text));
    for (const std::string& pair : pairs) {
      const size_t equals = std::min(pair.find('='), pair.size());
      out[pair.substr(0, equals)] = equals < pair.size() ? pair.substr(equals + 1) : pair;
    }
    return {};
  }
  static std::string Show(const Map& value) {
    std::string text;
    for (const auto& [ours, theirs] : value)
      text += fmt::format("{}{}{}", text.empty() ? "" : ",", ours, ours == theirs ? "" : "=" + theirs);
    return text;
  }
};

// "4096,NAME=8192,…": for all models, and for some another number.
struct ModelTokens {
  static Status Parse(TokensByModel& out, std::string_view text) {
    out = {};
    std::vector<std::string> parts;
    PENSTOCK_TRY(List::Parse(parts, text));
    for (const std::string& part : parts) {
      const size_t equals = part.rfind('=');
      const std::string_view number = std::string_view(part).substr(equals == part.npos ? 0 : equals + 1);
      const auto tokens = ParseNumber(number, std::numeric_limits<int32_t>::max());
      const bool general = &part == &parts.front() && equals == part.npos;
      if (!tokens || equals == 0 || (equals == part.npos && !general))
        return MustBe("a number of tokens, or one for all models and some by name: 4096,NAME=8192", text);
      (general ? out.general : out.by_model[part.substr(0, equals)]) = static_cast<uint32_t>(*tokens);
    }
    return {};
  }
  static std::string Show(const TokensByModel& value) {
    std::string text = std::to_string(value.general);
    for (const auto& [model, tokens] : value.by_model) text += fmt::format(",{}={}", model, tokens);
    return text;
  }
};

// ---- types whose values are checked when they are read, so that a mistake is found at startup

inline Status OneOfWords(std::string& out, std::string_view text, std::span<const std::string_view> words) {
  if (std::ranges::find(words, text) == words.end())
    return MustBe(fmt::format("one of {}", fmt::join(words, ", ")), text);
  out = text;
  return {};
}

struct LogPlace : Text {
  static Status Parse(std::string& out, std::string_view text) {
    return OneOfWords(out, text, std::array<std::string_view, 2>{"files", "stderr"});
  }
};

struct Level {
  static Status Parse(LogLevel& out, std::string_view text) {
    const auto level = ParseLogLevel(text);
    if (!level.has_value()) return MustBe("one of error, warning, info, debug, trace", text);
    out = *level;
    return {};
  }
  static std::string Show(LogLevel value) { return std::string(LogLevelName(value)); }
};

struct RunnerName : Text {
  static Status Parse(std::string& out, std::string_view text) {
    constexpr std::string_view kFake = "fake?";
    if (!text.starts_with(kFake))
      return OneOfWords(out, text, std::array<std::string_view, 3>{"native", "ggml", "fake"});
    if (const auto options = ParseFakeOptions(text.substr(kFake.size())); !options)
      return std::unexpected(options.error());
    out = text;
    return {};
  }
};

struct ControlPolicy : Text {
  static Status Parse(std::string& out, std::string_view text) {
    return OneOfWords(out, text, std::array<std::string_view, 2>{"text", "parse"});
  }
};

struct HostAndPort : Text {
  static Status Parse(std::string& out, std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || !ParseNumber(text.substr(colon + 1), 65535))
      return MustBe("HOST:PORT, such as 127.0.0.1:8700", text);
    out = text;
    return {};
  }
};

// Host names that clients use, without scheme, port or path; "*" means any.
struct HostNames : List {
  static Status Parse(std::vector<std::string>& out, std::string_view text) {
    std::vector<std::string> names;
    PENSTOCK_TRY(List::Parse(names, text));
    for (const std::string& name : names) {
      if (name.find_first_of("/: ") != std::string::npos && !name.starts_with('['))
        return MustBe("host names such as ai.example.com, separated by commas", name);
    }
    out = std::move(names);
    return {};
  }
};

// Origins as browsers send them: scheme, host and port, no path; "*" means any.
struct Origins : List {
  static Status Parse(std::vector<std::string>& out, std::string_view text) {
    std::vector<std::string> origins;
    PENSTOCK_TRY(List::Parse(origins, text));
    for (const std::string& origin : origins) {
      const size_t scheme = origin.find("://");
      const bool whole = scheme != std::string::npos && scheme > 0 && scheme + 3 < origin.size() &&
                         origin.find_first_of("/ ", scheme + 3) == std::string::npos;
      if (origin != "*" && !whole)
        return MustBe("origins such as https://app.example.com, separated by commas", origin);
    }
    out = std::move(origins);
    return {};
  }
};

struct CoreList : Text {
  static Status Parse(std::string& out, std::string_view text) {
    if (const auto cores = ParseCoreList(text); !cores.has_value()) return std::unexpected(cores.error());
    out = text;
    return {};
  }
};

struct NumaNode : Text {
  static Status Parse(std::string& out, std::string_view text) {
    if (!text.empty() && !ParseNumber(text, 1023)) return MustBe("the number of a NUMA node", text);
    out = text;
    return {};
  }
};

struct Kernel : Text {
  static Status Parse(std::string& out, std::string_view text) {
    if (text.empty()) return Text::Parse(out, text);
    return OneOfWords(out, text, std::array<std::string_view, 3>{"reference", "avx2", "avx512"});
  }
};

struct ServerUrl : Text {
  static Status Parse(std::string& out, std::string_view text) {
    if (!text.empty()) PENSTOCK_TRY(ParseUrl(text));
    out = text;
    return {};
  }
};

struct Launch : Text {
  static Status Parse(std::string& out, std::string_view text) {
    if (!text.empty() && text.find("{port}") == std::string_view::npos) {
      return MustBe("a command with {port} for its port, such as vllm serve MODEL --port {port}", text);
    }
    out = text;
    return {};
  }
};

// A limit that must not be so small that operators lock themselves out of the running cloud.
template <class Kind, auto Least>
struct AtLeast : Kind {
  template <class T>
  static Status Parse(T& out, std::string_view text) {
    T value{};
    PENSTOCK_TRY(Kind::Parse(value, text));
    if (value < static_cast<T>(Least)) return MustBe("at least " + Kind::Show(static_cast<T>(Least)), text);
    out = value;
    return {};
  }
};

}  // namespace penstock::setting_kinds

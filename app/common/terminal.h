// Terminal: a full screen that is redrawn, and keys as they are pressed. The terminal is restored at the end,
// also after signals other than SIGKILL.
//
// Threads: one; while a Terminal exists, that thread receives SIGINT, SIGTERM, SIGHUP, SIGTSTP and SIGWINCH
// through it.
#pragma once

#include <termios.h>

#include <csignal>
#include <string_view>

#include "app/common/data_dir.h"
#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct TerminalSize {
  size_t rows = 24, columns = 80;
};
// Of standard output; 24 × 80 if that is not a terminal.
TerminalSize SizeOfTerminal();
bool IsTerminal();  // whether standard input and output are terminals

class Terminal {
 public:
  static Result<Terminal> Open();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  // Replaces the content of the screen, without flicker.
  void Draw(std::string_view text) const;
  // What happened first: a key, a signal to end, a new size, or the end of the wait.
  enum class Event : uint8_t { kKey, kEnd, kResized, kTimeout };
  Event Wait(Nanos longest, char& key) const;

 private:
  Terminal() = default;
  bool open_ = false;
  Fd signals_;
  termios before_{};
  sigset_t mask_before_{};
};

}  // namespace penstock

// Terminal: a whole screen that is redrawn, and keys as they are pressed. It is as it was when this ends,
// however it ends but by SIGKILL.
//
// Threads: one; while it lives, that thread takes SIGINT, SIGTERM, SIGHUP, SIGTSTP and SIGWINCH from it.
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
// Of standard output; 24 × 80 where that is no terminal.
TerminalSize SizeOfTerminal();
bool IsTerminal();  // standard input and output are one

class Terminal {
 public:
  static Result<Terminal> Open();
  Terminal(Terminal&& other) noexcept;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  // Replaces what is on the screen, without flicker.
  void Draw(std::string_view text) const;
  // What came first: a key, the wish to end (a signal), another size, or the end of the wait.
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

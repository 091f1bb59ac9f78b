#include "app/common/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace penstock {
namespace {

// xterm's control sequences, which every current terminal supports.
constexpr std::string_view kOpen = "\x1b[?1049h\x1b[?25l\x1b[2J";  // alternate screen, no cursor, cleared
constexpr std::string_view kClose = "\x1b[?25h\x1b[?1049l";

void Put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

TerminalSize SizeOfTerminal() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

bool IsTerminal() {
  return isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
}

Result<Terminal> Terminal::Open() {
  Terminal terminal;
  if (tcgetattr(STDIN_FILENO, &terminal.before_) != 0) return FailErrno(Code::kIo, "the terminal");
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, &terminal.mask_before_);
  terminal.signals_ = Fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  termios raw = terminal.before_;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  if (!terminal.signals_ || tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) {
    pthread_sigmask(SIG_SETMASK, &terminal.mask_before_, nullptr);
    return FailErrno(Code::kIo, "the terminal");
  }
  terminal.open_ = true;
  Put(kOpen);
  return terminal;
}

Terminal::Terminal(Terminal&& other) noexcept
    : open_(std::exchange(other.open_, false)),
      signals_(std::move(other.signals_)),
      before_(other.before_),
      mask_before_(other.mask_before_) {}

Terminal::~Terminal() {
  if (!open_) return;
  Put(kClose);
  tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

void Terminal::Draw(std::string_view text) const {
  std::string frame = "\x1b[H";
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    frame.append(frame.size() > 3 ? "\r\n" : "").append(text.substr(0, end)).append("\x1b[K");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  Put(frame + "\x1b[J");
}

Terminal::Event Terminal::Wait(Nanos longest, char& key) const {
  pollfd wait[] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                   {.fd = signals_.get(), .events = POLLIN, .revents = 0}};
  if (poll(wait, 2, static_cast<int>(longest / kMillisecond)) <= 0) return Event::kTimeout;
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGWINCH) return Event::kResized;
    if (info.ssi_signo != SIGTSTP) return Event::kEnd;
  }
  if (wait[0].revents == 0) return Event::kTimeout;
  return read(STDIN_FILENO, &key, 1) == 1 ? Event::kKey : Event::kEnd;  // the terminal was closed
}

}  // namespace penstock

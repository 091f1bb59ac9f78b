// mock_upstream PORT UNARY_BODY STREAM_PARTS: the upstream behind nginx. Sends the same answers as Penstock,
// as fast as a socket allows, so that nginx is measured with the same bytes as Penstock.
//
// UNARY_BODY is the JSON of a whole answer. STREAM_PARTS holds the data lines of a stream, one per line: the
// opening event, one token's event with @ in place of its text, then the closing events. A request whose
// body has "stream":true gets kPacedTokens token events, kPaceNs apart; each contains the time when it was
// written (CLOCK_MONOTONIC, ns), so that the reader knows its age.
//
// One thread, epoll, level-triggered. What the socket does not accept is kept and sent later.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/serve/pace.h"

namespace {

using penstock::bench::kPacedTokens;
using penstock::bench::kPaceNs;
using penstock::bench::NowNs;
using penstock::bench::Pacer;

struct Answers {
  std::string unary;          // whole response, including headers
  std::string stream_head;    // headers and the opening event's chunk
  std::string before, after;  // a token's event around its text
  std::string stream_tail;    // closing events and the last chunk
};

std::string Chunk(std::string_view data) {
  return fmt::format("{:x}\r\n{}\r\n", data.size(), data);
}

Answers ReadAnswers(const char* unary_path, const char* parts_path) {
  std::ifstream unary(unary_path), parts(parts_path);
  const std::string body((std::istreambuf_iterator<char>(unary)), {});
  std::vector<std::string> lines;
  for (std::string line; std::getline(parts, line);) lines.push_back("data: " + line + "\n\n");
  if (body.empty() || lines.size() < 3 || lines[1].find('@') == std::string::npos) {
    fmt::print(stderr, "mock_upstream: {} or {} does not contain an answer\n", unary_path, parts_path);
    std::exit(1);
  }
  Answers answers;
  answers.unary = fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  answers.stream_head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
      Chunk(lines[0]);
  const size_t mark = lines[1].find('@');
  answers.before = lines[1].substr(0, mark);
  answers.after = lines[1].substr(mark + 1);
  for (size_t i = 2; i < lines.size(); ++i) answers.stream_tail += Chunk(lines[i]);
  answers.stream_tail += "0\r\n\r\n";
  return answers;
}

struct Connection {
  int fd = -1;
  uint64_t serial = 0;  // of the connection's current stream; older paced streams are dropped
  std::string in, out;
};

class Server {
 public:
  Server(int port, Answers answers) : answers_(std::move(answers)) {
    listen_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int one = 1;
    setsockopt(listen_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listen_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listen_, 4096) != 0) {
      fmt::print(stderr, "mock_upstream: cannot listen on port {}: {}\n", port, std::strerror(errno));
      std::exit(1);
    }
    Watch(listen_, EPOLLIN);
  }

  [[noreturn]] void Run() {
    std::vector<epoll_event> events(1024);
    for (;;) {
      const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), pacer_.WaitMs());
      for (int i = 0; i < ready; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd == listen_)
          Accept();
        else
          Serve(fd, events[static_cast<size_t>(i)].events);
      }
      pacer_.Due([this](const Pacer::Turn& turn) { SendToken(turn); });
    }
  }

 private:
  void Watch(int fd, uint32_t what) const {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }

  void Accept() {
    for (int fd; (fd = accept4(listen_, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
      const int one = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto& connection = connections_[fd];
      connection = Connection{fd, ++serial_, {}, {}};
      Watch(fd, EPOLLIN);
    }
  }

  void Close(int fd) {
    connections_.erase(fd);
    close(fd);
  }

  void Serve(int fd, uint32_t what) {
    const auto at = connections_.find(fd);
    if (at == connections_.end()) return;
    Connection& c = at->second;
    if ((what & EPOLLOUT) != 0 && !Flush(c)) return Close(fd);
    if ((what & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    char buffer[65536];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return Close(fd);
    if (got > 0) c.in.append(buffer, static_cast<size_t>(got));
    while (Answer(c)) {
    }
  }

  // Removes one complete request from the front of c.in, if there is one.
  bool Answer(Connection& c) {
    const size_t head = c.in.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    const char* length = strcasestr(c.in.c_str(), "content-length:");
    const size_t body = length != nullptr ? std::strtoul(length + 15, nullptr, 10) : 0;
    if (c.in.size() < head + 4 + body) return false;
    const bool stream = c.in.find("\"stream\":true", head) < head + 4 + body;
    c.in.erase(0, head + 4 + body);
    Send(c, stream ? answers_.stream_head : answers_.unary);
    if (stream) pacer_.Add({c.fd, c.serial, 0, NowNs()});
    return true;
  }

  void SendToken(const Pacer::Turn& turn) {
    const auto at = connections_.find(static_cast<int>(turn.id));
    if (at == connections_.end() || at->second.serial != turn.serial) return;
    std::string out = Chunk(fmt::format("{}{} {}", answers_.before, NowNs(), answers_.after));
    if (turn.index + 1 == kPacedTokens) out += answers_.stream_tail;
    Send(at->second, out);
  }

  void Send(Connection& c, std::string_view data) {
    if (c.out.empty()) {
      const ssize_t sent = send(c.fd, data.data(), data.size(), MSG_NOSIGNAL);
      if (sent == static_cast<ssize_t>(data.size())) return;
      data.remove_prefix(sent > 0 ? static_cast<size_t>(sent) : 0);
      Watch(c.fd, EPOLLIN | EPOLLOUT);
    }
    c.out.append(data);
  }

  bool Flush(Connection& c) {
    const ssize_t sent = send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    c.out.erase(0, static_cast<size_t>(sent));
    if (c.out.empty()) Watch(c.fd, EPOLLIN);
    return true;
  }

  Answers answers_;
  int epoll_ = epoll_create1(0), listen_ = -1;
  uint64_t serial_ = 0;
  std::unordered_map<int, Connection> connections_;
  Pacer pacer_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: mock_upstream PORT UNARY_BODY STREAM_PARTS\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  Server(std::atoi(argv[1]), ReadAnswers(argv[2], argv[3])).Run();
}

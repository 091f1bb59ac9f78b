// load PORT unary|stream CONNECTIONS SECONDS BODIES ROWS [KEY]: closed-loop HTTP load.
//
// Each connection sends a request, reads the whole answer and sends the next one. After SECONDS no connection
// sends another request, but all running answers are read to their end: so the server must have exactly as
// many usage records as the client has answers. BODIES holds one request body per line, used in turn.
// In stream mode the connections start spread over a second, so that their tokens are not synchronous.
//
// ROWS gets one JSON row per request, written after the load; for a stream also the age of each token at its
// arrival, from the time in the token's text (see pace.h). One thread, epoll.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "bench/serve/pace.h"

namespace {

using penstock::bench::kPacedTokens;
using penstock::bench::kPaceNs;
using penstock::bench::NowNs;

struct Row {
  int status = 0;  // 0: the connection failed
  int64_t start = 0, took = 0;
  bool whole = false;
  std::vector<int32_t> ages_us;
};

struct Connection {
  int fd = -1;
  int64_t begin = 0;  // when it may send its first request
  bool busy = false, closed = false;
  std::string in;
  size_t scanned = 0;  // of `in`, for stream tokens
  size_t head = 0;     // length of the response headers; 0: not yet complete
  size_t need = 0;     // whole response, with content-length
  Row row;
};

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "load: {}\n", why);
  std::exit(1);
}

class Load {
 public:
  Load(int port, bool stream, int connections, double seconds, std::vector<std::string> requests)
      : port_(port),
        stream_(stream),
        requests_(std::move(requests)),
        connections_(static_cast<size_t>(connections)) {
    for (auto& c : connections_) Connect(c);
    const int64_t now = NowNs();
    end_ = now + static_cast<int64_t>(seconds * 1e9);
    const int64_t spread = stream ? kPacedTokens * kPaceNs : 0;
    for (size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].begin =
          now + spread * static_cast<int64_t>(i) / static_cast<int64_t>(connections_.size());
    }
  }

  void Run() {
    std::vector<epoll_event> events(1024);
    size_t begun = 0;
    const int64_t give_up = end_ + 30'000'000'000;
    while (NowNs() < give_up) {
      for (; begun < connections_.size() && connections_[begun].begin <= NowNs(); ++begun)
        Next(connections_[begun]);
      if (begun == connections_.size() && busy_ == 0) return;
      const int wait = begun < connections_.size() ? 1 : 100;
      const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), wait);
      for (int i = 0; i < ready; ++i) Read(connections_[events[static_cast<size_t>(i)].data.u64]);
    }
    for (auto& c : connections_) {
      if (c.busy) Finish(c, false);
    }
  }

  const std::vector<Row>& rows() const { return rows_; }

 private:
  void Connect(Connection& c) {
    c.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      Die(fmt::format("cannot connect to port {}: {}", port_, std::strerror(errno)));
    }
    const int one = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = static_cast<uint64_t>(&c - connections_.data());
    epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
    c.closed = false;
  }

  void Next(Connection& c) {
    if (NowNs() >= end_) return;
    if (c.closed) Connect(c);
    const std::string& request = requests_[sent_++ % requests_.size()];
    c.in.clear();
    c.scanned = c.head = c.need = 0;
    c.row = Row{};
    c.row.start = NowNs();
    c.busy = true;
    ++busy_;
    // Requests are small and the socket buffer is empty, so a blocking send does not block.
    if (send(c.fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) Broken(c);
  }

  void Finish(Connection& c, bool whole) {
    c.row.took = NowNs() - c.row.start;
    c.row.whole = whole;
    c.busy = false;
    --busy_;
    rows_.push_back(std::move(c.row));
  }

  void Broken(Connection& c) {
    close(c.fd);
    c.closed = true;
    if (!c.busy) return;
    Finish(c, false);
    Next(c);
  }

  void Read(Connection& c) {
    const ssize_t got = recv(c.fd, buffer_, sizeof buffer_, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return Broken(c);
    if (!c.busy) return;
    c.in.append(buffer_, static_cast<size_t>(got));
    if (c.head == 0 && !ReadHead(c)) return;
    if (stream_ && c.row.status == 200) ReadTokens(c, NowNs());
    const bool whole = c.need > 0 ? c.in.size() >= c.need : c.in.ends_with("0\r\n\r\n");
    if (!whole) return;
    Finish(c, true);
    Next(c);
  }

  static bool ReadHead(Connection& c) {
    const size_t end = c.in.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    c.head = end + 4;
    c.scanned = c.head;
    c.row.status = std::atoi(c.in.c_str() + 9);
    const char* length = strcasestr(c.in.c_str(), "content-length:");
    if (length != nullptr && length < c.in.c_str() + end)
      c.need = c.head + std::strtoul(length + 15, nullptr, 10);
    return true;
  }

  // Each token's text is the time when it was written: "content":"123456789 ".
  static void ReadTokens(Connection& c, int64_t now) {
    static constexpr std::string_view kMark = "\"content\":\"";
    for (;;) {
      const size_t mark = c.in.find(kMark, c.scanned);
      if (mark == std::string::npos) break;
      const size_t digits = mark + kMark.size();
      const size_t end = c.in.find('"', digits);
      if (end == std::string::npos) break;
      c.scanned = end;
      // Several tokens may share an event; each has its own time.
      for (const char* p = c.in.c_str() + digits; *p >= '0' && *p <= '9';) {
        char* after = nullptr;
        c.row.ages_us.push_back(static_cast<int32_t>((now - std::strtoll(p, &after, 10)) / 1000));
        p = *after == ' ' ? after + 1 : after;
      }
    }
  }

  int port_;
  bool stream_;
  std::vector<std::string> requests_;
  std::vector<Connection> connections_;
  int epoll_ = epoll_create1(0);
  int64_t end_ = 0;
  size_t busy_ = 0, sent_ = 0;
  std::vector<Row> rows_;
  char buffer_[65536];
};

std::vector<std::string> ReadRequests(const char* path, int port, const std::string& key) {
  std::ifstream file(path);
  std::vector<std::string> requests;
  for (std::string body; std::getline(file, body);) {
    requests.push_back(
        fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n"
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                    port, key, body.size(), body));
  }
  if (requests.empty()) Die(fmt::format("{} contains no request", path));
  return requests;
}

void WriteRows(const char* path, const std::vector<Row>& rows) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) Die(fmt::format("cannot write {}", path));
  for (const Row& row : rows) {
    fmt::print(file, "{{\"status\":{},\"whole\":{},\"start_ns\":{},\"took_us\":{}", row.status, row.whole,
               row.start, row.took / 1000);
    if (!row.ages_us.empty()) fmt::print(file, ",\"ages_us\":[{}]", fmt::join(row.ages_us, ","));
    fmt::print(file, "}}\n");
  }
  std::fclose(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) Die("usage: load PORT unary|stream CONNECTIONS SECONDS BODIES ROWS [KEY]");
  const int port = std::atoi(argv[1]);
  const bool stream = std::string_view(argv[2]) == "stream";
  Load load(port, stream, std::atoi(argv[3]), std::atof(argv[4]),
            ReadRequests(argv[5], port, argc > 7 ? argv[7] : "none"));
  load.Run();
  WriteRows(argv[6], load.rows());
}

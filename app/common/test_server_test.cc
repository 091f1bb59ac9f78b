#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "app/common/test_server.h"
#include "base/check.h"

namespace penstock {
namespace {

void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

std::string ReadHead(int fd) {
  std::string head;
  char block[4096];
  while (!head.contains("\r\n\r\n")) {
    const ssize_t got = recv(fd, block, sizeof block, 0);
    if (got <= 0) return "";
    head.append(block, static_cast<size_t>(got));
  }
  return head;
}

std::string FieldOf(const std::string& head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

}  // namespace

TestServer::TestServer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  PENSTOCK_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  PENSTOCK_CHECK(listen(listener_.get(), 64) == 0);
  PENSTOCK_CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Accept(); });
}

TestServer::~TestServer() {
  stop_ = true;
  thread_.join();
}

std::string TestServer::Url(const std::string& path) const {
  return fmt::format("http://127.0.0.1:{}{}", port_, path);
}

void TestServer::Serve(const std::string& path, Served served) {
  const std::lock_guard lock(mutex_);
  paths_[path] = {std::move(served)};
}

void TestServer::ServeInTurn(const std::string& path, std::vector<Served> answers) {
  const std::lock_guard lock(mutex_);
  paths_[path] = std::move(answers);
}

bool TestServer::SawHeader(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(heads_, [&](const std::string& head) { return !FieldOf(head, name).empty(); });
}

std::vector<std::string> TestServer::Seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void TestServer::Accept() {
  while (!stop_) {
    pollfd wait{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 20) <= 0) continue;
    const Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) Answer(client.get());
  }
}

void TestServer::Answer(int fd) {
  const std::string head = ReadHead(fd);
  const std::string method = head.substr(0, head.find(' '));
  const size_t begin = method.size() + 1;
  if (head.empty()) return;
  const std::string path = head.substr(begin, head.find(' ', begin) - begin);
  const std::string range = FieldOf(head, "Range");
  Served served{.status = 404};
  {
    const std::lock_guard lock(mutex_);
    seen_.push_back(method + " " + path + (range.empty() ? "" : " " + range));
    heads_.push_back(head);
    if (const auto found = paths_.find(path); found != paths_.end()) {
      served = found->second.front();
      if (found->second.size() > 1) found->second.erase(found->second.begin());
    }
  }
  if (served.silent) return WaitForClose(fd);
  std::string body = served.body, extra;
  int status = served.status;
  if (served.ranges && status == 200 && range.starts_with("bytes=")) {
    const uint64_t first = std::stoull(range.substr(6)) + served.range_shift;
    status = first >= body.size() ? 416 : 206;
    if (status == 206)
      extra = fmt::format("Content-Range: bytes {}-{}/{}\r\n", first, body.size() - 1, body.size());
    body = status == 206 ? body.substr(first) : "";
  }
  if (!served.no_length) {
    extra += fmt::format("Content-Length: {}\r\n", static_cast<int64_t>(body.size()) + served.length_lie);
  }
  for (const auto& header : served.headers) extra += header + "\r\n";
  const bool stalls = served.stall_after != 0 && body.size() > served.stall_after;
  if (stalls) body.resize(served.stall_after);
  if (served.cut_after != 0 && body.size() > served.cut_after) body.resize(served.cut_after);
  SendAll(fd, fmt::format("HTTP/1.1 {} X\r\n{}Connection: close\r\n\r\n", status, extra));
  if (method != "HEAD") SendAll(fd, body);
  if (stalls) WaitForClose(fd);
}

void TestServer::WaitForClose(int fd) const {
  for (int i = 0; i < 1000 && !stop_; ++i) {
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    char byte = 0;
    if (poll(&wait, 1, 10) > 0 && recv(fd, &byte, 1, 0) <= 0) return;
  }
}

}  // namespace penstock

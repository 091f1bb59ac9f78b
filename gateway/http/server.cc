#include "gateway/http/server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <vector>

namespace penstock::gateway {
namespace {

constexpr auto kTick = std::chrono::milliseconds(250);
constexpr int kBacklog = 4096;
// What the kernel holds for a client counts as taken by it: keep that small, so that a slow reader is
// noticed, and so that thousands of streams cost little.
constexpr int kSendBuffer = 128 << 10;

void SetOption(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);  // a tuning that fails costs speed only
}

}  // namespace

Result<int> ListenTcp(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return Fail(Code::kInvalid, "'{}' is no HOST:PORT", address);
  std::string host(address.substr(0, colon)), port(address.substr(colon + 1));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found)) {
    return Fail(Code::kInvalid, "cannot listen on '{}': {}", address, ::gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> guard(found, ::freeaddrinfo);
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return FailErrno(Code::kIo, fmt::format("cannot open a socket for {}", address));
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  const auto error =
      FailErrno(Code::kConflict, fmt::format("cannot listen on {} (another program may have it; "
                                             "choose another with --listen)",
                                             address));
  ::close(fd);
  return error;
}

bool ListensOnLoopback(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return false;
  if (name.ss_family == AF_INET) {
    const uint32_t address = ntohl(reinterpret_cast<const sockaddr_in*>(&name)->sin_addr.s_addr);
    return address >> 24 == 127;
  }
  return name.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&name)->sin6_addr) != 0;
}

Server::Server(boost::asio::io_context& io, int listen_fd, HttpHandler& handler, const Clock& clock,
               HttpConnectionLimits limits, size_t max_connections, const TlsContext* tls)
    : io_(io),
      acceptor_(io),
      timer_(io),
      handler_(handler),
      clock_(clock),
      limits_(limits),
      tls_(tls),
      max_connections_(max_connections),
      self_(std::make_shared<Server*>(this)) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  ::getsockname(listen_fd, reinterpret_cast<sockaddr*>(&name), &size);
  const bool v6 = name.ss_family == AF_INET6;
  acceptor_.assign(v6 ? boost::asio::ip::tcp::v6() : boost::asio::ip::tcp::v4(), listen_fd);
  // Accepted sockets inherit these.
  SetOption(listen_fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, 1);
  SetOption(listen_fd, SOL_SOCKET, SO_SNDBUF, kSendBuffer);
}

Server::~Server() {
  *self_ = nullptr;
}

void Server::Run() {
  Accept();
  Tick();
}

void Server::Accept() {
  accepting_ = true;
  acceptor_.async_accept([this, self = self_](const boost::system::error_code& ec, TcpSocket socket) {
    if (*self == nullptr) return;
    accepting_ = false;
    if (ec) return;  // out of descriptors, most likely: the next tick tries again
    Welcome(std::move(socket));
    if (!stopping_) Accept();
  });
}

void Server::Welcome(TcpSocket socket) {
  if (connections_.size() >= max_connections_) {
    if (tls_ != nullptr)
      return;  // a plain answer would be noise, and a handshake is what there is no room for
    constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\ncontent-length: "
        "26\r\n"
        "connection: close\r\n\r\ntoo many open connections\n";
    [[maybe_unused]] const auto ignored =
        ::send(socket.native_handle(), kFull.data(), kFull.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  std::unique_ptr<TlsSession> session;
  if (tls_ != nullptr) {
    boost::system::error_code ignored;
    socket.native_non_blocking(true, ignored);
    session = tls_->Accept(socket.native_handle());
  }
  const auto connection =
      std::make_shared<HttpConnection>(std::move(socket), std::move(session), handler_, clock_, limits_,
                                       bodies_, [self = self_](HttpConnection* closed) {
                                         if (*self != nullptr) (*self)->connections_.erase(closed);
                                       });
  connections_.insert(connection.get());
  if (stopping_) connection->ServeOneMore();
  connection->Run();
}

void Server::Tick() {
  for (const auto& connection : All()) connection->Tick();
  if (!accepting_ && !stopping_) Accept();
  timer_.expires_after(kTick);
  timer_.async_wait([this, self = self_](const boost::system::error_code& ec) {
    if (!ec && *self != nullptr) Tick();
  });
}

void Server::StopAccepting() {
  stopping_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (const auto& connection : All()) connection->ServeOneMore();
}

void Server::CloseIdle() {
  for (const auto& connection : All()) connection->CloseWhenIdle();
}

void Server::CutAll(std::string_view why) {
  bodies_.decoders.Stop();
  for (const auto& connection : All()) connection->Cut(why);
}

// Held: what is done to one may close it, which changes the set.
std::vector<std::shared_ptr<HttpConnection>> Server::All() const {
  std::vector<std::shared_ptr<HttpConnection>> all;
  all.reserve(connections_.size());
  for (HttpConnection* const connection : connections_) {
    if (auto alive = connection->weak_from_this().lock()) all.push_back(std::move(alive));
  }
  return all;
}

}  // namespace penstock::gateway

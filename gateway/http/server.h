// Server: accepts connections, looks at their clocks, and closes them in a graceful stop.
// Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "gateway/http/http_connection.h"

namespace penstock::gateway {

// "127.0.0.1:8700" or "[::1]:8700" as a bound, listening socket. Port 0: any. Errors name the address and
// how to fix it.
Result<int> ListenTcp(std::string_view address);
// Whether only this machine can connect to a listening socket.
bool ListensOnLoopback(int fd);

class Server {
 public:
  // `listen_fd`: a listening TCP socket, owned from here on. `tls`: null for plain HTTP; outlives this.
  Server(boost::asio::io_context& io, int listen_fd, HttpHandler& handler, const Clock& clock,
         HttpConnectionLimits limits, size_t max_connections, const TlsContext* tls = nullptr);
  ~Server();

  void Run();
  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  size_t connections() const { return connections_.size(); }
  size_t body_memory() const { return bodies_.memory.held(); }  // bytes
  // For the connections to come.
  void SetLimits(HttpConnectionLimits limits, size_t max_connections) {
    limits_ = limits;
    max_connections_ = max_connections;
  }
  // For the connections to come. REQUIRES: speaks TLS already.
  void UseTls(const TlsContext* tls) { tls_ = tls; }
  // Takes no more connections, and of those that are open one more request each.
  void StopAccepting();
  // Closes those that have none under way, and each that has when it is answered.
  void CloseIdle();
  // Closes every connection; listeners get OnGone. Bodies are decoded no more: the last call.
  void CutAll(std::string_view why);

 private:
  void Accept();
  void Welcome(TcpSocket socket);
  void Tick();
  std::vector<std::shared_ptr<HttpConnection>> All() const;

  using Acceptor =
      boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
  boost::asio::io_context& io_;
  Acceptor acceptor_;
  boost::asio::steady_timer timer_;
  HttpHandler& handler_;
  const Clock& clock_;
  HttpConnectionLimits limits_;
  Bodies bodies_;
  const TlsContext* tls_;
  size_t max_connections_;
  bool accepting_ = false, stopping_ = false;
  std::unordered_set<HttpConnection*> connections_;  // each takes itself out when it dies
  std::shared_ptr<Server*> self_;                    // null when gone: connections may outlive this
};

}  // namespace penstock::gateway

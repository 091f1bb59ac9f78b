// For tests: a client that speaks raw HTTP over a blocking socket, plain or through TLS.
#pragma once

#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace penstock::gateway::testing {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;
  std::string body;
  boost::json::value Json() const { return boost::json::parse(body); }
  std::string Error(const char* key) const {
    const boost::json::value value = Json().at("error").at(key);
    return value.is_null() ? "null" : std::string(value.as_string());
  }
};

class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        tls_(std::move(other.tls_)),
        buffer_(std::move(other.buffer_)) {}
  ~Client() { Close(); }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  bool connected() const { return connected_; }
  int fd() const { return fd_; }

  // From here on all goes through TLS; false if the handshake failed.
  bool StartTls(int max_version = 0, const char* ciphers = nullptr) {
    SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(context, max_version);
    if (ciphers != nullptr) SSL_CTX_set_cipher_list(context, ciphers);
    tls_.reset(SSL_new(context));
    SSL_CTX_free(context);
    SSL_set_fd(tls_.get(), fd_);
    return SSL_connect(tls_.get()) == 1;
  }
  SSL* tls() const { return tls_.get(); }

  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = tls_ ? SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()))
                             : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  void Post(std::string_view path, std::string_view body, std::string_view key = "key-a",
            std::string_view more = "") {
    Send(fmt::format(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n{}\r\n{}",
        path, key, body.size(), more, body));
  }
  void Get(std::string_view path, std::string_view key = "key-a", std::string_view method = "GET") {
    Send(fmt::format("{} {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n", method, path,
                     key));
  }

  // Waits up to ten seconds for more bytes; false at the end of the stream.
  bool Fill() {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (!(tls_ && SSL_pending(tls_.get()) > 0) && ::poll(&waiting, 1, 10'000) <= 0) return false;
    char chunk[65536];
    const ssize_t n = tls_ ? SSL_read(tls_.get(), chunk, sizeof chunk) : ::recv(fd_, chunk, sizeof chunk, 0);
    if (n <= 0) return false;
    buffer_.append(chunk, static_cast<size_t>(n));
    return true;
  }
  // Up to and with `mark`; whatever there is if it does not come.
  std::string ReadUntil(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos && Fill()) {
    }
    const size_t at = buffer_.find(mark);
    const std::string taken = buffer_.substr(0, at == std::string::npos ? at : at + mark.size());
    buffer_.erase(0, taken.size());
    return taken;
  }
  bool AtEnd() { return buffer_.empty() && !Fill(); }

  Answer ReadHead() {
    Answer answer;
    const std::string head = ReadUntil("\r\n\r\n");
    if (head.size() > 12) answer.status = std::atoi(head.c_str() + 9);
    size_t at = head.find("\r\n") + 2;
    for (size_t end = head.find("\r\n", at); end != std::string::npos && end > at;
         end = head.find("\r\n", at)) {
      const std::string line = head.substr(at, end - at);
      const size_t colon = line.find(": ");
      answer.headers[line.substr(0, colon)] = line.substr(colon + 2);
      at = end + 2;
    }
    return answer;
  }
  Answer Read(bool head_only = false) {
    Answer answer = ReadHead();
    if (head_only) return answer;
    if (answer.headers.contains("transfer-encoding")) {
      for (std::string chunk = ReadChunk(); !chunk.empty(); chunk = ReadChunk()) answer.body += chunk;
    } else if (const auto length = answer.headers.find("content-length"); length != answer.headers.end()) {
      answer.body = Take(std::stoul(length->second));
    }
    return answer;
  }
  // One chunk of a chunked body; empty: the last, or cut.
  std::string ReadChunk() {
    const std::string size = ReadUntil("\r\n");
    if (size.empty()) return {};
    const size_t bytes = std::stoul(size, nullptr, 16);
    std::string chunk = Take(bytes + 2);
    complete = bytes == 0;
    return chunk.substr(0, std::min(chunk.size(), bytes));
  }
  bool complete = false;  // the last ReadChunk was the end of the body

 private:
  std::string Take(size_t bytes) {
    while (buffer_.size() < bytes && Fill()) {
    }
    std::string taken = buffer_.substr(0, bytes);
    buffer_.erase(0, taken.size());
    return taken;
  }
  struct FreeTls {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  int fd_;
  bool connected_ = false;
  std::unique_ptr<SSL, FreeTls> tls_;
  std::string buffer_;
};

// The JSON of each `data:` line; "[DONE]" ends the list, and `done` says whether it came.
inline std::vector<boost::json::value> Events(const std::string& body, bool* done = nullptr) {
  std::vector<boost::json::value> events;
  size_t at = 0;
  while ((at = body.find("data: ", at)) != std::string::npos) {
    at += 6;
    const std::string line = body.substr(at, body.find("\n\n", at) - at);
    if (done != nullptr) *done = line == "[DONE]";
    if (line != "[DONE]") events.push_back(boost::json::parse(line));
  }
  return events;
}

inline std::string Text(const boost::json::value& v) {
  return std::string(v.as_string());
}

struct Streamed {
  Answer head;
  std::vector<boost::json::value> events;
  bool done = false, complete = false;
};
inline Streamed ReadStream(Client& client) {
  Streamed streamed;
  streamed.head = client.ReadHead();
  std::string body;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) body += chunk;
  streamed.events = Events(body, &streamed.done);
  streamed.complete = client.complete;
  return streamed;
}

inline std::string Chat(std::string_view more = "") {
  return fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"hi"}}]{}}})", more);
}

}  // namespace penstock::gateway::testing

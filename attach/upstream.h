// Upstream: HTTP requests to one server, over connections that are used again.
// Threads: the io_context's one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "attach/http.h"
#include "attach/stream.h"

namespace penstock {

constexpr Nanos kSilence = 300 * kSecond;  // an upstream that says nothing for so long is given up

class Upstream : public std::enable_shared_from_this<Upstream> {
 public:
  // One request under way: its head has come; the body is read piece by piece. Destroying it before its end
  // closes the connection, which tells the upstream to stop.
  class Call {
   public:
    explicit Call(std::shared_ptr<Upstream> upstream) : upstream_(std::move(upstream)) {}
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    const ResponseReader& head() const { return *reader_; }
    // The next piece of the body; empty: that was all.
    boost::asio::awaitable<Result<std::string>> Read(Nanos limit = kSilence);
    // All of it. Errors: more than `most` bytes.
    boost::asio::awaitable<Result<std::string>> ReadAll(size_t most);
    // Threads: the io_context's. What waits in Start or Read ends with an error.
    void Close();

   private:
    friend class Upstream;
    boost::asio::awaitable<Status> Fill(Nanos limit);

    const std::shared_ptr<Upstream> upstream_;
    std::unique_ptr<Stream> stream_;
    std::unique_ptr<ResponseReader> reader_;
    bool closed_ = false, answered_ = false;
  };

  // REQUIRES: `trust`, where the URL is https.
  Upstream(Url url, std::string key, std::shared_ptr<Trust> trust = nullptr)
      : url_(std::move(url)), key_(std::move(key)), trust_(std::move(trust)) {}

  // Sends a request and waits for the head of its answer; any status is an answer. An empty body: a GET.
  boost::asio::awaitable<Status> Start(Call& call, std::string path, std::string body);

  // A whole answer, of at most 4 MB. Errors also for a status other than 200, with the body's words.
  boost::asio::awaitable<Result<std::string>> Fetch(std::string path, std::string body);

  const Url& url() const { return url_; }
  void CloseIdle() { idle_.clear(); }

 private:
  static constexpr size_t kIdle = 64;
  std::string Request(const std::string& path, const std::string& body) const;

  const Url url_;
  const std::string key_;
  const std::shared_ptr<Trust> trust_;
  std::vector<std::unique_ptr<Stream>> idle_;
};

}  // namespace penstock

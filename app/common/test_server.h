// A small HTTP server for tests. It serves files correctly, or with the faults of real servers.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "app/common/data_dir.h"

namespace penstock {

// How one path is served. Every option is one fault.
struct Served {
  std::string body{};
  int status = 200;
  std::vector<std::string> headers{};  // in addition to Content-Length
  bool ranges = true;                  // supports "Range: bytes=N-"
  uint64_t cut_after = 0;              // closes the connection after this many bytes of each answer; 0: never
  uint64_t range_shift = 0;            // answers a range that begins this much later than requested
  bool no_length = false;
  int64_t length_lie = 0;    // Content-Length is wrong by this much
  uint64_t stall_after = 0;  // stops sending after this many bytes, with the connection open; 0: never
  bool silent = false;       // accepts the request and never answers
};

class TestServer {
 public:
  TestServer();  // on 127.0.0.1, a free port
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::string Url(const std::string& path) const;
  void Serve(const std::string& path, Served served);
  // One answer after the other; the last one repeats.
  void ServeInTurn(const std::string& path, std::vector<Served> answers);
  // Method, path and range of each request so far: "GET /x bytes=10-".
  std::vector<std::string> Seen() const;
  // Whether any request had this header.
  bool SawHeader(const std::string& name) const;

 private:
  void Accept();
  void Answer(int fd);
  void WaitForClose(int fd) const;  // until the client closes the connection; at most 10 s

  Fd listener_;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;  // protects the three below
  std::map<std::string, std::vector<Served>> paths_;
  std::vector<std::string> seen_, heads_;
  std::thread thread_;
};

}  // namespace penstock

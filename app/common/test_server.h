// A small HTTP server for tests that serves files well, or badly in the ways that real servers are bad.
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

// How one path is served. Every knob is one lie or one weakness.
struct Served {
  std::string body{};
  int status = 200;
  std::vector<std::string> headers{};  // beside Content-Length
  bool ranges = true;                  // honours "Range: bytes=N-"
  uint64_t cut_after = 0;              // closes the connection after so many bytes of each answer; 0: never
  uint64_t range_shift = 0;            // answers a range that begins so much later than asked
  bool no_length = false;
  int64_t length_lie = 0;    // Content-Length is off by so much
  uint64_t stall_after = 0;  // falls silent after so many bytes of each answer, connection open; 0: never
  bool silent = false;       // takes the request and never answers
};

class TestServer {
 public:
  TestServer();  // on 127.0.0.1, a free port
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::string Url(const std::string& path) const;
  void Serve(const std::string& path, Served served);
  // One answer after the other; the last stays.
  void ServeInTurn(const std::string& path, std::vector<Served> answers);
  // "GET /x bytes=10-" for each request so far: method, path, range.
  std::vector<std::string> Seen() const;
  // Whether any request carried this header.
  bool SawHeader(const std::string& name) const;

 private:
  void Accept();
  void Answer(int fd);
  void WaitForClose(int fd) const;  // by the client; 10 s at most

  Fd listener_;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;  // protects the three below
  std::map<std::string, std::vector<Served>> paths_;
  std::vector<std::string> seen_, heads_;
  std::thread thread_;
};

}  // namespace penstock

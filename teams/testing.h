// Helpers of the tests in this folder: a directory that goes away, and accounts with an owner's thread
// whose completions run when the test says so.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "teams/teams.h"

namespace penstock::testing {

struct TempDir {
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

inline void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Completions that wait to be run by the owner.
class Mailbox {
 public:
  void Post(std::function<void()> letter) {
    const std::lock_guard lock(mutex_);
    letters_.push_back(std::move(letter));
  }
  bool RunOne() {
    std::unique_lock lock(mutex_);
    if (letters_.empty()) return false;
    const auto letter = std::move(letters_.front());
    letters_.pop_front();
    lock.unlock();
    letter();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<std::function<void()>> letters_;
};

// Accounts on a temporary directory, or on the one that is named.
class World {
 public:
  explicit World(std::string dir = {}, size_t slots = 64)
      : dir_(dir.empty() ? own_.path : std::move(dir)), mail_(std::make_shared<Mailbox>()) {
    spdlog::set_level(spdlog::level::off);  // faults are the daily bread here
    auto opened =
        OpenAccounts({dir_, slots, [mail = mail_](auto letter) { mail->Post(std::move(letter)); }}, clock);
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      std::abort();
    }
    accounts_ = *std::move(opened);
  }
  Accounts* operator->() { return accounts_.get(); }
  const std::string& dir() const { return dir_; }

  CreatedKey NewKey(const std::string& team) {
    (void)accounts_->CreateTeam(team);
    return *accounts_->CreateKey({team, "k-" + team, Role::kDeveloper, {}, 0});
  }
  Principal NewPrincipal(const std::string& team) { return *accounts_->Authenticate(NewKey(team).secret); }
  std::unique_ptr<Ticket> Open(const Principal& who, std::string_view model, int64_t prompt) {
    auto ticket = accounts_->Open(who, model, prompt);
    EXPECT_TRUE(ticket) << ticket.error().message;
    return ticket ? *std::move(ticket) : nullptr;
  }
  // Runs completions until `done` holds.
  void RunUntil(const std::function<bool()>& done) {
    while (!done()) {
      if (!mail_->RunOne()) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
  void Durable(Ticket& ticket) {
    bool durable = false;
    ticket.WhenDurable([&](const Status& status) {
      EXPECT_TRUE(status) << status.error().message;
      durable = true;
    });
    RunUntil([&] { return durable; });
  }
  void RunAll() {
    while (mail_->RunOne()) {
    }
  }
  // Everything posted is durable and its completions have run.
  void Settle() {
    accounts_->Flush();
    RunAll();
  }

  ManualClock clock;

 private:
  TempDir own_;
  const std::string dir_;
  const std::shared_ptr<Mailbox> mail_;
  std::unique_ptr<Accounts> accounts_;
};

}  // namespace penstock::testing

// Helpers of the tests in this folder: a directory that goes away, and accounts with an owner's thread
// whose completions run when the test says so.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "teams/mailbox.h"
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
    (void)CreateTeam(team);
    return *CreateKey({team, "k-" + team, Role::kDeveloper, {}, 0});
  }
  // Those of Accounts that complete later, waited for.
  Result<Team> CreateTeam(std::string_view name) {
    return Await<Result<Team>>([&](auto done) { accounts_->CreateTeam(name, std::move(done)); });
  }
  Result<Team> RenameTeam(TeamId team, std::string_view name) {
    return Await<Result<Team>>([&](auto done) { accounts_->RenameTeam(team, name, std::move(done)); });
  }
  Result<Team> RemoveTeam(TeamId team) {
    return Await<Result<Team>>([&](auto done) { accounts_->RemoveTeam(team, std::move(done)); });
  }
  Result<Team> SetExternal(TeamId team, bool external) {
    return Await<Result<Team>>([&](auto done) { accounts_->SetExternal(team, external, std::move(done)); });
  }
  Result<CreatedKey> CreateKey(const penstock::NewKey& key) {
    return Await<Result<CreatedKey>>([&](auto done) { accounts_->CreateKey(key, std::move(done)); });
  }
  Result<CreatedKey> RotateKey(KeyId key, Nanos overlap) {
    return Await<Result<CreatedKey>>([&](auto done) { accounts_->RotateKey(key, overlap, std::move(done)); });
  }
  Result<CreatedKey> CreateLogin(KeyId key, std::string_view name) {
    return Await<Result<CreatedKey>>([&](auto done) { accounts_->CreateLogin(key, name, std::move(done)); });
  }
  Status RevokeKey(KeyId key) {
    return Await<Status>([&](auto done) { accounts_->RevokeKey(key, std::move(done)); });
  }
  Result<RequestRecord> Find(std::string_view id) {
    return Await<Result<RequestRecord>>([&](auto done) { accounts_->Find(id, std::move(done)); });
  }
  Result<std::vector<UsageRow>> UsageOf(const UsageQuery& query) {
    return Await<Result<std::vector<UsageRow>>>(
        [&](auto done) { accounts_->UsageOf(query, 0, std::move(done)); });
  }
  template <class T>
  T Await(const std::function<void(Done<T>)>& begin) {
    return mail_->Await<T>(begin);
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

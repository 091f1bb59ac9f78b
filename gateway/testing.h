// For tests: a gateway on a loopback port whose fleet and accounts do what the test says, and a client
// that speaks raw HTTP.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "gateway/api.h"
#include "gateway/server.h"

namespace penstock::gateway::testing {

// ---- fakes: touched on the io thread only ----

class FakeFleet final : public Fleet {
 public:
  struct Sent {
    Job job;
    std::shared_ptr<JobSink> sink;
    bool cancelled = false;
    std::map<uint32_t, uint32_t> granted;  // by choice
  };
  explicit FakeFleet(boost::asio::io_context& io) : io_(io) {}

  Status Listen(const std::string&) override { return {}; }
  void Serve(ServedModel model) override { served.insert(model.name); }
  void Withdraw(const std::string& name) override { served.erase(name); }
  Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) override {
    if (refuse) return std::unexpected(*refuse);
    const JobId id = ++last;
    Sent& sent = jobs[id];
    sent.job = std::move(job);
    sent.sink = std::move(sink);
    if (on_submit) boost::asio::post(io_, [this, id] { on_submit(id); });
    return id;
  }
  void Cancel(JobId job) override {
    jobs[job].cancelled = true;
    jobs[job].sink = nullptr;
  }
  void Grant(JobId job, uint32_t choice, uint32_t tokens) override { jobs[job].granted[choice] += tokens; }
  bool Ready(std::string_view model) const override { return served.contains(std::string(model)); }
  bool AnyReady() const override { return !served.empty(); }
  std::vector<EngineView> Engines() const override {
    EngineView engine;
    engine.name = "cpu0";
    engine.runner = "fake";
    engine.connected = true;
    for (const std::string& name : served) {
      wire::ModelState& state = engine.models.emplace_back();
      state.set_name(name);
      state.set_state(wire::ModelState::READY);
      state.set_context(context);
      state.set_kernel("avx2");
    }
    return {engine};
  }
  std::vector<TeamQueueView> Queue() const override { return {}; }
  size_t Waiting() const override { return 3; }
  size_t Running() const override { return jobs.size(); }
  const FleetStats& Stats() const override { return stats; }
  void Drain(std::function<void()>) override {}

  // One event of `choice`: `tokens` new ones.
  void Emit(JobId id, std::string_view text, uint32_t tokens = 1, wire::Finish finish = wire::NONE,
            uint32_t choice = 0) {
    const auto sink = jobs[id].sink;
    if (!sink) return;
    wire::TokenEvent event;
    event.set_request(id);
    event.set_choice(choice);
    event.set_new_tokens(tokens);
    event.set_text(std::string(text));
    event.set_finish(finish);
    if (finish != wire::NONE) jobs[id].sink = nullptr;
    sink->OnTokens(event);
  }
  // Answers every job at once with these pieces, one token each, then the end.
  void AnswerWith(std::vector<std::string> pieces) {
    on_submit = [this, pieces = std::move(pieces)](JobId id) {
      for (uint32_t choice = 0; choice < jobs[id].job.submit.choices(); ++choice) {
        const auto sink = jobs[id].sink;
        for (const std::string& piece : pieces) Emit(id, piece, 1, wire::NONE, choice);
        jobs[id].sink = sink;
        Emit(id, "", 0, wire::STOP, choice);
        if (choice + 1 < jobs[id].job.submit.choices()) jobs[id].sink = sink;
      }
    };
  }

  std::map<JobId, Sent> jobs;
  JobId last = 0;
  std::set<std::string> served;
  std::optional<Error> refuse;
  std::function<void(JobId)> on_submit;
  uint32_t context = 1000;
  FleetStats stats;

 private:
  boost::asio::io_context& io_;
};

struct FakeRecord {
  RequestRecord record;
  std::vector<int64_t> billed;  // each call
};

class FakeAccounts final : public Accounts {
 public:
  Result<Principal> Authenticate(std::string_view bearer) const override {
    const auto found = principals.find(std::string(bearer));
    if (found == principals.end()) {
      return Fail(Code::kUnauthenticated, "the key is not known; ask your operator for one");
    }
    return found->second;
  }
  Result<Team> CreateTeam(std::string_view name) override {
    for (const Team& team : teams) {
      if (team.name == name) return Fail(Code::kConflict, "there is a team '{}' already", name);
    }
    return teams.emplace_back(
        Team{.id = static_cast<TeamId>(teams.size() + 1), .name = std::string(name), .created = kSecond});
  }
  std::vector<Team> Teams() const override { return teams; }
  Result<CreatedKey> CreateKey(const NewKey& key) override {
    CreatedKey created;
    created.key.id = static_cast<KeyId>(keys.size() + 1);
    created.key.team_name = key.team;
    created.key.name = key.name;
    created.key.prefix = "sk-penstock-aa";
    created.key.role = key.role;
    created.key.models = key.models;
    created.key.expires = key.expires;
    created.secret = "sk-penstock-aabbcc";
    keys.push_back(created.key);
    return created;
  }
  std::vector<Key> Keys(std::optional<TeamId>) const override { return keys; }
  Result<CreatedKey> RotateKey(KeyId key, Nanos overlap) override {
    rotated_overlap = overlap;
    return CreatedKey{.key = keys.at(static_cast<size_t>(key) - 1), .secret = "sk-penstock-new"};
  }
  Status RevokeKey(KeyId key) override {
    keys.at(static_cast<size_t>(key) - 1).revoked = kSecond;
    return {};
  }
  Result<KeyId> FindKey(std::string_view id) const override {
    for (const Key& key : keys) {
      if (std::to_string(key.id) == id || key.prefix == id) return key.id;
    }
    return Fail(Code::kNotFound, "there is no key '{}'", id);
  }
  Result<std::unique_ptr<Ticket>> Open(const Principal& principal, std::string_view model,
                                       int64_t prompt_tokens) override;
  Result<RequestRecord> Find(std::string_view id) const override {
    const auto found = records.find(std::string(id));
    if (found == records.end()) return Fail(Code::kNotFound, "none");
    return found->second.record;
  }
  Result<std::vector<UsageRow>> UsageOf(const UsageQuery& query) const override {
    last_query = query;
    UsageRow row;
    row.team = "search";
    row.model = "tiny";
    row.key = "ci";
    row.requests = 2;
    row.input = 10;
    return std::vector{row};
  }
  bool healthy() const override { return store_fault.empty(); }
  std::string fault() const override { return store_fault; }
  void Flush() override {}

  std::map<std::string, Principal> principals;
  std::vector<Team> teams;
  std::vector<Key> keys;
  Nanos rotated_overlap = 0;
  mutable UsageQuery last_query;
  std::map<std::string, FakeRecord> records;
  std::string store_fault;
  std::optional<Error> durable_error;
  bool hold_durable = false;  // WhenDurable waits for the test
  std::vector<std::function<void(Status)>> held;
};

class FakeTicket final : public Ticket {
 public:
  FakeTicket(FakeAccounts& accounts, std::string id) : accounts_(accounts), id_(std::move(id)) {}
  ~FakeTicket() override { End("error", "dropped"); }
  const std::string& id() const override { return id_; }
  void WhenDurable(std::function<void(Status)> ready) override {
    if (accounts_.hold_durable) {
      accounts_.held.push_back(std::move(ready));
    } else if (accounts_.durable_error) {
      ready(std::unexpected(*accounts_.durable_error));
    } else {
      ready({});
    }
  }
  void Billed(int64_t tokens) override {
    Mine().billed.push_back(tokens);
    Mine().record.usage.billed += tokens;
  }
  void Emitted(int64_t tokens) override { Mine().record.emitted += tokens; }
  void Cached(int64_t tokens) override { Mine().record.usage.cached += tokens; }
  void Charged(Nanos chip_time, int64_t computed) override {
    Mine().record.chip_ns += chip_time;
    Mine().record.computed += computed;
  }
  void Event(std::string_view kind, std::string_view why) override {
    Mine().record.trail.push_back({.at = 0, .kind = std::string(kind), .why = std::string(why)});
  }
  Usage usage() const override { return accounts_.records.at(id_).record.usage; }
  void End(std::string_view outcome, std::string_view detail) override {
    RequestRecord& record = Mine().record;
    if (record.state == "ended") return;
    record.state = "ended";
    record.outcome = outcome;
    record.detail = detail;
  }

 private:
  FakeRecord& Mine() { return accounts_.records[id_]; }
  FakeAccounts& accounts_;
  std::string id_;
};

inline Result<std::unique_ptr<Ticket>> FakeAccounts::Open(const Principal& principal, std::string_view model,
                                                          int64_t prompt_tokens) {
  const std::string id = fmt::format("req_{:06}", records.size() + 1);
  RequestRecord& record = records[id].record;
  record.id = id;
  record.team = principal.team;
  record.team_name = principal.team_name;
  record.model = model;
  record.state = "running";
  record.usage.prompt = prompt_tokens;
  return std::make_unique<FakeTicket>(*this, id);
}

// One token a byte.
class ByteTokenizer final : public Tokenizer {
 public:
  Result<std::vector<Token>> Encode(std::string_view text, bool) const override {
    std::vector<Token> tokens;
    for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
    return tokens;
  }
  std::string_view Bytes(Token token) const override {
    static const std::string all = [] {
      std::string bytes;
      for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
      return bytes;
    }();
    return std::string_view(all).substr(static_cast<size_t>(token), 1);
  }
  std::string_view Piece(Token token) const override { return Bytes(token); }
  int32_t size() const override { return 256; }
  bool IsControl(Token) const override { return false; }
  std::string_view backend() const override { return "bytes"; }
};

// "role:content|" for each message, then `tail`; a content of "raise" is refused as templates refuse.
class PlainTemplate final : public ChatTemplate {
 public:
  explicit PlainTemplate(std::string tail) : tail_(std::move(tail)) {}
  Result<std::string> Render(std::string_view context) const override {
    last_context = context;
    const boost::json::value value = boost::json::parse({context.data(), context.size()});
    std::string out;
    for (const auto& message : value.at("messages").as_array()) {
      const std::string content(message.at("content").as_string());
      if (content == "raise") return Fail(Code::kInvalid, "conversation roles must alternate");
      out += std::string(message.at("role").as_string()) + ":" + content + "|";
    }
    return out + tail_;
  }
  mutable std::string last_context;

 private:
  std::string tail_;
};

// ---- the world ----

class World {
 public:
  template <class F>
  auto Ask(F function) {
    std::packaged_task<decltype(function())()> task(std::move(function));
    auto future = task.get_future();
    boost::asio::post(io_, [&task] { task(); });
    return future.get();
  }
  void Do(std::function<void()> function) {
    Ask([&] {
      function();
      return 0;
    });
  }
  // `tail`: what the template ends with; with "<think>" in it the model is one that thinks.
  explicit World(GatewayOptions options = {}, std::string tail = "assistant:")
      : options_(std::move(options)),
        fleet(io_),
        catalogue_(io_, pool_, fleet,
                   [tail](const InstalledModel&) -> Result<ModelTextPtr> {
                     auto text = std::make_shared<ModelText>();
                     text->tokenizer = std::make_unique<ByteTokenizer>();
                     text->chat = std::make_unique<PlainTemplate>(tail);
                     text->thinks = tail.find("<think>") != std::string::npos || tail.empty();
                     text->end_tokens = {2};
                     return text;
                   }),
        log_(-1, SystemClock()),
        service{.io = io_,
                .pool = pool_,
                .clock = SystemClock(),
                .options = options_,
                .accounts = accounts,
                .fleet = fleet,
                .catalogue = catalogue_,
                .metrics = metrics_,
                .log = log_},
        api_(service),
        server_(io_, *ListenTcp("127.0.0.1:0"), api_, SystemClock(),
                {.http = {.header_bytes = options_.max_header_bytes, .body_bytes = options_.max_body_bytes},
                 .header_timeout = options_.header_timeout,
                 .body_timeout = options_.body_timeout,
                 .write_timeout = options_.write_timeout},
                options_.max_connections) {
    accounts.principals["key-a"] = {
        .key = 1, .team = 1, .team_name = "search", .key_name = "ci", .role = Role::kDeveloper, .models = {}};
    accounts.principals["key-b"] = {.key = 2,
                                    .team = 2,
                                    .team_name = "ads",
                                    .key_name = "x",
                                    .role = Role::kDeveloper,
                                    .models = {"other"}};
    accounts.principals["operator"] = {
        .key = 3, .team = 0, .team_name = "", .key_name = "op", .role = Role::kOperator, .models = {}};
    service.connections = [this] { return server_.connections(); };
    catalogue_.Install({Installed("other"), Installed("tiny")});
    server_.Run();
    port = server_.port();
    thread_ = std::thread([this] { io_.run(); });
    while (!Ask([this] { return catalogue_.AnyReady(); })) std::this_thread::yield();
    Do([this] { catalogue_.Refresh(); });
  }
  ~World() {
    Do([this] { server_.CutAll("the test is over"); });
    pool_.join();
    work_.reset();
    io_.stop();
    thread_.join();
    io_.restart();
    io_.poll();
  }

  static InstalledModel Installed(std::string name) {
    InstalledModel model;
    model.name = std::move(name);
    model.path = "/nowhere";
    model.created = 1'700'000'000;
    return model;
  }

  // Until `condition` holds on the io thread; false after ten seconds.
  bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 10000; ++i) {
      if (Ask(condition)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  RequestRecord Record(const std::string& id) {
    return Ask([&] { return accounts.records[id].record; });
  }
  void StopAccepting() {
    Do([this] {
      service.draining = true;
      server_.StopAccepting();
    });
  }

 private:
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  boost::asio::thread_pool pool_{1};
  GatewayOptions options_;

 public:
  FakeFleet fleet;
  FakeAccounts accounts;

 private:
  Catalogue catalogue_;
  Metrics metrics_;
  Log log_;

 public:
  Service service;
  uint16_t port = 0;

 private:
  Api api_;
  Server server_;
  std::thread thread_;
};

// ---- the client ----

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
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_), buffer_(std::move(other.buffer_)) {}
  ~Client() { Close(); }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  bool connected() const { return connected_; }

  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  void Post(std::string_view path, std::string_view body, std::string_view key = "key-a",
            std::string_view more = "") {
    Send(fmt::format(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n{}\r\n{}", path,
        key, body.size(), more, body));
  }
  void Get(std::string_view path, std::string_view key = "key-a", std::string_view method = "GET") {
    Send(fmt::format("{} {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", method, path, key));
  }

  // Waits up to ten seconds for more bytes; false at the end of the stream.
  bool Fill() {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) <= 0) return false;
    char chunk[65536];
    const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
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
  int fd_;
  bool connected_ = false;
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

inline std::string Chat(std::string_view more = "") {
  return fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"hi"}}]{}}})", more);
}

}  // namespace penstock::gateway::testing

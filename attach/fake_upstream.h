// FakeUpstream: a server of OpenAI's API for tests, with abilities and manners as told. Its model says the
// letters of the alphabet, one token each (the letter's code), for ever; token 0 ends.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "text/text.h"

namespace penstock {

// A token a byte; 0 ends.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int i = 0; i < 256; ++i) pieces_.emplace_back(i == 0 ? "" : std::string(1, static_cast<char>(i)));
  }
  Result<std::vector<Token>> Encode(std::string_view text, bool) const override {
    std::vector<Token> tokens;
    for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
    return tokens;
  }
  Result<std::vector<Token>> EncodeControls(std::string_view text, std::span<const Control>) const override {
    return Encode(text, true);
  }
  std::string_view Bytes(Token token) const override {
    return pieces_[token > 0 && token < 256 ? static_cast<size_t>(token) : 0];
  }
  std::string_view Piece(Token token) const override {
    return token == 0 ? std::string_view("<end>") : Bytes(token);
  }
  int32_t size() const override { return 256; }
  bool IsControl(Token token) const override { return token == 0; }
  std::string_view backend() const override { return "bytes"; }

 private:
  std::vector<std::string> pieces_;
};

class FakeUpstream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  struct Manners {
    bool tokens = true, text = true;  // kinds of prompt
    bool ids = true, usage = true, sampling = true;
    std::chrono::milliseconds pace{0};  // between tokens
    // Answers in its place what it returns; empty: as usual. For requests of an answer that are streamed.
    std::function<std::string()> instead = nullptr;
    bool interrupts = false;   // an answer is broken off when another request comes
    bool own_penalty = false;  // for repetition, where the request names none
    std::string models = "m";
    std::string certificate = "", key = "";  // PEM: it speaks TLS
  };

  explicit FakeUpstream(Manners manners, uint16_t port = 0)
      : manners_(std::move(manners)), acceptor_(io_, {boost::asio::ip::address_v4::loopback(), port}) {
    if (!manners_.certificate.empty()) {
      tls_.use_certificate_chain(boost::asio::buffer(manners_.certificate));
      tls_.use_private_key(boost::asio::buffer(manners_.key), boost::asio::ssl::context::pem);
    }
    thread_ = std::thread([this] { Accept(); });
  }
  ~FakeUpstream() {
    stopping_ = true;
    {
      // Wakes accept, which a close does not.
      boost::system::error_code ignored;
      Socket wake(io_);
      wake.connect(acceptor_.local_endpoint(), ignored);
    }
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (Socket* socket : open_) ::shutdown(socket->native_handle(), SHUT_RDWR);
    }
    for (std::thread& one : serving_) one.join();
  }

  uint16_t port() const { return acceptor_.local_endpoint().port(); }
  // Streams that ended because nobody listened any more.
  int broken() const { return broken_; }
  int most_at_once() const { return most_; }
  int tokens_sent() const { return tokens_sent_; }
  std::string last_body() {
    const std::lock_guard lock(mutex_);
    return last_body_;
  }

 private:
  // A connection's bytes, plain or not.
  class Wire {
   public:
    explicit Wire(Socket& socket) : socket_(socket) {}
    bool StartTls(boost::asio::ssl::context& context) {
      boost::system::error_code error;
      tls_.emplace(socket_, context).handshake(boost::asio::ssl::stream_base::server, error);
      return !error;
    }
    size_t read_some(const auto& buffers, boost::system::error_code& error) {
      return tls_ ? tls_->read_some(buffers, error) : socket_.read_some(buffers, error);
    }
    size_t write_some(const auto& buffers, boost::system::error_code& error) {
      return tls_ ? tls_->write_some(buffers, error) : socket_.write_some(buffers, error);
    }

   private:
    Socket& socket_;
    std::optional<boost::asio::ssl::stream<Socket&>> tls_;
  };

  void Accept() {
    while (true) {
      auto socket = std::make_shared<Socket>(io_);
      boost::system::error_code error;
      acceptor_.accept(*socket, error);
      if (stopping_ || error) return;
      socket->set_option(boost::asio::ip::tcp::no_delay(true),
                         error);  // each token by itself, as servers send them
      serving_.emplace_back([this, socket] {
        {
          const std::lock_guard lock(mutex_);
          open_.insert(socket.get());
        }
        Wire wire(*socket);
        if (manners_.certificate.empty() || wire.StartTls(tls_)) Serve(wire);
        const std::lock_guard lock(mutex_);
        open_.erase(socket.get());
        boost::system::error_code ignored;
        socket->close(ignored);
      });
    }
  }

  void Serve(Wire& wire) {
    boost::asio::streambuf buffer;
    boost::system::error_code error;
    while (!stopping_) {
      boost::asio::read_until(wire, buffer, "\r\n\r\n", error);
      if (error) return;
      std::string head(boost::asio::buffers_begin(buffer.data()), boost::asio::buffers_end(buffer.data()));
      head.resize(head.find("\r\n\r\n") + 4);
      buffer.consume(head.size());
      size_t length = 0;
      if (const size_t at = head.find("Content-Length: "); at != std::string::npos)
        length = std::stoul(head.substr(at + 16));
      if (buffer.size() < length)
        boost::asio::read(wire, buffer, boost::asio::transfer_exactly(length - buffer.size()), error);
      std::string body(boost::asio::buffers_begin(buffer.data()),
                       boost::asio::buffers_begin(buffer.data()) + static_cast<long>(length));
      buffer.consume(length);
      if (!Answer(wire, head, body)) return;
    }
  }

  bool Say(Wire& wire, std::string_view bytes) {
    boost::system::error_code error;
    boost::asio::write(wire, boost::asio::buffer(bytes.data(), bytes.size()), error);
    return !error;
  }
  bool SayJson(Wire& wire, int status, const std::string& json) {
    return Say(wire, "HTTP/1.1 " + std::to_string(status) +
                         " X\r\nContent-Type: application/json\r\nContent-Length: " +
                         std::to_string(json.size()) + "\r\n\r\n" + json);
  }

  bool Answer(Wire& wire, const std::string& head, const std::string& body) {
    ++requests_;
    if (head.starts_with("GET /v1/models")) {
      return SayJson(wire, 200, R"({"data":[{"id":")" + manners_.models + R"("}]})");
    }
    const boost::json::object ask = boost::json::parse(body).as_object();
    const bool stream = ask.contains("stream");
    if (stream) {
      const std::lock_guard lock(mutex_);
      last_body_ = body;
    }
    if (stream && manners_.instead) {
      if (const std::string instead = manners_.instead(); !instead.empty()) {
        Say(wire, instead);
        return false;
      }
    }
    const bool chat = head.starts_with("POST /v1/chat");
    const auto* prompt = ask.if_contains("prompt");
    if (!chat && prompt != nullptr && prompt->is_array() ? !manners_.tokens : !chat && !manners_.text)
      return SayJson(wire, 400, R"({"error":{"message":"prompt must be something else"}})");
    return Complete(wire, ask, chat);
  }

  // What the model says, by the fields that it honours.
  std::string Letters(const boost::json::object& ask, size_t count, bool& ended) const {
    const auto number = [&](const char* name) {
      const auto* value = ask.if_contains(name);
      return value == nullptr || !value->is_number() ? 0.0 : value->to_number<double>();
    };
    std::string letters;
    for (size_t i = 0; i < count; ++i) letters += static_cast<char>('a' + i % 26);
    if (!manners_.sampling) return letters;
    const auto* bias = ask.if_contains("logit_bias");
    if (bias != nullptr && bias->as_object().contains("0") && !ask.contains("ignore_eos")) {
      ended = true;
      return "";
    }
    int shift = 0;
    if (number("temperature") > 1 && number("top_k") != 1 && number("min_p") != 1)
      shift = ask.contains("seed") ? static_cast<int>(number("seed")) : 7;
    for (const char* name : {"presence_penalty", "frequency_penalty"}) {
      if (number(name) != 0) shift = 3;
    }
    const bool named = ask.contains("repetition_penalty");
    if (named ? number("repetition_penalty") != 1 : manners_.own_penalty) shift += 3;
    for (char& c : letters) c = static_cast<char>('a' + (c - 'a' + shift) % 26);
    return letters;
  }

  bool Complete(Wire& wire, const boost::json::object& ask, bool chat) {
    namespace json = boost::json;
    const auto tokens = static_cast<size_t>(ask.at("max_tokens").to_number<int64_t>());
    bool ended = false;
    const std::string letters = Letters(ask, tokens, ended);
    const size_t prompt = ask.contains("prompt")
                              ? (ask.at("prompt").is_array() ? ask.at("prompt").as_array().size()
                                                             : ask.at("prompt").as_string().size())
                              : 1;
    const auto choice = [&](const std::string& text, const char* finish) {
      json::object one{{"index", 0}};
      if (chat)
        one["delta"] = json::object{{"content", text}};
      else
        one["text"] = text;
      if (finish != nullptr) one["finish_reason"] = finish;
      if (manners_.ids && ask.contains("return_token_ids")) {
        json::array ids;
        for (const char c : text) ids.emplace_back(static_cast<int>(c));
        one["token_ids"] = ids;
      }
      if (manners_.ids && ask.contains("logprobs")) {
        json::array content;
        for (const char c : text)
          content.push_back(json::object{
              {"id", static_cast<int>(c)},
              {"logprob", -0.5},
              {"top_logprobs", json::array{json::object{{"id", static_cast<int>(c)}, {"logprob", -0.5}}}}});
        one["logprobs"] = json::object{{"content", content}};
      }
      return one;
    };
    const json::object usage{{"prompt_tokens", prompt},
                             {"completion_tokens", letters.size() + (ended ? 1 : 0)}};
    const char* finish = ended ? "stop" : "length";
    if (!ask.contains("stream")) {
      json::object whole = choice(letters, finish);
      if (chat) {
        whole["message"] = whole["delta"];
        whole.erase("delta");
      }
      return SayJson(wire, 200,
                     json::serialize(json::object{{"choices", json::array{whole}}, {"usage", usage}}));
    }
    most_ = std::max(most_.load(), ++running_);
    const bool whole = Stream(
        wire, letters,
        [&](const std::string& text, const char* end) {
          return json::serialize(json::object{{"choices", json::array{choice(text, end)}}});
        },
        finish,
        manners_.usage ? json::serialize(json::object{{"choices", json::array{}}, {"usage", usage}}) : "");
    if (!whole) ++broken_;
    return whole;
  }

  template <class Chunk>
  bool Stream(Wire& wire, const std::string& letters, Chunk chunk, const char* finish,
              const std::string& usage) {
    Say(wire, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    const auto event = [&](const std::string& data) {
      const std::string text = "data: " + data + "\n\n";
      char size[32];
      std::snprintf(size, sizeof size, "%zx\r\n", text.size());
      return Say(wire, size + text + "\r\n");
    };
    const int requests = requests_;
    for (const char c : letters) {
      if (manners_.interrupts && requests_ > requests) {
        --running_;
        return event("[DONE]") && Say(wire, "0\r\n\r\n");
      }
      std::this_thread::sleep_for(manners_.pace);
      if (stopping_ || !event(chunk(std::string(1, c), nullptr))) {
        --running_;
        return false;
      }
      ++tokens_sent_;
    }
    --running_;
    return event(chunk("", finish)) && (usage.empty() || event(usage)) && event("[DONE]") &&
           Say(wire, "0\r\n\r\n");
  }

  const Manners manners_;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::ssl::context tls_{boost::asio::ssl::context::tls_server};
  std::atomic<bool> stopping_ = false;
  std::atomic<int> requests_ = 0, broken_ = 0, running_ = 0, most_ = 0, tokens_sent_ = 0;
  std::mutex mutex_;
  std::string last_body_;
  std::set<Socket*> open_;
  std::list<std::thread> serving_;
  std::thread thread_;
};

}  // namespace penstock

#include "app/launch/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

namespace penstock {
namespace fs = std::filesystem;
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<Addresses> Resolve(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0)
    return Fail(Reason::kAddressUnusable, "cannot listen on {}:{}: {}", host, port, gai_strerror(error));
  return Addresses(found, freeaddrinfo);
}

std::unexpected<Error> InUse(const std::string& host, int port) {
  const std::string owner = PortOwner(port);
  return Fail(Reason::kPortInUse,
              "port {} of {} is in use{}. Stop that program, or use another port: penstock up --listen {}:{}",
              port, host, owner.empty() ? "" : " by " + owner, host, port + 1);
}

// Inodes of the sockets that listen on `port` (proc(5): /proc/net/tcp).
std::set<std::string> ListeningInodes(int port) {
  std::set<std::string> inodes;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, skip, inode;
      fields >> slot >> local >> remote >> state;
      for (int i = 0; i < 5; ++i) fields >> skip;
      fields >> inode;
      const size_t colon = local.rfind(':');
      if (state == "0A" && colon != std::string::npos &&
          std::stoi(local.substr(colon + 1), nullptr, 16) == port) {
        inodes.insert("socket:[" + inode + "]");
      }
    }
  }
  return inodes;
}

bool HasAnyOpen(const fs::path& process, const std::set<std::string>& sockets) {
  std::error_code error;
  for (fs::directory_iterator at(process / "fd", error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    if (sockets.contains(fs::read_symlink(at->path(), gone).string())) return true;
  }
  return false;
}

}  // namespace

std::string PortOwner(int port) {
  const auto sockets = ListeningInodes(port);
  if (sockets.empty()) return "";
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; !error && at != end; at.increment(error)) {
    const std::string pid = at->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos || !HasAnyOpen(at->path(), sockets))
      continue;
    std::ifstream comm(at->path() / "comm");
    std::string name;
    std::getline(comm, name);
    return fmt::format("{} (process {})", name, pid);
  }
  return "";
}

Result<Fd> Listen(const std::string& host_port) {
  const size_t colon = host_port.rfind(':');
  std::string host = host_port.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::string port = host_port.substr(colon + 1);
  PENSTOCK_ASSIGN(const Addresses addresses, Resolve(host, port));
  const addrinfo& address = *addresses;
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol));
  if (!fd) return FailErrno(Code::kIo, "socket");
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0 || listen(fd.get(), 4096) != 0) {
    if (errno == EADDRINUSE) return InUse(host, std::stoi(port));
    if (errno == EACCES) {
      return Fail(Code::kIo,
                  "this user may not listen on port {}: use a port above 1023, such as --listen {}:8700",
                  port, host);
    }
    return FailErrno(Code::kInvalid, fmt::format("cannot listen on {}", host_port), Reason::kAddressUnusable);
  }
  return fd;
}

}  // namespace penstock

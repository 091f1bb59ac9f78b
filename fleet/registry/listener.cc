#include "fleet/registry/listener.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace penstock {

using boost::asio::local::stream_protocol;

Result<stream_protocol::acceptor> ListenUnix(boost::asio::io_context& io, const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return Fail(Code::kInvalid,
                "the socket path {} has {} bytes, {} are possible; use a shorter data directory", path,
                path.size(), sizeof(sockaddr_un{}.sun_path) - 1);
  }
  boost::system::error_code error;
  stream_protocol::socket probe(io);
  probe.connect(path, error);
  if (!error) {
    return Fail(Reason::kDataInUse, "another process listens on {}; stop it, or use another data directory",
                path);
  }
  ::unlink(path.c_str());

  stream_protocol::acceptor acceptor(io, stream_protocol());
  // Nobody can connect before listen(), so there is no moment at which the mode is wider.
  acceptor.bind(path, error);
  if (!error && ::chmod(path.c_str(), 0600) != 0) return FailErrno(Code::kIo, "chmod " + path);
  if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) return Fail(Code::kIo, "cannot listen on {}: {}", path, error.message());
  return acceptor;
}

}  // namespace penstock

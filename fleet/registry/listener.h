// Listens on a Unix socket that only this user may reach.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <string>

#include "base/result.h"

namespace penstock {

// Binds `path` with mode 0600. A socket that a dead process left is replaced.
// Errors: kInvalid (path too long for a socket), kConflict (another process answers there), kIo.
Result<boost::asio::local::stream_protocol::acceptor> ListenUnix(boost::asio::io_context& io,
                                                                 const std::string& path);

}  // namespace penstock

// The cloud's listening socket. The supervisor holds it, so that no connection is refused while the gateway
// restarts.
#pragma once

#include <string>

#include "app/common/data_dir.h"
#include "base/result.h"

namespace penstock {

// Bound and listening, close-on-exec. Errors: kConflict (the port is in use: names the process and what to
// do), kInvalid (no such address), kIo.
Result<Fd> Listen(const std::string& host_port);

// "penstock (process 812)": the owner of a listening TCP port on this machine; empty if it is not visible.
std::string PortOwner(int port);

}  // namespace penstock

// The cloud's listening socket, held by the supervisor so that a gateway's restart refuses nobody.
#pragma once

#include <string>

#include "app/common/data_dir.h"
#include "base/result.h"

namespace penstock {

// Bound and listening, close-on-exec. Errors: kConflict (port in use: names who has it and the way out),
// kInvalid (no such address), kIo.
Result<Fd> Listen(const std::string& host_port);

// "penstock (process 812)" for the owner of a listening TCP port on this machine; empty: not to be seen.
std::string PortOwner(int port);

}  // namespace penstock

// Whether `penstock up` speaks TLS, with which certificate, and whether it may listen without.
#pragma once

#include <string>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct TlsFiles {
  std::string certificate, key;  // PEM; empty: plain HTTP
  bool on() const { return !certificate.empty(); }
};
// The files that the settings name; those of a self-signed certificate lie in the data directory.
TlsFiles TlsFilesOf(const Config& config);

// The same, for `up`: makes the self-signed certificate if it is not there yet. Errors: kInvalid: the
// settings contradict each other, or `listen` reaches beyond this machine and nothing says how that shall be
// safe.
Result<TlsFiles> PrepareTls(const Config& config);

}  // namespace penstock

// Whether `penstock up` uses TLS, with which certificate, and whether it may listen without TLS.
#pragma once

#include <string>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct TlsFiles {
  std::string certificate, key;  // PEM; empty: plain HTTP
  bool on() const { return !certificate.empty(); }
};
// The files that the settings name; those of a self-signed certificate are in the data directory.
TlsFiles TlsFilesOf(const Config& config);

// The same for `up`: also creates the self-signed certificate if it does not exist. Errors: kInvalid: the
// settings contradict each other, or other machines can reach `listen` and the settings choose neither TLS
// nor
// --insecure.
Result<TlsFiles> PrepareTls(const Config& config);

}  // namespace penstock

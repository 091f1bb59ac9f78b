// Reasons: the errors that users can meet, each with a short code that never changes ("PS1003") and a
// paragraph: what happened, why, and what to do. This is the only table; `penstock errors` and docs/errors.md
// are generated from it.
//
//   1xxx install and start   2xxx models   3xxx requests   4xxx teams and keys   5xxx store and backup
//   6xxx engines
//
// A number is never reused for another error.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

enum class Code;  // base/result.h

enum class Reason : uint16_t {
  kNone = 0,  // an error without its own paragraph

  kPortInUse = 1001,
  kAddressUnusable = 1002,
  kDataInUse = 1003,
  kDataUnusable = 1004,
  kDiskFull = 1005,
  kNotRunning = 1006,
  kNoKeyFile = 1007,
  kBadSetting = 1008,
  kUnknownSetting = 1009,
  kNoConfigFile = 1010,

  kModelNotInstalled = 2001,
  kModelTooLarge = 2002,
  kModelDamaged = 2003,
  kModelUnsupported = 2004,
  kModelExists = 2005,
  kModelName = 2006,
  kNotAModel = 2007,
  kModelSource = 2008,
  kModelToken = 2009,
  kModelChanged = 2010,

  kBadField = 3001,
  kUnsupportedField = 3002,
  kBadJson = 3003,
  kContextTooLong = 3004,
  kModelUnknown = 3005,
  kQueueFull = 3006,
  kQueueTimeout = 3007,
  kBodyTooLarge = 3008,
  kIdempotencyUsed = 3009,
  kNoRoute = 3010,
  kWrongMethod = 3011,
  kRequestUnknown = 3012,
  kModelNotReady = 3013,
  kStopping = 3014,
  kBadHttp = 3015,
  kTooSlow = 3016,
  kTooManyOpen = 3017,
  kKeyBodyMemory = 3018,
  kBodyMemory = 3019,
  kHostNotAllowed = 3020,

  kNoKey = 4001,
  kKeyUnknown = 4002,
  kKeyRevoked = 4003,
  kKeyExpired = 4004,
  kNotYourRole = 4005,
  kModelNotAllowed = 4006,
  kTeamExists = 4007,
  kTeamUnknown = 4008,
  kNoSuchKey = 4009,
  kKeyAmbiguous = 4010,
  kExternalForbidden = 4011,

  kStoreUnwritable = 5001,
  kStoreDamaged = 5002,
  kStoreNewer = 5003,
  kNotAStore = 5004,
  kBackupDamaged = 5005,
  kBackupNewer = 5006,
  kNotABackup = 5007,
  kRestoreNotEmpty = 5008,
  kBackupExists = 5009,
  kNothingToBackUp = 5010,
  kUpgradeWithoutBackup = 5011,

  kEngineGone = 6001,
  kModelFailedToLoad = 6002,
  kEngineGaveUp = 6003,
  kEngineMemory = 6004,
};

struct ReasonText {
  Reason reason;
  Code code;  // the kind of failure, always the same for a reason
  std::string_view title, what, why, fix;
};
std::span<const ReasonText> Reasons();
const ReasonText* FindReason(Reason reason);                // nullptr: kNone
const ReasonText* FindReason(std::string_view short_code);  // "PS1003", "ps1003", "1003"; nullptr: none

Code CodeOf(Reason reason);            // REQUIRES: not kNone
std::string ShortCode(Reason reason);  // "PS1003"; empty for kNone

}  // namespace penstock

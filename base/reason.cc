#include "base/reason.h"

#include <algorithm>
#include <charconv>

#include "base/result.h"

namespace penstock {
namespace {

using enum Code;

constexpr ReasonText kReasons[] = {
    // ---- install and start ----
    {Reason::kPortInUse, kConflict, "The port is in use",
     "The cloud cannot listen on its address, because another program listens there.",
     "Only one program can listen on an address. Often it is a cloud that was started earlier and still "
     "runs.",
     "The message names that process. Stop it, or choose another address: `penstock up --listen "
     "127.0.0.1:8701`."},
    {Reason::kAddressUnusable, kInvalid, "The cloud cannot listen on this address",
     "The host in `listen` is not an address of this machine, or cannot be resolved.",
     "Use 127.0.0.1 for clients on this machine only, or 0.0.0.0 for every interface.",
     "Use an address of this machine: `penstock up --listen 0.0.0.0:8700`."},
    {Reason::kDataInUse, kConflict, "The data directory is in use",
     "Another Penstock runs on this data directory.",
     "A data directory belongs to one cloud, so that two clouds never write the same usage records.",
     "The message names its process. Stop it, or use another directory for this cloud with `--data DIR`."},
    {Reason::kDataUnusable, kIo, "The data directory cannot be used",
     "The directory, or a file in it, cannot be created, read or written.",
     "It belongs to another user, its disk is read-only, or its path is not a directory.",
     "The message has the system's error. Change the permissions (`chown`), or use another directory with "
     "`--data DIR`."},
    {Reason::kDiskFull, kIo, "The disk is full",
     "There is not enough disk space for what must be written; nothing was started.",
     "Usage records, downloads and backups check the free space first, so that no incomplete data is left.",
     "The message states how much is missing. Free some space (`penstock model rm NAME`, old backups), or "
     "use "
     "another disk."},
    {Reason::kNotRunning, kUnavailable, "The cloud is not running",
     "No server answers at the address where the command expects the cloud.",
     "The cloud was not started, listens on another address, or has just stopped.",
     "Start it with `penstock up`; for a cloud on another machine use `--url http://HOST:PORT`. `penstock "
     "doctor` checks this machine."},
    {Reason::kNoKeyFile, kNotFound, "There is no operator key here",
     "The command needs the operator key but found no file with it.",
     "The first `penstock up` writes the key into the data directory. Perhaps another directory is "
     "configured, "
     "or the cloud runs on another machine.",
     "Give the cloud's directory with `--data DIR`, or a key with `--key` or `PENSTOCK_KEY`."},
    {Reason::kBadSetting, kInvalid, "A setting has a wrong value",
     "The value of a setting in the file, the environment or a flag is not valid.",
     "Sizes, times and choices are checked before anything starts, so that mistakes are found immediately.",
     "The message names the place and the expected value; `penstock config` shows every setting."},
    {Reason::kUnknownSetting, kNotFound, "There is no such setting",
     "The configuration contains a setting that does not exist.",
     "It is misspelt, or belongs to another version. Unknown settings are refused, because ignoring one "
     "would "
     "hide the mistake.",
     "The message suggests the most similar name; `penstock config` lists all settings."},
    {Reason::kNoConfigFile, kNotFound, "The configuration file does not exist",
     "The file of `--config` or `PENSTOCK_CONFIG` does not exist.",
     "A file that is named explicitly must exist; only the default files are optional.",
     "Correct the path, or remove it: every setting has a default."},

    // ---- models ----
    {Reason::kModelNotInstalled, kNotFound, "The model is not installed",
     "The command names a model that is not in this data directory, or that has no known source.",
     "It is misspelt, was removed, or was never downloaded.",
     "`penstock model ls` lists the installed models, `penstock model pull` those in the catalogue; "
     "`penstock "
     "model import` installs your own file."},
    {Reason::kModelTooLarge, kTooLarge, "The model is too large for this machine",
     "The model's weights do not fit into this machine's memory.",
     "All weights are kept in memory, and conversations need memory in addition.",
     "Choose a smaller model (`penstock model ls --catalogue` shows which fit), or a smaller quantisation of "
     "the same model (Q4 needs a quarter of F16)."},
    {Reason::kModelDamaged, kCorrupt, "The model's file is damaged",
     "The file is incomplete, or its contents contradict each other.",
     "A download was interrupted, or the conversion to this format failed. The message names the defect.",
     "Download it again (`penstock model rm NAME`, then `penstock model pull NAME`), or convert it again."},
    {Reason::kModelUnsupported, kUnsupported, "This kind of model is not supported",
     "The file is intact, but this version does not support its architecture or a part of it.",
     "Each architecture and number format is implemented and tested separately; the README lists them.",
     "Choose a model from that list, or another quantisation of the same model."},
    {Reason::kModelExists, kConflict, "A model with this name exists",
     "The model cannot be installed under this name, because another model has it.",
     "Clients select models by name, so a name must be unique.",
     "Remove the old model with `penstock model rm NAME`, or choose another name with `--name`."},
    {Reason::kModelName, kInvalid, "This is not a valid model name",
     "The name is too long, or has characters that are not safe in URLs and paths.",
     "Names appear in requests, in paths and in reports.",
     "Use at most 80 letters, digits and . - _ : and begin with a letter or digit: `--name NAME`."},
    {Reason::kNotAModel, kInvalid, "This is not a model",
     "The given path is neither a GGUF file nor a Hugging Face folder.",
     "A folder must contain `config.json` next to the weights.",
     "Give the path of the `.gguf` file, or of the folder that contains `config.json`."},
    {Reason::kModelSource, kUnavailable, "No source could provide the model",
     "All sources of the model failed; the message gives the reason for each.",
     "This machine has no network access, a mirror is down, or the file was moved.",
     "Try again later, set a mirror (`pull.mirrors`), or copy the file to this machine and run `penstock "
     "model "
     "import`."},
    {Reason::kModelToken, kForbidden, "The model's source requires a token",
     "The hub does not provide this file without an access token.",
     "For some models, you must first accept a licence.",
     "Accept the licence at the hub, then set `pull.token` or `HF_TOKEN`."},
    {Reason::kModelChanged, kCorrupt, "The bytes are not the expected ones",
     "The SHA-256 of a model's bytes differs from the one at installation, from the pinned one, or from the "
     "published one.",
     "The file was modified, the disk damaged it, or its source now offers another file.",
     "If nobody changed it on purpose, remove it and download it again; `penstock doctor` checks every "
     "file."},

    // ---- requests ----
    {Reason::kBadField, kInvalid, "A field of the request is wrong",
     "A field is missing, has the wrong type, or is out of range.",
     "The whole request is checked before anything runs; `param` names the field.",
     "Correct the field as the message says; docs/api.md lists all fields."},
    {Reason::kUnsupportedField, kUnsupported, "A field is not supported",
     "The request uses a feature that this version does not support.",
     "A field that would change the answer is refused, not ignored.",
     "Remove the field; docs/api.md lists what is supported."},
    {Reason::kBadJson, kInvalid, "The body is not JSON",
     "The body of the request is not one valid JSON object.",
     "It is incomplete, has an extra comma, or uses another format. The message names the byte.",
     "Send one JSON object, in UTF-8."},
    {Reason::kContextTooLong, kInvalid, "The prompt does not fit the context",
     "The prompt leaves no space for an answer in the model's context.",
     "Prompts are never cut without notice. The context is the model's own, or smaller if `engine.context` "
     "or "
     "the memory limits it.",
     "Send a shorter prompt, or choose a model with a longer context."},
    {Reason::kModelUnknown, kNotFound, "There is no such model for you",
     "The request names a model that is not installed, or that your key may not use.",
     "It is misspelt, or no operator has installed it.",
     "`GET /v1/models` lists the models that you may use; an operator installs more with `penstock model "
     "pull`."},
    {Reason::kQueueFull, kOverloaded, "The queue is full",
     "Too many requests are waiting, so this one was not accepted.",
     "`gateway.max_waiting` limits the queue, so that waiting times stay reasonable.",
     "Try again after `retry-after`. If this happens often, add chips or use a smaller model."},
    {Reason::kQueueTimeout, kDeadline, "The request waited too long",
     "The request waited in the queue for the maximum time and was not started.",
     "The chips were busy with earlier requests and those of other teams; `gateway.queue_timeout` limits the "
     "wait.",
     "Try again later; `penstock top` shows what is running and waiting."},
    {Reason::kBodyTooLarge, kTooLarge, "The request is too large",
     "The body or the header of the request exceeds the limit.",
     "`gateway.max_body` and `gateway.max_header` limit the memory that one request may use.",
     "Send a smaller request, or ask an operator to raise the limit."},
    {Reason::kIdempotencyUsed, kConflict, "The Idempotency-Key was used",
     "An earlier request had the same `Idempotency-Key`.",
     "Answers are not stored, so they cannot be sent again, and the key forbids running the request twice.",
     "Look at the first request (`GET /v1/requests/ID`, with the id in the message), or use a new key."},
    {Reason::kNoRoute, kNotFound, "This path does not exist", "The API has no such path.",
     "It is misspelt, or belongs to an API that is not supported. Paths of the OpenAI API begin with /v1.",
     "The message suggests a path and lists those that this key may use; clients need `http://HOST:8700/v1` "
     "as their "
     "base URL."},
    {Reason::kWrongMethod, kInvalid, "This path does not support the method",
     "The path exists, but not with this HTTP method.",
     "Each path supports certain methods; the `allow` header lists them.", "Use one of those methods."},
    {Reason::kRequestUnknown, kNotFound, "There is no such request of yours",
     "No request has this id, or it belongs to another team.",
     "Refused requests (ids that begin with `ref_`) have no record.",
     "Use the id from the `x-request-id` header of the answer."},
    {Reason::kModelNotReady, kUnavailable, "The model is not ready",
     "The model is installed, but no engine can run it now.",
     "It is being loaded, an operator unloaded it, or it could not be loaded.",
     "Try again after `retry-after`; `penstock status` shows its state, `penstock model load NAME` loads "
     "it."},
    {Reason::kStopping, kUnavailable, "The cloud is stopping",
     "The cloud accepts no new requests; running requests finish.",
     "An operator is stopping or restarting the cloud.", "Try again shortly."},
    {Reason::kBadHttp, kInvalid, "This is not HTTP", "The received bytes are not a valid HTTP request.",
     "The client used another protocol (such as TLS), or has a bug.",
     "Use `http://`, and a client that supports HTTP/1.1."},
    {Reason::kTooSlow, kInvalid, "The request did not arrive in time",
     "The header or the body of the request was not complete in time.",
     "`gateway.header_timeout` and `gateway.body_timeout` free the memory that slow clients would occupy.",
     "Send it faster, or ask an operator to raise the limit."},
    {Reason::kTooManyOpen, kOverloaded, "Too many requests are open",
     "The maximum number of requests whose usage can be recorded at once are running or waiting.",
     "Each open request has a slot in the journal, and all slots are taken.", "Try again soon."},
    {Reason::kKeyBodyMemory, kOverloaded, "This key's requests hold too much memory",
     "The bodies of this key's requests that are being received or tokenised use as much memory as one key "
     "may use.",
     "`gateway.body_memory_per_key` keeps one key from taking the memory that others need.",
     "Send fewer large requests at the same time, or ask an operator to raise the limit."},
    {Reason::kBodyMemory, kUnavailable, "Requests hold too much memory",
     "The bodies of all requests that are being received or tokenised use as much memory as they may use.",
     "`gateway.body_memory` keeps request bodies from filling the machine's memory.",
     "Try again soon; if it lasts, ask an operator to raise the limit."},
    {Reason::kHostNotAllowed, kForbidden, "This host name needs a key",
     "The cloud listens only on this machine, and a request without a key was sent to another name than "
     "localhost "
     "or 127.0.0.1.",
     "Pages of other sites can make a browser send requests to this machine under a name of theirs (DNS "
     "rebinding), so only loopback names and names in `gateway.hosts` are answered without a key.",
     "Use http://localhost:8700 or send a key. Behind a reverse proxy: add the name that users type to "
     "`gateway.hosts`."},

    // ---- teams and keys ----
    {Reason::kNoKey, kUnauthenticated, "The request has no key", "The request does not contain an API key.",
     "Everything except the public pages requires a key.",
     "Send `Authorization: Bearer KEY`; an operator creates keys with `penstock key create`."},
    {Reason::kKeyUnknown, kUnauthenticated, "The key is not known", "This cloud has no key with this secret.",
     "It is mistyped, belongs to another cloud, or was replaced by `penstock key rotate`.",
     "Ask your team lead or an operator; `penstock key ls` shows the beginning of each key."},
    {Reason::kKeyRevoked, kUnauthenticated, "The key was revoked", "The key exists, but was revoked.",
     "A revoked key stops working immediately and permanently.",
     "Ask for a new one: `penstock key create --team TEAM`."},
    {Reason::kKeyExpired, kUnauthenticated, "The key has expired",
     "The key was valid until a time that has passed.", "Keys can be created with an end date (`--expires`).",
     "Ask for a new one: `penstock key create --team TEAM --expires 90d`."},
    {Reason::kNotYourRole, kForbidden, "The key's role may not do this",
     "The key is valid, but the request requires another role.",
     "Developers use models; team leads manage their team's keys; finance reads usage; everything else "
     "requires an operator.",
     "The message names the roles that may do this. Use a key with such a role (operator.key contains the "
     "operator key), or ask someone who has one; `GET /v1/seat` shows what a key may do."},
    {Reason::kModelNotAllowed, kForbidden, "This key may not use the model",
     "The model exists, but the key is limited to other models.",
     "A key can be limited to certain models when it is created.",
     "Use one of the models that the message names, or ask for a key that may use this one."},
    {Reason::kTeamExists, kConflict, "A team with this name exists",
     "The team cannot be created, because another team has this name.",
     "Usage is reported by team, so a name must be unique.",
     "Use the existing team (`penstock team ls`), or choose another name."},
    {Reason::kTeamUnknown, kNotFound, "There is no such team", "The given team does not exist.",
     "It is misspelt, or has not been created.",
     "`penstock team ls` lists the teams; `penstock team create NAME` creates one."},
    {Reason::kNoSuchKey, kNotFound, "There is no such key", "No key has this id, this prefix or this secret.",
     "It is misspelt, or belongs to another cloud.", "`penstock key ls` lists the keys with their ids."},
    {Reason::kKeyAmbiguous, kConflict, "Several keys begin with this text",
     "The secrets of several keys begin with the given text.",
     "A key is identified by its id or by its prefix, the beginning of its secret that lists show.",
     "Give its id (`penstock key ls`)."},

    // ---- store and backup ----
    {Reason::kExternalForbidden, kForbidden, "The team's requests stay inside the organisation",
     "The only engines with this model are outside the organisation, and the team's requests are not sent "
     "there.",
     "An engine with `external = true` gets requests only from teams that allow it.",
     "Use another model, or ask an operator to allow it: `penstock team set TEAM --external yes`."},
    {Reason::kStoreUnwritable, kUnavailable, "Usage cannot be recorded",
     "The store cannot be written, so no new request is accepted; running requests continue.",
     "The disk is full or reports errors. A request whose usage cannot be recorded is not run.",
     "Free disk space or repair the disk: then the cloud continues automatically. `penstock status` shows "
     "the "
     "error."},
    {Reason::kStoreDamaged, kCorrupt, "The store is damaged",
     "penstock.db or the journal has invalid contents, or penstock.db is missing or empty although there is "
     "an operator "
     "key.",
     "The disk damaged it, or another program wrote to it or deleted it. An empty cloud in its place would "
     "refuse every "
     "key of every user.",
     "Stop the cloud and restore a backup into another directory: `penstock restore FOLDER --data DIR`. To "
     "start without "
     "teams and keys where penstock.db is missing, move operator.key away."},
    {Reason::kStoreNewer, kUnsupported, "The data is from a later version",
     "A later Penstock has written this data directory, and this version cannot read its format.",
     "Upgrades cannot be undone in place; before each upgrade, a backup is written to DATA/backups.",
     "Start the later version. Or go back to the state before the upgrade with the command in the message; "
     "usage since then is not in it."},
    {Reason::kNotAStore, kCorrupt, "This is not Penstock's store",
     "The data directory contains a penstock.db that another program created.",
     "The directory belongs to another program, or the file was replaced.",
     "Use another directory with `--data DIR`."},
    {Reason::kBackupDamaged, kCorrupt, "The backup is damaged",
     "A file of the backup is missing, or its bytes have changed since the backup was made; nothing was "
     "restored.",
     "Every file is checked against its SHA-256 before anything is restored.",
     "Use another backup, or copy this one again from its original place. The message names the file."},
    {Reason::kBackupNewer, kUnsupported, "The backup is from a later version",
     "A later Penstock made this backup, and this version cannot read its format.",
     "A backup can be restored only by the version that made it, or a later one.",
     "Restore it with that version (the message names it), or a later one."},
    {Reason::kNotABackup, kNotFound, "This is not a backup",
     "The given folder contains no manifest of a backup.",
     "It is the wrong folder, or the backup was not finished: unfinished ones have `.partial` in their name.",
     "Give the folder that `penstock backup` printed."},
    {Reason::kRestoreNotEmpty, kConflict, "The directory is not empty",
     "The directory to restore into is not empty, or a cloud runs on it.",
     "Restoring never overwrites existing files.",
     "Give an empty directory with `--data DIR`, or move the old one away first."},
    {Reason::kBackupExists, kConflict, "The backup's folder exists",
     "The folder for the new backup already exists.", "A backup never overwrites another one.",
     "Choose another name, for example with the date in it."},
    {Reason::kNothingToBackUp, kNotFound, "There is nothing to back up",
     "The data directory contains no store.",
     "No cloud was ever started on it; probably another directory was meant.",
     "Give the cloud's directory with `--data DIR`."},
    {Reason::kUpgradeWithoutBackup, kIo, "The upgrade was not started",
     "The data is from an earlier version and must be upgraded, but the backup before the upgrade failed.",
     "An upgrade starts only if it is possible to go back.",
     "Fix what the message names (often disk space), and start again."},

    // ---- engines ----
    {Reason::kEngineGone, kUnavailable, "The engine ended during the request",
     "The engine that computed this answer ended; only the delivered tokens are billed.",
     "It was killed, ran out of memory, or failed, and no other engine continued the answer in time. The "
     "engine restarts automatically.",
     "Send the request again. If it happens again, look at DATA/logs and `penstock status`."},
    {Reason::kModelFailedToLoad, kUnavailable, "The model could not be loaded",
     "No engine could load this model; the message gives the reason.",
     "Its file is damaged or missing, or there is not enough memory.",
     "`penstock doctor` searches for the cause; `penstock model load NAME` tries again."},
    {Reason::kEngineGaveUp, kInternal, "The engine failed during the request",
     "The engine ended the request with an internal error.",
     "A step failed; other requests are not affected.",
     "Send it again; if it fails again, the engine's log has details."},
    {Reason::kEngineMemory, kOverloaded, "The engine's memory is too small",
     "The model's weights fit, but no memory is left for conversations.",
     "`engine.memory`, or the machine's free memory, is used up.",
     "Unload another model, raise `engine.memory`, or reduce the model's context."},
};

}  // namespace

std::span<const ReasonText> Reasons() {
  return kReasons;
}

const ReasonText* FindReason(Reason reason) {
  const auto* const found = std::ranges::find(kReasons, reason, &ReasonText::reason);
  return found == std::end(kReasons) ? nullptr : found;
}

const ReasonText* FindReason(std::string_view short_code) {
  if (short_code.starts_with("PS") || short_code.starts_with("ps")) short_code.remove_prefix(2);
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(short_code.data(), short_code.data() + short_code.size(), number);
  if (error != std::errc() || end != short_code.data() + short_code.size()) return nullptr;
  return FindReason(static_cast<Reason>(number));
}

Code CodeOf(Reason reason) {
  const ReasonText* const text = FindReason(reason);
  return text == nullptr ? Code::kInternal : text->code;
}

std::string ShortCode(Reason reason) {
  return reason == Reason::kNone ? "" : fmt::format("PS{:04}", static_cast<unsigned>(reason));
}

}  // namespace penstock

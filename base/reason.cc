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
     "The cloud cannot listen on its address: another program listens there.",
     "One address serves one program. Often it is a cloud that was started before and still runs.",
     "The message names the process that has it. Stop that one, or choose another address: "
     "`penstock up --listen 127.0.0.1:8701`."},
    {Reason::kAddressUnusable, kInvalid, "The address cannot be listened on",
     "The host in `listen` is none of this machine's, or cannot be resolved.",
     "`listen` is an address of this machine: 127.0.0.1 for it alone, 0.0.0.0 for every interface.",
     "Give one of this machine's: `penstock up --listen 0.0.0.0:8700`."},
    {Reason::kDataInUse, kConflict, "The data directory is in use",
     "Another Penstock runs on this data directory.",
     "One cloud owns one directory, so that two never write one set of books.",
     "The message names its process. Stop that one, or give this one a directory of its own with `--data "
     "DIR`."},
    {Reason::kDataUnusable, kIo, "The data directory cannot be used",
     "The directory, or a file in it, cannot be made, read or written.",
     "It belongs to another user, its disk is read-only, or its path is no directory.",
     "The message says what the system answered. Mend the rights (`chown`), or choose another with `--data "
     "DIR`."},
    {Reason::kDiskFull, kIo, "The disk is full",
     "What is to be written needs more room than the disk has; nothing was begun.",
     "Usage records, downloads and backups look at the room first, so that nothing is left half written.",
     "The message says how much is missing. Free it (`penstock model rm NAME`, old backups), or use another "
     "disk."},
    {Reason::kNotRunning, kUnavailable, "The cloud is not running",
     "Nothing answers where the commands look for the cloud.",
     "It was not started, listens elsewhere, or has just stopped.",
     "Start it with `penstock up`; for a cloud elsewhere give `--url http://HOST:PORT`. `penstock doctor` "
     "looks at "
     "what is here."},
    {Reason::kNoKeyFile, kNotFound, "There is no operator key here",
     "A command wanted the operator's key and found no file with it.",
     "The first `penstock up` writes it into the data directory. Another directory is named, or the cloud is "
     "elsewhere.",
     "Name the cloud's directory with `--data DIR`, or give a key with `--key` or `PENSTOCK_KEY`."},
    {Reason::kBadSetting, kInvalid, "A setting has a wrong value",
     "A setting in the file, the environment or a flag cannot be read as what it is.",
     "Sizes, times and choices are checked before anything starts, so that a slip is found at once.",
     "The message names the place and what the setting wants; `penstock config` shows every setting."},
    {Reason::kUnknownSetting, kNotFound, "There is no such setting",
     "The configuration names a setting that does not exist.",
     "It is misspelt, or of another version. Unknown settings are refused, as one that is ignored helps "
     "nobody.",
     "The message names the nearest one; `penstock config` lists all."},
    {Reason::kNoConfigFile, kNotFound, "The configuration file is not there",
     "The file of `--config` or `PENSTOCK_CONFIG` does not exist.",
     "A file that was named must be there; only the usual places are looked at without being missed.",
     "Mend the path, or leave it out: every setting has a default."},

    // ---- models ----
    {Reason::kModelNotInstalled, kNotFound, "The model is not installed",
     "A command names a model that this data directory does not hold, or that no source is known for.",
     "It is misspelt, was removed, or was never fetched.",
     "`penstock model ls` lists what is here, `penstock model pull` what can be had; a file of your own "
     "comes by "
     "`penstock model import`."},
    {Reason::kModelTooLarge, kTooLarge, "The model is too large for this machine",
     "The model's weights do not fit this machine's memory.",
     "Weights are held in memory whole, and room for conversations is needed beside them.",
     "Choose a smaller model (`penstock model ls --catalogue` marks what fits), or a smaller quantisation of "
     "the "
     "same one (Q4 is a quarter of F16)."},
    {Reason::kModelDamaged, kCorrupt, "The model's file is damaged",
     "The file is cut short, or what it says of itself does not fit together.",
     "A download broke off, or the file was converted by something faulty. The message names the defect.",
     "Fetch it again (`penstock model rm NAME`, then `penstock model pull NAME`), or convert it again."},
    {Reason::kModelUnsupported, kUnsupported, "The model is of a kind that is not served",
     "The file is sound, but its architecture, or a part of it, is not served by this version.",
     "Each architecture and number format is written for and tested one by one; the README lists them.",
     "Choose one of the list, or another quantisation of the same model."},
    {Reason::kModelExists, kConflict, "There is a model of this name",
     "A model would be installed under a name that is taken.",
     "Clients name models by it, so it must mean one thing.",
     "Remove the old one with `penstock model rm NAME`, or give another with `--name`."},
    {Reason::kModelName, kInvalid, "This cannot be a model's name",
     "The name holds characters that no URL or folder should, or is too long.",
     "Names appear in requests, in paths and in reports.",
     "Use up to 80 letters, digits and . - _ : and begin with a letter or digit: `--name NAME`."},
    {Reason::kNotAModel, kInvalid, "This is no model",
     "What was named is neither a GGUF file nor a Hugging Face folder.",
     "A folder needs its `config.json` beside the weights.",
     "Name the `.gguf` file itself, or the folder that holds `config.json`."},
    {Reason::kModelSource, kUnavailable, "No source has the model now",
     "Every place that the model could come from failed; the message says how each did.",
     "The machine has no way out, a mirror is down, or the file has moved.",
     "Try again later, name a mirror (`pull.mirrors`), or carry the file here and use `penstock model "
     "import`."},
    {Reason::kModelToken, kForbidden, "The model's source wants a token",
     "The hub does not hand out this file without an access token.",
     "Some models' licences must be accepted first.",
     "Accept the licence at the hub, then set `pull.token` or `HF_TOKEN`."},
    {Reason::kModelChanged, kCorrupt, "The bytes are not the expected ones",
     "A model's bytes have another SHA-256 than was installed, pinned or published.",
     "The file was altered, the disk damaged it, or its source now offers something else.",
     "If nobody changed it on purpose, remove and fetch it again; `penstock doctor` checks every file."},

    // ---- requests ----
    {Reason::kBadField, kInvalid, "A field of the request is wrong",
     "A field is missing, of the wrong type, or out of its range.",
     "Requests are checked whole before anything runs; `param` names the field.",
     "Mend the field as the message says; docs/api.md lists them."},
    {Reason::kUnsupportedField, kUnsupported, "A field is not supported",
     "The request asks for something that this version does not do.",
     "A field that would change the answer is refused rather than ignored.",
     "Leave the field out; docs/api.md lists what is served."},
    {Reason::kBadJson, kInvalid, "The body is not JSON",
     "The request's body cannot be read as one JSON object.",
     "It is cut short, has a stray comma, or is of another format. The message names the byte.",
     "Send one JSON object, in UTF-8."},
    {Reason::kContextTooLong, kInvalid, "The prompt does not fit the context",
     "The prompt leaves no room for an answer in the model's context.",
     "A prompt is never cut silently. The context is the model's own, or less where `engine.context` or "
     "memory caps it.",
     "Send less, or choose a model with a longer context."},
    {Reason::kModelUnknown, kNotFound, "There is no such model for you",
     "The request names a model that is not installed, or not yours.",
     "It is misspelt, or the operator has not installed it.",
     "`GET /v1/models` lists yours; the operator installs more with `penstock model pull`."},
    {Reason::kQueueFull, kOverloaded, "The queue is full",
     "So many requests wait that no more are taken now.",
     "`gateway.max_waiting` bounds the queue, so that a wait stays worth it.",
     "Try again after `retry-after`. If it lasts, add chips or a smaller model."},
    {Reason::kQueueTimeout, kDeadline, "The request waited too long",
     "The request was queued for the longest time that is allowed and did not get its turn.",
     "Other teams' and earlier requests had the chip; `gateway.queue_timeout` bounds the wait.",
     "Try again later; `penstock top` shows who waits and who runs."},
    {Reason::kBodyTooLarge, kTooLarge, "The request is too large",
     "The request's body or header is larger than is taken.",
     "`gateway.max_body` and `gateway.max_header` bound what one request may hold in memory.",
     "Send less, or have the operator raise the setting."},
    {Reason::kIdempotencyUsed, kConflict, "The Idempotency-Key was used",
     "A request with this `Idempotency-Key` came before.",
     "Answers are not kept, so they cannot be given again; running it twice is what the key forbids.",
     "Look at the first request (`GET /v1/requests/ID`, which the message names), or use a fresh key."},
    {Reason::kNoRoute, kNotFound, "There is nothing at this path", "The path is none of the API's.",
     "It is misspelt, or of an API that is not served. OpenAI's begin with /v1.",
     "The message lists every path; clients want `http://HOST:8700/v1` as their base."},
    {Reason::kWrongMethod, kInvalid, "The method is not for this path",
     "The path is right, the HTTP method is not.",
     "Each path takes certain methods; the `allow` header names them.", "Use one of those."},
    {Reason::kRequestUnknown, kNotFound, "There is no such request of yours",
     "No record has this request id, or it is another team's.",
     "Refused requests (ids that begin with `ref_`) leave no record.",
     "Take the id from the answer's `x-request-id` header."},
    {Reason::kModelNotReady, kUnavailable, "The model is not ready",
     "The model is installed, but no engine can answer for it now.",
     "It is being loaded, was unloaded by the operator, or could not be loaded.",
     "Try again after `retry-after`; `penstock status` shows its state, `penstock model load NAME` loads "
     "it."},
    {Reason::kStopping, kUnavailable, "The cloud is stopping",
     "No new requests are taken; what runs is finished.", "The operator stops or restarts the cloud.",
     "Try again shortly."},
    {Reason::kBadHttp, kInvalid, "This is not HTTP", "What arrived cannot be read as an HTTP request.",
     "Another protocol (TLS, say) was spoken, or the client is faulty.",
     "Use `http://`, and a client that speaks HTTP/1.1."},
    {Reason::kTooSlow, kInvalid, "The request did not arrive in time",
     "The request's header or body did not come whole in time.",
     "`gateway.header_timeout` and `gateway.body_timeout` free what slow clients would hold.",
     "Send it faster, or have the operator raise the setting."},
    {Reason::kTooManyOpen, kOverloaded, "Too many requests are open",
     "As many requests run and wait as usage can be kept of at once.",
     "Each open request has a slot in the journal, and all are taken.", "Try again soon."},
    {Reason::kKeyBodyMemory, kOverloaded, "This key's requests hold too much memory",
     "The bodies of this key's requests that are being received or tokenised hold as much memory as one key "
     "may.",
     "`gateway.body_memory_per_key` keeps one key from taking the memory that others need.",
     "Send fewer large requests at the same time, or have the operator raise the setting."},
    {Reason::kBodyMemory, kUnavailable, "Requests hold too much memory",
     "The bodies of all requests that are being received or tokenised hold as much memory as they may.",
     "`gateway.body_memory` keeps request bodies from filling the machine's memory.",
     "Try again soon; if it lasts, have the operator raise the setting."},

    // ---- teams and keys ----
    {Reason::kNoKey, kUnauthenticated, "The request has no key", "The request does not say who asks.",
     "Everything but the public pages wants a key.",
     "Send `Authorization: Bearer KEY`; your operator makes keys with `penstock key create`."},
    {Reason::kKeyUnknown, kUnauthenticated, "The key is not known", "No key of this cloud has this secret.",
     "It is mistyped, of another cloud, or was replaced by `penstock key rotate`.",
     "Ask your team lead or operator; `penstock key ls` shows how each key begins."},
    {Reason::kKeyRevoked, kUnauthenticated, "The key was revoked",
     "The key is known, and was ended on purpose.", "Somebody revoked it; that is at once and for good.",
     "Ask for a new one: `penstock key create --team TEAM`."},
    {Reason::kKeyExpired, kUnauthenticated, "The key has expired",
     "The key was made to work until a day that is past.", "Keys may be given an end with `--expires`.",
     "Ask for a new one: `penstock key create --team TEAM --expires 90d`."},
    {Reason::kNotYourRole, kForbidden, "The key's role may not do this",
     "The key is good, but what it asks is for another role.",
     "Developers use models; team leads manage their team's keys; finance reads usage; the rest is the "
     "operator's.",
     "The message names the roles that may. Use such a key (the operator's is in operator.key), or ask "
     "whoever has "
     "one; `GET /v1/seat` shows what a key may."},
    {Reason::kModelNotAllowed, kForbidden, "This key may not use the model",
     "The model is there, but the key is scoped to others.",
     "A key may be bound to certain models when it is made.",
     "Use one of the models that the message names, or ask for a key with this one."},
    {Reason::kTeamExists, kConflict, "There is a team of this name",
     "A team would be made under a name that is taken.", "Usage is told by team, so a name means one team.",
     "Use the one there is (`penstock team ls`), or choose another name."},
    {Reason::kTeamUnknown, kNotFound, "There is no such team", "The team that was named does not exist.",
     "It is misspelt, or was not made yet.",
     "`penstock team ls` lists them; `penstock team create NAME` makes one."},
    {Reason::kNoSuchKey, kNotFound, "There is no such key", "No key has this id, and none begins so.",
     "It is misspelt, or of another cloud.", "`penstock key ls` lists them with their ids."},
    {Reason::kKeyAmbiguous, kConflict, "Several keys begin so",
     "More than one key begins with what was given.", "A key is named by its id or by how its secret begins.",
     "Give its id (`penstock key ls`), or more of its beginning."},

    // ---- store and backup ----
    {Reason::kExternalForbidden, kForbidden, "The team's text stays inside the organisation",
     "The only engines that hold the model are outside the organisation, and the team does not send its text "
     "there.",
     "An engine with `external = true` takes requests only of teams that allow it.",
     "Use another model; or an operator allows it: `penstock team set TEAM --external yes`."},
    {Reason::kStoreUnwritable, kUnavailable, "Usage cannot be recorded",
     "The store cannot be written, so no new request is taken; what runs goes on.",
     "The disk is full, or answers with errors. A request that could not be accounted for is not run.",
     "Free room or mend the disk: it goes on by itself then. `penstock status` shows the fault."},
    {Reason::kStoreDamaged, kCorrupt, "The store is damaged",
     "penstock.db or the journal holds something that it should not.",
     "The disk damaged it, or something else wrote into it.",
     "Stop the cloud and restore a backup into another directory: `penstock restore FOLDER --data DIR`."},
    {Reason::kStoreNewer, kUnsupported, "The data is of a later version",
     "A later Penstock has written this data directory, and this one does not know its form.",
     "Upgrades go forward only; before each, the state is kept in DATA/backups.",
     "Start the later program. Or go back to before the upgrade with the command in the message; what was "
     "used since "
     "is not in it."},
    {Reason::kNotAStore, kCorrupt, "This is not Penstock's store",
     "The data directory holds a penstock.db that another program made.",
     "The directory is another program's, or the file was replaced.", "Name another with `--data DIR`."},
    {Reason::kBackupDamaged, kCorrupt, "The backup is damaged",
     "A file of the backup is missing or does not hold the bytes that it was made with; nothing was touched.",
     "Every file is checked against its SHA-256 before anything is restored.",
     "Use another backup, or fetch this one again from where it was copied. The message names the file."},
    {Reason::kBackupNewer, kUnsupported, "The backup is of a later version",
     "A later Penstock made this backup, and this one does not know its form.",
     "A backup is of its program's version or an earlier one.",
     "Restore it with that program (the message names it), or a later one."},
    {Reason::kNotABackup, kNotFound, "This is no backup",
     "The folder that was named holds no manifest of a backup.",
     "Another folder was meant, or the backup was not finished: those end in `.partial`.",
     "Name the folder that `penstock backup` printed."},
    {Reason::kRestoreNotEmpty, kConflict, "The directory is not empty",
     "The directory to restore into holds something, or a cloud runs on it.",
     "Nothing is ever restored over anything.",
     "Name an empty one with `--data DIR`, or move the old one away first."},
    {Reason::kBackupExists, kConflict, "The backup's folder is there already",
     "The folder that the backup would be made in exists.", "A backup is never made over another one.",
     "Give another name, such as one with the date in it."},
    {Reason::kNothingToBackUp, kNotFound, "There is nothing to back up", "The data directory holds no store.",
     "No cloud was ever started on it; another one was meant.",
     "Name the cloud's directory with `--data DIR`."},
    {Reason::kUpgradeWithoutBackup, kIo, "The upgrade was not begun",
     "The data is of an earlier version and would be brought up to date, but no backup of it could be made "
     "first.",
     "An upgrade is begun only when there is a way back.",
     "Mend what the message names (often room on the disk), and start again."},

    // ---- engines ----
    {Reason::kEngineGone, kUnavailable, "The engine ended amid the request",
     "The engine that computed this answer ended; what was delivered is billed, no more.",
     "It was killed, ran out of memory, or met a fault, and no other engine went on with the answer in time. "
     "It "
     "is started again by itself.",
     "Send the request again. If it happens again, look into DATA/logs and `penstock status`."},
    {Reason::kModelFailedToLoad, kUnavailable, "The model could not be loaded",
     "No engine could load this model; the message says why.",
     "Its file is damaged or gone, or memory is short.",
     "`penstock doctor` looks for what is wrong; `penstock model load NAME` tries again."},
    {Reason::kEngineGaveUp, kInternal, "The engine gave the request up",
     "The engine ended the request with an error of its own.",
     "A step failed; other requests are not touched.",
     "Send it again; if it fails again, the engine's log has more."},
    {Reason::kEngineMemory, kOverloaded, "The engine's memory is too small",
     "The model's weights fit, but no room is left for conversations.",
     "`engine.memory`, or what the machine has free, is spent.",
     "Unload another model, raise `engine.memory`, or lower the model's context."},
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

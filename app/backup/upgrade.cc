#include "app/backup/upgrade.h"

#include <algorithm>
#include <filesystem>

#include "app/backup/backup.h"
#include "app/common/table.h"
#include "base/clock.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

constexpr size_t kUpgradesKept = 3;

// The backups that upgrades made, oldest first.
std::vector<FoundBackup> UpgradeBackups(const DataDir& data) {
  std::vector<FoundBackup> found = BackupsIn(data.Backups());
  std::erase_if(found, [](const FoundBackup& one) {
    return !fs::path(one.path).filename().string().starts_with("before-v");
  });
  return found;
}

Error Newer(const DataDir& data, const StoreVersion& store) {
  std::string way_back = "start that version, or a later one";
  const auto kept = UpgradeBackups(data);
  const auto ours = std::ranges::find_if(kept.rbegin(), kept.rend(), [](const FoundBackup& one) {
    return one.backup.store_version <= kSchemaVersion;
  });
  if (ours != kept.rend()) {
    way_back += fmt::format(
        "; or go back to the state before the upgrade, of {}: penstock restore {} --data ANOTHER_DIRECTORY",
        HumanTime(static_cast<double>(ours->backup.created)), ours->path);
  }
  return {Code::kUnsupported,
          fmt::format(
              "the data in {} was last written by {} (its store has version {}; this Penstock {} supports "
              "versions up to {}): {}",
              data.path(), store.program, store.version, PENSTOCK_VERSION, kSchemaVersion, way_back),
          Reason::kStoreNewer};
}

std::string Stamp() {
  const auto now = static_cast<time_t>(SystemClock().Wall() / kSecond);
  tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
  return text;
}

}  // namespace

Status RequireStore(const DataDir& data) {
  std::error_code error;
  if (!fs::exists(data.OperatorKeyFile(), error)) return {};
  PENSTOCK_ASSIGN(const bool empty, StoreIsEmpty(data.path()));
  if (!empty) return {};
  const std::vector<FoundBackup> backups = BackupsIn(data.Backups());
  const std::string way_back =
      backups.empty()
          ? fmt::format(
                "There is no backup in {}; if you have one elsewhere: penstock restore FOLDER --data "
                "ANOTHER_DIRECTORY",
                data.Backups())
          : fmt::format("The latest backup is of {}: penstock restore {} --data ANOTHER_DIRECTORY",
                        HumanTime(static_cast<double>(backups.back().backup.created)), backups.back().path);
  return Fail(
      Reason::kStoreDamaged,
      "{0} has an operator key, but {0}/penstock.db is missing or empty, so its teams, keys and usage are "
      "lost. {1}. To start without them: mv {2} {2}.old",
      data.path(), way_back, data.OperatorKeyFile());
}

Status UpgradeData(const DataDir& data) {
  PENSTOCK_ASSIGN(const StoreVersion store, StoreVersionOf(data.path()));
  if (store.version == 0 || store.version == kSchemaVersion) return {};
  if (store.version > kSchemaVersion) return std::unexpected(Newer(data, store));
  const std::string place = fmt::format("{}/before-v{}-{}", data.Backups(), kSchemaVersion, Stamp());
  auto made = MakeBackup(data, {.to = place, .config_file = "", .weights = false});
  if (!made.has_value()) {
    return Fail(Reason::kUpgradeWithoutBackup,
                "nothing was upgraded, because the backup before it failed: {}", made.error().message);
  }
  PENSTOCK_TRY(UpgradeStore(data.path()));
  fmt::print(stderr, "penstock: the store was upgraded from version {} to {}; backup of the old state: {}\n",
             store.version, kSchemaVersion, place);
  const auto kept = UpgradeBackups(data);
  for (size_t i = 0; i + kUpgradesKept < kept.size(); ++i) {
    std::error_code ignored;
    fs::remove_all(kept[i].path, ignored);
  }
  return {};
}

}  // namespace penstock

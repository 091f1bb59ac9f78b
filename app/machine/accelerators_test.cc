#include "app/machine/accelerators.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {
namespace fs = std::filesystem;

// A simulated bus. The ids are those that the vendors publish.
class BusTest : public testing::Test {
 protected:
  BusTest() {
    char folder[] = "/tmp/penstock-bus-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~BusTest() override { fs::remove_all(folder_); }
  void Device(const std::string& address, const char* kind, const char* vendor, const char* device) const {
    fs::create_directories(folder_ + "/" + address);
    std::ofstream(folder_ + "/" + address + "/class") << kind << "\n";
    std::ofstream(folder_ + "/" + address + "/vendor") << vendor << "\n";
    std::ofstream(folder_ + "/" + address + "/device") << device << "\n";
  }
  std::string folder_;
};

TEST_F(BusTest, GpusAndNpusAreFoundByClassAndVendor) {
  Device("0000:00:1f.0", "0x060100", "0x8086", "0x7a0c");  // a bridge
  Device("0000:03:00.0", "0x030000", "0x1a03", "0x2000");  // a server's console
  Device("0000:05:00.0", "0x030000", "0x19e5", "0x1711");  // another
  Device("0000:45:00.0", "0x030200", "0x10de", "0x2330");
  Device("0000:63:00.0", "0x038000", "0x1002", "0x740f");
  Device("0000:4d:00.0", "0x030000", "0x8086", "0x56c0");
  Device("0000:c1:00.0", "0x120000", "0x19e5", "0xd802");
  Device("0000:d1:00.0", "0x030200", "0x1ed5", "0x0301");
  Device("0000:e1:00.0", "0x120000", "0x1234", "0x0001");
  const auto found = AcceleratorsOnBus(folder_);
  std::string names;
  for (const auto& device : found)
    names += fmt::format("{} {} {}\n", device.address, device.vendor, device.gpu ? "gpu" : "npu");
  EXPECT_EQ(names,
            "0000:45:00.0 NVIDIA gpu\n0000:4d:00.0 Intel gpu\n0000:63:00.0 AMD gpu\n0000:c1:00.0 Huawei npu\n"
            "0000:d1:00.0 Moore Threads gpu\n0000:e1:00.0 vendor 1234 npu\n");
  EXPECT_TRUE(AcceleratorsOnBus(folder_ + "/none").empty());
}

// The texts below are written from the tools' documentation; none was recorded from hardware.

std::string Shown(const std::vector<Accelerator>& found) {
  std::string shown;
  for (const auto& d : found)
    shown += fmt::format("{}|{}|{}|{}\n", d.vendor, d.name, d.address, d.memory >> 20);
  return shown;
}

TEST(VendorTools, NvidiaSmi) {
  EXPECT_EQ(Shown(ParseNvidiaSmi("NVIDIA H100 80GB HBM3, 81559, 00000000:45:00.0\n"
                                 "NVIDIA A10, 23028, 00000000:B1:00.0\n")),
            "NVIDIA|NVIDIA H100 80GB HBM3|0000:45:00.0|81559\nNVIDIA|NVIDIA A10|0000:b1:00.0|23028\n");
  EXPECT_TRUE(ParseNvidiaSmi("No devices were found\n").empty());
}

TEST(VendorTools, RocmSmi) {
  EXPECT_EQ(Shown(ParseRocmSmi(R"j({"card0": {"Card Series": "AMD Instinct MI210", "PCI Bus": "0000:63:00.0",
      "VRAM Total Memory (B)": "68702699520"}, "system": {"Driver version": "6.3.6"}
})j")),
            "AMD|AMD Instinct MI210|0000:63:00.0|65520\n");
  EXPECT_EQ(Shown(ParseRocmSmi(R"j({"card1": {"Card series": "Radeon"}})j")), "AMD|Radeon||0\n");
  EXPECT_TRUE(ParseRocmSmi("WARNING: no AMD GPUs").empty());
}

TEST(VendorTools, XpuSmi) {
  EXPECT_EQ(Shown(ParseXpuSmi(R"j({"device_list": [{"device_id": 0, "device_type": "GPU",
      "device_name": "Intel(R) Data Center GPU Flex 170", "pci_bdf_address": "0000:4d:00.0"}]})j")),
            "Intel|Intel(R) Data Center GPU Flex 170|0000:4d:00.0|0\n");
  EXPECT_TRUE(ParseXpuSmi("Error: XPUM Service Status Error").empty());
}

TEST(VendorTools, NpuSmi) {
  constexpr std::string_view kText =
      "+------------------------------------------------------------------------------------------------+\n"
      "| npu-smi 24.1.0                   Version: 24.1.0                                               |\n"
      "+---------------------------+---------------+----------------------------------------------------+\n"
      "| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|\n"
      "| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |\n"
      "+===========================+===============+====================================================+\n"
      "| 0     910B3               | OK            | 93.6        40                0    / 0             |\n"
      "| 0                         | 0000:C1:00.0  | 0           0    / 0          3161 / 65536         |\n"
      "+===========================+===============+====================================================+\n"
      "| 1     910B3               | OK            | 92.0        39                0    / 0             |\n"
      "| 0                         | 0000:C2:00.0  | 0           0    / 0          59356/ 65536         |\n"
      "+===========================+===============+====================================================+\n"
      "| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |\n"
      "+===========================+===============+====================================================+\n"
      "| No running processes found in NPU 0                                                            |\n";
  EXPECT_EQ(Shown(ParseNpuSmi(kText)),
            "Huawei|Ascend 910B3|0000:c1:00.0|65536\nHuawei|Ascend 910B3|0000:c2:00.0|65536\n");
  EXPECT_TRUE(ParseNpuSmi("dcmi module initialize failed. ret is -8005\n").empty());
}

TEST(VendorTools, MthreadsGmi) {
  EXPECT_EQ(Shown(ParseMthreadsGmi("GPU 0 : MTT S4000 (UUID : 4a1c)\nGPU 1: MTT S80 (UUID: 77)\n")),
            "Moore Threads|MTT S4000||0\nMoore Threads|MTT S80||0\n");
  EXPECT_TRUE(ParseMthreadsGmi("Error: failed to initialize mtml\n").empty());
}

TEST(Accelerators, BusAndToolAreMergedAndToolsFindDevicesWithoutTheBus) {
  const std::vector<Accelerator> bus = {{.vendor = "NVIDIA", .address = "0000:45:00.0"},
                                        {.vendor = "Moore Threads", .address = "0000:d1:00.0"},
                                        {.vendor = "Moore Threads", .address = "0000:d2:00.0"}};
  const auto merged =
      Merged(bus, {{.vendor = "NVIDIA", .name = "H100", .address = "0000:45:00.0", .tool = "t"},
                   {.vendor = "Moore Threads", .name = "S4000", .tool = "t"},
                   {.vendor = "Moore Threads", .name = "S80", .tool = "t"},
                   {.vendor = "AMD", .name = "MI210", .address = "0000:63:00.0", .tool = "t"}});
  EXPECT_EQ(Shown(merged),
            "NVIDIA|H100|0000:45:00.0|0\nMoore Threads|S4000|0000:d1:00.0|0\n"
            "Moore Threads|S80|0000:d2:00.0|0\nAMD|MI210|0000:63:00.0|0\n");
}

}  // namespace
}  // namespace penstock

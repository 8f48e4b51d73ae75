# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts, kernels and tools write: short, real texts that the fuzzer damages."""

from __future__ import annotations

import struct

RESOURCE = (
    "0x0000000052000000 0x0000000052ffffff 0x0000000000040200\n"
    "0x0000004000000000 0x00000047ffffffff 0x000000000014220c\n"
    "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
)
KMSG = (
    b"6,339,5140900,-;NET: Registered PF_INET protocol family\n"
    b"30,340,5690716,-;udevd[80]: starting version 181\n"
    b"3,341,5741021,-;DMAR: DRHD: handling fault status reg 2\n"
    b"4,342,5741999,c,caller=T99;thermal\\x0awarning caf\\xc3\\xa9\n"
    b" SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n"
)
DMESG = (
    "[    0.000000] Linux version 6.1.0-45-amd64\n"
    "[12345.645398][ T4242] nvidia 0000:41:00.0: enabling device (0140 -> 0142)\n"
)
FAULTS = (
    "DMAR: [DMA Write NO_PASID] Request device [41:00.0] fault addr 0xf0 [fault reason 0x05] PTE",
    "DMAR:[DMA Read] Request device [0x41:0x00.0] fault addr 6df084000 ",
    "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:41:00.0 domain=0x000e address=0x1 flags=0x0]",
    "nvidia 0000:41:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000e address=0x1 flags=0x0]",
    "pcieport 0000:40:01.1: AER: Multiple Uncorrectable (Fatal) error message received from "
    "0000:41:00.0 (no details found",
    "nvidia 0000:41:00.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Transmitter",
    "nvidia 0000:41:00.0:    [ 6] BadTLP                (First)",
    "pcieport 0000:40:01.1: DPC: containment event, status:0x1f01 source:0x0000",
    "NVRM: Xid (PCI:0000:41:00 GPU-I:01 GPU-CI:00): 94, pid=7, name=a, Contained",
    "NVRM: GPU 0000:41:00.0: RmInitAdapter failed! (0x22:0x56:742)",
)
CPUINFO = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7543\n"
    "flags\t\t: fpu vme\n\nprocessor\t: 1\n"
)
IOMEM = (
    "c0000000-d1ffffff : PCI Bus 0000:00\n"
    "  c0000000-cfffffff : 0000:01:00.0\n"
    "    c0000000-c02fffff : BOOTFB\n"
    "e0000000-e0ffffff : 0000:02:00.0\n"
    "  e0000000-e02fffff : simplefb\n"
)
NVRM_VERSIONS = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.58.03  Release Build  (a@b)\n",
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n",
)
PROC_VERSION = (
    "Linux version 6.1.0-45-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) "
    "12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1\n"
)
KERNEL_CONFIG = (
    'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"\nCONFIG_CC_IS_GCC=y\n'
    "CONFIG_GCC_VERSION=120200\n"
)
MOUNTINFO = (
    "27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    "31 27 0:25 / /mnt/a\\040b rw,nosuid - tmpfs tmpfs rw,size=4k\n"
)
COMMAND_LINES = (
    "BOOT_IMAGE=/vmlinuz-6.1.0-45-amd64 root=UUID=0a-1b ro quiet intel_iommu=on iommu=pt",
    'ro dyndbg="file ec.c +p" a="b c" -- single',
)
BLS_ENTRY = b"""\
title Red Hat Enterprise Linux (4.18.0-553.el8_10.x86_64) 8.10 (Ootpa)
version 4.18.0-553.el8_10.x86_64
linux /vmlinuz-4.18.0-553.el8_10.x86_64
initrd /initramfs-4.18.0-553.el8_10.x86_64.img $tuned_initrd
options $kernelopts $tuned_params 'pci=disable_acs_redir=a;b'
grub_users $grub_users
grub_arg --unrestricted
"""
GRUBENV = b"# GRUB Environment Block\nsaved_entry=0\nnext_entry=a\\\\b\n".ljust(1024, b"#")
GRUB_MENU = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
function savedefault {
  save_env saved_entry
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-0a' {
\tlinux\t/boot/vmlinuz-6.1.0-45-amd64 root=UUID=0a ro  quiet
\tinitrd\t/boot/initrd.img-6.1.0-45-amd64
}
submenu "Advanced options" $menuentry_id_option 'advanced-0a' {
\tmenuentry 'Debian, with Linux 6.1' { linux /vmlinuz ro ; }
}
"""
GRUB_DEFAULTS = "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX console=ttyS0\" # serial\nA='b'\\'c'\n"
CUSTOM_CFG = (
    b"# mine\n\n### BEGIN gpufleet trial entry (removed by boot_trial) ###\n"
    b"menuentry 'trial' { linux /vmlinuz ro }\n\n### END gpufleet trial entry ###\nset timeout=5\n"
)
TRIAL = (
    b'{"schema": 1, "token": "0a1b", "parameters": ["iommu=pt"], "panic_seconds": 30,'
    b' "boot_id": "x", "created": "2026-11-23T09:30:00+00:00"}\n'
)
BOOT_ENTRY = (
    b"title      Debian GNU/Linux 12 (bookworm)\nversion    6.1.0-57-amd64\n"
    b"sort-key   debian\noptions    root=LABEL=x ro quiet\nlinux      /kernel\n"
)
KERNELSTUB = b'{"user": {"kernel_options": ["quiet", "splash"], "config_rev": 3}}'
PARAMETER_RECORD = (
    b'{"schema": 1, "parameters": ["iommu=pt"], "former": [["intel_iommu=on"]],'
    b' "original": "root=LABEL=x ro\\n"}\n'
)
VERSION_HEADERS = (
    b"#define LINUX_VERSION_CODE 330432\n#define LINUX_VERSION_MAJOR 6\n"
    b"#define LINUX_VERSION_PATCHLEVEL 1\n#define LINUX_VERSION_SUBLEVEL 192\n",
    b"#define LINUX_VERSION_CODE 330432\n",
)
GUARD_SETTINGS = (
    b'{"schema": 1, "package": "gpufleet-nvidia", "gpu_match": ["10de:*:03"],'
    b' "quick_check": true, "metrics_directory": "/var/lib/node_exporter", "alarm_command": []}\n'
)
NCCL_CONF = b"# ours\nNCCL_P2P_LEVEL=PHB\nNCCL_P2P_DISABLE=0\nNCCL_SOCKET_IFNAME==eth0\n"
DKMS_STATUS = (
    "nvidia, 450.80.02, 5.10.0-8-amd64, x86_64: installed (original_module exists)\n",
    "gpufleet-nvidia/595.58.03, 6.1.0-56-cloud-amd64, x86_64: installed\nzfs/2.1.4: added\n"
    "kmod, 1.0, 4.18.0-2.el8.x86_64, x86_64: installed-weak from 4.18.0-1.el8.x86_64\n",
)
DPKG_QUERY = (
    b"libcuda1:amd64\t595.58.03-1\tinstall\tinstalled\tnvidia-graphics-drivers\n"
    b"bash\t5.2.15-2+b9\tinstall\tinstalled\tbash\n"
)
SHOW_DEPENDS = (
    "insmod /lib/modules/6.1.0/kernel/drivers/video.ko \n"
    "install modprobe -i nvidia-current $CMDLINE_OPTS \n"
    'insmod /lib/modules/6.1.0/updates/dkms/nvidia.ko.xz NVreg_RegistryDwords="A=1;B=2" \n'
)
MODPROBE_D = (
    "# Debian's nvidia-kernel-support\n"
    "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
    "alias char-major-195-* nvidia\n"
    "options nvidia-current NVreg_DeviceFileUID=0 \\\n NVreg_DeviceFileMode=0660\n",
    'options nvidia NVreg_RegistryDwords="PeerMappingOverride=1;RMForceStaticBar1=0x1"\n'
    "softdep nvidia post: nvidia-uvm\nblacklist nouveau\n",
)
MODULE_OPTIONS = (
    'NVreg_EnableMSI=1 NVreg_RegistryDwords="A=1; B=2" "NVreg_RmMsg=rmgpu: a b"',
    'BOOT_IMAGE=/vmlinuz quiet nvidia.NVreg_RegistryDwords="A=1" nvidia-drm.modeset=1',
)
NVIDIA_PARAMS = (
    "ResmanDebugLevel: 4294967295\nEnableMSI: 1\nRmProfilingAdminOnly: 1\n"
    'RegistryDwords: "RMForceP2PType=1;RMPcieP2PType=1"\nRegistryDwordsPerDevice: ""\n'
)
JOURNAL = {
    "files": ["updates/dkms/nvidia.ko", "updates/dkms/nvidia-uvm.ko"],
    "active": "/var/lib/dkms/gpufleet-nvidia/595.58.03/6.1.0/x86_64",
    "package": "gpufleet-nvidia",
}
HELD = {
    "schema": 1,
    "selections": {"libcuda1:amd64": "install"},
    "installed": False,
    "versions": {"libcuda1:amd64": "595.58.03-1"},
}
MADISON = (
    "libcuda1 | 595.71.05-1 | file:/srv/repository ./ Packages\n"
    "libcuda1:i386 | 1:595.58.03-0ubuntu0.24.04.1 | https://example.org noble/main i386 Packages\n"
    "nvidia-graphics-drivers | 595.58.03-1 | https://example.org sid/non-free Sources\n"
)
INSTALLER_HEAD = (
    b"#! /bin/sh\nskip=1162\nCRCsum=1\n"
    b'label="NVIDIA Accelerated Graphics Driver for Linux-x86_64 595.58.03"\n'
    b"script=./nvidia-installer\ntargetdir=NVIDIA-Linux-x86_64-595.58.03\n"
)
LSINITRAMFS = (
    "usr/lib/modules/6.1.0-45-amd64/updates/dkms/nvidia.ko.xz\n"
    "usr/lib/modules/6.1.0-45-amd64/kernel/fs/ext4/ext4.ko\n"
)
KERNEL_HEADER = (
    "/* resize */ int __must_check pci_resize_resource(struct pci_dev *dev, int i, int size,\n"
    "\t\t\t\t     int exclude_bars);\n"
)
DRIVER_SOURCE = (
    "#if defined(A)\n    r = pci_resize_resource(pci_dev, f(NV_GPU_BAR1, 2), requested_size);\n"
    '#else // "("\n    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, size, 0);\n#endif\n'
)
BUILD_LOG = (
    "make[1]: Entering directory '/usr/src/linux-headers'\n"
    "nv-pci.c:12:3: error: too few arguments to function 'pci_resize_resource'\n"
    "make[1]: *** [Makefile:250: nv-pci.o] Error 1\n"
)
LOCK_RECORD = {
    "schema": 1,
    "run": "run-a",
    "holder": "ada@one pid 1",
    "since": "2026-11-23T09:30:00+00:00",
    "renewed": "2026-11-23T09:31:00+00:00",
    "lease_seconds": 600,
    "purposes": ["site"],
}
MANIFEST = {
    "schema": 1,
    "name": "gpufleet-nvidia",
    "version": "595.58.03",
    "kernel": "6.1.0-45-amd64",
    "arch": "x86_64",
    "source_key": "ab" * 32,
    "kernel_compiler": "gcc-12",
    "compiler": "GCC: (Debian 12.2.0-14) 12.2.0",
    "modules": [
        {
            "name": "nvidia",
            "file": "nvidia.ko",
            "build_id": "8f" * 20,
            "sha256": "cd" * 32,
            "signer": None,
        }
    ],
}
SPECIFICATION = {
    "version": "595.58.03",
    "source": {"git": "https://example.org/fork.git", "commit": "0123456789" * 4},
    "patches": [{"url": "https://example.org/a.patch", "sha256": "ab" * 32}],
    "registry": {"RMForceP2PType": "bar1", "PeerMappingOverride": 1},
    "userspace": "keep",
}
DRIVER_LOCK = {
    "schema": 1,
    "choice": "aikitoria 595.58.03",
    "build": SPECIFICATION,
    "content": "ef" * 32,
}
ALARM = {
    "schema": 1,
    "comparison": [{"code": "p2p_lost", "read": "a", "want": "b", "remedy": "c"}],
    "kernels": [],
}
RECORD = {
    "schema": 1,
    "verified_at": "2026-11-23T09:30:00+00:00",
    "verdict": "pass",
    "groups": [["0000:01:00.0", "0000:02:00.0"]],
    "state": {
        "kernel": "6.1.0-45-amd64",
        "parameters": ["iommu=pt"],
        "driver_version": "595.58.03",
        "build_id": "8f" * 20,
        "userspace_version": "595.58.03",
        "gpus": [{"bdf": "0000:01:00.0", "iommu": "identity", "bar_bytes": 34359738368}],
    },
}
EVENTS = (
    {"event": "step", "name": "copy_write", "from": 0, "to": 1},
    {"event": "capability", "cuda": True, "from": 0, "to": 1},
    {"event": "check", "name": "ipc", "state": "passed", "from": 0, "to": 1},
    {"event": "rate", "name": "on_uni", "value": 26.4, "spread": 0.004, "from": 0, "to": 1},
    {"event": "time", "name": "on", "value": 0.48, "from": 0, "to": 1},
    {"event": "trouble", "code": "cuda_error", "detail": "x", "from": 0, "to": 1},
)


def config_space(*, acs: int | None) -> bytes:
    """Return 4096 bytes of a bridge: PCI Express at 0x40, ACS at 0x100, resizable BAR behind."""
    config = bytearray(4096)
    struct.pack_into("<HH", config, 0x00, 0x1B36, 0x000C)
    struct.pack_into("<H", config, 0x06, 0x0010)
    config[0x34] = 0x40
    struct.pack_into("<BB", config, 0x40, 0x10, 0x00)
    struct.pack_into("<H", config, 0x48, 1 << 5)
    kind = 0x0003 if acs is None else 0x000D
    struct.pack_into("<I", config, 0x100, kind | 1 << 16 | 0x140 << 20)
    struct.pack_into("<H", config, 0x106, acs or 0)
    struct.pack_into("<I", config, 0x140, 0x0015 | 1 << 16)
    struct.pack_into("<II", config, 0x144, 0x3F << 4, 1 << 5 | 1)
    return bytes(config)


def certificate() -> bytes:
    """Return as much of an X.509 certificate in DER as names its key."""

    def element(tag: int, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return bytes([tag, len(content)]) + content

    name = element(0x30, element(0x06, bytes.fromhex("550403")), element(0x0C, b"DKMS key"))
    subject = element(0x30, element(0x31, name))
    version, serial = element(0xA0, element(0x02, b"\x02")), element(0x02, b"\xa1\xb2")
    empty = element(0x30)
    signed = element(0x30, version, serial, empty, subject, empty, subject)
    return element(0x30, signed, empty)


def signature_list() -> bytes:
    """Return an EFI signature list that holds the certificate."""
    entry = bytes(16) + certificate()
    kind = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")
    return kind + struct.pack("<III", 28 + len(entry), 0, len(entry)) + entry


DRAIN_HOOKS = {"method": "slurm", "node": "gpu01", "timeout": 3600, "tool": ["scontrol"]}
DRAIN_NOTE = {
    "schema": 1,
    "mark": "3f1c9a77d02b4e65",
    "since": "2026-11-23T09:30:00+00:00",
    "hooks": {"method": "units", "units": ["inference.service"], "timeout": 60},
    "units": ["inference.service"],
    "interrupted": False,
}
SLURM_NODE = """\
NodeName=gpu01 Arch=x86_64 CoresPerSocket=1
   CPUAlloc=1 CPUEfctv=2 CPUTot=2 CPULoad=0.46
   NodeAddr=127.0.0.1 NodeHostName=gpu01 Port=17003 Version=22.05.8
   State=MIXED+DRAIN ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A
   Comment=rack=4 State=of the art
   Reason=gpufleet 3f1c9a77d02b4e65 [root@2026-11-23T09:30:00]

"""
KUBERNETES_NODE = {
    "kind": "Node",
    "metadata": {"name": "gpu01", "annotations": {"gpufleet.p2p/drained": "3f1c9a77d02b4e65"}},
    "spec": {"unschedulable": True},
}

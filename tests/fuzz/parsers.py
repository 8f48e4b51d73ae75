# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of everything in the product that reads text it did not write.

An entry is the function's place below module_utils, how it is called, and real samples of what it
reads; cases.py damages these. Whatever the case, a parser answers or refuses by a GpufleetError.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from fuzz import samples, sysfs
from fuzz.cases import mutated, mutated_json
from hypothesis import strategies as st
from support.elf_objects import build_id_note, module_image

MODULE_UTILS = "ansible_collections.gpufleet.p2p.plugins.module_utils"
REPOSITORY = Path(__file__).resolve().parents[2]
_FIXTURES = REPOSITORY / "tests/unit/roles/report/fixtures"
_CATALOGUE = REPOSITORY / "roles/p2p_driver/files/catalogue.yml"


@dataclass(frozen=True)
class Parser:
    """One parser: what it is called, how a case is given to it, and where cases come from."""

    name: str
    read: Callable[[Any], object]
    cases: st.SearchStrategy[Any]


def function(name: str) -> Callable[..., Any]:
    """Return the function at ``_package.module.name``, or at ``module.Class.method``."""
    parts = name.split(".")
    module = importlib.import_module(f"{MODULE_UTILS}.{parts[0]}.{parts[1]}")
    found: Any = module
    for part in parts[2:]:
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]  # whatever the registry names


def _text(name: str, *given: str) -> Parser:
    """A parser of text, decoded as the product's read_text does."""
    parse = function(name)
    cases = mutated(*(sample.encode() for sample in given))
    return Parser(name, parse, cases.map(lambda data: data.decode("utf-8", "backslashreplace")))


def _bytes(name: str, *given: bytes, rest: tuple[object, ...] = ()) -> Parser:
    """A parser of bytes, and the arguments that follow them."""
    parse = function(name)
    return Parser(name, lambda data: parse(data, *rest), mutated(*given))


def _data(name: str, sample: object, *rest: object) -> Parser:
    """A parser of what a JSON or YAML reader gave, and the arguments that follow it."""
    read = function(name)
    return Parser(name, lambda data: read(data, *rest), mutated_json(sample))


def _own(name: str, sample: object) -> Parser:
    """A parser of a state file's JSON; read_state tells of what it raises."""
    parse = function(name)

    def read(data: Any) -> object:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            return parse(data)
        return None

    return Parser(name, read, mutated_json(sample))


def _json_text(name: str, sample: object) -> Parser:
    """A parser of JSON text: damaged as a document and as text."""
    parse = function(name)
    documents = mutated_json(sample).map(lambda value: json.dumps(value).encode())
    cases = (documents | mutated(json.dumps(sample).encode())).map(
        lambda data: data.decode("utf-8", "backslashreplace")
    )
    return Parser(name, parse, cases)


def _json_bytes(name: str, sample: object, *rest: object) -> Parser:
    parse = function(name)
    documents = mutated_json(sample).map(lambda value: json.dumps(value).encode())
    cases = documents | mutated(json.dumps(sample).encode())
    return Parser(name, lambda data: parse(data, *rest), cases)


def _file(name: str, place: str, *given: bytes) -> Parser:
    """A function that reads one file below a root."""
    read = function(name)

    def call(data: bytes) -> object:
        with tempfile.TemporaryDirectory(dir=sysfs.MEMORY) as root:
            path = Path(root) / place
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            return read(Path(root))

    return Parser(name, call, mutated(*given))


def _document(data: bytes) -> object:
    """The one parser whose own refusal is a ValueError: its callers tell of what they read."""
    with contextlib.suppress(ValueError):
        return function("_host.foreign_text.parse_json")(data)
    return None


def _kubernetes_node(data: bytes) -> object:
    """Its caller tells of what it refuses, as of what kubectl said."""
    with contextlib.suppress(ValueError):
        return function("_drain.kubernetes.parse_node")(data.decode("utf-8", "backslashreplace"))
    return None


def _entry(selector: str) -> object:
    menu = function("_boot.grub_script.parse")(samples.GRUB_MENU)
    return function("_boot.grub_script.find_entry")(menu, selector)


def _menu(text: bytes) -> object:
    with tempfile.TemporaryDirectory(dir=sysfs.MEMORY) as directory:
        root = Path(directory)
        entry = root / "boot/efi/loader/entries/a.conf"
        entry.parent.mkdir(parents=True)
        entry.write_bytes(text)
        (root / "boot/efi/kernel").write_bytes(b"")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_bytes(b"1 0 8:1 / /boot/efi rw - vfat /dev/a rw\n")
        menu = function("_boot.boot_menu.read_menu")(root)
        found = menu.ordered()[0]
        return found.line, found.belongs_with(found), menu.ordered()


def _edited(name: str, *given: bytes) -> Parser:
    """A file of kernel parameters into which one is put, and out of which it is taken again."""
    parameters = function("_boot.cmdline.wanted")(["iommu=pt"])

    def call(data: bytes) -> object:
        file = function(name)()
        edited = file.edited(data, (), parameters)
        return file.line(edited), file.edited(edited, (parameters,), ())

    return Parser(f"{name}.edited", call, mutated(*given))


def _acs(config: bytes) -> object:
    return function("_host.acs.parse_acs")("0000:00:01.0", config)


def _capability(config: bytes) -> object:
    return [
        function(f"_host.config_space.{name}")(config, number)
        for name in ("find_capability", "find_extended_capability")
        for number in (0x10, 0x0D, 0x15)
    ]


def _result(data: object) -> object:
    return function("_p2p.result.Result.from_dict")(data)


def _event(data: Any) -> object:
    return function("_p2p.protocol.Measurement")().take(data)


def _records() -> list[Any]:
    """Return the verifications in the recorded reports."""
    found = [json.loads(path.read_text()) for path in sorted(_FIXTURES.glob("*.json"))]
    hosts = [item for entry in found for item in (entry if isinstance(entry, list) else [entry])]
    return [host["verify"] for host in hosts if isinstance(host, dict) and host.get("verify")]


_CONFIG = (samples.config_space(acs=0x1D), samples.config_space(acs=None)[:64])
_MODULE = module_image(bytes(range(20)), {"version": "595.58.03", "vermagic": "6.1.0 SMP"})
_CATALOGUE_DATA = yaml.safe_load(_CATALOGUE.read_text())
# A whole catalogue is copied for every case: a few of its entries are as good.
_CATALOGUE_SAMPLE = {**_CATALOGUE_DATA, "builds": _CATALOGUE_DATA["builds"][:3]}

PARSERS: tuple[Parser, ...] = (
    # PCI: sysfs and configuration space.
    Parser("_host.pci.read_devices", sysfs.read_tree, sysfs.TREES),
    _text("_host.pci_address.normalise_bdf", "0000:01:00.0", "00000000:41:00.0", "01:00.0"),
    _text("_host.pci.link_generation", "32.0 GT/s PCIe\n", "2.5 GT/s PCIe\n", "Unknown\n"),
    _text("_host.pci.link_width", "16\n", "0\n", "255\n"),
    _text("_host.pci.memory_bar_bytes", samples.RESOURCE),
    Parser("_host.acs.parse_acs", _acs, mutated(*_CONFIG)),
    Parser("_host.config_space.find_capability", _capability, mutated(*_CONFIG)),
    _bytes("_host.config_space.max_payload_bytes", *_CONFIG),
    _bytes("_host.config_space.acs_control", *_CONFIG),
    _bytes("_host.config_space.largest_resizable_bar", *_CONFIG),
    # Numbers and documents, by which others read.
    _text("_host.foreign_text.decimal", "42", "0"),
    Parser("_host.foreign_text.parse_json", _document, mutated(b'{"a": [1, null], "b": "x"}')),
    # The kernel's log.
    _bytes("_host.kernel_log.parse_kmsg", samples.KMSG),
    _text("_host.kernel_log.parse_dmesg", samples.DMESG),
    _text("_host.kernel_faults.parse_fault", *samples.FAULTS),
    # Files of /proc, /sys and the boot loader.
    _text("_host.cpu.parse_cpuinfo", samples.CPUINFO),
    _text("_host.console.firmware_framebuffers", samples.IOMEM),
    _text("_host.userspace.parse_module_version", *samples.NVRM_VERSIONS),
    _text("_host.kernel.release_order", "6.1.0-45-amd64", "6.12.97+deb13"),
    _text("_host.compiler.parse_proc_version", samples.PROC_VERSION),
    _text("_host.compiler.parse_kernel_config", samples.KERNEL_CONFIG),
    _text("_host.secure_boot.parse_lockdown", "none [integrity] confidentiality\n"),
    Parser(
        "_host.secure_boot.parse_state",
        lambda pair: function("_host.secure_boot.parse_state")(*pair),
        st.tuples(*[st.none() | mutated(b"\x06\x00\x00\x00\x01")] * 2),
    ),
    _bytes("_host.certificates.parse_certificate", samples.certificate()),
    _bytes("_host.certificates.certificates_in", samples.signature_list()),
    _text("_host.certificates.serial_of", "01:A0"),
    _json_bytes("_host.lock.parse_record", samples.LOCK_RECORD),
    _data("_drain.hooks.parse", samples.DRAIN_HOOKS),
    _own("_drain.note.parse_note", samples.DRAIN_NOTE),
    _text("_drain.slurm.parse_node", samples.SLURM_NODE),
    Parser(
        "_drain.kubernetes.parse_node",
        _kubernetes_node,
        mutated(json.dumps(samples.KUBERNETES_NODE).encode()),
    ),
    Parser(
        "_boot.bls_entry.parse_entry",
        lambda data: function("_boot.bls_entry.parse_entry")(Path("a-1-2.conf"), data),
        mutated(samples.BLS_ENTRY),
    ),
    _text("_boot.boot_device.parse_mountinfo", samples.MOUNTINFO),
    _text("_boot.cmdline.parse", *samples.COMMAND_LINES),
    _bytes("_boot.grub_environment.parse", samples.GRUBENV),
    _text("_boot.grub_script.parse", samples.GRUB_MENU),
    _text("_boot.grub_script.read_words", samples.GRUB_DEFAULTS),
    Parser(
        "_boot.grub_script.find_entry",
        _entry,
        mutated(b"0", b"1>0", b"advanced-0a>0").map(lambda data: data.decode("utf-8", "replace")),
    ),
    _text("_boot.boot_menu.version_key", "6.1.0-57-amd64", "a-gpufleet~1.conf"),
    Parser("_boot.boot_menu.read_menu", _menu, mutated(samples.BOOT_ENTRY)),
    _edited("_boot.parameter_file.KernelCmdline", b"root=LABEL=x ro quiet\n", b'ro a="b c"'),
    _edited("_boot.parameter_file.KernelstubConfiguration", samples.KERNELSTUB),
    _file(
        "_boot.parameter_record.read_configured",
        "var/lib/gpufleet/boot/parameters.json",
        samples.PARAMETER_RECORD,
    ),
    _file("_boot.trial.read_record", "var/lib/gpufleet/boot/trial.json", samples.TRIAL),
    _bytes("_boot.grub_trial_entry.block_in", samples.CUSTOM_CFG),
    # NCCL's settings.
    _bytes("_p2p.nccl.parse_conf", samples.NCCL_CONF),
    _text("_p2p.nccl.level_name", "SYS", "3", "0x2"),
    _text("_p2p.nccl.strtol", "1", " +0x1f", "-017"),
    # NVML's words, and results.
    _text("_gpu.nvlink_models.has_nvlink", "NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000"),
    _text("_gpu.nvlink_models.prefers_nvlink", "595.58.03", "570.148.08"),
    Parser("_p2p.result.Result.from_dict", _result, st.one_of(*map(mutated_json, _records()))),
    Parser("_p2p.protocol.Measurement.take", _event, st.one_of(*map(mutated_json, samples.EVENTS))),
    # What a driver's build and its tools say.
    _bytes("_driver.elf.sections", _MODULE, rest=("a file",)),
    _bytes("_driver.elf.build_id_of", _MODULE, rest=("a file",)),
    _bytes("_driver.elf.modinfo_of", _MODULE, rest=("a file",)),
    _bytes("_driver.elf.build_id_in_notes", build_id_note(bytes(range(20)))),
    _text("_driver.dkms.parse_status", *samples.DKMS_STATUS),
    Parser(
        "_driver.userspace_packages.parse_packages",
        lambda text: function("_driver.userspace_packages.parse_packages")(text, "595.58.03"),
        mutated(samples.DPKG_QUERY).map(lambda data: data.decode("utf-8", "replace")),
    ),
    _text("_driver.userspace_packages.parse_madison", samples.MADISON),
    _bytes("_driver.runfile.release_of", samples.INSTALLER_HEAD, rest=("installer.run",)),
    _text("_driver.dkms.parse_version", "dkms-3.0.10", "dkms 3.2.2"),
    Parser(
        "_driver.identity.parse_override",
        lambda text: function("_driver.identity.parse_override")(text, "nvidia"),
        mutated(samples.SHOW_DEPENDS.encode()).map(lambda data: data.decode("utf-8", "replace")),
    ),
    _text("_driver.modprobe_options.parse_configuration", *samples.MODPROBE_D),
    _text("_driver.modprobe_options.split_options", *samples.MODULE_OPTIONS),
    _text("_driver.modprobe_options.passed_options", samples.SHOW_DEPENDS),
    _text("_driver.registry_in_force.parse_params", samples.NVIDIA_PARAMS),
    _text("_driver.registry_in_force.parse_dwords", "RMForceP2PType=1;PeerMappingOverride = 0x1;"),
    _text("_driver.registry_in_force.number", "4294967295", "0x1F", "017", "089"),
    _data(
        "_driver.registry.parse",
        {"RMForceP2PType": "bar1", "NVreg_EnableMSI": 1, "PeerMappingOverride": 1},
        "595.58.03",
    ),
    _text("_driver.initramfs.driver_paths", samples.LSINITRAMFS),
    _text("_driver.initramfs.rival_paths", samples.LSINITRAMFS),
    _text("_driver.kernel_interface.declared_arguments", samples.KERNEL_HEADER),
    _text("_driver.kernel_interface.called_arguments", samples.DRIVER_SOURCE),
    _text("_driver.build.log_summary", samples.BUILD_LOG),
    _json_bytes("_driver.manifest.parse", samples.MANIFEST, "a file"),
    _data("_driver.specification.parse", samples.SPECIFICATION),
    _own("_driver.install.parse_journal", samples.JOURNAL),
    _own("_driver.initramfs.parse_record", {"previous": "a" * 64, "refreshed": "b" * 64}),
    _own("_driver.userspace_record.parse_held", samples.HELD),
    _own("_guard.installation.parse_made", ["/usr/lib/gpufleet", "/etc/gpufleet"]),
    _data("_driver.lock.parse_lock", samples.DRIVER_LOCK),
    _data("_driver.catalogue.parse", _CATALOGUE_SAMPLE),
    _text("_driver.catalogue.kernel_order", "6.1.0-45-amd64", "6.12.97"),
    _text("_driver.distribution.upstream_version", "1:535.261.03-1~deb12u1"),
    _text("_driver.registry.version_order", "580.95.05"),
    _file("_facts.toolchain.kernel_version", "include/linux/version.h", *samples.VERSION_HEADERS),
    # What the guard keeps.
    _file("_guard.places.read_settings", "etc/gpufleet/guard.json", samples.GUARD_SETTINGS),
    _json_text("_guard.alarm.parse", samples.ALARM),
    _json_text("_guard.record.parse", samples.RECORD),
)

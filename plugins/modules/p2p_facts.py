# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_facts
short_description: Gather what decides whether GPUs can reach each other over PCIe
version_added: "0.1.0"
description:
  - Reads the kernel, processor, IOMMU, Secure Boot, boot loader, GPUs with the bridges above
    them, NVIDIA driver and DKMS of a host, in one pass.
  - Changes nothing. What cannot be read is told as unknown (V(null)), not as a failure; so a host
    without a driver, without NVML or without GPUs has facts too.
  - Ends a look of the guard (M(gpufleet.p2p.p2p_guard)) that is under way, because its copies would
    pass for a program that uses the GPUs; its timer makes them again.
  - Some facts need root. Without it, ACS and the largest BAR size are unknown, and the processes
    of other users are not seen.
options:
  gpu_match:
    description:
      - Which PCI functions are GPUs, as C(vendor:device:class-prefix) in hexadecimal; C(*) stands
        for anything.
    type: list
    elements: str
    default: ["10de:*:03"]
  pynvml_source:
    description:
      - C(pynvml.py), compressed by zlib and in base64; the action plugin sets it.
      - Without it an installed C(pynvml) is used, and without that NVML is unavailable.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return the same as otherwise.
    support: full
  diff_mode:
    description: Returns details of what has changed, or would change.
    support: none
    details: The module changes nothing.
author:
  - gpufleet authors (@gpufleet)
seealso:
  - module: gpufleet.p2p.p2p_preflight
"""

EXAMPLES = r"""
- name: Gather the facts
  gpufleet.p2p.p2p_facts:

- name: Gather the facts of one model of GPU only
  gpufleet.p2p.p2p_facts:
    gpu_match: ["10de:2b85:03"]
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to C(ansible_facts).
  returned: success
  type: dict
  contains:
    p2p:
      description: Everything that was read; sizes are in bytes.
      returned: success
      type: dict
      contains:
        schema:
          description: Version of this structure.
          type: int
          returned: success
          sample: 1
        kernel:
          description:
            - The running kernel's C(release), C(architecture), C(cmdline) and C(boot_id), which is
              another after every restart.
            - C(compiler) is what the running kernel was built with - C(text) in its own words,
              C(identity) its family and major version; V(null) where it does not tell.
            - C(headers) tells whether modules can be built for it. C(installed) and
              C(with_headers) list releases, oldest first.
          type: dict
          returned: success
          sample:
            release: 6.1.0-32-amd64
            architecture: x86_64
            cmdline: BOOT_IMAGE=/boot/vmlinuz-6.1.0-32-amd64 root=UUID=9c7d ro quiet
            boot_id: 3c1f6f0e-5a53-4b0e-9a35-0d6c1f3f7f52
            compiler: {identity: gcc12, text: gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0}
            headers: true
            installed: [6.1.0-32-amd64]
            with_headers: [6.1.0-32-amd64]
        cpu:
          description: Processor C(vendor) (V(intel), V(amd) or V(other)) and C(model).
          type: dict
          returned: success
          sample: {vendor: amd, model: AMD EPYC 7402P 24-Core Processor}
        iommu:
          description:
            - Whether an IOMMU is C(present), and the group of each GPU in C(gpu_groups).
            - C(default_domain) is V(identity) where every GPU's group passes addresses through,
              V(translated) where one translates, V(none) where no GPU is behind an IOMMU, else
              V(unknown).
          type: dict
          returned: success
          sample:
            present: true
            default_domain: translated
            gpu_groups: {"0000:01:00.0": {number: 14, type: DMA-FQ}}
        secure_boot:
          description:
            - C(state) is V(enabled), V(disabled), V(unsupported) or V(unknown); C(lockdown) is
              V(none), V(integrity), V(confidentiality) or V(unknown).
            - C(signature_enforced) is the module loader's own switch; C(key_enrolled) tells
              whether the firmware or shim knows the key that signs modules on this host. Both are
              V(null) where unreadable.
          type: dict
          returned: success
          sample: {state: disabled, lockdown: none, signature_enforced: false, key_enrolled: false}
        boot_loader:
          description:
            - C(name), C(firmware) (V(bios) or V(efi)), C(trial_possible) and C(trial_reason).
            - Where no supported boot loader was found, C(name) is V(null); C(reason) and C(remedy)
              say why and what to do.
          type: dict
          returned: success
          sample: {name: grub_debian, firmware: efi, trial_possible: true, trial_reason: ""}
        gpus:
          description:
            - The GPUs by PCI address, so that C(index) is CUDA's under
              C(CUDA_DEVICE_ORDER=PCI_BUS_ID).
            - C(bar1_max_bytes) is the largest BAR that the card supports, C(nvlinks_active) the
              number of NVLinks that are up, C(upstream) the bridges above, nearest first.
            - Without NVML, C(bar1_bytes) is the largest memory BAR, C(generation) comes from the
              device id, and C(name), C(uuid), C(compute_capability), C(memory_bytes), C(display),
              C(mig) and C(nvlinks_active) are V(null).
          type: list
          elements: dict
          returned: success
          sample:
            - index: 0
              bdf: "0000:01:00.0"
              name: NVIDIA GeForce RTX 4090
              uuid: GPU-5c5e6a4f-0f9e-4d6c-8a43-2f1f0d3f6a10
              vendor: 10de
              device: "2684"
              compute_capability: "8.9"
              generation: ada
              memory_bytes: 25757220864
              bar1_bytes: 34359738368
              bar1_max_bytes: 34359738368
              link: {gen: 1, width: 16}
              max_link: {gen: 4, width: 16}
              numa_node: 0
              kernel_driver: nvidia
              display: false
              mig: false
              nvlinks_active: 0
              processes: [{pid: 4711, name: python3, memory_bytes: 1073741824}]
              iommu_group: {number: 14, type: DMA-FQ}
              upstream: ["0000:00:01.1"]
        processes_source:
          description:
            - Who told about processes - V(nvml); V(device_files), where NVML is silent and the
              holders of the GPUs' device files were looked up; V(module_not_loaded), where no
              process can be using a GPU; V(unknown), where the driver does not list every GPU.
          type: str
          returned: success
          sample: nvml
        acs:
          description:
            - Access Control Services of each bridge above a GPU; C(redirect) holds the set ones of
              RR, CR and EC, which send peer traffic through the root complex.
            - Where C(readable) is false, C(present) says nothing.
          type: list
          elements: dict
          returned: success
          sample: [{bdf: "0000:00:01.1", readable: true, present: true, redirect: [RR, CR]}]
        driver:
          description:
            - The running NVIDIA module (C(loaded), C(version), C(build_id)), the one that modprobe
              would load (C(installed)), whether they are the same build (C(matches)), and the
              release of the userspace libraries.
            - C(modprobe_override) is the command that modprobe.d runs instead of loading the file.
            - C(rivals_kept_off) tells whether gpufleet's file in modprobe.d keeps C(nouveau) and
              C(nova) off the GPUs.
            - C(module_options) are the module's parameters that others than gpufleet set, in
              modprobe.d or on the kernel command line, in the order in which they are passed.
            - C(registry) are the resource manager's keys that the running module was loaded with,
              V(null) where it is not loaded.
            - C(userspace_origin) tells how the libraries were installed - C(by) V(packages),
              V(runfile), V(unknown), or V(null) without libraries - and by which packages.
            - C(userspace_archive) tells to which releases apt could bring the packages of the
              libraries (C(releases), with the packages of each), and which of these packages the
              host holds back by itself (C(held)).
            - C(firmware) lists the releases whose GSP firmware is there, C(module_files) every
              nvidia module below the running kernel's directory, whoever put it there.
            - C(on_trial) tells whether M(gpufleet.p2p.driver_trial) keeps the driver to trial
              boots.
            - C(nvml) tells whether NVML answered, C(nvml_error) why not.
          type: dict
          returned: success
          sample:
            loaded: true
            version: 595.58.03
            build_id: 2f6a1b
            installed:
              name: nvidia
              path: /lib/modules/6.1.0-32-amd64/updates/dkms/nvidia.ko
              version: 595.58.03
              build_id: 2f6a1b
              signer: null
            installed_error: null
            matches: true
            modprobe_override: null
            rivals_kept_off: true
            module_options:
              - parameter: NVreg_RegistryDwords
                value: PeerMappingOverride=1
                origin: /etc/modprobe.d/local.conf:3
                later: false
            registry: {PeerMappingOverride: "1"}
            userspace_version: 595.58.03
            userspace_origin: {by: packages, packages: [libcuda1]}
            userspace_archive: {releases: {595.71.05: ["libcuda1:amd64"]}, held: []}
            firmware: [595.58.03]
            module_files: [updates/dkms/nvidia.ko]
            on_trial: false
            nvml: true
            nvml_version: 595.58.03
            nvml_error: null
        dkms:
          description:
            - Release of DKMS (V(null) where absent) and the module versions that it knows.
            - C(modules) is V(null) where DKMS could not tell; C(error) holds its words.
          type: dict
          returned: success
          sample:
            version: 3.0.10
            error: null
            modules:
              - module: gpufleet-nvidia
                version: 595.58.03
                kernel: 6.1.0-32-amd64
                arch: x86_64
                status: installed
                remarks: []
        toolchain:
          description:
            - What drivers are built with here. C(distribution) is the ID of os-release,
              C(initramfs) the tool that makes initial RAM disks (V(initramfs-tools), V(dracut),
              V(mkinitcpio)), C(missing) the tools that a build needs and that are not there.
            - C(kernels) has a record for each installed kernel - its C(version), the C(compiler)
              that built it, one of the same kind on this host (C(compiler_found)), the arguments
              of its pci_resize_resource(), and the C(headers_package) that apt could install where
              its headers are missing. What cannot be told is V(null).
          type: dict
          returned: success
          sample:
            distribution: debian
            initramfs: initramfs-tools
            missing: []
            kernels:
              - release: 6.1.0-56-amd64
                version: 6.1.192
                compiler: gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0
                compiler_found: gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0
                resize_arguments: 4
                headers_package: null
        disk:
          description: Bytes free to ordinary users, by path.
          type: dict
          returned: success
          sample: {/boot: 412000256, /usr: 20401094656, /var: 20401094656}
        watchdog:
          description:
            - The watchdog that systemd would use; V(null) where no driver has one, and a boot that
              hangs stays so.
            - C(active) tells whether a program answers it now, C(settable) whether this systemd
              takes a time for it from the kernel command line, and C(in_trial) in words what it
              does for a trial boot.
          type: dict
          returned: success
          sample:
            identity: iTCO_wdt
            active: true
            settable: true
            in_trial: watchdog iTCO_wdt is in use and resets a hang
        drain:
          description:
            - The note of M(gpufleet.p2p.drain_note) that gpufleet has drained this host; V(null)
              where it has not.
          type: dict
          returned: success
          sample:
            schema: 1
            mark: 3f1c9a77d02b4e65
            since: "2026-11-23T09:30:00+00:00"
            hooks: {method: slurm, node: gpu01, timeout: 3600}
            units: []
            interrupted: true
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts.collect import collect
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.own_look import end_own_look
from ansible_collections.gpufleet.p2p.plugins.module_utils._module import main as run_module


def gather(module: AnsibleModule) -> dict[str, Any]:
    """Return the module's result: the host's facts under ``ansible_facts.p2p``."""
    given = module.params
    end_own_look()
    facts = collect(gpu_match=given["gpu_match"], pynvml_source=given["pynvml_source"])
    return {"ansible_facts": {"p2p": facts}}


def main() -> None:
    """Run the module."""
    run_module(
        {
            "gpu_match": {"type": "list", "elements": "str", "default": ["10de:*:03"]},
            # Not a secret, but too long for every log that an argument gets into.
            "pynvml_source": {"type": "str", "no_log": True},
        },
        gather,
    )


if __name__ == "__main__":
    main()

# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab: virtual machines and a build host that come up, go down and start afresh together."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    remove,
)

from . import builder as build_host
from .acceleration import kvm_works
from .builder import Builder
from .description import HostDescription, read_description
from .firmware import check_firmware
from .image import Image, exclusive, kernel_file
from .inventory import inventory_text, script_text
from .kind import GuestKind
from .machine import Machine
from .paths import (
    cache_directory,
    default_descriptions,
    lab_files,
    state_directory,
)
from .ports import choose_port
from .progress import Reporter
from .qemu import MachineFiles, fastest_generation
from .remote import Address, make_key, wait_for_login
from .requirements import check_requirements, check_root
from .sources import given_sources, machine_sources
from .state import STATE_FILE, LabRefused, LabState, one_release, read_state

BOOT_SECONDS = 400.0
FAULT_FILE = "/etc/gpufleet-lab/fault"


@dataclass(frozen=True)
class MemberStatus:
    """One machine or the build host: is it on, and where does its ssh server listen."""

    name: str
    kind: str
    running: bool
    pid: int | None
    ssh_port: int
    console: Path


@dataclass(frozen=True)
class LabStatus:
    """A lab at one moment; `outdated` tells that a disk stands on an image since replaced."""

    directory: Path
    inventory: Path | None
    kvm: bool | None
    outdated: bool
    members: tuple[MemberStatus, ...]

    @property
    def up(self) -> bool:
        """Whether there are members and all of them run."""
        return bool(self.members) and all(member.running for member in self.members)


class Lab:
    """A lab in a state directory, on images in a cache that labs share.

    Args:
        state_dir: the lab's own directory; the default lab's unless given.
        cache_dir: where images are kept.
        reporter: told of each step; one line per step on standard error unless given.
        apt_sources: file to take the Debian mirror from instead of this machine's apt sources.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        cache_dir: Path | None = None,
        reporter: Reporter | None = None,
        apt_sources: Path | None = None,
    ) -> None:
        self.directory = (state_dir or state_directory()).absolute()
        self._cache = (cache_dir or cache_directory()).absolute()
        self._reporter = reporter or Reporter()
        self._apt_sources = apt_sources
        self._builder = Builder(self.directory / "builder")

    @property
    def inventory(self) -> Path:
        """The Ansible inventory, there while the lab is up."""
        return self.directory / "inventory.yml"

    @property
    def script_inventory(self) -> Path:
        """The same as JSON for inventories/lab, whose interpreter may know no YAML."""
        return self.directory / "inventory.json"

    def up(self, hosts: Sequence[Path | HostDescription] = ()) -> LabStatus:
        """Bring machines and build host up, and return once all answer by ssh.

        Machines that run are left alone; those that exist start from their own disks.

        Args:
            hosts: descriptions of the machines; those of the last time, or alpha and beta.

        Raises:
            GpufleetError: with what is missing or broken; members that came up stay up.
        """
        check_requirements()
        with self._locked():
            return self._up(hosts)

    def status(self) -> LabStatus:
        """Return what runs, without changing anything."""
        state = self._read_state()
        if state is None:
            return LabStatus(self.directory, None, None, outdated=False, members=())
        members = [
            self._member(machine.name, "machine", machine.pid(), state, machine.files.serial_log)
            for machine in self._machines(state.hosts)
        ]
        log = self._builder.log
        members.append(self._member(build_host.NAME, "build host", self._builder.pid(), state, log))
        return LabStatus(
            self.directory,
            self.inventory if self.inventory.exists() else None,
            state.kvm,
            state.images != self._current_images(state.hosts),
            tuple(members),
        )

    def address(self, name: str) -> Address:
        """Return where a member's ssh server listens.

        Raises:
            LabRefused: no such member, or it is off.
        """
        state = self._read_state()
        running = [member.name for member in self.status().members if member.running]
        if state is None or name not in running:
            raise LabRefused(
                "lab_member_not_running",
                read=f"{name} does not run here; running: {', '.join(running) or 'nothing'}",
                want="a member that is up",
                remedy="gpufleet lab up",
            )
        return self._address(name, state)

    def down(self) -> None:
        """Shut everything down; the machines keep their disks."""
        check_root()
        with self._locked():
            self._down()

    def destroy(self, *, cache: bool = False) -> None:
        """Remove machines and build host; the images too, if asked."""
        check_root()
        with self._locked():
            self._down()
            for leftover in ("hosts", "snapshots"):
                shutil.rmtree(self.directory / leftover, ignore_errors=True)
            self._builder.remove()
            self._image().release(self.directory)
            for name in (STATE_FILE, "key", "key.pub"):
                remove(self.directory / name)
        if cache and self._cache.exists():
            with exclusive(self._cache / "lock"):
                for layer in self._cache.iterdir():
                    if layer.is_dir():
                        shutil.rmtree(layer)
                    elif layer.name != "lock":
                        layer.unlink()

    def reset(self, hosts: Sequence[Path | HostDescription] = ()) -> LabStatus:
        """Bring the lab up with fresh disks on the newest image, and a fresh build host."""
        check_requirements()
        with self._locked():
            state = self._read_state()
            self._down(politely=False)
            for machine in self._machines(state.hosts if state else ()):
                machine.remove()
            self._builder.remove()
            self._image().release(self.directory)
            return self._up(hosts)

    def snapshot(self, name: str) -> None:
        """Keep the machines' disks under a name; the machines must be off.

        Raises:
            LabRefused: a machine runs, or there is none.
        """
        check_root()
        with self._locked():
            machines = self._machines_at_rest()
            target = self._snapshot_directory(name)
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for machine in machines:
                for file, path in _kept(machine).items():
                    _copy(path, partial / file)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)

    def restore(self, name: str) -> None:
        """Give the machines the disks of a snapshot; the machines must be off.

        Raises:
            LabRefused: a machine runs, or there is no such snapshot of it.
        """
        check_root()
        with self._locked():
            source = self._snapshot_directory(name)
            machines = self._machines_at_rest()
            for machine in machines:
                for file in _kept(machine):
                    if not (source / file).exists():
                        raise LabRefused(
                            "lab_snapshot_missing",
                            read=f"{source / file}: no such file",
                            want=f"a snapshot {name} of {machine.name}",
                            remedy=f"gpufleet lab snapshot {name}, while the lab is down",
                        )
            for machine in machines:
                for file, path in _kept(machine).items():
                    partial = path.with_suffix(".partial")
                    _copy(source / file, partial)
                    partial.replace(path)

    def set_fault(self, name: str, fault: str) -> None:
        """Make the simulated driver of a running machine misbehave; "none" ends it."""
        self.address(name).run([f"cat >{FAULT_FILE}"], stdin=f"{fault}\n")

    def _up(self, hosts: Sequence[Path | HostDescription]) -> LabStatus:
        self.directory.mkdir(parents=True, exist_ok=True)
        before = self._read_state()
        generation = fastest_generation()
        wanted = self._wanted(hosts, before, generation)
        release = one_release(wanted)
        if any(host.kind.firmware == "efi" for host in wanted):
            check_firmware()
        images = {host.kind: self._image(host.kind) for host in wanted}
        for image in images.values():
            image.ensure_base(self._sources(release))
        root_file_system = images[wanted[0].kind].root_file_system
        kvm = kvm_works(kernel_file(root_file_system), self._cache / "kvm.json")
        make_key(self.directory / "key")
        machines = self._machines(wanted)
        self._refuse_forgotten(before, wanted)
        state = self._choose_ports(before, wanted, machines, kvm=kvm)
        new = [machine for machine in machines if not machine.exists()]
        for kind in dict.fromkeys(machine.host.kind for machine in new):
            images[kind].ensure_golden(self.directory)
        atomic_write(self.directory / STATE_FILE, state.as_bytes())
        for machine in new:
            image = images[machine.host.kind]
            machine.create(image.disk, image.efi_variables)
        addresses = [self._address(machine.name, state) for machine in machines]
        builder_address = self._address(build_host.NAME, state)
        public_key = self.directory / "key.pub"
        for machine, address in zip(machines, addresses, strict=True):
            if not machine.is_running():
                machine.start(address.port, public_key, kvm=kvm)
        if self._builder.pid() is None:
            self._builder.start(root_file_system, builder_address.port, public_key)
        self._wait(machines, addresses, builder_address, kvm=kvm)
        atomic_write(self.script_inventory, script_text(addresses, builder_address), mode=0o600)
        atomic_write(self.inventory, inventory_text(addresses, builder_address), mode=0o600)
        return self.status()

    def _wait(
        self,
        machines: Sequence[Machine],
        addresses: Sequence[Address],
        builder_address: Address,
        *,
        kvm: bool,
    ) -> None:
        names = ", ".join([address.name for address in addresses] + [builder_address.name])
        how = "KVM" if kvm else "emulated, without KVM"
        with self._reporter.step(f"Boot of {names} ({how})"):
            with ThreadPoolExecutor() as pool:
                waiting = [
                    pool.submit(
                        wait_for_login,
                        address,
                        BOOT_SECONDS,
                        machine.check_alive,
                        machine.files.serial_log,
                    )
                    for machine, address in zip(machines, addresses, strict=True)
                ]
            wait_for_login(builder_address, 30.0, self._builder.check_alive, self._builder.log)
            for one in waiting:
                one.result()

    def _down(self, *, politely: bool = True) -> None:
        state = self._read_state()
        remove(self.inventory)
        remove(self.script_inventory)
        machines = [
            machine
            for machine in self._machines(state.hosts if state else ())
            if machine.is_running()
        ]
        self._builder.stop()
        if not machines:
            return
        if not politely:
            for machine in machines:
                machine.cut_power()
            return
        names = ", ".join(machine.name for machine in machines)
        with self._reporter.step(f"Shutdown of {names}"), ThreadPoolExecutor() as pool:
            clean = list(pool.map(Machine.shut_down, machines))
        for machine, was_clean in zip(machines, clean, strict=True):
            if not was_clean:
                self._reporter.say(f"{machine.name} did not shut down by itself: power cut")

    def _wanted(
        self, hosts: Sequence[Path | HostDescription], before: LabState | None, generation: int
    ) -> tuple[HostDescription, ...]:
        if not hosts and before is not None:
            return before.hosts
        read = [
            host if isinstance(host, HostDescription) else read_description(host)
            for host in hosts or default_descriptions()
        ]
        names = [host.name for host in read]
        if len(set(names)) != len(names) or build_host.NAME in names:
            raise LabRefused(
                "lab_names_repeat",
                read=", ".join(names),
                want=f"each name once, and none {build_host.NAME}",
                remedy="rename a host in its description",
            )
        for host in read:
            if host.as_emulated(generation) != host:
                self._reporter.say(
                    f"{host.name}: described with links that this QEMU cannot show (it has root "
                    f"ports up to Gen{generation}, switches of Gen1 x1); the machine and its "
                    "driver agree on the ones that it can"
                )
        return tuple(host.as_emulated(generation) for host in read)

    def _refuse_forgotten(self, before: LabState | None, wanted: Sequence[HostDescription]) -> None:
        if before is None:
            return
        kept = {host.name: host for host in wanted}
        changed = [
            machine.name
            for machine in self._machines(before.hosts)
            if kept.get(machine.name) != machine.host and machine.exists()
        ]
        if changed:
            raise LabRefused(
                "lab_has_other_machines",
                read=f"{', '.join(changed)} was made from another description",
                want="the descriptions that this lab was made from",
                remedy="gpufleet lab destroy, or another lab by --name",
            )

    def _choose_ports(
        self,
        before: LabState | None,
        wanted: tuple[HostDescription, ...],
        machines: Sequence[Machine],
        *,
        kvm: bool,
    ) -> LabState:
        running = {machine.name for machine in machines if machine.is_running()}
        if self._builder.pid() is not None:
            running.add(build_host.NAME)
        ports: dict[str, int] = {}
        names = [*(host.name for host in wanted), build_host.NAME]
        for name in names:
            last = before.ports.get(name) if before else None
            if name in running and last is not None:
                ports[name] = last
            else:
                ports[name] = choose_port(last, ports.values())
        # A machine that exists stands on the image that it was made from.
        made = {machine.name for machine in machines if machine.exists()}
        standing = before.images if before else {}
        images = {
            name: standing.get(name, disk) if name in made else disk
            for name, disk in self._current_images(wanted).items()
        }
        return LabState(wanted, images, kvm, ports)

    def _image(self, kind: GuestKind | None = None) -> Image:
        return Image(self._cache, lab_files() / "simulated_driver", self._reporter, kind)

    def _current_images(self, hosts: Iterable[HostDescription]) -> dict[str, str]:
        return {host.name: str(self._image(host.kind).disk) for host in hosts}

    def _sources(self, release: str) -> Iterable[str]:
        # A generator: this machine's sources matter only when an image is to be made.
        if self._apt_sources:
            yield given_sources(self._apt_sources, release)
        else:
            yield machine_sources(release=release)

    def _machines(self, hosts: Iterable[HostDescription]) -> list[Machine]:
        return [Machine(host, MachineFiles(self.directory / "hosts" / host.name)) for host in hosts]

    def _machines_at_rest(self) -> list[Machine]:
        state = self._read_state()
        machines = self._machines(state.hosts if state else ())
        running = [machine.name for machine in machines if machine.is_running()]
        if running or not machines:
            raise LabRefused(
                "lab_not_at_rest",
                read=f"{', '.join(running)} running" if running else "no machines",
                want="machines that are made and off",
                remedy="gpufleet lab down" if running else "gpufleet lab up",
            )
        return machines

    def _snapshot_directory(self, name: str) -> Path:
        return self.directory / "snapshots" / Path(name).name

    def _address(self, name: str, state: LabState) -> Address:
        return Address(name, state.ports[name], self.directory / "key")

    def _member(
        self, name: str, kind: str, pid: int | None, state: LabState, log: Path
    ) -> MemberStatus:
        return MemberStatus(name, kind, pid is not None, pid, state.ports[name], log)

    def _read_state(self) -> LabState | None:
        return read_state(self.directory / STATE_FILE)

    def _locked(self) -> AbstractContextManager[None]:
        return exclusive(self.directory / "lock")


def _kept(machine: Machine) -> dict[str, Path]:
    """Return what a snapshot keeps of a machine, by the name of the file in the snapshot."""
    kept = {f"{machine.name}.qcow2": machine.files.disk}
    if machine.host.kind.firmware == "efi":
        kept[f"{machine.name}.efi-variables.fd"] = machine.files.efi_variables
    return kept


def _copy(source: Path, target: Path) -> None:
    run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], timeout=600.0)

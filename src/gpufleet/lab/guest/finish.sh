#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap's customize hook: what makes the packages one lab machine. $1 is the new root.
set -eu
chroot "$1" dpkg-divert --quiet --local --rename --remove /etc/kernel/postinst.d/zz-update-grub
echo lab >"$1/etc/hostname"
# Empty, not absent: each machine makes its own id, without systemd's first-boot presets.
: >"$1/etc/machine-id"
rm -f "$1"/etc/ssh/ssh_host_*_key* "$1/var/lib/dbus/machine-id"
chroot "$1" systemctl --quiet enable systemd-networkd.service gpufleet-lab-identity.service
# Nothing may start on its own while a test measures or counts what changed.
chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-networkd-wait-online.service getty@tty1.service \
    modprobe@drm.service modprobe@fuse.service modprobe@efi_pstore.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin

#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap's essential hook: what must stand before the kernel and GRUB are unpacked.
# $1 is the new root, $2 the directory that holds this script.
set -eu
cp -a --no-preserve=ownership "$2/tree/." "$1/"
chmod 0755 "$1"/usr/local/sbin/gpufleet-lab-* "$1/etc/initramfs-tools/hooks/gpufleet-lab"
# In a chroot update-grub finds no disk and fails: it runs inside the machine, later.
chroot "$1" dpkg-divert --quiet --local --rename \
    --divert /etc/kernel/zz-update-grub.diverted --add /etc/kernel/postinst.d/zz-update-grub
echo 'grub-pc grub-pc/install_devices_empty boolean true' | chroot "$1" debconf-set-selections

#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# In mount and process namespaces of our own: turn the root file system $1 into one that starts by
# EFI. $2 and $3 are trees of files for all such guests and for this boot loader; the rest are words
# for apt-get, with a minus behind what goes: dependents first. The file system's own apt sources are
# asked.
set -eu
root=$1
common=$2
loader=$3
shift 3
for tree in "$common" "$loader"; do
    # Not every boot loader has files of its own.
    [ ! -d "$tree" ] || cp -a --no-preserve=ownership "$tree/." "$root/"
done
chmod 0755 "$root/usr/local/sbin/gpufleet-lab-install-boot-loader"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
chroot "$root" apt-get --quiet update
# Before the rest: purging grub-pc takes /etc/default/grub away, also when it is grub-efi-amd64's by then.
for word; do
    case $word in *-) chroot "$root" apt-get --quiet --yes purge "${word%-}" ;; esac
done
chroot "$root" apt-get --quiet --yes --purge --no-install-recommends install "$@"
# What sets up GRUB is evidence of GRUB.
chroot "$root" sh -c 'command -v grub-install' || rm -rf "$root/etc/default/grub.d"
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
mkdir -p "$root/boot/efi"

#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# In a mount namespace of our own: put the tree $3 onto the root partition that starts at byte $2
# of the disk $1, and let the guest's own tools index it for the kernel $4.
set -eu
mounted=$(mktemp -d)
mount -t tmpfs tmpfs "$mounted"
mkdir "$mounted/root"
mount -o "loop,offset=$2" "$1" "$mounted/root"
cp -a --no-preserve=ownership "$3/." "$mounted/root/"
chroot "$mounted/root" /sbin/depmod "$4"
chroot "$mounted/root" /sbin/ldconfig
rm "$mounted/root/usr/local/sbin/gpufleet-lab-install-grub"
umount "$mounted/root" "$mounted"
rmdir "$mounted"

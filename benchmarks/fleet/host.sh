#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# In mount, process, host-name and IPC namespaces of our own: be the simulated host NAME and run a
# command in it. Whatever ends unshare ends all of it; only what was changed in WORK stays.
# Usage: host.sh LAYERS WORK MACHINE NAME COMMAND...
#   LAYERS   overlayfs' lowerdir: the system's files
#   WORK     where this host's own changes are kept
#   MACHINE  what its kernel shows: proc/, sys/, and boot/, which has a file system of its own
set -eu
layers=$1 work=$2 machine=$3 name=$4
shift 4
mkdir -p "$work/changes" "$work/overlay" "$work/root"
mount -t overlay overlay -o "lowerdir=$layers,upperdir=$work/changes,workdir=$work/overlay" "$work/root"
cd "$work/root"
mount -t proc proc proc
for file in cmdline cpuinfo version sys/kernel/osrelease sys/kernel/random/boot_id; do
    mount --bind "$machine/proc/$file" "proc/$file"
done
mount --bind "$machine/proc/driver" proc/driver
mount --bind "$machine/sys" sys
mount --bind "$machine/boot" boot
mount -t tmpfs -o mode=0755,size=1m tmpfs dev
for node in null zero full random urandom; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir dev/shm
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir run/sshd
hostname "$name"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec chroot . "$@"

#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Plays a new user on a bare machine: a minimal Debian in a folder (chroot), a fresh clone of the
# last commit in it, and then the README's commands. Needs root and debootstrap.
#
#   scripts/bare_machine.sh [--suite bookworm|trixie] [--folder DIR] [--keep] [COMMAND ...]
#
# COMMANDs are run by a shell in the clone, one after the other, in place of the default:
# "make demo" "make test". The exit status is that of the first one that fails.
set -euo pipefail

suite=bookworm folder="" keep=""
while [ $# -gt 0 ]; do
    case "$1" in
        --suite) suite="$2"; shift 2 ;;
        --folder) folder="$2"; shift 2 ;;
        --keep) keep=1; shift ;;
        -h | --help) sed -n '3,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "$0: unknown option $1; see --help" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || set -- "make demo" "make test"
[ "$(id -u)" = 0 ] || { echo "$0: a chroot needs root: sudo $0" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "$0: apt-get install debootstrap first" >&2; exit 2; }
source_tree=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$folder" ] || folder=$(mktemp -d "/var/tmp/neuralfec-$suite-XXXXXX")

leave() {
    for point in dev/shm dev proc; do
        mountpoint -q "$folder/$point" && umount -l "$folder/$point"
    done
    if [ -z "$keep" ]; then rm -rf --one-file-system "$folder"; else echo "kept: $folder"; fi
}
trap leave EXIT

if [ ! -e "$folder/etc/debian_version" ]; then
    # This machine's own mirror, so that proxies and caches of the place are used.
    mirror=$(sed -nE 's/^(deb +(\[[^]]*\] +)?|URIs: *)(https?:[^ ]+).*/\3/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
    debootstrap --variant=minbase --include=git,make,ca-certificates "$suite" "$folder" $mirror
fi
# The network's settings of this machine: names, certificates, apt's and pip's own.
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/" 2>/dev/null || true
for file in /etc/apt/apt.conf.d/*proxy* /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ -e "$file" ] && mkdir -p "$folder$(dirname "$file")" && cp -L "$file" "$folder$file"
done
mount -t proc proc "$folder/proc" 2>/dev/null || true
mount --rbind /dev "$folder/dev" 2>/dev/null || true

rm -rf "$folder/home/user/gr-neuralfec"
mkdir -p "$folder/home/user"
git clone -q "$source_tree" "$folder/home/user/gr-neuralfec"
for command in "$@"; do
    echo "== $suite: $command"
    start=$SECONDS
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
        ${PIP_FIND_LINKS:+PIP_FIND_LINKS="$PIP_FIND_LINKS"} \
        chroot "$folder" /bin/bash -c "cd /home/user/gr-neuralfec && $command"
    echo "== $suite: $command: passed in $((SECONDS - start)) s"
done

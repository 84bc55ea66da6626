#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Plays a new user on a bare machine: a minimal Debian in a folder (chroot), a fresh clone of the
# last commit in it, and then the README's commands. Needs root and debootstrap.
#
#   scripts/bare_machine.sh [--suite bookworm|trixie] [--folder DIR] [--keep] [COMMAND ...]
#
# COMMANDs are run by a shell in the clone, one after the other, in place of the default:
# make demo, each command of the README from its top to its bottom, make test. The exit status is
# that of the first one that fails. DEBIAN_MIRROR, http_proxy, https_proxy, PIP_INDEX_URL and
# PIP_FIND_LINKS of the environment are used inside, too. A folder that was kept is gone on with:
# its packages, .venv and build stay, its clone is brought to the last commit, and default
# commands that have passed there are not run again.
set -euo pipefail

suite=bookworm folder="" keep=""
while [ $# -gt 0 ]; do
    case "$1" in
        --suite) suite="$2"; shift 2 ;;
        --folder) folder="$2"; shift 2 ;;
        --keep) keep=1; shift ;;
        -h | --help) sed -n '3,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "$0: unknown option $1; see --help" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "$0: a chroot needs root: sudo $0" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "$0: apt-get install debootstrap first" >&2; exit 2; }
source_tree=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$folder" ] || folder=$(mktemp -d "/var/tmp/neuralfec-$suite-XXXXXX")
user="$folder/home/user"

# Mounts come off before anything is removed, or rm would reach into this machine's own.
leave() {
    while read -r point; do umount -l "$point"; done < <(
        awk -v root="$folder/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r
    )
    if [ -z "$keep" ]; then rm -rf --one-file-system "$folder"; else echo "kept: $folder"; fi
}
trap leave EXIT

if [ ! -e "$folder/var/lib/bare-machine" ]; then
    debootstrap --variant=minbase --include=git,make,ca-certificates "$suite" "$folder" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
    touch "$folder/var/lib/bare-machine"
fi
# What is thrown away need not reach the disk package by package.
echo force-unsafe-io > "$folder/etc/dpkg/dpkg.cfg.d/unsafe-io"
# The network's settings of this machine: names, certificates, apt's and pip's own.
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/" 2>/dev/null || true
for file in /etc/apt/apt.conf.d/*proxy* /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ -e "$file" ] && mkdir -p "$folder$(dirname "$file")" && cp -L "$file" "$folder$file"
done
mountpoint -q "$folder/proc" || mount -t proc proc "$folder/proc"
if ! mountpoint -q "$folder/dev"; then
    mount --rbind /dev "$folder/dev"
    mount --make-rslave "$folder/dev"
fi
settings=()
for name in http_proxy https_proxy PIP_INDEX_URL PIP_FIND_LINKS; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
# Wheels in a folder of this machine are seen under the same path.
if [ -d "${PIP_FIND_LINKS:-}" ]; then
    mkdir -p "$folder$PIP_FIND_LINKS"
    mount --bind -o ro "$PIP_FIND_LINKS" "$folder$PIP_FIND_LINKS"
fi

clone="$user/gr-neuralfec"
commit=$(git -C "$source_tree" rev-parse HEAD)
if [ -d "$clone" ]; then
    git -C "$clone" fetch -q "$source_tree" "$commit"
    git -C "$clone" reset -q --hard "$commit"
else
    mkdir -p "$user"
    git clone -q "$source_tree" "$clone"
fi

run() {
    local start=$SECONDS code=0 expected="$1" command="$2"
    echo "== $suite: $command"
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 QT_QPA_PLATFORM=offscreen "${settings[@]}" \
        chroot "$folder" /bin/bash -c "cd /home/user/gr-neuralfec && $command" || code=$?
    if [[ " $expected " != *" $code "* ]]; then
        echo "== $suite: $command: exit status $code, expected $expected" >&2
        exit 1
    fi
    echo "== $suite: $command: exit status $code after $((SECONDS - start)) s"
}

# A default command, once a folder.
step() {
    if grep -qxF -e "$2" "$folder/var/lib/bare-machine"; then
        echo "== $suite: $2: passed before"
    else
        run "$@"
        echo "$2" >> "$folder/var/lib/bare-machine"
    fi
}

if [ $# -gt 0 ]; then
    for command in "$@"; do run 0 "$command"; done
    exit 0
fi
step 0 "make demo"
# Whole literal lines of the README that begin as commands do.
while read -r command; do
    case "$command" in
        "make demo" | "make test") ;;
        # GRC needs a screen: its command line tool compiles the same graph.
        *gnuradio-companion*) step 0 "${command/gnuradio-companion/grcc} -o /tmp" ;;
        # Frames that noise has spoilt are left out and told by exit status 1.
        *"neuralfec link"* | *"neuralfec decode"*) step "0 1" "$command" ;;
        # No arguments: the list of programs.
        *) step 0 "$command" ;;
    esac
done < <(grep -oP '^    \K(\.venv/bin/|make |cmake |sudo |apps/).*' "$source_tree/README.md")
step 0 "python3 apps/doctor.py"
step 0 "make test"

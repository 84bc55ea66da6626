#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Plays a new user on a bare machine: a minimal Debian in a folder (chroot), a fresh clone of the
# last commit in it, and then what README.md and docs/install.md tell. Needs root and debootstrap.
#
#   scripts/bare_machine.sh [--suite bookworm|trixie] [--folder DIR] [--keep] [COMMAND ...]
#
# COMMANDs are run by a shell in the clone, one after the other, in place of the default:
# make demo, each command of the README from its top to its bottom, make test, the classical
# way into /usr/local, and the Debian package on a second bare machine (DIR/package). The exit
# status is 1 at the first one that ends with another status than is told. DEBIAN_MIRROR,
# http_proxy, https_proxy, PIP_INDEX_URL and PIP_FIND_LINKS of the environment are used inside, too.
#
# A folder that was kept is gone on with: its packages, .venv and build stay, its clone is brought
# to the last commit, and default commands that have passed there are not run again.
set -euo pipefail

suite=bookworm folder="" keep=""
while [ $# -gt 0 ]; do
    case "$1" in
        --suite) suite="$2"; shift 2 ;;
        --folder) folder="$2"; shift 2 ;;
        --keep) keep=1; shift ;;
        -h | --help) sed -n '3,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "$0: unknown option $1; see --help" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "$0: a chroot needs root: sudo $0" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "$0: apt-get install debootstrap first" >&2; exit 2; }
source_tree=$(cd "$(dirname "$0")/.." && pwd)
[ -n "$folder" ] || folder=$(mktemp -d "/var/tmp/neuralfec-$suite-XXXXXX")
clone=home/user/gr-neuralfec
passed=var/lib/bare-machine

# Mounts come off before anything is removed, or rm would reach into this machine's own.
leave() {
    while read -r point; do umount -l "$point"; done < <(
        awk -v root="$folder/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r
    )
    if [ -z "$keep" ]; then rm -rf --one-file-system "$folder"; else echo "kept: $folder"; fi
}
trap leave EXIT

settings=()
for name in http_proxy https_proxy PIP_INDEX_URL PIP_FIND_LINKS; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done

# A bare machine in a folder, with these packages besides.
set_up() {
    local root="$1"
    if [ ! -e "$root/$passed" ]; then
        mkdir -p "$root"
        debootstrap --variant=minbase --include="$2" "$suite" "$root" \
            ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
        touch "$root/$passed"
    fi
    # What is thrown away need not reach the disk package by package.
    echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
    # The network's settings of this machine: names, certificates, apt's and pip's own.
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
    for file in /etc/apt/apt.conf.d/*proxy* /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
        [ -e "$file" ] && mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file"
    done
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    if ! mountpoint -q "$root/dev"; then
        mount --rbind /dev "$root/dev"
        mount --make-rslave "$root/dev"
    fi
}

# Run a command on one of the machines: ROOT, the exit statuses that are right, COMMAND.
run() {
    local start=$SECONDS code=0 root="$1" expected="$2" command="$3"
    echo "== $suite: $command"
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 QT_QPA_PLATFORM=offscreen DEBIAN_FRONTEND=noninteractive "${settings[@]}" \
        chroot "$root" /bin/bash -c "cd /$clone && $command" || code=$?
    if [[ " $expected " != *" $code "* ]]; then
        echo "== $suite: $command: exit status $code, expected $expected" >&2
        exit 1
    fi
    echo "== $suite: $command: exit status $code after $((SECONDS - start)) s"
}

# The same, once a folder.
step() {
    if grep -qxF -e "$3" "$1/$passed"; then
        echo "== $suite: $3: passed before"
    else
        run "$@"
        echo "$3" >> "$1/$passed"
    fi
}

# What somebody can do who has installed it, without the clone's .venv.
use_installed() {
    step "$1" 0 "neuralfec doctor"
    # The distribution's companion compiles; the graph's window is closed as a desktop does it.
    step "$1" 0 "grcc -o /tmp /$2/soft_demapper.grc"
    step "$1" 0 "cd /tmp && timeout --preserve-status 30 python3 soft_demapper.py"
}

set_up "$folder" git,make,ca-certificates
# Wheels in a folder of this machine are seen under the same path.
if [ -d "${PIP_FIND_LINKS:-}" ]; then
    mkdir -p "$folder$PIP_FIND_LINKS"
    mount --bind -o ro "$PIP_FIND_LINKS" "$folder$PIP_FIND_LINKS"
fi
if [ -d "$folder/$clone" ]; then
    commit=$(git -C "$source_tree" rev-parse HEAD)
    git -C "$folder/$clone" fetch -q "$source_tree" "$commit"
    git -C "$folder/$clone" reset -q --hard "$commit"
else
    mkdir -p "$(dirname "$folder/$clone")"
    git clone -q "$source_tree" "$folder/$clone"
fi

if [ $# -gt 0 ]; then
    for command in "$@"; do run "$folder" 0 "$command"; done
    exit 0
fi

step "$folder" 0 "make demo"
# Whole literal lines of the README that begin as commands do.
while read -r command; do
    case "$command" in
        "make demo" | "make test") ;;
        # GRC needs a screen: its command line tool compiles the same graph.
        *gnuradio-companion*) step "$folder" 0 "${command/gnuradio-companion/grcc} -o /tmp" ;;
        # Frames that noise has spoilt are left out and told by exit status 1.
        *"neuralfec link"* | *"neuralfec decode"*) step "$folder" "0 1" "$command" ;;
        # No arguments: the list of programs.
        *) step "$folder" 0 "$command" ;;
    esac
done < <(grep -oP '^    \K(\.venv/bin/|make |cmake |sudo |apps/).*' "$source_tree/README.md")
step "$folder" 0 "python3 apps/doctor.py"
step "$folder" 0 "make test"

# Into the system, as docs/install.md tells; this machine's user is root.
while read -r command; do
    step "$folder" 0 "${command#sudo }"
done < <(sed -n '/^## Into the system/,/^## Other/s/^    //p' "$source_tree/docs/install.md")
use_installed "$folder" usr/local/share/gr-neuralfec/examples
step "$folder" 0 "cmake --build build/system --target uninstall"
step "$folder" "1" "cd / && python3 -c 'from gnuradio import neuralfec'"

# The package, where nothing that builds it is.
step "$folder" 0 "apt-get install -y -qq file dpkg-dev"
step "$folder" 0 "make deb"
set_up "$folder/package" ca-certificates
mkdir -p "$folder/package/$clone"
cp "$folder/$clone"/build/deb/*.deb "$folder/package/tmp/"
# What has been downloaded for the first machine is not downloaded again.
cp "$folder"/var/cache/apt/archives/*.deb "$folder/package/var/cache/apt/archives/" 2>/dev/null || true
step "$folder/package" 0 "apt-get update -qq"
step "$folder/package" 0 "apt-get install -y -qq --no-install-recommends /tmp/gr-neuralfec*.deb"
use_installed "$folder/package" usr/share/gr-neuralfec/examples
step "$folder/package" 0 "apt-get remove -y -qq gr-neuralfec"
step "$folder/package" 1 "python3 -c 'from gnuradio import neuralfec'"

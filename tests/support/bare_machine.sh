#!/usr/bin/env bash
# Runs `make demo` and `make test` on a bare machine: Debian 12 with python3, pip and make, and nothing else. Once as
# root and once as an ordinary user, each in a copy of its own of the files that git tracks, as they are now.
#
#     sudo tests/support/bare_machine.sh                           # both commands as both users
#     sudo tests/support/bare_machine.sh -u user make demo         # another command, as one of: root, user
#     sudo tests/support/bare_machine.sh -d /var/tmp/bare          # keep the machine there, and reuse it
#
# The machine is a directory with a mount and a process namespace of its own, which needs root; all its mounts and
# processes end with the script. It shares the network of the host, which runs Debian 12 too, and copies the host's
# network settings: where apt and pip fetch packages, which certificates are trusted, which proxies are used.
set -euo pipefail

suite=bookworm
packages=python3,python3-pip,make
project=$(cd "$(dirname "$0")/../.." && pwd)

stop() { echo "$*" >&2; exit 1; }

# What the namespace runs: the machine's own /proc, /dev and terminals, and then the command as one user.
inside() {
    local root=$1 user=$2; shift 2
    mount -t proc proc "$root/proc"
    mount --rbind -o ro /sys "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    # Directories of packages on the host, for pip.
    { python3 -m pip config list || true; } | { grep -o "/[^':, ]*" || true; } | while read -r place; do
        place=${place%/simple}
        [ -d "$place" ] || continue
        mkdir -p "$root/$place" && mount --bind -o ro "$place" "$root/$place"
    done
    # Of the environment, keep only the variables that say how to reach packages.
    for name in $(compgen -e); do
        [[ ${name^^} =~ PROXY$|^(PIP|UV|SSL)_|CA_BUNDLE$ ]] || unset "$name"
    done
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin USER=$user LANG=C.UTF-8
    HOME=$(chroot "$root" sh -c "echo ~$user")
    export HOME
    # Not by exec: this shell is the first process of the namespace, and reaps orphaned processes.
    chroot --userspec="$user:$user" "$root" sh -c 'cd ~/beautyspot && exec "$@"' sh "$@"
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

root= users="root user"
while getopts d:u: option; do
    case $option in
        d) root=$OPTARG ;;
        u) users=$OPTARG ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ "$(id -u)" = 0 ] || stop "$0 needs root: it mounts"
grep -q "VERSION_CODENAME=$suite" /etc/os-release || stop "$0 takes the host's package sources, which are not those of Debian 12"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=${root:-$work/root}
mkdir -p "$root"
root=$(cd "$root" && pwd)

if [ ! -x "$root/usr/bin/make" ]; then
    PATH=$PATH:/usr/sbin
    if ! command -v debootstrap >/dev/null; then
        python3 "$project/tests/support/debian.py" "$work/tools" debootstrap
        export DEBOOTSTRAP_DIR=$work/tools/usr/share/debootstrap PATH=$PATH:$work/tools/usr/sbin
    fi
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $suite" | head -n 1)
    unshare --mount debootstrap --variant=minbase --include="$packages" "$suite" "$root" ${mirror:+"$mirror"} >"$work/log" ||
        stop "$(tail "$work/log")"
    chroot "$root" useradd --create-home --shell /bin/sh user
fi
rm -rf "$root/etc/apt"
cp -a /etc/apt "$root/etc/apt"
for place in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /usr/share/keyrings; do
    [ ! -e "$place" ] || { mkdir -p "$root/${place%/*}" && cp -rL "$place" "$root/${place%/*}"; }
done
cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

for user in $users; do
    home=$(chroot "$root" sh -c "echo ~$user")
    copy=$root/$home/beautyspot
    mkdir -p "$copy"
    find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +  # a reused machine keeps its .venv
    git -C "$project" ls-files -z | tar -C "$project" --null -T - -c | tar -C "$copy" -x
    chroot "$root" chown -R --no-dereference "$user:$user" "$home/beautyspot"
    if [ $# = 0 ]; then set -- sh -c "make demo && make test"; fi
    echo "== $user: $*"
    unshare --mount --pid --fork --kill-child "$0" --inside "$root" "$user" "$@"
done

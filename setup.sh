#!/usr/bin/env bash
# Creates the environment that the job scripts, `make` and download_subset_files.sh use: a virtual environment in .venv
# with this package (editable: changes here take effect at once) and its dependencies, at the versions of constraints.txt.
# yt-dlp is the newest instead, because YouTube changes and yt-dlp follows within days. Needs no root. If there is nothing
# to do, it is quick and needs no network.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./setup.sh [--pinned] [--with EXTRA,...] [--require-sox] [--python PROGRAM]
       ./setup.sh --update-yt-dlp [--pre]

  --pinned           install the tested yt-dlp, from constraints.txt (default for a new environment: the newest). Do not
                     use it while workers run: it changes the environment in place
  --with EXTRA,...   also install extras of pyproject.toml: test, learn, javascript, webdataset
  --require-sox      exit with status 1 if sox cannot be installed (default: print how to install it, and continue)
  --python PROGRAM   the Python to use, 3.11 to 3.13 (default: the first suitable one of python3,
                     python3.13, python3.12, python3.11, uv)
  --update-yt-dlp    update yt-dlp, also while workers run (audioset-batch update-yt-dlp; see docs/yt-dlp.md)
  --pre              with --update-yt-dlp: include nightly builds
  -h, --help         show this text

Exit status: 0 ready; 1 something could not be installed; 2 usage; 75 another update of yt-dlp is running.
TEXT
}

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
wrong_usage() {
    printf 'setup: %s\n' "$*" >&2
    usage >&2
    exit 2
}

extras="" require_sox=no python="" update=no pre=no choice=newest
while [ $# -gt 0 ]; do
    case $1 in
        --with)
            [ $# -gt 1 ] || wrong_usage "--with needs a value, such as test,learn"
            extras=$2
            shift
            ;;
        --with=*) extras=${1#*=} ;;
        --python)
            [ $# -gt 1 ] || wrong_usage "--python needs a value, such as python3.12"
            python=$2
            shift
            ;;
        --python=*) python=${1#*=} ;;
        --require-sox) require_sox=yes ;;
        --pinned) choice=pinned ;;
        --update-yt-dlp) update=yes ;;
        --pre) pre=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) wrong_usage "unknown argument: $1" ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")"
project=$PWD
venv=$project/.venv
stamp=$venv/.setup-stamp

for extra in ${extras//,/ }; do
    case $extra in
        test | learn | javascript | webdataset) ;;
        *) wrong_usage "unknown extra: $extra (there are test, learn, javascript, webdataset)" ;;
    esac
done

[ "$pre" = no ] || [ "$update" = yes ] || wrong_usage "--pre needs --update-yt-dlp"
[ "$choice" = newest ] || [ "$update" = no ] || wrong_usage "--pinned and --update-yt-dlp exclude each other"

# Two runs at once, such as by make -j: the second waits.
if command -v flock >/dev/null; then
    exec 9<setup.sh
    flock 9
fi

is_root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "apt-get install $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return
    apt-get update -qq </dev/null >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# --- Python

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; }
can_make_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() { # prints a Python that fits and can make virtual environments
    local candidate
    for candidate in ${python:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        if fits "$candidate" && can_make_venvs "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    local found
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        die "$venv is there but is no virtual environment: move it away"
    fi
    rm -rf -- "$venv"
    [ -w "$project" ] || die "you cannot write to $project: clone the repository to a folder of your own"
    if ! found=$(find_python) && [ -z "$python" ] && is_root_with_apt; then
        apt_install python3 python3-venv || true
        found=$(find_python) || true
    fi
    if [ -n "$found" ]; then
        say "making .venv with $("$found" -V)"
        "$found" -m venv "$venv"
    elif command -v uv >/dev/null; then
        say "making .venv with uv"
        uv venv --quiet --seed --python "${python:->=3.11,<3.14}" "$venv"
    else
        die "no Python 3.11 to 3.13 with the venv module found${python:+ in $python}. One of these gets it:
    apt-get install python3-venv              (Debian 12, Ubuntu 24.04 and later; as root)
    module avail python; module load python   (clusters; then ./setup.sh again)
    conda create -n py312 python=3.12; conda activate py312"
    fi
}

healthy() {
    local folder
    [ -x "$venv/bin/python" ] && [ -r "$venv/bin/pip" ] && fits "$venv/bin/python" || return 1
    # the commands inside name their Python by its full path: after a move or copy of the checkout it is the old one
    folder=$(sed -n '1,2s/^[^/]*\(\/.*\)\/python[0-9.]*\(".*\)\{0,1\}$/\1/p' "$venv/bin/pip")
    [ "$folder" -ef "$venv/bin" ]
}

# --- the package

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" </dev/null; }

wanted_hash() { { printf '%s\n' "$project" && cat pyproject.toml constraints.txt; } | cksum; }

pinned_yt_dlp() { sed -n 's/^yt-dlp==//p' constraints.txt; }
installed_yt_dlp() { # from the name of its metadata: starting Python to ask takes longer
    local found
    for found in "$venv"/lib/python*/site-packages/yt_dlp-*.dist-info; do
        [ -d "$found" ] || continue
        found=${found##*/yt_dlp-}
        printf '%s\n' "${found%.dist-info}"
    done
}

# The stamp: the hash on the first line, the installed extras on the second, `newest` or `pinned` on the third.
installed_extras="" installed_choice=""
install_package() { # with the constraints of the file $1
    pip install --quiet --use-pep517 -c "$1" -e "$project${all:+[$all]}"
}

install() {
    local all all_pins=$project/constraints.txt before
    before=$(installed_yt_dlp)
    all=$(printf '%s,%s' "$extras" "$installed_extras" | tr , '\n' | sed '/^$/d' | sort -u | paste -sd, -)
    say "installing audioset-batch${all:+ with $all}; the first time takes some minutes"
    if [ "$choice" = pinned ]; then
        [ -z "$before" ] || [ "$before" = "$(pinned_yt_dlp)" ] ||
            say "REPLACING yt-dlp $before by $(pinned_yt_dlp) in place: restart workers that run from this checkout" >&2
        install_package "$all_pins" || die "pip could not install the package; see above. Where it lacks \
yt-dlp $(pinned_yt_dlp) alone, ./setup.sh without --pinned takes the newest that there is"
        "$venv/bin/python" -m audioset_batch update-yt-dlp --undo >/dev/null
    else
        # An environment that is there keeps its yt-dlp, which workers may be using just now: --update-yt-dlp is safe.
        grep -v -i '^yt[-_]dlp' constraints.txt >"$venv/.constraints.txt"
        if install_package "$venv/.constraints.txt"; then
            [ -n "$before" ] || newest_of_registry
        elif [ -n "$before" ] && [ "$before" != "$(pinned_yt_dlp)" ]; then
            die "pip could not install the package; see above. yt-dlp stays at $before"
        else
            say "that failed (see above); trying with yt-dlp $(pinned_yt_dlp), the tested one" >&2
            install_package "$all_pins" || die "pip could not install the package; see above"
        fi
    fi
    write_stamp "$all"
    say_yt_dlp
}

newest_of_registry() { # what it needs may be newer than the constraints, and only where it must
    pip install --quiet --retries 1 --upgrade --upgrade-strategy only-if-needed 'yt-dlp[default]' ||
        say "no registry answers (see above): yt-dlp stays at $(installed_yt_dlp). ./setup.sh --update-yt-dlp tries again" >&2
}

say_yt_dlp() {
    local pinned installed
    pinned=$(pinned_yt_dlp) installed=$(installed_yt_dlp)
    if [ -z "$installed" ]; then
        return
    elif [ "$installed" = "$pinned" ]; then
        say "yt-dlp is $installed, the tested one"
    else
        say "yt-dlp is $installed; tested was $pinned (./setup.sh --pinned)"
    fi
}

write_stamp() { printf '%s\n%s\n%s\n' "$(wanted_hash)" "$1" "$choice" >"$stamp"; }

up_to_date() {
    local extra have
    [ -f "$stamp" ] || return 1
    { IFS= read -r have && IFS= read -r installed_extras && { IFS= read -r installed_choice || true; }; } <"$stamp" || return 1
    for extra in ${extras//,/ }; do
        [[ ,$installed_extras, == *,$extra,* ]] || return 1
    done
    [ "$have" = "$(wanted_hash)" ]
}

choose_yt_dlp() { # where everything is installed, and last time the other yt-dlp was asked for
    case $choice in
        "${installed_choice:-newest}") return ;;
        pinned)
            if [ "$(installed_yt_dlp)" != "$(pinned_yt_dlp)" ]; then
                install
                return
            fi
            "$venv/bin/python" -m audioset_batch update-yt-dlp --undo >/dev/null
            ;;
        newest)
            "$venv/bin/python" -m audioset_batch update-yt-dlp ||
                say "yt-dlp stays at $(installed_yt_dlp); ./setup.sh --update-yt-dlp tries again" >&2
            ;;
    esac
    write_stamp "$installed_extras"
}

# --- sox

load_sox_module() {
    local init
    for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
        # shellcheck disable=SC1090
        type module >/dev/null 2>&1 || { [ -r "$init" ] && . "$init"; } || true
    done
    type module >/dev/null 2>&1 && module load sox >/dev/null 2>&1 && command -v sox >/dev/null
}

sox_from_conda() {
    local conda
    for conda in micromamba mamba conda; do
        if command -v "$conda" >/dev/null; then
            say "getting sox by $conda"
            "$conda" create --quiet --yes --prefix "$venv/sox" --channel conda-forge sox </dev/null >/dev/null || continue
            ln -sf ../sox/bin/sox "$venv/bin/sox"
            return
        fi
    done
    return 1
}

provide_sox() {
    if [ -x "$venv/bin/sox" ] || command -v sox >/dev/null; then
        return
    fi
    if is_root_with_apt && apt_install sox; then
        return
    fi
    if sox_from_conda; then
        return
    fi
    if load_sox_module; then
        say "sox comes from 'module load sox'; jobs/environment.sh loads it too"
        return
    fi
    say "sox is missing: conversions of rate, bit depth or channels will fail until it is there. One of these gets it:
    apt-get install sox                                  (as root)
    conda install -c conda-forge sox                     (or mamba; in an active environment)
    module avail sox; module load sox                    (clusters)" >&2
    [ "$require_sox" = no ] || exit 1
}

if [ "$update" = yes ]; then
    healthy || die "there is no environment here yet: run ./setup.sh first"
    options=()
    [ "$pre" = no ] || options=(--pre)
    "$venv/bin/python" -m audioset_batch update-yt-dlp "${options[@]}" || exit
    ! up_to_date || write_stamp "$installed_extras"
    exit 0
fi

healthy || make_venv
if up_to_date; then
    choose_yt_dlp
else
    install
fi
provide_sox
say "ready: .venv/bin/audioset-batch"

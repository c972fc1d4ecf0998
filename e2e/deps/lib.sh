# Shared by every product script. The driver (`firstlight-e2e deps`) runs `build.sh` with
#   OUT         empty folder: what is left here becomes the cache entry
#   WORK        scratch folder, kept when a build is interrupted so that it resumes
#   NEED_<name> folder of each product named on the `# needs:` line
set -eu

say() { printf '    %s\n' "$*" >&2; }

# wheel FOLDER REQUIREMENT…  downloads wheels from PyPI (no dependencies) and unpacks them.
wheel() {
    into=$1
    shift
    mkdir -p "$into" "$WORK/wheels"
    for requirement in "$@"; do
        say "PyPI $requirement"
        rm -rf "$WORK/wheels/one"
        python3 -m pip download --quiet --no-deps --only-binary :all: \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
            --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any \
            --dest "$WORK/wheels/one" "$requirement" >&2
        for file in "$WORK"/wheels/one/*.whl; do
            python3 -m zipfile -e "$file" "$into"
        done
    done
    rm -rf "$WORK/wheels"
}

# go_tools FLAGS…  builds every `tool` of the go.mod beside the script, static and reproducible.
go_tools() {
    mkdir -p "$OUT/bin"
    go build -mod=readonly -trimpath -buildvcs=false "$@" -o "$OUT/bin/" tool
}

# debian FOLDER PACKAGE…  downloads Debian packages and unpacks them without installing.
debian() {
    into=$1
    shift
    mkdir -p "$into" "$WORK/debs"
    (cd "$WORK/debs" && apt-get download -q "$@" >&2)
    for file in "$WORK"/debs/*.deb; do
        dpkg-deb -x "$file" "$into"
    done
    rm -rf "$WORK/debs"
}

//! The images of the end-to-end tests: our own two, two Ollamas, and small ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use firstlight_contract::paths::program;
use serde_json::json;

use super::{Image, Layer};
use crate::command::run;
use crate::deps::product;

/// Where the chart looks for our images: its default repositories, as containerd completes them.
const REGISTRY: &str = "docker.io/firstlight";
/// Tag of our images: the chart's appVersion.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names of the images, which are the names of their archives.
pub const NAMES: [&str; 8] =
    ["plugin", "plugin-next", "webhook", "ollama-0.33.1", "ollama-0.12.3", "busybox", "musl", "pause"];

/// One image of [`NAMES`]. `build` is the folder that `make build` fills.
///
/// # Errors
/// When a product is not in the cache, or a file of ours is not built: the message names it.
pub fn named(build: &Path, name: &str) -> Result<Image> {
    Ok(match name {
        "plugin" => plugin(build, name)?,
        // The same program with other files on the node: what an upgrade replaces it by.
        "plugin-next" => {
            plugin(build, name)?.layer(Layer::new().bytes("artefacts/bin/release", "next\n", 0o644))
        }
        "webhook" => webhook(build)?,
        "ollama-0.33.1" => ollama()?,
        "ollama-0.12.3" => ollama_0_12_3()?,
        "busybox" => {
            Image::new("localhost/busybox:1").layer(busybox("bin")?).layer(users()).set("Cmd", json!(["sh"]))
        }
        "musl" => musl()?,
        "pause" => pause("localhost/pause:1")?,
        _ => bail!("no image {name:?}; there are: {}", NAMES.join(" ")),
    })
}

/// The image of a pod's sandbox.
pub fn pause(name: &str) -> Result<Image> {
    let program = product("pause")?.join("bin/pause");
    Ok(Image::new(name).layer(Layer::new().file("pause", program)).set("Entrypoint", json!(["/pause"])))
}

fn plugin(build: &Path, name: &str) -> Result<Image> {
    let cudart = product("cudart")?.join("lib");
    let runtime = Layer::new()
        .file("artefacts/cudart/libcudart.so.12", cudart.join("12.9/libcudart.so.12"))
        .file("artefacts/cudart/libcudart.so.13", cudart.join("13.0/libcudart.so.13"));
    let mut libraries = Layer::new();
    for name in [program::PREFLIGHT, program::PREFLIGHT_DYNAMIC] {
        libraries = libraries.file(Path::new("artefacts/bin").join(name), built(build, name)?);
    }
    for folder in ["shim", "simulator"] {
        let from = build.join(folder);
        libraries = libraries
            .tree(Path::new("artefacts").join(folder), &from, &|path| !path.to_string_lossy().contains(".so"))
            .with_context(|| format!("{} is missing: run `make build`", from.display()))?;
    }
    let prober = binary(build, program::PROBER)?;
    let image =
        Image::new(format!("{REGISTRY}/{name}:{VERSION}")).layer(runtime).layer(libraries).layer(prober);
    Ok(image.layer(binary(build, "firstlight-plugin")?).set("Entrypoint", json!(["/firstlight-plugin"])))
}

fn webhook(build: &Path) -> Result<Image> {
    let layer = binary(build, "firstlight-webhook")?;
    Ok(Image::new(format!("{REGISTRY}/webhook:{VERSION}"))
        .layer(layer)
        .set("Entrypoint", json!(["/firstlight-webhook"])))
}

fn binary(build: &Path, name: &str) -> Result<Layer> {
    Ok(Layer::new().file(name, built(build, name)?))
}

/// A program that `make build` has made.
fn built(build: &Path, name: &str) -> Result<PathBuf> {
    let file = build.join("bin").join(name);
    fs::metadata(&file).with_context(|| format!("{} is missing: run `make build`", file.display()))?;
    Ok(file)
}

/// Ollama as in its own image: `/usr/lib/ollama`, `/bin/ollama serve`, all addresses, NVIDIA's directories on the
/// loader's path (Dockerfile of ollama/ollama v0.33).
fn ollama() -> Result<Image> {
    let from = product("ollama")?;
    let large = |path: &Path| path.to_string_lossy().contains("libcublas");
    let cublas = Layer::new().tree("usr/lib/ollama", &from.join("lib/ollama"), &|path| {
        path.extension().is_some() && !large(path)
    })?;
    let rest = Layer::new().tree("usr/lib/ollama", &from.join("lib/ollama"), &large)?;
    let image = Image::new("localhost/ollama:0.33.1").layer(debian()?).layer(cublas).layer(rest);
    Ok(with_ollama_settings(image.layer(ollama_program(&from)?)))
}

/// The last Ollama whose server opens the driver itself, by absolute path.
fn ollama_0_12_3() -> Result<Image> {
    let image = Image::new("localhost/ollama:0.12.3").layer(debian()?);
    Ok(with_ollama_settings(image.layer(ollama_program(&product("ollama-0.12.3")?)?)))
}

fn ollama_program(from: &Path) -> Result<Layer> {
    let model = product("model")?.join("tiny.gguf");
    Ok(Layer::new().file("usr/bin/ollama", from.join("bin/ollama")).file("models/tiny.gguf", model))
}

fn with_ollama_settings(image: Image) -> Image {
    let environment = json!([
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "NVIDIA_VISIBLE_DEVICES=all",
        "OLLAMA_HOST=0.0.0.0:11434",
        "HOME=/root",
    ]);
    image.set("Env", environment).set("Entrypoint", json!(["/bin/ollama"])).set("Cmd", json!(["serve"]))
}

/// glibc, libstdc++, libgomp and a shell, in the merged-/usr layout that Ollama's base image has.
fn debian() -> Result<Layer> {
    let root = product("glibc-rootfs")?;
    let layer = busybox("usr/bin")?
        .tree("usr/lib", &root.join("lib"), &|_| false)?
        .tree("usr/lib64", &root.join("lib64"), &|_| false)?
        .link("bin", "usr/bin")
        .link("lib", "usr/lib")
        .link("lib64", "usr/lib64")
        .folder("tmp", 0o1777)
        .folder("root", 0o777)
        .bytes("etc/passwd", PASSWD, 0o644)
        .bytes("etc/group", GROUP, 0o644);
    Ok(layer)
}

/// A program that needs musl's loader, beside a static shell.
fn musl() -> Result<Image> {
    let root = product("musl-rootfs")?;
    let layer = busybox("bin")?
        .file("lib/ld-musl-x86_64.so.1", root.join("lib/ld-musl-x86_64.so.1"))
        .file("bin/hello-musl", root.join("bin/hello-musl"));
    Ok(Image::new("localhost/musl:1").layer(layer).layer(users()).set("Cmd", json!(["sh"])))
}

/// busybox and a link for each of its programs.
fn busybox(folder: &str) -> Result<Layer> {
    let program = product("busybox")?.join("bin/busybox");
    let mut layer = Layer::new().file(Path::new(folder).join("busybox"), &program);
    for name in run(&program, ["--list"])?.lines().filter(|name| *name != "busybox") {
        layer = layer.link(Path::new(folder).join(name), "busybox");
    }
    Ok(layer)
}

fn users() -> Layer {
    Layer::new().bytes("etc/passwd", PASSWD, 0o644).bytes("etc/group", GROUP, 0o644).folder("tmp", 0o1777)
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

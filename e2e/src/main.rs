//! `firstlight-e2e`: builds foreign products and images, starts and stops the local cluster.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line tool")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use firstlight_e2e::cluster::{self, Cluster, Component};
use firstlight_e2e::deps::{self, Deps};
use firstlight_e2e::image;

const USAGE: &str = "usage:
  firstlight-e2e deps [PRODUCT…]     build what is missing in the cache
  firstlight-e2e deps-verify         compare the cache with its manifests
  firstlight-e2e images [IMAGE…]     write images as OCI archives into build/images
  firstlight-e2e cluster up          start the cluster, or what of it is not running
  firstlight-e2e cluster import [ARCHIVE…]   bring images to the node; default: all of build/images
  firstlight-e2e cluster status      say what runs
  firstlight-e2e cluster exec WORD…  run a command inside the node
  firstlight-e2e cluster down        end the cluster and remove every trace";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firstlight-e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = here.join("deps");
    // The Makefile names the folder that it fills.
    let build = match std::env::var_os("FIRSTLIGHT_ARTEFACTS").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => here.parent().context("the crate has no folder above it")?.join("build"),
    };
    match words {
        ["deps", names @ ..] => {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            Deps::new(recipes, deps::cache_dir()?).build(&names).map(drop)
        }
        ["deps-verify"] => verify(&Deps::new(recipes, deps::cache_dir()?)),
        ["images", rest @ ..] => images(&build, rest),
        ["cluster", "up"] => {
            let started = Instant::now();
            let cluster = Cluster::up()?;
            println!("cluster: ready after {:.1} s", started.elapsed().as_secs_f32());
            println!("cluster: export KUBECONFIG={}", cluster.kubeconfig().display());
            Ok(())
        }
        ["cluster", "import", archives @ ..] => import(&build, archives),
        ["cluster", "status"] => status(),
        ["cluster", "exec", words @ ..] => {
            let status = Cluster::running()?.node().command(words).status()?;
            if status.success() { Ok(()) } else { bail!("{} ended with {status}", words.join(" ")) }
        }
        ["cluster", "down"] => {
            Cluster::down()?;
            println!("cluster: down");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

fn verify(deps: &Deps) -> Result<()> {
    let faults = deps.faults()?;
    for (name, fault) in &faults {
        eprintln!("{name}: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} products to build: run `make deps`", faults.len());
    }
    println!("deps: every product is whole");
    Ok(())
}

fn images(build: &Path, names: &[&str]) -> Result<()> {
    let folder = build.join("images");
    for name in if names.is_empty() { &image::NAMES } else { names } {
        let started = Instant::now();
        let image = image::named(build, name)?;
        let wrote = image.write_if_changed(&folder, name)?;
        let time = started.elapsed().as_secs_f32();
        let what = if wrote { format!("written in {time:.1} s") } else { "unchanged".to_owned() };
        println!("image {}: {what}", image.name());
    }
    Ok(())
}

fn import(build: &Path, archives: &[&str]) -> Result<()> {
    let cluster = Cluster::running()?;
    let mut files: Vec<PathBuf> = archives.iter().map(PathBuf::from).collect();
    if files.is_empty() {
        let folder = build.join("images");
        let found = fs::read_dir(&folder)
            .with_context(|| format!("no images in {}: run `make images`", folder.display()))?;
        files = found
            .filter_map(|item| Some(item.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "tar"))
            .collect();
        files.sort();
    }
    for file in files {
        let started = Instant::now();
        let did = if cluster.import(&file)? {
            format!("imported in {:.1} s", started.elapsed().as_secs_f32())
        } else {
            "there".to_owned()
        };
        println!("image {}: {did}", file.display());
    }
    Ok(())
}

fn status() -> Result<()> {
    let cluster = Cluster::running()?;
    for component in Component::ALL {
        match cluster.pid(component) {
            Some(pid) => println!("{:<24} process {pid} of the node", component.name()),
            None => {
                println!("{:<24} does not run; log: {}", component.name(), cluster.log(component).display());
            }
        }
    }
    println!("kubeconfig               {}", cluster.kubeconfig().display());
    println!("prometheus               {}", cluster::PROMETHEUS);
    Ok(())
}

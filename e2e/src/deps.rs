//! Slow foreign products (Kubernetes, Ollama, llama.cpp, …), built once and cached outside the tree.
//!
//! One folder `e2e/deps/<product>` each, with a `build.sh`. A product's key is the digest of that folder, of
//! `lib.sh` and of the keys of the products it needs (`# needs: a b` in the script). An entry
//! `<cache>/<product>-<key>` appears by rename, with a manifest of its files: a half-built one has no manifest,
//! a poisoned one differs from it, and both are built again. `<cache>/current/<product>` is a link to the entry.

mod entry;
mod recipe;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use entry::{Fault, verify};
pub(crate) use entry::{digest_file, hex};
pub use recipe::Recipe;

/// How often a long build says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The cache folder: `FIRSTLIGHT_CACHE`, else `~/.cache/firstlight`.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FIRSTLIGHT_CACHE").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::var_os("HOME").context("neither FIRSTLIGHT_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/firstlight"))
}

/// The folder of a product that `make deps` built.
///
/// # Errors
/// When it is not in the cache: the message says to run `make deps`.
pub fn product(name: &str) -> Result<PathBuf> {
    let link = cache_dir()?.join("current").join(name);
    fs::canonicalize(&link)
        .with_context(|| format!("{name} is not built ({}): run `make deps`", link.display()))
}

/// What happened to one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The entry was there and whole.
    Kept,
    /// The entry was missing or faulty and has been built.
    Built,
}

/// A folder of recipes and the cache that their products go to.
#[derive(Debug)]
pub struct Deps {
    recipes: PathBuf,
    cache: PathBuf,
}

impl Deps {
    /// Products described under `recipes`, cached under `cache`.
    pub fn new(recipes: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self { recipes: recipes.into(), cache: cache.into() }
    }

    /// Every recipe, a product always after the products it needs.
    pub fn recipes(&self) -> Result<Vec<Recipe>> {
        recipe::load(&self.recipes)
    }

    /// Where the entry of `recipe` is (or will be).
    pub fn entry(&self, recipe: &Recipe) -> PathBuf {
        self.cache.join(format!("{}-{}", recipe.name, recipe.key))
    }

    /// Builds what is missing or faulty. With `names` only these and what they need.
    ///
    /// One run at a time: a second one waits for the first.
    pub fn build(&self, names: &[String]) -> Result<Vec<(String, Outcome)>> {
        let wanted = recipe::select(self.recipes()?, names)?;
        fs::create_dir_all(self.cache.join("current"))?;
        let lock = File::create(self.cache.join("lock"))?;
        lock.lock().context("waiting for another `make deps`")?;
        let started = Instant::now();
        let mut outcomes = Vec::new();
        for (index, recipe) in wanted.iter().enumerate() {
            let step = format!("[deps {}/{}] {}", index + 1, wanted.len(), recipe.name);
            let outcome = self.build_one(recipe, &step, started)?;
            outcomes.push((recipe.name.clone(), outcome));
        }
        Ok(outcomes)
    }

    /// Compares every entry with its manifest and builds nothing.
    pub fn faults(&self) -> Result<Vec<(String, Fault)>> {
        let recipes = self.recipes()?;
        Ok(recipes
            .iter()
            .filter_map(|r| verify(&self.entry(r)).err().map(|fault| (r.name.clone(), fault)))
            .collect())
    }

    fn build_one(&self, recipe: &Recipe, step: &str, started: Instant) -> Result<Outcome> {
        let entry = self.entry(recipe);
        match verify(&entry) {
            Ok(()) => {
                self.point_at(recipe, &entry)?;
                say(&format!("{step}: kept"), started);
                return Ok(Outcome::Kept);
            }
            Err(Fault::Missing) => say(&format!("{step}: building"), started),
            Err(fault) => {
                say(&format!("{step}: {fault}, building again"), started);
                entry::remove(&entry)?;
            }
        }
        let work = self.cache.join("work").join(format!("{}-{}", recipe.name, recipe.key));
        let resumed = work.exists();
        let mut built = self.run(recipe, &work, step, started);
        if built.is_err() && resumed {
            say(&format!("{step}: the interrupted build could not be continued, starting afresh"), started);
            entry::remove(&work)?;
            built = self.run(recipe, &work, step, started);
        }
        let out = built?;
        entry::seal(&out)?;
        fs::rename(&out, &entry).with_context(|| format!("cannot move {} into place", out.display()))?;
        entry::remove(&work)?;
        self.point_at(recipe, &entry)?;
        say(&format!("{step}: built"), started);
        Ok(Outcome::Built)
    }

    /// Runs the script; returns the folder it filled.
    fn run(&self, recipe: &Recipe, work: &Path, step: &str, started: Instant) -> Result<PathBuf> {
        let out = work.join("out");
        entry::remove(&out)?;
        fs::create_dir_all(&out)?;
        let scratch = work.join("scratch");
        fs::create_dir_all(&scratch)?;
        let log = self.cache.join("log").join(format!("{}.log", recipe.name));
        fs::create_dir_all(self.cache.join("log"))?;
        let output = File::create(&log)?;
        let mut command = Command::new("nice");
        command.arg("sh").arg(recipe.folder.join("build.sh"));
        command.env("OUT", &out).env("WORK", &scratch).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        for need in &recipe.needs {
            let folder = fs::canonicalize(self.cache.join("current").join(need))?;
            command.env(format!("NEED_{}", need.replace(['-', '.'], "_")), folder);
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", recipe.folder.display()))?;
        let mut told = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(100));
            if told.elapsed() >= HEARTBEAT {
                told = Instant::now();
                say(&format!("{step}: {}", last_line(&log).unwrap_or_default()), started);
            }
        };
        if !status.success() {
            let lines = tail(&log, 25).unwrap_or_default();
            bail!("{step}: build.sh failed ({status}); the end of {}:\n{lines}", log.display());
        }
        Ok(out)
    }

    /// Points `current/<product>` at the entry, without a moment in which the link is missing.
    fn point_at(&self, recipe: &Recipe, entry: &Path) -> Result<()> {
        let link = self.cache.join("current").join(&recipe.name);
        if fs::read_link(&link).is_ok_and(|target| target == entry) {
            return Ok(());
        }
        let fresh = self.cache.join("current").join(format!(".{}", recipe.name));
        entry::remove(&fresh)?;
        std::os::unix::fs::symlink(entry, &fresh)?;
        fs::rename(&fresh, &link)
            .with_context(|| format!("cannot point {} at {}", link.display(), entry.display()))
    }
}

#[expect(clippy::print_stderr, reason = "progress of a long build, for the person in front of it")]
fn say(text: &str, started: Instant) {
    let seconds = started.elapsed().as_secs();
    eprintln!("{:>3}:{:02} {text}", seconds / 60, seconds % 60);
}

fn tail(log: &Path, count: usize) -> Result<String> {
    let bytes = fs::read(log)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n"))
}

fn last_line(log: &Path) -> Option<String> {
    let last = BufReader::new(File::open(log).ok()?).split(b'\n').map_while(Result::ok).last()?;
    let text = String::from_utf8_lossy(&last);
    Some(text.trim().chars().take(100).collect())
}

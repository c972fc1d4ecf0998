//! The node's CDI specifications: under which name a container runtime knows a card. A name is looked for before the
//! card is offered, because a runtime that does not know it lets the container wait without a word about the card.

use super::cards::Card;
use super::root::NodeRoot;
use firstlight_contract::cdi::{self, DIRECTORIES, Device, KIND, MAX_BYTES, Spec};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files of a directory that are looked at; a node has one or two.
const MOST_FILES: usize = 64;
/// Names that are shown.
const MOST_NAMES: usize = 20;
/// The way out of most of it.
const GENERATE: &str = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

/// Reads the specifications, each again only when its file has changed.
#[derive(Debug)]
pub struct Reader {
    root: NodeRoot,
    kept: Mutex<BTreeMap<PathBuf, Kept>>,
}

/// What a file said, and by what a change of it is seen.
#[derive(Debug)]
struct Kept {
    stamp: (u64, u64, i64, i64),
    said: Said,
}

type Said = Result<Arc<Spec>, String>;

/// All specifications of a node, in rising order of precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specs(Vec<SpecFile>);

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SpecFile {
    /// As the node calls it.
    path: PathBuf,
    /// Of two files that name one device, that of the higher rank counts; of the same rank, neither.
    rank: usize,
    /// What it says, or what is wrong with it.
    said: Said,
}

impl Reader {
    /// Of this node.
    pub fn new(root: NodeRoot) -> Self {
        Self { root, kept: Mutex::default() }
    }

    /// What lies there now.
    pub fn read(&self) -> Specs {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeMap::new();
        let mut specs = Vec::new();
        for (rank, directory) in DIRECTORIES.map(Path::new).into_iter().enumerate() {
            for path in self.files(directory) {
                let seen = self.root.resolve(Path::new("/"), &path).map(|file| self.root.seen(&file));
                let Some(seen) = seen.filter(|seen| seen.is_file()) else { continue };
                let one = self::kept(&seen, kept.remove(&path));
                specs.push(SpecFile { path: path.clone(), rank, said: one.said.clone() });
                now.insert(path, one);
            }
        }
        *kept = now;
        Specs(specs)
    }

    /// What a runtime reads of a directory: `.json` and `.yaml`, not below it.
    fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let Some(folder) = self.root.resolve(Path::new("/"), directory) else { return Vec::new() };
        let entries = fs::read_dir(self.root.seen(&folder)).into_iter().flatten().flatten();
        let names = entries.map(|entry| PathBuf::from(entry.file_name()));
        let mut names: Vec<PathBuf> =
            names.filter(|name| name.extension().is_some_and(|end| end == "json" || end == "yaml")).collect();
        names.sort();
        names.truncate(MOST_FILES);
        names.into_iter().map(|name| directory.join(name)).collect()
    }
}

/// The file's word: that of before, where it has not changed since.
fn kept(seen: &Path, before: Option<Kept>) -> Kept {
    let stamp = fs::metadata(seen)
        .map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        .unwrap_or_default();
    match before.filter(|before| before.stamp == stamp) {
        Some(before) => before,
        None => Kept { stamp, said: said(seen) },
    }
}

fn said(seen: &Path) -> Said {
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    let read = File::open(seen).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read ({error})"))?;
    cdi::parse(&bytes).map(Arc::new).map_err(|error| error.to_string())
}

/// A device of a file, and what else of that file is needed.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    file: &'a SpecFile,
    spec: &'a Spec,
    device: &'a Device,
}

impl Specs {
    /// Whether there is any file.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// Under which name container runtimes know a card, such as `nvidia.com/gpu=0`; the error is why under none, and
    /// what helps. `index` is the card's number in NVML's order, `module` the kernel module's version.
    pub fn name_of(&self, card: &Card, index: Option<usize>, module: Option<&str>) -> Result<String, String> {
        let index = index.map(|index| index.to_string());
        let fits = |device: &Device| {
            !device.part && card.minor.is_some_and(|minor| device.cards.iter().eq([&minor]))
        };
        // A name without device nodes, as on machines where they come otherwise, is taken at its word.
        let bare = |device: &Device| device.cards.is_empty() && !device.part;
        let by_uuid = |device: &Device| device.name.eq_ignore_ascii_case(&card.uuid);
        let by_index = |device: &Device| index.as_ref() == Some(&device.name);
        let named = self.named();
        let mut found: Vec<&Vec<Named<'_>>> = named
            .iter()
            .filter(|same| {
                same.iter().any(|one| {
                    let device = one.device;
                    fits(device) || (bare(device) && (by_uuid(device) || by_index(device)))
                })
            })
            .collect();
        found.sort_by_key(|same| same.first().map(|one| (!by_uuid(one.device), !by_index(one.device))));
        let mut problem = None;
        for same in found {
            match usable(same, module) {
                Ok(name) => return Ok(name),
                Err(sentence) => problem = problem.or(Some(sentence)),
            }
        }
        let stale = || named.iter().flatten().find(|one| by_uuid(one.device)).map(|one| one.stale(card));
        Err(problem.or_else(stale).unwrap_or_else(|| self.nothing(card)))
    }

    /// The devices of NVIDIA's kind by name: of each those of the highest rank, which are one unless files contradict.
    fn named(&self) -> Vec<Vec<Named<'_>>> {
        let mut names: BTreeMap<&str, Vec<Named<'_>>> = BTreeMap::new();
        for file in &self.0 {
            let Ok(spec) = &file.said else { continue };
            for device in spec.devices.iter().filter(|_| spec.is_nvidia()) {
                let same = names.entry(&device.name).or_default();
                same.retain(|one| one.file.rank == file.rank);
                same.push(Named { file, spec, device });
            }
        }
        names.into_values().collect()
    }

    /// Why no name fits a card.
    fn nothing(&self, card: &Card) -> String {
        let wrong = self.0.iter().filter_map(|file| {
            let problem = file.said.as_ref().err()?;
            Some(format!("; {} {problem}", file.path.display()))
        });
        let wrong: String = wrong.collect();
        let files = self.0.iter().filter(|file| file.said.as_ref().is_ok_and(|spec| spec.is_nvidia()));
        let files: Vec<String> = files.map(|file| file.path.display().to_string()).collect();
        if files.is_empty() {
            return format!(
                "no CDI specification of the kind {KIND} lies in {}{wrong}; write one on the node ({GENERATE}), and see that \
                 plugin.node.paths has these directories",
                DIRECTORIES.join(" or ")
            );
        }
        let named = self.named();
        let names: Vec<&str> = named.iter().flatten().map(|one| one.device.name.as_str()).collect();
        let shown = match names.as_slice() {
            [] => "no device at all".to_owned(),
            names if names.len() > MOST_NAMES => {
                let first: Vec<&str> = names.iter().take(MOST_NAMES).copied().collect();
                format!("{} and {} more", first.join(", "), names.len() - MOST_NAMES)
            }
            names => names.join(", "),
        };
        format!(
            "{} ({}, {}) has no CDI name: {} (kind {KIND}) names {shown}{wrong}; write it again on the node: {GENERATE}",
            card.uuid,
            card.model,
            card.pci,
            files.join(" and ")
        )
    }
}

/// The name, where what stands behind it is in order; `same` is who names it.
fn usable(same: &[Named<'_>], module: Option<&str>) -> Result<String, String> {
    let [one] = same else {
        let files: Vec<String> = same.iter().map(|one| one.file.path.display().to_string()).collect();
        return Err(format!(
            "{} is in {}, and a container runtime takes it from neither; remove all but one of these files from the node",
            same.first().map(Named::qualified).unwrap_or_default(),
            files.join(" and ")
        ));
    };
    let mut drivers = one.spec.drivers.union(&one.device.drivers).peekable();
    match module {
        Some(module) if drivers.peek().is_some() && !drivers.clone().any(|version| version == module) => {
            let versions: Vec<&str> = drivers.map(String::as_str).collect();
            Err(format!(
                "{} brings the libraries of driver {} with {}, and the kernel module has version {module}; write it again on \
                 the node: {GENERATE}",
                one.file.path.display(),
                versions.join(" and "),
                one.qualified()
            ))
        }
        _ => Ok(one.qualified()),
    }
}

impl Named<'_> {
    fn qualified(&self) -> String {
        format!("{}={}", self.spec.kind, self.device.name)
    }

    /// Why a name that says this card is not it.
    fn stale(&self, card: &Card) -> String {
        let nodes: Vec<String> =
            self.device.cards.iter().map(|number| format!("/dev/nvidia{number}")).collect();
        let own = card.minor.map_or_else(|| "unknown".to_owned(), |minor| format!("/dev/nvidia{minor}"));
        format!(
            "{} says that {} is {}, but its device node is {own}; write the file again on the node: {GENERATE}",
            self.file.path.display(),
            self.qualified(),
            if nodes.is_empty() { "a part of a card".to_owned() } else { nodes.join(" and ") }
        )
    }
}

#[cfg(test)]
mod tests;

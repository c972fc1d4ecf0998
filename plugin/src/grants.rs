//! Grants on the node's disk: one folder each, `grants/<id>/{grant,records,ledger,allocation,owner}`. The first three
//! are mounted into the container (a ledger is there only where there is a quota); the others are ours, so that a new
//! start finds everything again.

use crate::book::Id;
use crate::plan::GrantOnDisk;
use crate::whole_file;
use anyhow::{Context as _, Result};
use firstlight_contract::grant::Grant;
use firstlight_contract::ledger;
use firstlight_contract::paths::node::{GRANT_FILE, LEDGER_FILE, RECORDS_FILE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const ALLOCATION_FILE: &str = "allocation";
const OWNER_FILE: &str = "owner";

/// What an Allocate was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The extended resource.
    pub resource: String,
    /// The device ids, sorted.
    pub ids: Box<[String]>,
    /// Id of the build whose files are mounted.
    pub build: String,
    /// When, nanoseconds since the epoch.
    pub created_ns: u64,
    /// The grant's text: what the file is repaired from.
    pub grant: Box<str>,
}

/// Whose container it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod, as soon as the API server told it.
    pub uid: Option<String>,
    /// Name of the container; empty for an init container that cannot be told from another.
    pub container: String,
    /// Whether it is an ordinary init container.
    pub init: bool,
}

/// A grant as it was found on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its parsed text.
    pub grant: Grant,
    /// What the Allocate was about.
    pub allocation: Allocation,
    /// Whose it is, if that was known.
    pub owner: Option<Owner>,
}

/// The folder of grants.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    host_root: PathBuf,
}

impl Store {
    /// `root` and `host_root`: the folder of grants as we see it and as the node does.
    pub fn new(root: PathBuf, host_root: PathBuf) -> Self {
        Self { root, host_root }
    }

    /// The record file of a grant, as we see it.
    pub fn records(&self, id: &str) -> PathBuf {
        self.root.join(id).join(RECORDS_FILE)
    }

    /// The ledger of a grant, as we see it; there only where the grant has a quota.
    pub fn ledger(&self, id: &str) -> PathBuf {
        self.root.join(id).join(LEDGER_FILE)
    }

    /// Writes a new grant. Small files, not synchronised: after a power failure the pod starts anew. A grant that names a
    /// ledger and has none would refuse all memory: then there is no grant.
    pub fn create(&self, grant: &Grant, allocation: &Allocation) -> GrantOnDisk {
        let folder = self.root.join(&grant.id);
        let host = self.host_root.join(&grant.id);
        let attempt = |with_records: bool| -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            if grant.ledger.is_some() {
                make_ledger(&folder.join(LEDGER_FILE))?;
            }
            let mut allocation = allocation.clone();
            if with_records {
                make_records(&folder.join(RECORDS_FILE))?;
                allocation.grant = grant.to_string().into();
            } else {
                allocation.grant = Grant { records: None, ..grant.clone() }.to_string().into();
            }
            fs::write(folder.join(GRANT_FILE), &*allocation.grant)?;
            fs::write(folder.join(ALLOCATION_FILE), serde_json::to_vec(&allocation)?)
        };
        if attempt(true).is_ok() {
            return GrantOnDisk::Complete(host);
        }
        match attempt(false) {
            Ok(()) => GrantOnDisk::WithoutRecords(host),
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                GrantOnDisk::Missing(error.to_string())
            }
        }
    }

    /// Keeps whose a grant is.
    pub fn keep_owner(&self, id: &str, owner: &Owner) -> Result<()> {
        let file = self.root.join(id).join(OWNER_FILE);
        whole_file::write(&file, &serde_json::to_vec(owner)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Removes a grant.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The names of all folders.
    pub fn ids(&self) -> io::Result<BTreeSet<Id>> {
        Ok(fs::read_dir(&self.root)?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into())
            .collect())
    }

    /// One grant, as it is on the disk.
    pub fn load_one(&self, id: &str) -> Result<Stored> {
        load_one(&self.root.join(id))
    }

    /// All grants on the disk. Files that containerd turned into directories are repaired; folders that
    /// nothing is known about are said and left alone, since a container may still replay them.
    pub fn load(&self) -> Result<Vec<Stored>> {
        fs::create_dir_all(&self.root).with_context(|| format!("cannot create {}", self.root.display()))?;
        let entries =
            fs::read_dir(&self.root).with_context(|| format!("cannot read {}", self.root.display()))?;
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let folder = entry.path();
            match load_one(&folder) {
                Ok(stored) => found.push(stored),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "a folder that is no grant is left alone");
                }
            }
        }
        found.sort_by_key(|stored| stored.allocation.created_ns);
        Ok(found)
    }
}

fn make_records(path: &Path) -> io::Result<()> {
    fs::write(path, b"")?;
    open_to_all(path)
}

/// With all its blocks: a process that maps a hole for which the disk has no room is ended by SIGBUS.
fn make_ledger(path: &Path) -> io::Result<()> {
    fs::write(path, ledger::blank())?;
    open_to_all(path)
}

/// Any user in the container writes; the mode does not depend on our umask.
fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

/// One grant, read and left as it is.
pub fn read(folder: &Path) -> Result<Stored> {
    let allocation = folder.join(ALLOCATION_FILE);
    let text = fs::read(&allocation).with_context(|| format!("cannot read {}", allocation.display()))?;
    let allocation: Allocation =
        serde_json::from_slice(&text).context("the allocation is no JSON of ours")?;
    let grant = Grant::parse(allocation.grant.as_bytes())?;
    anyhow::ensure!(folder.ends_with(&grant.id), "the folder's name is not the grant's id {}", grant.id);
    let owner = fs::read(folder.join(OWNER_FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    Ok(Stored { grant, allocation, owner })
}

fn load_one(folder: &Path) -> Result<Stored> {
    let stored = read(folder)?;
    let is_file = |name: &str| folder.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
    let clear = |name: &str| match fs::remove_dir_all(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(folder.join(name)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if !is_file(GRANT_FILE) {
        clear(GRANT_FILE)?;
        fs::write(folder.join(GRANT_FILE), &*stored.allocation.grant)?;
    }
    if stored.grant.records.is_some() && !is_file(RECORDS_FILE) {
        clear(RECORDS_FILE)?;
        make_records(&folder.join(RECORDS_FILE))?;
    }
    // One that is there stays as it is: processes that live count in it.
    if stored.grant.ledger.is_some() && !is_file(LEDGER_FILE) {
        clear(LEDGER_FILE)?;
        make_ledger(&folder.join(LEDGER_FILE))?;
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::grant::PoolKind;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    fn grant(id: &str) -> Grant {
        Grant {
            id: id.to_owned(),
            pool: "simulated".to_owned(),
            kind: PoolKind::Simulated,
            driver: None,
            nvml: None,
            records: Some("/run/firstlight/records".to_owned()),
            ledger: None,
            quota_bytes: None,
            devices: vec![],
        }
    }

    fn allocation(ids: &[&str], created_ns: u64) -> Allocation {
        Allocation {
            resource: "firstlight.dev/simulated".to_owned(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            build: "0123456789abcdef".to_owned(),
            created_ns,
            grant: Box::default(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("grants"), "/host/grants".into());
        (folder, store)
    }

    fn owner() -> Owner {
        Owner {
            namespace: "ns".into(),
            pod: "ollama".into(),
            uid: Some("u".into()),
            container: "ollama".into(),
            init: false,
        }
    }

    #[test]
    fn a_new_start_finds_grant_allocation_and_owner() {
        let (_folder, store) = store();
        let id = "a".repeat(32);
        assert_eq!(
            store.create(&grant(&id), &allocation(&["sim-0::0"], 7)),
            GrantOnDisk::Complete(format!("/host/grants/{id}").into())
        );
        store.keep_owner(&id, &owner()).unwrap();
        let found = store.load().unwrap();
        assert_eq!((found.len(), &found[0].grant, &found[0].owner), (1, &grant(&id), &Some(owner())));
        assert_eq!(*found[0].allocation.ids, ["sim-0::0"]);
    }

    #[test]
    fn anybody_may_append_records_and_nobody_may_write_the_grant() {
        let (_folder, store) = store();
        let id = "b".repeat(32);
        store.create(&grant(&id), &allocation(&["x"], 1));
        let mode = |name: &str| fs::metadata(store.root.join(&id).join(name)).unwrap().permissions().mode();
        assert_eq!((mode("records") & 0o777, mode("grant") & 0o022), (0o666, 0));
    }

    fn with_quota(id: &str) -> Grant {
        Grant { ledger: Some("/run/firstlight/ledger".to_owned()), ..grant(id) }
    }

    #[test]
    fn a_ledger_is_whole_on_the_disk_and_anybody_may_write_it() {
        let (_folder, store) = store();
        let id = "f".repeat(32);
        assert!(matches!(store.create(&with_quota(&id), &allocation(&["x"], 1)), GrantOnDisk::Complete(_)));
        let found = fs::metadata(store.ledger(&id)).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (ledger::SIZE as u64, 0o666));
        assert!(found.blocks() * 512 >= ledger::SIZE as u64, "{} blocks", found.blocks());
        assert_eq!(
            ledger::Ledger::read(&fs::read(store.ledger(&id)).unwrap()),
            Some(ledger::Ledger::default())
        );
        store.create(&grant(&"0".repeat(32)), &allocation(&["x"], 1));
        assert!(!store.ledger(&"0".repeat(32)).exists(), "none without a quota");
    }

    #[test]
    fn a_new_start_leaves_a_ledger_alone_and_makes_one_that_is_gone() {
        let (_folder, store) = store();
        let id = "f".repeat(32);
        store.create(&with_quota(&id), &allocation(&["x"], 1));
        fs::write(store.ledger(&id), "what a container counted").unwrap();
        store.load().unwrap();
        assert_eq!(fs::read(store.ledger(&id)).unwrap(), b"what a container counted");
        fs::remove_file(store.ledger(&id)).unwrap();
        fs::create_dir(store.ledger(&id)).unwrap();
        store.load().unwrap();
        assert_eq!(fs::read(store.ledger(&id)).unwrap(), ledger::blank());
    }

    #[test]
    fn a_grant_whose_ledger_cannot_be_written_is_missing_and_nothing_of_it_stays() {
        let (_folder, store) = store();
        let id = "f".repeat(32);
        fs::create_dir_all(store.ledger(&id)).unwrap();
        let found = store.create(&with_quota(&id), &allocation(&["x"], 1));
        assert!(matches!(found, GrantOnDisk::Missing(_)), "{found:?}");
        assert!(!store.root.join(&id).exists());
    }

    #[test]
    fn directories_in_place_of_grant_and_records_are_repaired() {
        let (_folder, store) = store();
        let id = "c".repeat(32);
        store.create(&grant(&id), &allocation(&["x"], 1));
        for name in ["grant", "records"] {
            fs::remove_file(store.root.join(&id).join(name)).unwrap();
            fs::create_dir(store.root.join(&id).join(name)).unwrap();
        }
        assert_eq!(store.load().unwrap().len(), 1);
        let text = fs::read(store.root.join(&id).join("grant")).unwrap();
        assert_eq!(Grant::parse(&text).unwrap().id, id);
        assert!(store.records(&id).is_file());
    }

    #[test]
    fn a_folder_of_unknown_origin_is_left_alone() {
        let (_folder, store) = store();
        store.load().unwrap();
        fs::create_dir(store.root.join("foreign")).unwrap();
        assert_eq!(store.load().unwrap(), []);
        assert!(store.root.join("foreign").is_dir());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_missing_grant_with_the_reason() {
        let (folder, store) = store();
        fs::write(folder.path().join("grants"), "a file").unwrap();
        let id = "d".repeat(32);
        let GrantOnDisk::Missing(reason) = store.create(&grant(&id), &allocation(&["x"], 1)) else {
            panic!("written")
        };
        assert!(reason.contains("File exists") || reason.contains("Not a directory"), "{reason}");
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(name in "allocation|owner|grant|records", bytes: Vec<u8>) {
            let (_folder, store) = store();
            let id = "e".repeat(32);
            store.create(&grant(&id), &allocation(&["x"], 1));
            fs::write(store.root.join(&id).join(name), bytes).unwrap();
            let _ = store.load().unwrap();
        }
    }
}

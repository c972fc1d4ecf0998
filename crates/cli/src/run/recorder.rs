//! What puts a program behind the recorder: a grant, a record file, where there is a quota a ledger, and the variables
//! that lead to them.

use super::artefacts::Artefacts;
use super::plan::Plan;
use anyhow::Context as _;
use firstlight_contract::ledger;
use firstlight_contract::names::env;
use firstlight_contract::paths::{container, node};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// A prepared place; it goes with this value.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) records: PathBuf,
    pub(super) variables: Vec<(&'static str, OsString)>,
    _folder: TempDir,
}

impl Recorder {
    pub(super) fn prepare(plan: &Plan, artefacts: &Artefacts) -> anyhow::Result<Self> {
        if Path::new(container::GRANT).exists() {
            anyhow::bail!(
                "{} exists: this container already has a grant, and its programs are recorded without `run`",
                container::GRANT
            );
        }
        let folder = tempfile::Builder::new()
            .prefix("firstlight-run-")
            .tempdir()
            .context("cannot make a folder for grant and records")?;
        let (grant_path, records) =
            (folder.path().join(node::GRANT_FILE), folder.path().join(node::RECORDS_FILE));
        let grant = plan.grant(artefacts, folder.path())?;
        fs::write(&records, b"").with_context(|| format!("cannot write {}", records.display()))?;
        if let Some(path) = &grant.ledger {
            fs::write(path, ledger::blank()).with_context(|| format!("cannot write {path}"))?;
        }
        fs::write(&grant_path, grant.to_string())
            .with_context(|| format!("cannot write {}", grant_path.display()))?;
        let shim = artefacts.shim()?;
        let mut variables = vec![
            (env::LD_PRELOAD, preload(&shim)?),
            // As in a container, where the shim's directory is on the loader's path: clients find NVML there.
            (LD_LIBRARY_PATH, library_path(shim.parent().unwrap_or(&shim))),
            (env::GRANT, grant_path.into_os_string()),
        ];
        if let Some(faults) = &plan.faults {
            variables.push((env::SIMULATE, faults.into()));
        }
        Ok(Self { records, variables, _folder: folder })
    }
}

/// The value of `LD_PRELOAD`: the shim before what is there.
fn preload(shim: &Path) -> anyhow::Result<OsString> {
    // ld.so(8): entries are separated by spaces or colons, and there is no escape.
    if shim.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b' ' | b':')) {
        anyhow::bail!(
            "{} cannot stand in LD_PRELOAD: its path holds a space or a colon; set XDG_CACHE_HOME to another folder",
            shim.display()
        );
    }
    let mut value = shim.as_os_str().to_owned();
    if let Some(before) = std::env::var_os(env::LD_PRELOAD).filter(|before| !before.is_empty()) {
        value.push(":");
        value.push(before);
    }
    Ok(value)
}

fn library_path(first: &Path) -> OsString {
    let mut value = first.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os(LD_LIBRARY_PATH).filter(|rest| !rest.is_empty()) {
        value.push(":");
        value.push(rest);
    }
    value
}

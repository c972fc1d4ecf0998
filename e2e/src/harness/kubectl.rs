//! kubectl and helm against one cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{checked, output};
use crate::deps::product;

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// The kubectl that `make deps` built, for the cluster of `kubeconfig`.
    pub fn new(kubeconfig: PathBuf) -> Result<Self> {
        Ok(Self { program: product("kubernetes")?.join("bin/kubectl"), kubeconfig })
    }

    /// The file that names the cluster.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl with these arguments, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        command
    }

    /// Runs kubectl; returns what it printed.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        checked(&mut self.command(arguments))
    }

    /// An object or a list as JSON.
    pub fn get<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Value> {
        let mut command = self.command(["get", "-o", "json"]);
        command.args(arguments);
        serde_json::from_str(&checked(&mut command)?).context("kubectl did not print JSON")
    }

    /// Applies an object or a list; returns what kubectl said, warnings included.
    pub fn apply(&self, object: &Value) -> Result<String> {
        self.stdin(["apply", "-f", "-"], object)
    }

    /// Creates an object or a list; returns what kubectl said, warnings included.
    pub fn create(&self, object: &Value) -> Result<String> {
        self.stdin(["create", "-f", "-"], object)
    }

    /// Runs kubectl and expects a refusal; returns its text.
    ///
    /// # Errors
    /// When the command was not refused.
    pub fn refused<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let output = output(&mut self.command(arguments))?;
        if output.status.success() {
            bail!("it was not refused: {}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Like [`Self::apply`], with other words before the object.
    pub fn stdin<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, object: &Value) -> Result<String> {
        // A file is simpler than feeding a pipe and reading two.
        let name = format!("firstlight-{}-{}.json", std::process::id(), super::random_name());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, serde_json::to_vec(object)?)?;
        let file = path.display().to_string();
        let words: Vec<String> = arguments
            .into_iter()
            .map(|word| if word == "-" { file.clone() } else { word.to_owned() })
            .collect();
        let result = output(&mut self.command(&words));
        std::fs::remove_file(&path)?;
        let output = result?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("kubectl {}: {}", words.join(" "), said.trim());
        }
        Ok(format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Helm against the same cluster.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let mut helm = Command::new(product("helm")?.join("bin/helm"));
        checked(helm.env("KUBECONFIG", &self.kubeconfig).args(arguments))
    }
}

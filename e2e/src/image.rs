//! Container images, written as OCI layout archives: uncompressed layers, sorted, dated 0, so equal input is an
//! equal image, and importing costs little more than copying.
//!
//! Layout: <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

mod layer;
mod product_images;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::deps::hex;
pub use layer::Layer;
pub use product_images::{NAMES, named, pause};

/// An image that is not written yet.
#[derive(Debug)]
pub struct Image {
    name: String,
    layers: Vec<Layer>,
    config: serde_json::Value,
}

impl Image {
    /// An image with this full name (registry/repository:tag) and no content.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new(), config: json!({}) }
    }

    /// Full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a layer above the others.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Sets a field of the configuration: `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`.
    #[must_use]
    pub fn set(mut self, field: &str, value: impl Into<serde_json::Value>) -> Self {
        if let Some(config) = self.config.as_object_mut() {
            config.insert(field.to_owned(), value.into());
        }
        self
    }

    /// A digest of everything the archive depends on, without reading the files: their paths, sizes and times.
    pub fn inputs(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("1 {} {}", self.name, self.config));
        for layer in &self.layers {
            hash.update(layer.inputs()?);
        }
        Ok(hex(&hash.finalize()))
    }

    /// Writes the archive; returns the digest of its manifest (`sha256:…`). It appears by rename.
    pub fn write(&self, path: &Path) -> Result<String> {
        let fresh = path.with_extension("new");
        let file = File::create(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            // Twice over the input rather than once over a copy: the layers are large, their order is fixed.
            let (digest, size) = layer.digest()?;
            let mut header = header(size);
            header.set_path(format!("blobs/sha256/{digest}"))?;
            header.set_cksum();
            append_stream(&mut archive, &header, size, |into| layer.write(into))?;
            descriptors.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{digest}"), "size": size,
            }));
            diff_ids.push(format!("sha256:{digest}"));
        }
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = blob(&mut archive, "application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": descriptors,
        });
        let mut manifest = blob(&mut archive, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
        let digest = manifest.get("digest").and_then(|digest| digest.as_str()).unwrap_or_default().to_owned();
        if let Some(descriptor) = manifest.as_object_mut() {
            descriptor.insert("annotations".to_owned(), json!({"io.containerd.image.name": self.name}));
        }
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]});
        bytes(&mut archive, "index.json", &serde_json::to_vec(&index)?)?;
        bytes(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
        fs::rename(&fresh, path).with_context(|| format!("cannot move {} into place", path.display()))?;
        Ok(digest)
    }

    /// Writes `<folder>/<file>.tar` unless the one there was made from the same input. Returns whether it wrote.
    pub fn write_if_changed(&self, folder: &Path, file: &str) -> Result<bool> {
        fs::create_dir_all(folder)?;
        let archive = folder.join(format!("{file}.tar"));
        let note = folder.join(format!(".{file}.inputs"));
        let inputs = self.inputs()?;
        if archive.exists() && fs::read_to_string(&note).is_ok_and(|known| known.starts_with(&inputs)) {
            return Ok(false);
        }
        let digest = self.write(&archive)?;
        fs::write(note, format!("{inputs}\n{} {digest}\n", self.name))?;
        Ok(true)
    }
}

/// Name and manifest digest of an archive that [`Image::write_if_changed`] wrote.
pub fn name_and_digest(archive: &Path) -> Option<(String, String)> {
    let file = archive.file_stem()?.to_str()?;
    let note = fs::read_to_string(archive.with_file_name(format!(".{file}.inputs"))).ok()?;
    let (name, digest) = note.lines().nth(1)?.split_once(' ')?;
    Some((name.to_owned(), digest.to_owned()))
}

/// Writes a JSON blob; returns its descriptor.
fn blob<W: Write>(
    archive: &mut tar::Builder<W>,
    kind: &str,
    content: &serde_json::Value,
) -> Result<serde_json::Value> {
    let content = serde_json::to_vec(content)?;
    let digest = hex(&Sha256::digest(&content));
    bytes(archive, &format!("blobs/sha256/{digest}"), &content)?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()}))
}

fn bytes<W: Write>(archive: &mut tar::Builder<W>, path: &str, content: &[u8]) -> Result<()> {
    archive.append_data(&mut header(content.len() as u64), path, content).context("cannot write the archive")
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// Writes a member of which only the size is known and whose bytes come from `fill`.
fn append_stream<W: Write>(
    archive: &mut tar::Builder<W>,
    header: &tar::Header,
    size: u64,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let into = archive.get_mut();
    into.write_all(header.as_bytes())?;
    fill(into)?;
    let padding = size.next_multiple_of(512) - size;
    into.write_all(&vec![0; usize::try_from(padding)?])?;
    Ok(())
}

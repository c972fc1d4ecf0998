//! Recipes: one folder with a `build.sh` each, keyed by content.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// How a product is built, and the key that names the result.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The product: name of the recipe's folder.
    pub name: String,
    /// Where `build.sh` is.
    pub folder: PathBuf,
    /// Products whose entries the script reads.
    pub needs: Vec<String>,
    /// Digest of everything the result depends on, 16 hexadecimal digits.
    pub key: String,
}

/// Reads every recipe under `folder`, in an order in which each comes after what it needs.
pub(super) fn load(folder: &Path) -> Result<Vec<Recipe>> {
    let common = fs::read(folder.join("lib.sh")).unwrap_or_default();
    let mut open = BTreeMap::new();
    for item in fs::read_dir(folder).with_context(|| format!("no recipes at {}", folder.display()))? {
        let path = item?.path();
        let script = path.join("build.sh");
        if let (true, Some(name)) = (script.is_file(), path.file_name().and_then(|name| name.to_str())) {
            open.insert(name.to_owned(), (needs(&fs::read_to_string(&script)?), path.clone()));
        }
    }
    let mut done: Vec<Recipe> = Vec::new();
    while !open.is_empty() {
        let ready =
            |wants: &[String]| wants.iter().all(|want| done.iter().any(|recipe| recipe.name == *want));
        let Some(name) = open.iter().find(|(_, (wants, _))| ready(wants)).map(|(name, _)| name.clone())
        else {
            let stuck: Vec<_> =
                open.iter().map(|(name, (wants, _))| format!("{name} needs {wants:?}")).collect();
            bail!("products need each other, or something that has no recipe: {}", stuck.join("; "));
        };
        if let Some((needs, folder)) = open.remove(&name) {
            let mut hash = Sha256::new();
            field(&mut hash, &common);
            digest_folder(&folder, &folder, &mut hash)?;
            for need in done.iter().filter(|recipe| needs.contains(&recipe.name)) {
                field(&mut hash, need.key.as_bytes());
            }
            let key = super::entry::hex(&hash.finalize()).chars().take(16).collect();
            done.push(Recipe { name, folder, needs, key });
        }
    }
    Ok(done)
}

/// Keeps `names` and what they need; everything where `names` is empty.
pub(super) fn select(recipes: Vec<Recipe>, names: &[String]) -> Result<Vec<Recipe>> {
    if names.is_empty() {
        return Ok(recipes);
    }
    let mut wanted = names.to_vec();
    for recipe in recipes.iter().rev() {
        if wanted.contains(&recipe.name) {
            wanted.extend(recipe.needs.iter().cloned());
        }
    }
    for name in names {
        if !recipes.iter().any(|recipe| recipe.name == *name) {
            let known: Vec<_> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
            bail!("no product {name:?}; there are: {}", known.join(" "));
        }
    }
    Ok(recipes.into_iter().filter(|recipe| wanted.contains(&recipe.name)).collect())
}

/// The products on the script's line `# needs: a b`.
fn needs(script: &str) -> Vec<String> {
    let line = script.lines().find_map(|line| line.strip_prefix("# needs:")).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

fn digest_folder(root: &Path, folder: &Path, hash: &mut Sha256) -> Result<()> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|item| Ok(item?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            digest_folder(root, &path, hash)?;
        } else {
            field(hash, path.strip_prefix(root)?.as_os_str().as_encoded_bytes());
            field(hash, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// Adds one field with its length, so that no two sequences of fields look alike.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
